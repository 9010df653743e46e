package tlshello_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// FoxIO's captures with the values of FoxIO's own programs. Their Wireshark plugin's files hold no client JA4, since
// Wireshark itself shows it.
func TestJA4IsWhatFoxIOSays(t *testing.T) {
	t.Parallel()
	captures, ours, python, rust := 0, 0, 0, 0
	everyCapture(t, "ja4", func(path string, _ *nfqtest.Capture, all []found) {
		name := filepath.Base(path)
		captures++
		byPython, byRust := pythonJA4(t, path), rustJA4(t, path)
		mine := map[flow][]string{}
		for _, f := range all {
			if f.hello == nil {
				t.Errorf("%s: %s: %v", name, f.flow, f.status)
				continue
			}
			mine[f.flow] = append(mine[f.flow], f.hello.JA4)
			ours++
		}
		for f, values := range mine {
			if want := byRust[f]; want != values[0] { // theirs keeps one a stream
				t.Errorf("%s: %s: %s, FoxIO's rust says %q", name, f, values[0], want)
			}
			rust++
			if want := byPython[f]; len(want) == 0 && pythonSilent[name] != "" {
				continue
			} else if !slices.Equal(want, values) {
				t.Errorf("%s: %s: %s, FoxIO's python says %s", name, f, values, want)
			}
			python += len(values)
		}
		for f := range byRust {
			if mine[f] == nil {
				t.Errorf("%s: %s: no hello, FoxIO's rust says %s", name, f, byRust[f])
			}
		}
		for f := range byPython {
			if mine[f] == nil {
				t.Errorf("%s: %s: no hello, FoxIO's python says %s", name, f, byPython[f])
			}
		}
	})
	t.Logf("%d captures with TLS over TCP, %d hellos: %d compared with FoxIO's python, %d with its rust", captures, ours, python, rust)
	for name, why := range pythonSilent {
		t.Logf("not compared with python: %s: %s", name, why)
	}
}

// pythonSilent: captures for which FoxIO's python gives no JA4 where its rust does.
var pythonSilent = map[string]string{
	"ja4__pcap__https-connect.pcap": "TLS behind an HTTP CONNECT: it reports the HTTP part of such a stream only",
}

func pythonJA4(t *testing.T, path string) map[flow][]string {
	t.Helper()
	values := map[flow][]string{}
	for _, file := range nfqtest.Expected(t, path, "ja4-python") {
		var streams []map[string]any
		if err := json.Unmarshal(contents(t, file), &streams); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range streams {
			f := flow{addrPort(t, s["src"], s["srcport"]), addrPort(t, s["dst"], s["dstport"])}
			for i := 1; ; i++ {
				ja4, ok := s[fmt.Sprintf("JA4.%d", i)].(string)
				if !ok {
					break
				}
				if ja4[0] == 't' { // the others are QUIC
					values[f] = append(values[f], ja4)
				}
			}
		}
	}
	return values
}

func rustJA4(t *testing.T, path string) map[flow]string {
	t.Helper()
	values := map[flow]string{}
	for _, file := range nfqtest.Expected(t, path, "ja4-rust") {
		documents := yamlDocuments(t, file)
		streams, _ := documents[len(documents)-1].([]any)
		for _, s := range streams {
			s := s.(map[string]any)
			if ja4, ok := s["ja4"].(string); ok && ja4[0] == 't' {
				values[flow{addrPort(t, s["src"], s["src_port"]), addrPort(t, s["dst"], s["dst_port"])}] = ja4
			}
		}
	}
	return values
}

func addrPort(t *testing.T, address, port any) netip.AddrPort {
	t.Helper()
	addr, err := netip.ParseAddr(fmt.Sprint(address))
	if err != nil {
		t.Fatal(err)
	}
	var n uint16
	if _, err := fmt.Sscan(fmt.Sprint(port), &n); err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(addr, n)
}

func yamlDocuments(t *testing.T, file string) []any {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []any
	for d := yaml.NewDecoder(f); ; {
		var v any
		if err := d.Decode(&v); err != nil {
			break
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		t.Fatalf("%s: no YAML", file)
	}
	return all
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

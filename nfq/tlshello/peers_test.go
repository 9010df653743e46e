package tlshello_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/tlshello"
)

// Zeek and Suricata log the version that the two sides agreed on, which is at most the highest one offered.
var peerVersions = map[string]uint16{
	"SSLv2": 0x0002, "SSLv3": 0x0300, "TLSv10": 0x0301, "TLSv11": 0x0302, "TLSv12": 0x0303, "TLSv13": 0x0304,
	"TLSv13-draft14": 0x7f0e, "TLSv13-draft16": 0x7f10, "TLSv13-draft19": 0x7f13,
	"TLSv1": 0x0301, "TLS 1.1": 0x0302, "TLS 1.2": 0x0303, "TLS 1.3": 0x0304,
	"TLS 1.3 draft-18": 0x7f12, "TLS 1.3 draft-23": 0x7f17,
}

func TestServerNamesAndVersionsAreWhatZeekSays(t *testing.T) {
	t.Parallel()
	captures, rows := 0, 0
	compare := func(path string, c *nfqtest.Capture, all []found) {
		byFlow := map[flow]*tlshello.Hello{}
		for _, f := range all {
			if byFlow[f.flow] == nil {
				byFlow[f.flow] = f.hello
			}
		}
		compared := rows
		for _, file := range nfqtest.Expected(t, path, "zeek") {
			for _, row := range zeekLog(t, file, "ssl") {
				f := flow{addrPort(t, row["id.orig_h"], row["id.orig_p"]), addrPort(t, row["id.resp_h"], row["id.resp_p"])}
				if !carries(c, f) { // many logs are of several captures
					continue
				}
				h := byFlow[f]
				if h == nil {
					t.Errorf("%s: no hello of %s, zeek has one", filepath.Base(path), f)
					continue
				}
				rows++
				if want := strings.TrimPrefix(row["server_name"], "-"); h.SNI != want {
					t.Errorf("%s: %s: server name %q, zeek says %q", filepath.Base(path), f, h.SNI, want)
				}
				if version := row["version"]; version != "-" {
					agreed, known := peerVersions[version]
					if !known || h.Version < agreed {
						t.Errorf("%s: %s: offered %s, zeek says they agreed on %s", filepath.Base(path), f, tlshello.VersionName(h.Version), version)
					}
				}
			}
		}
		if rows > compared {
			captures++
		}
	}
	everyCapture(t, "tls", compare)
	everyCapture(t, "smtp", compare)
	t.Logf("%d captures, %d rows of ssl.log", captures, rows)
	if captures == 0 {
		t.Error("nothing was compared")
	}
}

func carries(c *nfqtest.Capture, f flow) bool {
	return slices.ContainsFunc(c.Packets, func(p nfqtest.Packet) bool {
		var s packet.Segment
		return packet.Decode(p.IP, &s) == packet.OK && s.Src == f.src && s.Dst == f.dst
	})
}

// zeekLog reads a log of the given path in zeek's format; nil if the file holds another one.
func zeekLog(t *testing.T, file, path string) []map[string]string {
	t.Helper()
	var names []string
	var rows []map[string]string
	wanted := false
	for line := range strings.Lines(string(contents(t, file))) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case cells[0] == "#path":
			wanted = cells[1] == path
		case cells[0] == "#fields":
			names = cells[1:]
		case strings.HasPrefix(line, "#") || !wanted || len(cells) != len(names):
		default:
			row := map[string]string{}
			for i, name := range names {
				row[name] = cells[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func TestServerNamesVersionsAndJA3AreWhatSuricataSays(t *testing.T) {
	t.Parallel()
	captures, events := map[string]bool{}, 0
	compare := func(path string, _ *nfqtest.Capture, all []found) {
		for _, file := range nfqtest.Expected(t, path, "suricata") {
			for _, document := range yamlDocuments(t, file) {
				for _, want := range suricataMatches(document) {
					if skipSuricata(want) {
						continue
					}
					captures[path] = true
					events++
					if !slices.ContainsFunc(all, func(f found) bool { return f.hello != nil && suricataAgrees(want, f) }) {
						t.Errorf("%s: suricata has %v, none of %d hellos is like it", filepath.Base(file), want, len(all))
					}
				}
			}
		}
	}
	everyCapture(t, "tls", compare)
	everyCapture(t, "smtp", compare)
	t.Logf("%d captures, %d events", len(captures), events)
	if events == 0 {
		t.Error("nothing was compared")
	}
}

// suricataMatches finds the matches that suricata-verify expects at least once, at any depth.
func suricataMatches(v any) (matches []map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			matches = append(matches, suricataMatches(e)...)
		}
	case map[string]any:
		match, ok := v["match"].(map[string]any)
		if ok && fmt.Sprint(v["count"]) != "0" {
			matches = append(matches, match)
		}
		for _, e := range v {
			matches = append(matches, suricataMatches(e)...)
		}
	}
	return matches
}

// skipSuricata: events that say nothing about a hello.
func skipSuricata(want map[string]any) bool {
	for key := range want {
		switch key {
		case "tls.sni", "tls.version", "tls.ja3.hash":
			return false
		}
	}
	return true
}

func suricataAgrees(want map[string]any, f found) bool {
	for key, value := range want {
		text := fmt.Sprint(value)
		switch key {
		case "src_ip":
			if f.src.Addr().String() != text {
				return false
			}
		case "src_port":
			if fmt.Sprint(f.src.Port()) != text {
				return false
			}
		case "tls.sni":
			if f.hello.SNI != text {
				return false
			}
		case "tls.ja3.hash":
			if f.hello.JA3 != text {
				return false
			}
		case "tls.version":
			if agreed, known := peerVersions[text]; text != "UNDETERMINED" && (!known || f.hello.Version < agreed) {
				return false
			}
		}
	}
	return true
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// differs says where the command's answer is not the peer's, by capture; appliance/doc/CAPTURES.md tells it to people.
var differs = map[string]string{
	"suricata-verify__tests__bug-5867-fp-drop-01__input":                                                    "messages: the only message was refused 450 at RCPT; suricata logs the transaction",
	"suricata-verify__tests__firewall__ruletype-firewall-133-smtp-out-of-order-commands__smtp-out-of-order": "messages: suricata's firewall drops the session before the message; on the wire it was accepted",
	"suricata-verify__tests__firewall__ruletype-firewall-134-smtp-rset-then-quit__smtp-rset-then-quit":      "messages: RSET before DATA is a transaction for suricata, and no message",
	"suricata-verify__tests__smtp-ehlo-reset-after-rejected-data__input":                                    "messages: suricata logs a refused DATA without an envelope as a transaction",
	"suricata-verify__tests__smtp-to-comma__10.7.29.101_49898-178.63.41.150_25":                             "messages: the file is damaged in the middle of the content: no reply to it",
	"zeek__testing__btest__Traces__http__connect-with-smtp":                                                 "messages: SMTP inside an HTTP CONNECT: the server's first line is no SMTP reply",
}

// fewerRecipients says where not all recipients of a peer are certain to us.
var fewerRecipients = map[string]string{
	"zeek__testing__btest__Traces__smtp__smtp-bdat-gap": "a hole in the client's bytes may hold the end of the envelope",
}

// TestReplayIsWhatPeersSayOfMail holds what the command prints of captures/smtp against zeek's smtp.log and suricata's
// transactions: messages, recipients, STARTTLS.
func TestReplayIsWhatPeersSayOfMail(t *testing.T) {
	t.Parallel()
	captures, sessions, equal, differ, silent, rcpts, tls := 0, 0, 0, 0, 0, 0, 0
	for _, path := range nfqtest.Captures(t, "smtp") {
		captures++
		name := baseName(path)
		c := nfqtest.Read(t, path)
		rows := replayRows(t, path, ports(c, nil))
		sessions += len(rows)
		messages, recipients, accepted := 0, 0, 0
		for _, r := range rows {
			messages += r.Messages
			recipients += r.Recipients
			if r.StartTLS == "accepted" {
				accepted++
			}
		}
		want := peerOf(t, path)
		switch why, known := differs[name]; {
		case want.messages < 0:
			silent++
		case want.messages == messages && !known:
			equal++
		case known && want.messages != messages:
			differ++
			t.Logf("%s: peer %d, we %d: %s", name, want.messages, messages, why)
		case known:
			t.Errorf("%s is said to differ (%s), and does not: %d messages", name, why, messages)
		default:
			t.Errorf("%s: %d messages, the peer expects %d: %+v", name, messages, want.messages, rows)
		}
		if _, known := differs[name]; known {
			continue
		}
		if want.recipients >= 0 {
			rcpts++
			if why, known := fewerRecipients[name]; known && recipients < want.recipients {
				t.Logf("%s: peer %d recipients, we %d: %s", name, want.recipients, recipients, why)
			} else if recipients != want.recipients {
				t.Errorf("%s: %d recipients, the peer expects %d", name, recipients, want.recipients)
			}
		}
		if want.startTLS >= 0 {
			tls++
			if accepted != want.startTLS {
				t.Errorf("%s: %d sessions turned to TLS, the peer expects %d", name, accepted, want.startTLS)
			}
		}
	}
	t.Logf("captures/smtp: %d captures by the command, %d sessions; messages equal to a peer's in %d, %d differ with a reason, no count of a peer for %d; recipients held against a peer's in %d, STARTTLS in %d",
		captures, sessions, equal, differ, silent, rcpts, tls)
	if differ != len(differs) {
		t.Errorf("%d captures differ, %d are said to", differ, len(differs))
	}
}

// peer is what the files beside a capture expect of all its sessions, -1 where they say nothing of it.
type peer struct{ messages, recipients, startTLS int }

func peerOf(t *testing.T, path string) peer {
	p := peer{-1, -1, -1}
	for _, file := range nfqtest.Expected(t, path, "zeek") {
		if !strings.HasSuffix(file, "smtp.log") {
			continue
		}
		one := peer{}
		turned := map[string]bool{}
		for _, row := range nfqtest.ZeekLog(t, file) {
			if strings.HasPrefix(row["last_reply"], "250") {
				one.messages++
				if row["rcptto"] != "-" && row["rcptto"] != "" {
					one.recipients += len(strings.Split(row["rcptto"], ","))
				}
			}
			if row["tls"] == "T" {
				turned[row["id.orig_h"]+row["id.orig_p"]] = true
			}
		}
		one.startTLS = len(turned)
		if one.messages >= p.messages {
			p = one
		}
	}
	for _, file := range nfqtest.Expected(t, path, "suricata") {
		p.messages = max(p.messages, nfqtest.SuricataTransactions(t, file))
	}
	return p
}

func baseName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".pcap")
	return name
}

// noSMTP are sessions of captures/smtp that are no mail, by their client.
var noSMTP = []string{"192.168.133.100:49285", "192.168.133.100:49336", "192.168.133.100:49153", "192.168.133.100:49655", "115.118.114.54:54009"}

// ports are those of the servers in a capture: where a SYN goes to, and without one the lower of the two.
func ports(c *nfqtest.Capture, keep func(client, server netip.AddrPort) bool) (all []uint16) {
	for client, server := range servers(c) {
		if slices.Contains(noSMTP, client.client.String()) || keep != nil && !keep(client.client, server) {
			continue
		}
		if !slices.Contains(all, server.Port()) {
			all = append(all, server.Port())
		}
	}
	slices.Sort(all)
	return all
}

// ends are a session's; which of them is the client's is told by who sent the SYN.
type ends struct{ client, server netip.AddrPort }

func servers(c *nfqtest.Capture) map[ends]netip.AddrPort {
	of := map[ends]netip.AddrPort{}
	for pass := range 2 { // first those that a SYN tells of
		for _, p := range c.Packets {
			var s packet.Segment
			if packet.Decode(p.IP, &s) != packet.OK {
				continue
			}
			syn, ack := s.Flags.Has(packet.SYN), s.Flags.Has(packet.ACK)
			e := ends{s.Src, s.Dst}
			if syn && ack || !syn && s.Src.Port() < s.Dst.Port() {
				e = ends{s.Dst, s.Src}
			}
			_, back := of[ends{e.server, e.client}]
			if syn && pass == 0 || !syn && pass == 1 && !back {
				of[e] = e.server
			}
		}
	}
	return of
}

// withPorts writes a configuration that limits nothing else and counts the given ports too.
func withPorts(t testing.TB, all []uint16) string {
	t.Helper()
	counted := slices.DeleteFunc(slices.Clone(all), func(p uint16) bool { return p == 25 })
	text := fmt.Sprintf("mode: enforce\nidentity: {subscribers_file: \"\"}\nnetwork: {limited_ports: [25], counted_ports: %s}\n",
		strings.ReplaceAll(fmt.Sprint(counted), " ", ", "))
	path := filepath.Join(t.TempDir(), "mailweir.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replayRows runs the command over a file and reads what it prints. A damaged file must be said to be one.
func replayRows(t testing.TB, path string, all []uint16) []appliance.ReplayedSession {
	t.Helper()
	var stdout, stderr strings.Builder
	exit := Main(t.Context(), []string{"replay", "--config", withPorts(t, all), "--pcap", path, "--json"}, &stdout, &stderr)
	if exit != 0 && (exit != exitFailed || !strings.Contains(stderr.String(), "damaged behind packet")) {
		t.Fatalf("%s: exit %d: %s", path, exit, stderr.String())
	}
	return rowsOf(t, stdout.String())
}

func rowsOf(t testing.TB, text string) (rows []appliance.ReplayedSession) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r appliance.ReplayedSession
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// TestReplayIsWhatPeersSayOfTLS holds what the command prints of captures/ja4 and captures/tls against FoxIO's JA4 and
// zeek's ssl.log. The servers' ports are made 465 first: TLS from the first byte on is looked for there only.
func TestReplayIsWhatPeersSayOfTLS(t *testing.T) {
	t.Parallel()
	versions := map[string]string{"TLSv10": "TLS1.0", "TLSv11": "TLS1.1", "TLSv12": "TLS1.2", "TLSv13": "TLS1.3", "SSLv3": "SSL3.0"}
	captures, sessions, ja4, zeek, skipped := 0, 0, 0, 0, 0
	for _, folder := range []string{"ja4", "tls"} {
		for _, path := range nfqtest.Captures(t, folder) {
			captures++
			c := nfqtest.Read(t, path)
			to465(c)
			rows := replayRows(t, written(t, c), []uint16{465})
			sessions += len(rows)
			by := map[string]*appliance.ReplayedSession{}
			for i := range rows {
				r := &rows[i]
				if key := r.Src + " " + strconv.Itoa(int(r.SPort)); by[key] == nil || by[key].JA4 == "" {
					by[key] = r
				}
			}
			if why, no := notFirst[c.Name]; no {
				skipped++
				t.Logf("%s: run, not compared: %s", c.Name, why)
				continue
			}
			for key, want := range rustJA4(t, path) {
				ja4++
				if got := by[key]; got == nil || got.JA4 != want {
					t.Errorf("%s, %s: got %+v, FoxIO says %s", c.Name, key, got, want)
				}
			}
			for _, file := range nfqtest.Expected(t, path, "zeek") {
				for _, row := range nfqtest.ZeekLog(t, file) {
					got := by[row["id.orig_h"]+" "+row["id.orig_p"]]
					if row["established"] == "" || got == nil { // another log, or of another capture
						continue
					}
					zeek++
					established := map[bool]string{true: "T", false: "F"}[got.Handshake == "complete"]
					version := cmp.Or(versions[row["version"]], strings.Replace(row["version"], "TLSv13", "TLS1.3", 1))
					if cmp.Or(got.SNI, "-") != row["server_name"] || established != row["established"] || version != "-" && got.TLSVersion != version {
						t.Errorf("%s: got SNI %q, version %q, handshake %s; zeek says %q, %q, %s", c.Name, got.SNI, got.TLSVersion, got.Handshake, row["server_name"], row["version"], row["established"])
					}
				}
			}
		}
	}
	t.Logf("%d captures of ja4 and tls by the command, %d sessions; %d JA4 equal to FoxIO's, %d rows of zeek's ssl.log equal, %d captures with something before TLS",
		captures, sessions, ja4, zeek, skipped)
	if ja4 < 20 || zeek < 20 {
		t.Error("too little was compared")
	}
}

// notFirst are captures in which another protocol's way into TLS goes before it.
var notFirst = map[string]string{
	"ja4__pcap__https-connect.pcap":                                             "HTTP CONNECT before TLS",
	"ja4__pcap__socks4-https.pcap":                                              "SOCKS before TLS",
	"zeek__testing__btest__Traces__mysql__tls-12-amazon-rds.pcap":               "MySQL before TLS",
	"zeek__testing__btest__Traces__mysql__tls-13-amazon-rds.pcap":               "MySQL before TLS",
	"zeek__testing__btest__Traces__tls__imap-starttls.pcap":                     "IMAP before TLS",
	"zeek__testing__btest__Traces__postgresql__psql-aws-ssl-preferred.pcap":     "PostgreSQL before TLS",
	"zeek__testing__btest__Traces__postgresql__psql-aws-ssl-require-15432.pcap": "PostgreSQL before TLS",
	"zeek__testing__btest__Traces__socks-with-ssl.pcap":                         "SOCKS before TLS",
}

func rustJA4(t *testing.T, path string) map[string]string {
	values := map[string]string{}
	for _, file := range nfqtest.Expected(t, path, "ja4-rust") {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var streams []struct {
			Src     string
			SrcPort uint16 `yaml:"src_port"`
			JA4     string `yaml:"ja4"`
		}
		_, body, _ := strings.Cut(strings.TrimPrefix(string(raw), "---"), "---\n")
		if err := yaml.Unmarshal([]byte(body), &streams); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range streams {
			if strings.HasPrefix(s.JA4, "t") { // the others are QUIC
				values[fmt.Sprint(s.Src, " ", s.SrcPort)] = s.JA4
			}
		}
	}
	return values
}

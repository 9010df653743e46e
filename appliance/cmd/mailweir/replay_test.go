package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// talk is a TCP session that makes its own packets.
type talk struct {
	client, server netip.AddrPort
	up, down       uint32
	at             time.Time
	packets        []nfqtest.Packet
}

var midnight = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

func newTalk(client string, port uint16, server string, at time.Time) *talk {
	t := &talk{client: netip.AddrPortFrom(netip.MustParseAddr(client), port), server: netip.MustParseAddrPort(server), up: 1000, down: 5000, at: at}
	t.send(true, packet.SYN, nil)
	t.up++
	t.send(false, packet.SYN|packet.ACK, nil)
	t.down++
	t.send(true, packet.ACK, nil)
	return t
}

func (t *talk) send(up bool, flags packet.Flags, payload []byte) {
	p := nfqtest.TCP{Src: t.client, Dst: t.server, Seq: t.up, Ack: t.down, Flags: flags, Payload: payload}
	next := &t.up
	if !up {
		p.Src, p.Dst, p.Seq, p.Ack, next = t.server, t.client, t.down, t.up, &t.down
	}
	*next += uint32(len(payload))
	t.packets = append(t.packets, nfqtest.Packet{Time: t.at, IP: p.Packet()})
	t.at = t.at.Add(10 * time.Millisecond)
}

func (t *talk) c(text string) *talk {
	t.send(true, packet.PSH|packet.ACK, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	return t
}

func (t *talk) s(text string) *talk {
	t.send(false, packet.PSH|packet.ACK, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	return t
}

func (t *talk) bye() *talk {
	t.c("QUIT\n").s("221 bye\n")
	t.send(false, packet.FIN|packet.ACK, nil)
	t.down++
	t.send(true, packet.FIN|packet.ACK, nil)
	t.up++
	t.send(false, packet.ACK, nil)
	return t
}

// message sends one to two recipients.
func (t *talk) message() *talk {
	return t.c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\nRCPT TO:<c@y>\n").s("250 ok\n250 ok\n").c("DATA\n").s("354 go\n").c("Subject: hi\n\ntext\n.\n").s("250 queued\n")
}

func (t *talk) hello() *talk { return t.s("220 mx\n").c("EHLO c\n").s("250-mx\n250 SIZE\n") }

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mailweir runs a command line.
func mailweir(t testing.TB, argv ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	exit = Main(t.Context(), argv, &out, &errs)
	return exit, out.String(), errs.String()
}

const replayConfig = `mode: %s
identity: {subscribers_file: %q, unmapped_plan: small}
network: {limited_ports: [25], counted_ports: [465]}
plans:
  - name: small
    highest_stage: %s
    budgets: [{of: sessions, limit: %d, per: 1h}]
    ladder: {pace_max: 0s, cut_for: 10m}
`

// TestReplayOfABot: one home sends a session a second for a minute, another one an hour.
func TestReplayOfABot(t *testing.T) {
	t.Parallel()
	list := file(t, "list.csv", "subscriber,plan,prefixes\nbot,small,192.0.2.1\nhome,small,192.0.2.2\n")
	var packets []nfqtest.Packet
	for i := range 60 {
		packets = append(packets, newTalk("192.0.2.1", uint16(2000+i), "198.51.100.1:25", midnight.Add(time.Duration(i)*time.Second)).hello().message().bye().packets...)
	}
	late := midnight.Add(9 * time.Minute)
	packets = append(packets, newTalk("192.0.2.1", 3000, "198.51.100.1:25", late).hello().bye().packets...)
	packets = append(packets, newTalk("192.0.2.2", 3000, "198.51.100.1:25", late.Add(time.Second)).hello().message().bye().packets...)
	afterCut := midnight.Add(20 * time.Minute)
	packets = append(packets, newTalk("192.0.2.1", 3001, "198.51.100.1:25", afterCut).hello().bye().packets...)
	pcap := written(t, &nfqtest.Capture{Packets: packets})

	config := func(name, mode, highest string, limit int) string {
		return file(t, name, fmt.Sprintf(replayConfig, mode, list, highest, limit))
	}
	for _, row := range []struct {
		why           string
		mode, highest string
		limit         int
		want          string // actions of the bot's sessions in order, run-length
		acted         bool
	}{
		// 10 fit; 20 more are denied as retries, which press nobody, and 20 that press up to 300 %; then the cut goes on for 10 minutes.
		{"enforce, up to cut", "enforce", "cut", 10, "4 pass, 6 warn, 40 defer, 11 cut, 1 warn", true},
		{"observe says the same of the first, and goes on counting", "observe", "cut", 10, "", false},
		{"a plan that never cuts", "enforce", "defer", 10, "", true},
		{"within budget", "enforce", "cut", 1000, "62 pass", true},
	} {
		exit, stdout, stderr := mailweir(t, "replay", "--config", config("a.yaml", row.mode, row.highest, row.limit), "--pcap", pcap, "--json")
		if exit != 0 {
			t.Fatalf("%s: exit %d: %s", row.why, exit, stderr)
		}
		rows := rowsOf(t, stdout)
		if len(rows) != 63 {
			t.Fatalf("%s: %d sessions", row.why, len(rows))
		}
		var runs []string
		n, last := 0, ""
		flush := func() {
			if n > 0 {
				runs = append(runs, fmt.Sprintf("%d %s", n, last))
			}
		}
		for _, r := range rows {
			if r.EndReason != "fin" || r.Unknown || r.Gaps != 0 || r.Messages != r.Recipients/2 {
				t.Errorf("%s: %+v", row.why, r)
			}
			if r.Acted != (row.acted && (r.Action == "defer" || r.Action == "cut" || r.Action == "pace")) {
				t.Errorf("%s: acted %v: %+v", row.why, r.Acted, r)
			}
			if r.Subscriber == "home" {
				if r.Action != "pass" || r.Messages != 1 {
					t.Errorf("%s: the other home: %+v", row.why, r)
				}
				continue
			}
			if r.Action != last {
				flush()
				n, last = 0, r.Action
			}
			n++
		}
		flush()
		got := strings.Join(runs, ", ")
		t.Logf("%s: %s", row.why, got)
		if row.want != "" && got != row.want {
			t.Errorf("%s: %s, want %s", row.why, got, row.want)
		}
	}

	// Two configurations over the same: only the bot fares differently, and not at all with the same twice.
	strict, mild := config("strict.yaml", "enforce", "cut", 10), config("mild.yaml", "enforce", "defer", 30)
	exit, stdout, stderr := mailweir(t, "replay", "--config", strict, "--pcap", pcap, "--against", mild, "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if exit != 0 || len(lines) != 64 {
		t.Fatalf("exit %d, %d lines: %s", exit, len(lines), stderr)
	}
	var d struct {
		Subscriber string
		outcomeLine
		Against outcomeLine
	}
	if err := json.Unmarshal([]byte(lines[63]), &d); err != nil {
		t.Fatal(err)
	}
	if d.Subscriber != "bot" || d.Highest != "cut" || d.Stages["cut"] != 600 || d.Decisions.Cut != 11 || d.Against.Highest != "defer" || d.Against.Decisions.Cut != 0 || d.Against.Stages["cut"] != 0 || d.Against.Stages["defer"] == 0 {
		t.Errorf("%s", lines[63])
	}
	if exit, stdout, _ = mailweir(t, "replay", "--config", strict, "--pcap", pcap, "--against", mild); exit != 0 || !strings.Contains(stdout, "strict.yaml") || !strings.Contains(stdout, "mild.yaml") || !strings.Contains(stdout, "cut 10m") || strings.Contains(stdout, "home") {
		t.Errorf("exit %d:\n%s", exit, stdout)
	}
	t.Logf("\n%s", stdout)
	if exit, stdout, _ = mailweir(t, "replay", "--config", strict, "--pcap", pcap, "--against", strict); exit != 0 || !strings.Contains(stdout, "difference   none") {
		t.Errorf("exit %d:\n%s", exit, stdout)
	}
	if exit, stdout, _ = mailweir(t, "replay", "--config", strict, "--pcap", pcap); exit != 0 || !strings.Contains(stdout, "63: 63 in clear") || !strings.Contains(stdout, "61 accepted") || !strings.Contains(stdout, "122 recipients") {
		t.Errorf("exit %d:\n%s", exit, stdout)
	}
	t.Logf("\n%s", stdout)
}

// TestACutEndsWhatRuns: a session that runs when its subscriber is cut would have ended, and is not charged any more.
func TestACutEndsWhatRuns(t *testing.T) {
	t.Parallel()
	config := file(t, "a.yaml", fmt.Sprintf(replayConfig, "enforce", "", "cut", 2))
	long := newTalk("2001:db8::1", 1999, "[2001:db8:1::1]:25", midnight).hello()
	packets := long.packets
	for i := range 20 {
		packets = append(packets, newTalk("2001:db8::2", uint16(2000+i), fmt.Sprintf("[2001:db8:%x::1]:25", i+2), midnight.Add(time.Duration(i+1)*time.Second)).hello().bye().packets...)
	}
	long.at, long.packets = midnight.Add(time.Minute), nil
	packets = append(packets, long.message().bye().packets...)
	_, stdout, _ := mailweir(t, "replay", "--config", config, "--pcap", written(t, &nfqtest.Capture{Packets: packets}), "--json")
	rows := rowsOf(t, stdout)
	if len(rows) != 21 {
		t.Fatalf("%d sessions", len(rows))
	}
	for _, r := range rows {
		if r.Ended != (r.SPort == 1999) || r.Subscriber != "2001:db8::/56" {
			t.Errorf("%+v", r)
		}
		if r.SPort == 1999 && (r.Messages != 1 || r.EndReason != "fin") {
			t.Errorf("%+v", r)
		}
	}
	if last := rows[19]; last.Action != "cut" || last.Reason != "the cut goes on" {
		t.Errorf("%+v", last) // by its /64, as the kernel does
	}
}

// TestReplayThroughEveryLink: one session behind every kind of link and tag, over both families, gives the same row.
func TestReplayThroughEveryLink(t *testing.T) {
	t.Parallel()
	config := file(t, "a.yaml", fmt.Sprintf(replayConfig, "observe", "", "cut", 100))
	mac := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	join := func(parts ...any) []byte {
		var b []byte
		for _, p := range parts {
			switch p := p.(type) {
			case []byte:
				b = append(b, p...)
			case int:
				b = append(b, byte(p>>8), byte(p))
			}
		}
		return b
	}
	kind := func(ip []byte, v4, v6 int) int {
		if ip[0]>>4 == 4 {
			return v4
		}
		return v6
	}
	ether := func(ip []byte) int { return kind(ip, 0x0800, 0x86dd) }
	links := []struct {
		why  string
		link layers.LinkType
		wrap func(ip []byte) []byte
	}{
		{"Ethernet", 1, func(ip []byte) []byte { return join(mac, ether(ip), ip, make([]byte, max(0, 46-len(ip)))) }},
		{"VLAN", 1, func(ip []byte) []byte { return join(mac, 0x8100, 42, ether(ip), ip) }},
		{"QinQ", 1, func(ip []byte) []byte { return join(mac, 0x88a8, 7, 0x8100, 42, ether(ip), ip) }},
		{"PPPoE", 1, func(ip []byte) []byte { return join(mac, 0x8864, 0x1100, 5, len(ip)+2, kind(ip, 0x21, 0x57), ip) }},
		{"PPPoE in a VLAN", 1, func(ip []byte) []byte {
			return join(mac, 0x8100, 42, 0x8864, 0x1100, 5, len(ip)+2, kind(ip, 0x21, 0x57), ip)
		}},
		{"raw", 101, func(ip []byte) []byte { return ip }},
		{"Linux cooked", 113, func(ip []byte) []byte { return join(make([]byte, 14), ether(ip), ip) }},
		{"Linux cooked v2", 276, func(ip []byte) []byte { return join(ether(ip), make([]byte, 18), ip) }},
		{"loopback, little endian", 0, func(ip []byte) []byte { return join([]byte{byte(kind(ip, 2, 30)), 0, 0, 0}, ip) }},
		{"loopback, big endian", 108, func(ip []byte) []byte { return join([]byte{0, 0, 0, byte(kind(ip, 2, 30))}, ip) }},
	}
	ran := 0
	for _, addr := range []string{"192.0.2.1 198.51.100.1:25", "2001:db8::1 [2001:db8:1::1]:25"} {
		client, server, _ := strings.Cut(addr, " ")
		session := newTalk(client, 4000, server, midnight).hello().message().bye()
		want := ""
		var ng bytes.Buffer
		mixed, err := pcapgo.NewNgWriter(&ng, layers.LinkType(101))
		if err != nil {
			t.Fatal(err)
		}
		check := func(why, path string) {
			t.Helper()
			ran++
			exit, stdout, stderr := mailweir(t, "replay", "--config", config, "--pcap", path, "--json")
			if exit != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, `"messages":1,`) || want != "" && stdout != want {
				t.Errorf("%s, %s: exit %d %s\n got %s\nwant %s", why, client, exit, stderr, stdout, want)
			}
			if want == "" {
				want = stdout
			}
		}
		for _, l := range links {
			var b bytes.Buffer
			w := pcapgo.NewWriterNanos(&b)
			if err := w.WriteFileHeader(1<<16, l.link); err != nil {
				t.Fatal(err)
			}
			if _, err := mixed.AddInterface(pcapgo.NgInterface{LinkType: l.link, SnapLength: 1 << 16, TimestampResolution: 9}); err != nil {
				t.Fatal(err)
			}
			for _, p := range session.packets {
				frame := l.wrap(p.IP)
				info := gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(frame), Length: len(frame)}
				if err := w.WritePacket(info, frame); err != nil {
					t.Fatal(err)
				}
			}
			check(l.why, file(t, "link.pcap", b.String()))
		}
		for n, p := range session.packets { // each packet by another interface
			l := links[n%len(links)]
			frame := l.wrap(p.IP)
			if err := mixed.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(frame), Length: len(frame), InterfaceIndex: 1 + n%len(links)}, frame); err != nil {
				t.Fatal(err)
			}
		}
		if err := mixed.Flush(); err != nil {
			t.Fatal(err)
		}
		check("ten interfaces in turn", file(t, "mixed.pcapng", ng.String()))
	}
	t.Logf("%d files", ran)
}

// TestReplaySaysWhatIsWrong: exit codes and what is told.
func TestReplaySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	config := file(t, "a.yaml", fmt.Sprintf(replayConfig, "observe", "", "cut", 100))
	good := written(t, &nfqtest.Capture{Packets: newTalk("192.0.2.1", 4000, "198.51.100.1:25", midnight).hello().message().bye().packets})
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cut, text := file(t, "cut.pcap", string(raw[:len(raw)-60])), file(t, "text.pcap", "hello, world")
	for _, row := range []struct {
		why            string
		argv           []string
		exit           int
		stdout, stderr string
	}{
		{"nothing", nil, 2, "", "replay needs --config FILE and --pcap FILE"},
		{"no capture", []string{"--config", config}, 2, "", "replay needs"},
		{"a capture without its flag", []string{"--config", config, good}, 2, "", "replay needs"},
		{"the journal", []string{"--config", config, "--journal", "x"}, 1, "", "journal: stat x: no such file or directory"},
		{"a bad configuration", []string{"--config", file(t, "bad.yaml", "mode: maybe\n"), "--pcap", good}, 2, "", "mode"},
		{"a bad other configuration", []string{"--config", config, "--against", file(t, "bad.yaml", "mode: maybe\n"), "--pcap", good}, 2, "", "mode"},
		{"no file", []string{"--config", config, "--pcap", "none.pcap"}, 1, "", "none.pcap: no such file"},
		{"no capture file", []string{"--config", config, "--pcap", good, text}, 1, "", "neither a pcap nor a pcapng file"},
		{"a damaged one: what came before is told", []string{"--config", config, "--pcap", cut, "--json"}, 1, `"messages":1,`, "cut.pcap: damaged behind packet 17, at byte "},
		{"a damaged one, for people", []string{"--config", config, "--pcap", cut}, 1, "1 accepted", "cut.pcap: damaged behind packet"},
		{"a good one, twice", []string{"--config", config, "--pcap", good, good}, 0, "1 accepted", ""},
	} {
		exit, stdout, stderr := mailweir(t, append([]string{"replay"}, row.argv...)...)
		if exit != row.exit || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) || row.stdout == "" && stdout != "" || row.stderr == "" && stderr != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", row.why, exit, stdout, stderr)
		}
	}
}

// TestReplayKeysAreTheContracts: the keys of the command-line contract, first and in its order.
func TestReplayKeysAreTheContracts(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(appliance.ReplayedSession{})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, key := range strings.Split("src sport dst dport start end messages messages_lo messages_hi recipients starttls tls tls_version sni ja3 ja4 handshake bytes_up bytes_down handshake_bytes end_reason", " ") {
		i := strings.Index(string(raw[at:]), `"`+key+`":`)
		if i < 0 {
			t.Fatalf("no %s behind byte %d of %s", key, at, raw)
		}
		at += i
	}
}

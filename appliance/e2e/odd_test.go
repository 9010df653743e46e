package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// What is odd passes, is counted with a reason, and hurts nobody: malformed
// packets, a half-open flow, one found in mid-air, a segment without payload, IPv6
// extension headers.
func TestOddPacketsPassAndAreCounted(t *testing.T) {
	for _, reader := range []string{"fast", "portable"} {
		t.Run(reader, func(t *testing.T) { oddPackets(t, reader) })
	}
}

func oddPackets(t *testing.T, reader string) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000, per: 1h}
`)+"queue: {fast_lane: off, reader: "+reader+"}\n", fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	seen := sniff(t, mx.Namespace)

	tcp := func(ipv6 bool, sport uint16, change func(*nfqtest.TCP)) []byte {
		p := nfqtest.TCP{Src: netip.AddrPortFrom(home.IPv4, sport), Dst: mx.Address(ipv6), Seq: 1000, Ack: 1, Flags: packet.ACK | packet.PSH, Payload: []byte("NOOP\r\n")}
		if ipv6 {
			p.Src = netip.AddrPortFrom(home.IPv6, sport)
		}
		change(&p)
		return p.Packet()
	}
	cut := func(p []byte, n int) []byte { // IPv4, shortened to n bytes of TCP
		p = p[:20+n]
		p[2], p[3] = byte(len(p)>>8), byte(len(p))
		p[10], p[11] = 0, 0
		sum := nfqtest.Checksum(p[:20])
		p[10], p[11] = byte(sum>>8), byte(sum)
		return p
	}
	rows := []struct {
		why, counter string
		sport        uint16
		packet       []byte
	}{
		{"a TCP header that ends after 8 bytes", `mailweir_kernel_rule_packets_total{rule="invalid"}`, 20001, cut(tcp(false, 20001, func(*nfqtest.TCP) {}), 8)},
		{"a TCP data offset beyond the packet", `mailweir_kernel_rule_packets_total{rule="invalid"}`, 20002, func() []byte {
			p := tcp(false, 20002, func(p *nfqtest.TCP) { p.Payload = nil })
			p[20+12] = 0xf0
			return p
		}()},
		{"data of a flow whose start nobody saw", `mailweir_flows_mid_air_total{%q}`, 20003, tcp(false, 20003, func(*nfqtest.TCP) {})},
		{"the same over IPv6", `mailweir_flows_mid_air_total{%q}`, 20004, tcp(true, 20004, func(*nfqtest.TCP) {})},
		{"a FIN of no flow", `mailweir_kernel_rule_packets_total{rule="invalid"}`, 20005, tcp(false, 20005, func(p *nfqtest.TCP) { p.Flags, p.Payload = packet.FIN|packet.ACK, nil })},
		{"a half-open flow behind a hop-by-hop header", `mailweir_verdicts_total{%q,verdict="see"}`, 20006, tcp(true, 20006, func(p *nfqtest.TCP) {
			p.Flags, p.Payload, p.Extensions = packet.SYN, nil, []nfqtest.Extension{{Kind: 60, Body: make([]byte, 6)}}
		})},
		{"a segment without payload that is no pure acknowledgement by its length", `mailweir_passed_unjudged_total{%q,reason="mid_air"}`, 20007, tcp(false, 20007, func(p *nfqtest.TCP) { p.Payload = []byte{} })},
	}
	for _, row := range rows {
		before := sum(b.metrics(), row.counter)
		inject(t, home.Namespace, row.packet)
		await(t, 5*time.Second, row.why+": to pass", func() bool { return seen(row.sport) })
		if row.sport == 20007 { // a pure acknowledgement: the kernel passes it by itself
			continue
		}
		await(t, 5*time.Second, row.why+": to be counted as "+row.counter, func() bool { return sum(b.metrics(), row.counter) > before })
	}
	if n := sum(b.metrics(), `mailweir_kernel_rule_packets_total{rule="pure_ack"}`); n == 0 {
		t.Error("no pure acknowledgement passed in the kernel")
	}
	for _, must := range []string{`mailweir_panics_total{%q}`, `mailweir_dropped_total{%q,reason="retransmission_of_held"}`,
		`mailweir_queue_kernel_dropped_total{%q,why="queue_full"}`, `mailweir_queue_kernel_dropped_total{%q,why="socket_full"}`} {
		if n := sum(b.metrics(), must); n != 0 {
			t.Errorf("%s: %v", must, n)
		}
	}
	if s := home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1})[0]; s.Result != lab.Sent {
		t.Errorf("mail after all that: %v, %v", s.Result, s.Err)
	}
}

// metrics are read over HTTP inside the box, with the admin token.
func (b *box) metrics() string {
	b.t.Helper()
	token, err := os.ReadFile(filepath.Join(b.data, "admin.token"))
	if err != nil {
		b.t.Fatalf("read the metrics: %v", err)
	}
	return b.scrape(strings.TrimSpace(string(token)))
}

// scrape reads the metrics with a bearer token, or without one.
func (b *box) scrape(token string) string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.ctx, "GET", "https://127.0.0.1:8443/metrics", nil)
	if err != nil {
		b.t.Fatalf("read the metrics: %v", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := b.browser().Do(req)
	if err != nil {
		b.t.Fatalf("read the metrics: %v", err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("read the metrics: %v", err)
	}
	return string(out)
}

// sum adds a metric up over all queues: %q in its name stands for queue="N".
func sum(metrics, name string) (total float64) {
	for line := range strings.Lines(metrics) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		match := key == name
		for q := range 4 {
			match = match || key == strings.Replace(name, "%q", fmt.Sprintf("queue=%q", strconv.Itoa(q)), 1)
		}
		if match {
			total += v
		}
	}
	return total
}

// inject sends an IP packet as it is from inside ns; the kernel routes it.
func inject(t *testing.T, ns *lab.Namespace, ip []byte) {
	t.Helper()
	err := ns.Do(func() error {
		if ip[0]>>4 == 4 {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Sendto(fd, ip, 0, &unix.SockaddrInet4{Addr: [4]byte(ip[16:20])})
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, ip, 0, &unix.SockaddrInet6{Addr: [16]byte(ip[24:40])})
	})
	if err != nil {
		t.Fatalf("inject: %v", err)
	}
}

// sniff watches what arrives in ns and tells whether a packet from a source port
// was among it. It looks for the port where the TCP header may begin.
func sniff(t *testing.T, ns *lab.Namespace) (seen func(sport uint16) bool) {
	t.Helper()
	var fd int
	err := ns.Do(func() (err error) {
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		return err
	})
	if err != nil {
		t.Fatalf("packet socket: %v", err)
	}
	f := os.NewFile(uintptr(fd), "packet socket")
	t.Cleanup(func() { f.Close() })
	var mu sync.Mutex
	ports := map[uint16]bool{}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			for _, at := range []int{20, 40, 48} { // IPv4, IPv6, IPv6 with one extension header of 8 bytes
				if n >= at+4 && buf[at+2] == 0 && buf[at+3] == 25 {
					ports[uint16(buf[at])<<8|uint16(buf[at+1])] = true
				}
			}
			mu.Unlock()
		}
	}()
	return func(sport uint16) bool {
		mu.Lock()
		defer mu.Unlock()
		return ports[sport]
	}
}

// A clean stop in the middle of running and held sessions harms none of them and
// leaves no rule behind.
func TestCleanStop(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 10, per: 1h}
    ladder: {pace_max: 30s}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	running := make(chan []lab.Session, 1)
	go func() {
		running <- home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true,
			Sessions: 24, Concurrency: 24, Linger: 3 * time.Second})
	}()
	await(t, 20*time.Second, "sessions to run and greetings to be held", func() bool {
		s := b.status()
		return s.Sessions.Open == 24 && s.Lanes.Queue.Held > 10
	})
	b.stop()
	for _, s := range <-running {
		if s.Result != lab.Sent {
			t.Errorf("a running session: %v, %v", s.Result, s.Err)
		}
	}
	if rules := listRules(t, b); strings.Contains(rules, "mailweir") {
		t.Errorf("left behind:\n%s", rules)
	}
}

// Whoever removes our table by mistake gets it back.
func TestRemovedTableComesBack(t *testing.T) {
	l, ctx := startLab(t)
	b := newBox(t, ctx, l, config("enforce", ""), "subscriber,plan\n")
	b.start()
	for i, how := range [][]string{{"flush", "ruleset"}, {"flush", "table", "inet", "mailweir"}} {
		if out, err := l.Box.Command(ctx, "nft", how...).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		await(t, 15*time.Second, "the rules to be there again after "+strings.Join(how, " "), func() bool {
			return strings.Contains(listRules(t, b), "goto up")
		})
		if r := b.records("kind=HEALTH&limit=10"); len(r) != i+1 || !strings.Contains(r[0].Line, `what="ruleset"`) {
			t.Errorf("%v: no HEALTH record told: %v", how, r)
		}
	}
}

func listRules(t *testing.T, b *box) string {
	t.Helper()
	var stderr strings.Builder
	cmd := b.lab.Box.Command(b.ctx, "nft", "list", "ruleset")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, stderr.String())
	}
	return string(out)
}

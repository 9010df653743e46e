package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// What happened is told: SESSION, DECISION and STAGE reach a collector over UDP
// and over TCP with gapless numbers, the metrics count it, and the web admin
// answers over HTTPS to whoever has the token and to nobody else.
func TestWhatHappenedIsTold(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	udp, tcp := collectUDP(t, l), collectTCP(t, l)
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 3, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)+"syslog: {targets: [{url: \"udp://127.0.0.1:5514\"}, {url: \"tcp://127.0.0.1:5515\"}]}\n",
		fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true, Sessions: 3, Messages: 2})
	home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 2})
	home.Send(ctx, lab.Traffic{To: mx.Address(true), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1, Messages: 3})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("udp:\n%s\ntcp:\n%s", strings.Join(udp.all(), "\n"), strings.Join(tcp.all(), "\n"))
		}
	})
	// A session ends with the server's FIN: the last to begin need not be the last to end.
	await(t, 20*time.Second, "the four sessions' records at both collectors", func() bool {
		return udp.count("SESSION") == 4 && tcp.count("SESSION") == 4
	})
	for name, c := range map[string]*collector{"udp": udp, "tcp": tcp} {
		for _, want := range [][]string{
			{"SESSION", `subscriber="home"`, `starttls="accepted"`, `tls_version="TLS1.3"`, `handshake="complete"`, `ja4="t13`, `ja3="`},
			{"SESSION", fmt.Sprintf("subscriber=%q", home.Prefix6.Masked()), `messages="3"`, `recipients="3"`, `tls="none"`, `end_reason="fin"`},
			{"DECISION", `subscriber="home"`, `action="defer"`, `acted="1"`, `budget="sessions"`, `limit="3"`, `value="4"`, `reason="sessions 4/3 per 24h`, `case="`},
			{"STAGE", `subscriber="home"`, `to="defer"`},
			{"CONFIG", `what="started"`},
		} {
			if !c.has(want...) {
				t.Errorf("%s: no record with %q", name, want)
			}
		}
		seen := 0
		for _, line := range c.all() {
			m := seqOf.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s: no number in %s", name, line)
			}
			var n int
			fmt.Sscan(m[1], &n)
			if n != seen+1 {
				t.Errorf("%s: number %d after %d", name, n, seen)
			}
			seen = n
		}
	}

	web := b.browser()
	get := func(path, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", "https://127.0.0.1:8443"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	token, err := os.ReadFile(filepath.Join(b.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := get("/api/v1/status", ""); code != http.StatusUnauthorized {
		t.Errorf("the API without a token: %d", code)
	}
	if code, body := get("/api/v1/subscribers/home", strings.TrimSpace(string(token))); code != http.StatusOK || !strings.Contains(body, `"defer"`) {
		t.Errorf("the API with the token: %d %s", code, body)
	}
	code, metrics := get("/metrics", "")
	if code != http.StatusOK {
		t.Fatalf("metrics: %d", code)
	}
	for _, want := range []string{
		`mailweir_decisions_total{action="defer"} 2`, `mailweir_acted_total 2`, `mailweir_sessions_total 4`,
		`mailweir_tls_handshakes_total 3`, `mailweir_messages_total 3`, `mailweir_subscribers{stage="defer"} 1`,
		`mailweir_kernel_rule_packets_total{rule="deferred"} 2`, `mailweir_responder_total{answer="own"} 2`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics do not have %s", want)
		}
	}
}

// browser is a client of the web admin inside the box. It takes any certificate:
// the box made its own.
func (b *box) browser() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.lab.Box.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:8443"))
		},
	}}
}

var seqOf = regexp.MustCompile(` seq="(\d+)"`)

// collector keeps the syslog lines that came.
type collector struct {
	mu    sync.Mutex
	lines []string
}

func (c *collector) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

// count is how many lines have all the words.
func (c *collector) count(words ...string) (n int) {
	for _, line := range c.all() {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

func (c *collector) has(words ...string) bool { return c.count(words...) > 0 }

func collectUDP(t *testing.T, l *lab.Lab) *collector {
	t.Helper()
	c := &collector{}
	conn, err := l.Box.ListenPacket("udp", "127.0.0.1:5514")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			c.add(string(buf[:n]))
		}
	}()
	return c
}

// collectTCP reads octet-counted frames (RFC 6587 section 3.4.1).
func collectTCP(t *testing.T, l *lab.Lab) *collector {
	t.Helper()
	c := &collector{}
	ln, err := l.Box.Listen("tcp", "127.0.0.1:5515")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					head, err := r.ReadString(' ')
					if err != nil {
						return
					}
					n, err := strconv.Atoi(head[:len(head)-1])
					if err != nil {
						c.add("not octet-counted: " + head)
						return
					}
					frame := make([]byte, n)
					if _, err := io.ReadFull(r, frame); err != nil {
						return
					}
					c.add(string(frame))
				}
			}()
		}
	}()
	return c
}

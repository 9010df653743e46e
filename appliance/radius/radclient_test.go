package radius

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// program finds a program of a Debian package that the tests cannot do without.
func program(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s (make setup does)", name, debian)
	}
	return path
}

// radclient sends one request, FreeRADIUS's way, and returns what it says and whether it was content.
func radclient(t testing.TB, to netip.AddrPort, command, secret string, attributes ...string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	file, key := filepath.Join(dir, "request"), filepath.Join(dir, "secret")
	for path, content := range map[string]string{file: strings.Join(attributes, "\n") + "\n", key: secret + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program(t, "radclient", "freeradius-utils"), "-x", "-r", "1", "-t", "2", "-S", key, "-f", file, to.String(), command)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// relay stands between two sides of UDP and keeps what goes through.
type relay struct {
	addr netip.AddrPort

	mu   sync.Mutex
	seen []datagram
}

type datagram struct {
	answer  bool
	payload []byte
}

func newRelay(t testing.TB, to netip.AddrPort) *relay {
	t.Helper()
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	far, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: near.LocalAddr().(*net.UDPAddr).AddrPort()}
	var both sync.WaitGroup
	var asker netip.AddrPort
	pump := func(answer bool, from *net.UDPConn, send func(b []byte)) {
		b := make([]byte, maxSize)
		for {
			n, peer, err := from.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			if !answer {
				asker = peer
			}
			r.seen = append(r.seen, datagram{answer, append([]byte(nil), b[:n]...)})
			r.mu.Unlock()
			send(b[:n])
		}
	}
	both.Go(func() { pump(false, near, func(b []byte) { far.Write(b) }) })
	both.Go(func() {
		pump(true, far, func(b []byte) {
			r.mu.Lock()
			to := asker
			r.mu.Unlock()
			near.WriteToUDPAddrPort(b, to)
		})
	})
	t.Cleanup(func() { near.Close(); far.Close(); both.Wait() })
	return r
}

// everything is one session's Start with all that a NAS may say, in the words of FreeRADIUS's dictionaries.
func everything(at time.Time) []string {
	return []string{
		`Acct-Status-Type = Start`, `Acct-Session-Id = "5e01-77"`, `NAS-IP-Address = 10.0.0.1`, `NAS-Identifier = "bras1"`, `NAS-Port = 12`,
		`User-Name = "acct-1002"`, `Calling-Station-Id = "02:00:5e:00:53:01"`, `NAS-Port-Id = "ge-0/0/1:12"`,
		`ADSL-Agent-Circuit-Id = "olt1/3/7:12"`, `ADSL-Agent-Remote-Id = 0x02005e005302`,
		`Framed-IP-Address = 100.64.0.12`, `Framed-IP-Netmask = 255.255.255.0`,
		`Framed-IPv6-Prefix = 2001:db8:1:2::/64`, `Delegated-IPv6-Prefix = 2001:db8:100::/56`, `Framed-IPv6-Address = 2001:db8::9`,
		fmt.Sprintf(`Event-Timestamp = %d`, at.Unix()), `Acct-Delay-Time = 3`, `Class = "whatever"`, `Cisco-AVPair = "ip:vrf-id=5"`,
		`Message-Authenticator = 0x00`, `Proxy-State = 0x010203`,
	}
}

func TestRadclientAndTsharkAgree(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	r := newRelay(t, s.Addr())
	at := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	out, ok := radclient(t, r.addr, "acct", string(testSecret), everything(at)...)
	if !ok || !strings.Contains(out, "Received Accounting-Response") || !strings.Contains(out, "Proxy-State = 0x010203") {
		t.Fatalf("radclient was not content:\n%s", out)
	}
	e := <-s.events
	e.Peer = netip.AddrPort{}
	want := Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|5e01-77", UserName: "acct-1002",
		Circuits: []string{"acct-1002", "olt1/3/7:12", "02005e005302", "ge-0/0/1:12", "02:00:5e:00:53:01"},
		Prefixes: prefixes("100.64.0.12/32", "2001:db8::9/128", "2001:db8:1:2::/64", "2001:db8:100::/56"), At: at, Dated: true}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("\n got %+v\nwant %+v", e, want)
	}
	if got := s.Stats(); got.BadValues != 0 {
		t.Errorf("%d values passed over", got.BadValues)
	}
	decoded := tshark(t, r, testSecret, "radius.code", "radius.authenticator.valid", "radius.User_Name", "radius.Acct_Session_Id",
		"radius.Framed-IP-Address", "radius.Framed_IPv6_Address", "radius.Event_Timestamp", "radius.Proxy_State")
	if want := []string{ // tshark checks the authenticators of answers only
		"4;;acct-1002;5e01-77;100.64.0.12;2001:db8::9;" + at.Format("Jan _2, 2006 15:04:05.000000000 MST") + ";010203",
		"5;1;;;;;;010203",
	}; !reflect.DeepEqual(decoded, want) {
		t.Errorf("tshark decodes\n%s\nwant\n%s", strings.Join(decoded, "\n"), strings.Join(want, "\n"))
	}
}

func TestRadclientTellsALife(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Addr: "[::1]:0"})
	of := func(status string, more ...string) []string {
		return append(more, "Acct-Status-Type = "+status, `NAS-Identifier = "bras2"`, `Acct-Session-Id = "1"`)
	}
	for _, c := range []struct {
		attributes []string
		want       Event
	}{
		{of("Accounting-On"), Event{Kind: On, Session: "bras2|"}},
		{of("Start", `User-Name = "x"`), Event{Kind: Start, Session: "bras2|1", UserName: "x", Circuits: []string{"x"}}},
		{of("Interim-Update", `Framed-IP-Address = 100.64.0.1`), Event{Kind: Interim, Session: "bras2|1", Prefixes: prefixes("100.64.0.1/32")}},
		{of("Stop", `Framed-IP-Address = 100.64.0.1`), Event{Kind: Stop, Session: "bras2|1", Prefixes: prefixes("100.64.0.1/32")}},
		{of("Accounting-Off"), Event{Kind: Off, Session: "bras2|"}},
	} {
		if out, ok := radclient(t, s.Addr(), "acct", string(testSecret), c.attributes...); !ok {
			t.Fatalf("radclient was not content:\n%s", out)
		}
		e := <-s.events
		if age := time.Since(e.At); age < 0 || age > time.Minute {
			t.Errorf("%v happened %v ago", e.Kind, age)
		}
		e.At, e.Peer, c.want.NAS = time.Time{}, netip.AddrPort{}, "bras2"
		if !reflect.DeepEqual(e, c.want) {
			t.Errorf("\n got %+v\nwant %+v", e, c.want)
		}
	}
}

func TestRadclientWithTheWrongSecretHearsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	out, ok := radclient(t, s.Addr(), "acct", "not the secret", `Acct-Status-Type = Start`, `Acct-Session-Id = "1"`)
	if ok || !strings.Contains(out, "No reply from server") {
		t.Errorf("radclient says:\n%s", out)
	}
	if got := s.Stats(); got.Answered != 0 || got.Ignored[WrongSecret] == 0 || len(s.events) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRadclientAsksWhetherWeLive(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	if out, ok := radclient(t, s.Addr(), "status", string(testSecret), `Message-Authenticator = 0x00`); !ok {
		t.Errorf("radclient was not content:\n%s", out)
	}
	if len(s.events) != 0 {
		t.Errorf("%d events", len(s.events))
	}
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// What is no mail of subscribers crosses the bridge as if mailweir were not there, and
// costs no room in conntrack's table; with on_failure: closed also after kill -9, when mail does not.
func TestOtherTrafficOverABridge(t *testing.T) {
	l, ctx := startLabAt(t, lab.BeforeRouter)
	home := addHome(t, l, "home")
	host, err := l.AddHost("host", lab.Internet)
	if err != nil {
		t.Fatal(err)
	}
	text := asBridge(config("enforce", `  - name: small
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1, per: 24h}
    ladder: {warn_at: 20, pace_at: 50, defer_at: 100, cut_at: 100, pace_max: 0s}
`))
	b := newBox(t, ctx, l, strings.Replace(text, "\nnetwork:\n", "\nnetwork:\n  on_failure: closed\n", 1), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	for _, at := range []*lab.Namespace{home.Namespace, host.Namespace} {
		greetOn(t, at, 25)
		greetOn(t, at, 80)
		echoUDP(t, at)
	}
	others := func() {
		t.Helper()
		for _, of := range []struct {
			from *lab.Namespace
			to   []netip.Addr
		}{{home.Namespace, []netip.Addr{host.IPv4, host.IPv6}}, {host.Namespace, []netip.Addr{home.IPv4, home.IPv6}}} {
			for _, to := range of.to {
				if err := errors.Join(ping(of.from, to), askUDP(of.from, to)); err != nil {
					t.Errorf("to %s: %v", to, err)
				}
				if _, err := hear(of.from, to, 80); err != nil {
					t.Errorf("port 80 of %s: %v", to, err)
				}
			}
		}
		// Mail to a server of the subscriber's own is not his.
		for _, to := range []netip.Addr{home.IPv4, home.IPv6} {
			if said, err := hear(host.Namespace, to, 25); said != "220 hello\r\n" {
				t.Errorf("mail to the home's own server: %q, %v", said, err)
			}
		}
	}
	others()
	if s := b.status(); s.Sessions.Total != 0 {
		t.Errorf("%d sessions were seen", s.Sessions.Total)
	}
	if said, err := hear(home.Namespace, host.IPv4, 25); said != "220 hello\r\n" {
		t.Errorf("the home's first session: %q, %v", said, err)
	}
	for range 40 {
		_, _ = hear(home.Namespace, host.IPv4, 25)
		_, _ = hear(home.Namespace, host.IPv6, 25)
	}
	if s := b.subscriber("home"); s.Stage != "cut" {
		t.Fatalf("stage %s: %s", s.Stage, s.Reason)
	}
	others()
	entries, err := l.Box.Command(ctx, "conntrack", "-L").Output()
	six, err6 := l.Box.Command(ctx, "conntrack", "-L", "-f", "ipv6").Output()
	if err := errors.Join(err, err6); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(append(entries, six...)) {
		if !bytes.Contains(line, []byte("port=25 ")) {
			t.Errorf("conntrack follows what is no mail: %s", line)
		}
	}

	b.kill()
	others()
	if said, err := hear(home.Namespace, host.IPv4, 25); said != "" {
		t.Errorf("with on_failure: closed and nobody to judge the home heard %q, %v", said, err)
	}
	b.start()
}

// With network.tagged: pass, mail with a VLAN tag passes untouched, whoever sends it and whether or not br_netfilter is
// told to look into tags. Without, it is governed, and that is in force at once, both ways.
func TestTaggedMailPassesABridge(t *testing.T) {
	l, ctx := startLabAt(t, lab.BeforeRouter)
	home := addHome(t, l, "home")
	host, err := l.AddHost("host", lab.Internet)
	if err != nil {
		t.Fatal(err)
	}
	greetOn(t, host.Namespace, 25)
	governed := asBridge(config("enforce", `  - name: small
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1, per: 24h}
    ladder: {warn_at: 20, pace_at: 50, defer_at: 100, cut_at: 100, pace_max: 0s}
`))
	b := newBox(t, ctx, l, strings.Replace(governed, "\nnetwork:\n", "\nnetwork:\n  tagged: pass\n", 1), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	for range 40 {
		_, _ = hear(home.Namespace, host.IPv4, 25)
		_, _ = hear(home.Namespace, host.IPv6, 25)
	}
	if s := b.subscriber("home"); s.Stage != "cut" {
		t.Fatalf("stage %s: %s", s.Stage, s.Reason)
	}
	before := b.status()
	untag := []func(){tag(t, home.Namespace, "eth0", 0x81000007), tag(t, l.Router, "lan0", 0x81000007)}
	for _, looks := range []string{"0", "1"} {
		if err := l.Box.Sysctl("bridge/bridge-nf-filter-vlan-tagged", looks); err != nil {
			t.Fatal(err)
		}
		for _, to := range []netip.Addr{host.IPv4, host.IPv6} {
			for range 5 {
				if said, err := hear(home.Namespace, to, 25); said != "220 hello\r\n" {
					t.Errorf("looking into tags: %s; tagged to %s: %q, %v", looks, to, said, err)
				}
			}
		}
		s := b.status()
		if s.Sessions != before.Sessions || s.Actions != before.Actions {
			t.Errorf("looking into tags: %s; sessions %+v, actions %+v; before %+v, %+v", looks, s.Sessions, s.Actions, before.Sessions, before.Actions)
		}
		if told := len(s.Problems) == 1 && strings.Contains(s.Problems[0].What, "VLAN"); told != (looks == "1") {
			t.Errorf("looking into tags: %s; problems %+v", looks, s.Problems)
		}
	}
	if now := b.status().Bridge.Tagged; now.On || now.Taken != 0 || now.Why == "" {
		t.Errorf("told to let them pass: %+v", now)
	}
	check(t, os.WriteFile(b.config, []byte(governed), 0o600))
	check(t, b.cmd.Process.Signal(syscall.SIGHUP))
	await(t, 20*time.Second, "tagged mail to be governed", func() bool { return b.status().Bridge.Tagged.On })
	for _, to := range []netip.Addr{host.IPv4, host.IPv6} {
		if said, err := hear(home.Namespace, to, 25); said != "" {
			t.Errorf("governed, tagged to %s: %q, %v", to, said, err)
		}
	}
	for _, undo := range untag {
		undo()
	}
	if said, _ := hear(home.Namespace, host.IPv4, 25); said != "" {
		t.Errorf("without a tag, who is cut heard %q", said)
	}
}

// A bridge with an address asks for its neighbours itself; one without IPv6 resets whom
// it cannot tell why he is deferred, and says so.
func TestABridgeWithAnAddressAndWithoutIPv6(t *testing.T) {
	l, ctx := startLabAt(t, lab.BeforeRouter)
	home := addHome(t, l, "home")
	host, err := l.AddHost("host", lab.Internet)
	if err != nil {
		t.Fatal(err)
	}
	greetOn(t, host.Namespace, 25)
	if err := errors.Join(l.Box.Address("br0", netip.MustParsePrefix("100.64.0.2/16")), l.Box.Sysctl("ipv6/conf/br0/disable_ipv6", "1")); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, ctx, l, asBridge(config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	if said, err := hear(home.Namespace, host.IPv4, 25); said != "220 hello\r\n" {
		t.Errorf("the first session: %q, %v", said, err)
	}
	if said, err := hear(home.Namespace, host.IPv4, 25); !strings.HasPrefix(said, "421 4.7.0 sessions 2/1 per 24h") {
		t.Errorf("over IPv4: %q, %v", said, err)
	}
	began := time.Now()
	if said, err := hear(home.Namespace, host.IPv6, 25); said != "" || time.Since(began) > time.Second {
		t.Errorf("over IPv6: %q, %v after %v", said, err, time.Since(began))
	}
	s := b.status()
	if s.Bridge == nil || !s.Bridge.Answer4 || s.Bridge.Answer6 || !strings.Contains(s.Bridge.Why, "IPv6 is switched off") {
		t.Errorf("the bridge: %+v", s.Bridge)
	}
	for kind, want := range map[string]string{"HEALTH": ` what="bridge"`, "DECISION": ` answer="reset"`} {
		await(t, 5*time.Second, "a record with"+want, func() bool {
			for _, r := range b.records("limit=100&kind=" + kind) {
				if strings.Contains(r.Line, want) {
					return true
				}
			}
			return false
		})
	}
	out, err := exec.CommandContext(ctx, binary, "status", "--data", b.data).Output()
	if err != nil || !strings.Contains(string(out), "who is deferred over IPv6 is reset") {
		t.Errorf("status: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	check := l.Box.Command(ctx, binary, "check", "--config", b.config)
	check.Stderr = &stderr
	if err := check.Run(); err != nil || strings.Contains(stderr.String(), "bridge") {
		t.Errorf("check in the box: %v\n%s", err, stderr.String())
	}
	stderr.Reset()
	check = home.Namespace.Command(ctx, binary, "check", "--config", b.config)
	check.Stderr = &stderr
	if err := check.Run(); err != nil || !strings.Contains(stderr.String(), "on this machine lan0 is not there") {
		t.Errorf("check elsewhere: %v\n%s", err, stderr.String())
	}
}

// greetOn listens on a port of every address, greets and closes.
func greetOn(t *testing.T, at *lab.Namespace, port int) {
	t.Helper()
	lis, err := at.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 hello\r\n")
			_ = c.Close()
		}
	}()
}

// hear connects and returns the first line that it is told.
func hear(from *lab.Namespace, to netip.Addr, port uint16) (string, error) {
	var d net.Dialer
	d.Timeout = 2 * time.Second
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	said, err := io.ReadAll(io.LimitReader(c, 1000))
	return string(said), err
}

const udpPort = 5353

func echoUDP(t *testing.T, at *lab.Namespace) {
	t.Helper()
	c, err := at.ListenPacket("udp", fmt.Sprintf("[::]:%d", udpPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
}

func askUDP(from *lab.Namespace, to netip.Addr) error {
	c, err := from.ListenPacket("udp", "[::]:0")
	if err != nil {
		return err
	}
	defer c.Close()
	return answered(c, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, udpPort)), []byte("are you there"))
}

// ping sends one echo request (RFC 792; RFC 4443, section 4.1).
func ping(from *lab.Namespace, to netip.Addr) error {
	network, kind := "ip4:icmp", byte(8)
	if to.Is6() {
		network, kind = "ip6:ipv6-icmp", 128
	}
	var c net.PacketConn
	err := from.Do(func() (err error) { c, err = net.ListenPacket(network, ""); return err })
	if err != nil {
		return err
	}
	defer c.Close()
	echo := []byte{kind, 0, 0, 0, 7, 7, 0, 1, 'p', 'i', 'n', 'g'}
	sum := uint32(0) // RFC 1071; for IPv6 the kernel does it
	for i := 0; i < len(echo); i += 2 {
		sum += uint32(echo[i])<<8 | uint32(echo[i+1])
	}
	sum = ^(sum + sum>>16)
	echo[2], echo[3] = byte(sum>>8), byte(sum)
	return answered(c, &net.IPAddr{IP: to.AsSlice()}, echo)
}

// answered sends and waits for anything that ends alike.
func answered(c net.PacketConn, to net.Addr, b []byte) error {
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.WriteTo(b, to); err != nil {
		return err
	}
	got := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(got)
		if err != nil {
			return fmt.Errorf("no answer over %s: %w", to.Network(), err)
		}
		if bytes.HasSuffix(got[:n], b[4:]) && strings.Contains(from.String(), strings.Trim(to.String(), "[]:0123456789")) {
			return nil
		}
	}
}

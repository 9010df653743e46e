package netconf

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// client asks by busybox's DHCP client, and gives the lease as its script got it; "": none within its tries.
func (r *rig) client() string {
	r.t.Helper()
	const path = "/bin/busybox"
	if _, err := os.Stat(path); err != nil {
		r.t.Fatalf("%v: the Debian package busybox is missing; run: make setup", err)
	}
	dir := r.t.TempDir()
	script := filepath.Join(dir, "script")
	text := "#!/bin/sh\n[ \"$1\" != bound ] || echo \"$ip/$mask router=$router dns=$dns lease=$lease\" >" + dir + "/lease\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		r.t.Fatal(err)
	}
	var out []byte
	r.net.Do(func() {
		out, _ = exec.Command(path, "udhcpc", "-i", "net0", "-f", "-n", "-q", "-t", "4", "-T", "1", "-s", script).CombinedOutput() // that nobody answers is an end, too
	})
	lease, err := os.ReadFile(filepath.Join(dir, "lease"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	r.t.Logf("udhcpc: %s", strings.TrimSpace(string(out)))
	return strings.TrimSpace(string(lease))
}

func TestWhoSitsAtAFreshBoxGetsAnAddress(t *testing.T) {
	r := newRig(t)
	r.settings("{ipv6: off}")
	fresh := filepath.Join(string(r.dir), "fresh")
	if err := os.WriteFile(fresh, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.has("the fallback", Fallback.String())
	nfqtest.Eventually(t, "an address", func() bool { return r.client() == "192.168.77.100/24 router= dns= lease=600" })
	r.net.Must(func() error { return nfqtest.Address("net0", "192.168.77.100/24") })
	if !r.reaches(Fallback.Addr().String()) {
		t.Error("with that address the box is not reached")
	}
	// Once somebody has set the box up it gives none, and a static address gives none either.
	if err := os.Remove(fresh); err != nil {
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "it has ended", func() bool { return r.client() == "" })
}

func TestABoxThatGotAnAddressGivesNone(t *testing.T) {
	r := newRig(t)
	r.settings("{ipv6: off}")
	if err := os.WriteFile(filepath.Join(string(r.dir), "fresh"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.has("the fallback", Fallback.String())
	nfqtest.Eventually(t, "an address", func() bool { return r.client() != "" })
	r.serve("--dhcp-range=192.0.2.50,192.0.2.60,2m")
	nfqtest.Eventually(t, "another server's", func() bool {
		s, err := r.dir.State()
		return err == nil && len(s.Addresses) == 1 && strings.HasPrefix(s.Addresses[0].String(), "192.0.2.")
	})
	var list []byte
	r.box.Must(func() (err error) { list, err = os.ReadFile("/proc/thread-self/net/udp"); return err })
	if strings.Contains(string(list), ":0043 ") { // port 67
		t.Errorf("it goes on giving addresses:\n%s", list)
	}
}

// What a real client does seldom.
func TestAnswersOfTheSetUpServer(t *testing.T) {
	t.Parallel()
	now := time.Unix(1764400000, 0)
	s := &server{now: func() time.Time { return now }, asked: map[string]time.Time{}, given: map[netip.Addr]given{}}
	ask := func(mac byte, kind dhcpv4.MessageType, with ...dhcpv4.Modifier) string {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, mac}), dhcpv4.WithMessageType(kind)}, with...)...)
		if err != nil {
			t.Fatal(err)
		}
		a := s.answer(m)
		if a == nil {
			return ""
		}
		return a.MessageType().String() + " " + a.YourIPAddr.String()
	}
	want := func(ip string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
	}
	of := func(ip string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip))) }
	at := func(ip string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ip)) }
	for _, row := range []struct {
		why   string
		later time.Duration
		got   func() string
		want  string
	}{
		{"the first question is for others", 0, func() string { return ask(1, dhcpv4.MessageTypeDiscover) }, ""},
		{"a second one at once, too", time.Second, func() string { return ask(1, dhcpv4.MessageTypeDiscover) }, ""},
		{"nobody else answered", time.Second, func() string { return ask(1, dhcpv4.MessageTypeDiscover) }, "OFFER 192.168.77.100"},
		{"an offer is no lease yet", 0, func() string { ask(2, dhcpv4.MessageTypeDiscover); return "" }, ""},
		{"it chose another server", 0, func() string { return ask(1, dhcpv4.MessageTypeRequest, want("192.0.2.5"), of("192.0.2.1")) }, ""},
		{"it takes ours", 0, func() string { return ask(1, dhcpv4.MessageTypeRequest, want("192.168.77.100"), of("192.168.77.1")) }, "ACK 192.168.77.100"},
		{"it renews", 5 * time.Minute, func() string { return ask(1, dhcpv4.MessageTypeRequest, at("192.168.77.100")) }, "ACK 192.168.77.100"},
		{"another one gets another", 0, func() string { return ask(2, dhcpv4.MessageTypeDiscover) }, "OFFER 192.168.77.101"},
		{"it wants one that is taken", 0, func() string { return ask(2, dhcpv4.MessageTypeRequest, want("192.168.77.100"), of("192.168.77.1")) }, "NAK 0.0.0.0"},
		{"a third one remembers another network, which somebody else may serve", 0, func() string { return ask(3, dhcpv4.MessageTypeRequest, want("10.0.0.5")) }, ""},
		{"nobody does", 3 * time.Second, func() string { return ask(3, dhcpv4.MessageTypeRequest, want("10.0.0.5")) }, "NAK 0.0.0.0"},
		{"somebody has what was given", 0, func() string {
			ask(1, dhcpv4.MessageTypeDecline, want("192.168.77.100"), of("192.168.77.1"))
			return ask(1, dhcpv4.MessageTypeDiscover)
		}, "OFFER 192.168.77.101"},
		{"through a relay", 0, func() string {
			return ask(1, dhcpv4.MessageTypeDiscover, func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = net.IPv4(10, 0, 0, 1) })
		}, ""},
		{"all of it ends", givenFor + time.Second, func() string { return ask(2, dhcpv4.MessageTypeDiscover) }, "OFFER 192.168.77.100"},
	} {
		now = now.Add(row.later)
		if got := row.got(); got != row.want {
			t.Errorf("%s: %q, want %q", row.why, got, row.want)
		}
	}
	// More than there are addresses for get none, and what is remembered of them is bounded.
	for i := range 2 * mostAsked {
		mac := net.HardwareAddr{2, 1, 0, 0, byte(i >> 8), byte(i)}
		s.waited(mac.String())
		if a, ok := s.free(mac.String()); ok {
			s.given[a] = given{mac.String(), now.Add(givenFor)}
		}
	}
	if len(s.asked) > mostAsked || len(s.given) != givenMost || ask(9, dhcpv4.MessageTypeRequest, want("192.168.77.100"), of("192.168.77.1")) != "" {
		t.Errorf("%d clients, %d addresses", len(s.asked), len(s.given))
	}
}

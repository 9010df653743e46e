package lane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: it goes when its last handle
// and its last socket are closed, also when the test is killed.
type space struct {
	t      testing.TB
	handle netns.NsHandle
}

// do runs f in the namespace, on a thread that is never used for anything else:
// the goroutine ends without unlocking it. f must not end the test (t.Fatal).
func (s space) do(f func()) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.handle); err != nil {
			done <- err
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		s.t.Fatalf("enter network namespace: %v", err)
	}
}

// must is do for what has to succeed.
func (s space) must(f func() error) {
	s.t.Helper()
	var err error
	s.do(func() { err = f() })
	if err != nil {
		s.t.Fatal(err)
	}
}

func newSpace(t testing.TB) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("kernel tests make network namespaces: run them as root (CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN)")
	}
	s := space{t: t}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the new namespace and ends with the goroutine
		var err error
		s.handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { _ = s.handle.Close() })
	s.must(func() error {
		// Link-local addresses would be tentative for a second.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return s
}

// veth makes a pair between this namespace and another.
func veth(near, far string, peer space) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = near
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: far, PeerNamespace: netlink.NsFd(int(peer.handle))}); err != nil {
		return fmt.Errorf("veth %s: %w", near, err)
	}
	return nil
}

// address gives a link its addresses and takes it up.
func giveAddress(link string, addrs ...string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		parsed, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if parsed.IP.To4() == nil {
			parsed.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrAdd(l, parsed); err != nil {
			return fmt.Errorf("address %s on %s: %w", a, link, err)
		}
	}
	return netlink.LinkSetUp(l)
}

func route(to, via string) error {
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}

// rig is two subscribers - box - internet, routed, IPv4 and IPv6.
type rig struct {
	t                      *testing.T
	sub, other, box, inter space
}

var (
	sub4, sub6     = netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00:1::2")
	other4, other6 = netip.MustParseAddr("10.0.3.2"), netip.MustParseAddr("fd00:3::2")
	inter4, inter6 = netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd00:2::2")
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, sub: newSpace(t), other: newSpace(t), box: newSpace(t), inter: newSpace(t)}
	r.box.must(func() error {
		if err := errors.Join(veth("lan0", "sub0", r.sub), veth("lan1", "sub0", r.other), veth("wan0", "int0", r.inter)); err != nil {
			return err
		}
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
				return err
			}
		}
		return errors.Join(giveAddress("lan0", "10.0.1.1/24", "fd00:1::1/64"), giveAddress("lan1", "10.0.3.1/24", "fd00:3::1/64"),
			giveAddress("wan0", "10.0.2.1/24", "fd00:2::1/64"))
	})
	for _, side := range []struct {
		space
		link, addr4, addr6, via4, via6 string
	}{
		{r.sub, "sub0", "10.0.1.2/24", "fd00:1::2/64", "10.0.1.1", "fd00:1::1"},
		{r.other, "sub0", "10.0.3.2/24", "fd00:3::2/64", "10.0.3.1", "fd00:3::1"},
		{r.inter, "int0", "10.0.2.2/24", "fd00:2::2/64", "10.0.2.1", "fd00:2::1"},
	} {
		side.must(func() error {
			return errors.Join(giveAddress(side.link, side.addr4, side.addr6), route("0.0.0.0/0", side.via4), route("::/0", side.via6))
		})
		side.waitFor(side.link)
	}
	r.box.waitFor("lan0", "lan1", "wan0")
	return r
}

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
}

// waitFor waits until the links take part in IPv6; the kernel tells a link
// about its carrier up to a second late.
func (s space) waitFor(links ...string) {
	s.t.Helper()
	for _, name := range links {
		eventually(s.t, name+" is up", func() bool {
			var l netlink.Link
			s.must(func() (err error) { l, err = netlink.LinkByName(name); return err })
			return l.Attrs().OperState == netlink.OperUp
		})
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// options are those of all tests; a test changes what it is about.
func options() Options {
	return Options{
		Ports: []uint16{25, 465, 587}, Limited: []uint16{25},
		Mask: 0x0f000000, Fast: 0x0b000000, See: 0x01000000,
		Routed: true, FailOpen: true,
		Flows: 1024, Sources: 1024, Leases: 16, Metered: 1024, RingBytes: minRing,
	}
}

// The interfaces of the box.
var lans, wans = []string{"lan0", "lan1"}, []string{"wan0"}

// attach puts l on all interfaces, which are there.
func attachAll(l *Lane) error {
	missing, err := l.Attach(lans, wans)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("missing: %v", missing)
	}
	return err
}

// open loads a lane in the box and closes it with the test.
func (r *rig) open(o Options) *Lane {
	r.t.Helper()
	var l *Lane
	r.box.must(func() (err error) {
		if l, err = Open(o); err != nil {
			return err
		}
		ifs, _, err := devices(lans, wans) // for those that run the programs by hand
		if err != nil {
			return err
		}
		return tellSides(l.coll, nil, ifs)
	})
	r.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
	})
	return l
}

package nfqtest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Space is a network namespace without a name: it goes when its last handle and its last socket are closed, also when
// the test is killed.
type Space struct {
	T      testing.TB
	Handle netns.NsHandle
}

// NewSpace makes one with its loopback up, for as long as the test runs.
func NewSpace(t testing.TB) Space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("kernel tests make network namespaces: run them as root (CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN)")
	}
	s := Space{T: t}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the new namespace and ends with the goroutine
		var err error
		s.Handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { _ = s.Handle.Close() })
	s.Must(func() error {
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

// Do runs f in the namespace, on a thread that is never used for anything else: the goroutine ends without unlocking it.
// f must not end the test (t.Fatal).
func (s Space) Do(f func()) {
	s.T.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.Handle); err != nil {
			done <- err
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		s.T.Fatalf("enter network namespace: %v", err)
	}
}

// Must is Do for what has to succeed.
func (s Space) Must(f func() error) {
	s.T.Helper()
	var err error
	s.Do(func() { err = f() })
	if err != nil {
		s.T.Fatal(err)
	}
}

// WaitFor waits until the links take part in IPv6; the kernel tells a link about its carrier up to a second late.
func (s Space) WaitFor(links ...string) {
	s.T.Helper()
	for _, name := range links {
		Eventually(s.T, name+" is up", func() bool {
			var l netlink.Link
			s.Must(func() (err error) { l, err = netlink.LinkByName(name); return err })
			return l.Attrs().OperState == netlink.OperUp
		})
	}
}

// Eventually waits for something that the kernel does in its own time.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// Veth makes a cable from the calling thread's namespace to another.
func Veth(near, far string, peer Space) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = near
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: far, PeerNamespace: netlink.NsFd(int(peer.Handle))}); err != nil {
		return fmt.Errorf("veth %s: %w", near, err)
	}
	return nil
}

// Address gives a link its addresses and takes it up, in the calling thread's namespace.
func Address(link string, addrs ...string) error {
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

// Route adds a route in the calling thread's namespace.
func Route(to, via string) error {
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}

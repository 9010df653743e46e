package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: it goes when its last handle
// and its last socket are closed, also when the test is killed.
type space struct {
	t      *testing.T
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

func newSpace(t *testing.T) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("kernel tests make network namespaces: run them as root (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
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

// rig is subscribers - box - internet, routed, IPv4 and IPv6.
type rig struct {
	t               *testing.T
	sub, box, inter space
}

// The addresses of the rig. Neighbour shares its /64 with sub, Other does not.
const (
	subIP4, otherIP4, boxIP4, interIP4             = "10.0.1.2", "10.0.1.3", "10.0.1.1", "10.0.2.2"
	subIP6, neighbourIP6, otherIP6, boxIP6, intIP6 = "fd00:1::2", "fd00:1::3", "fd00:3::2", "fd00:1::1", "fd00:2::2"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, sub: newSpace(t), box: newSpace(t), inter: newSpace(t)}
	r.box.must(func() error {
		if err := errors.Join(veth("lan0", "sub0", r.sub), veth("wan0", "int0", r.inter)); err != nil {
			return err
		}
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
				return err
			}
		}
		return errors.Join(address("lan0", boxIP4+"/24", boxIP6+"/64"), address("wan0", "10.0.2.1/24", "fd00:2::1/64"), route("fd00:3::/64", subIP6))
	})
	r.sub.must(func() error {
		return errors.Join(address("sub0", subIP4+"/24", otherIP4+"/24", subIP6+"/64", neighbourIP6+"/64"), address("lo", otherIP6+"/128"),
			route("0.0.0.0/0", boxIP4), route("::/0", boxIP6))
	})
	r.inter.must(func() error {
		return errors.Join(address("int0", interIP4+"/24", intIP6+"/64"), route("0.0.0.0/0", "10.0.2.1"), route("::/0", "fd00:2::1"))
	})
	r.sub.waitFor("sub0")
	r.box.waitFor("lan0", "wan0")
	r.inter.waitFor("int0")
	return r
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
func address(link string, addrs ...string) error {
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

func withoutAddress(link, addr string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	parsed, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	return netlink.AddrDel(l, parsed)
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

func routeDev(to, link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: dst, LinkIndex: l.Attrs().Index})
}

func replaceDefault6(via, link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR("::/0")
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: dst, LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
}

// options is what most tests apply.
func options() Options {
	return Options{
		Marks:         Marks{Mask: DefaultMask},
		SubscriberIfs: []string{"lan0"},
		Ports:         []uint16{25},
		QueueFirst:    10,
		QueueCount:    1,
		FailOpen:      true,
		ResponderPort: 2525,
	}
}

// apply probes and applies in the box.
func (r *rig) apply(o Options) *Ruleset {
	r.t.Helper()
	var rs *Ruleset
	r.box.must(func() error {
		k, err := Probe()
		if err != nil {
			return err
		}
		rs, err = Apply(o, k)
		return err
	})
	r.t.Cleanup(func() { _ = rs.Close() })
	return rs
}

// nft runs the command of Debian's package nftables in s. Only tests do.
func (s space) nft(input string, args ...string) string {
	s.t.Helper()
	return s.run(input, "nft", "nftables", args...)
}

// run runs a command of a Debian package in s.
func (s space) run(input, name, pkg string, args ...string) string {
	s.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		s.t.Fatalf("the command %s is missing: install the Debian package %s", name, pkg)
	}
	var out, errs bytes.Buffer
	s.must(func() error {
		cmd := exec.Command(path, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errs.String())
		}
		return nil
	})
	return out.String()
}

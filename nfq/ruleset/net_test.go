package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// space is a network namespace of a test.
type space struct{ nfqtest.Space }

func newSpace(t testing.TB) space { return space{nfqtest.NewSpace(t)} }

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
	r.box.Must(func() error {
		if err := errors.Join(nfqtest.Veth("lan0", "sub0", r.sub.Space), nfqtest.Veth("wan0", "int0", r.inter.Space)); err != nil {
			return err
		}
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
				return err
			}
		}
		return errors.Join(nfqtest.Address("lan0", boxIP4+"/24", boxIP6+"/64"), nfqtest.Address("wan0", "10.0.2.1/24", "fd00:2::1/64"), nfqtest.Route("fd00:3::/64", subIP6))
	})
	r.sub.Must(func() error {
		return errors.Join(nfqtest.Address("sub0", subIP4+"/24", otherIP4+"/24", subIP6+"/64", neighbourIP6+"/64"), nfqtest.Address("lo", otherIP6+"/128"),
			nfqtest.Route("0.0.0.0/0", boxIP4), nfqtest.Route("::/0", boxIP6))
	})
	r.inter.Must(func() error {
		return errors.Join(nfqtest.Address("int0", interIP4+"/24", intIP6+"/64"), nfqtest.Route("0.0.0.0/0", "10.0.2.1"), nfqtest.Route("::/0", "fd00:2::1"))
	})
	r.sub.WaitFor("sub0")
	r.box.WaitFor("lan0", "wan0")
	r.inter.WaitFor("int0")
	return r
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
	r.box.Must(func() error {
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
	s.T.Helper()
	return s.run(input, "nft", "nftables", args...)
}

// run runs a command of a Debian package in s.
func (s space) run(input, name, pkg string, args ...string) string {
	s.T.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		s.T.Fatalf("the command %s is missing: install the Debian package %s", name, pkg)
	}
	var out, errs bytes.Buffer
	s.Must(func() error {
		cmd := exec.Command(path, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errs.String())
		}
		return nil
	})
	return out.String()
}

package lane

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// space is a network namespace of a test.
type space struct{ nfqtest.Space }

func newSpace(t testing.TB) space { return space{nfqtest.NewSpace(t)} }

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
	r.box.Must(func() error {
		if err := errors.Join(nfqtest.Veth("lan0", "sub0", r.sub.Space), nfqtest.Veth("lan1", "sub0", r.other.Space), nfqtest.Veth("wan0", "int0", r.inter.Space)); err != nil {
			return err
		}
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
				return err
			}
		}
		return errors.Join(nfqtest.Address("lan0", "10.0.1.1/24", "fd00:1::1/64"), nfqtest.Address("lan1", "10.0.3.1/24", "fd00:3::1/64"),
			nfqtest.Address("wan0", "10.0.2.1/24", "fd00:2::1/64"))
	})
	for _, side := range []struct {
		space
		link, addr4, addr6, via4, via6 string
	}{
		{r.sub, "sub0", "10.0.1.2/24", "fd00:1::2/64", "10.0.1.1", "fd00:1::1"},
		{r.other, "sub0", "10.0.3.2/24", "fd00:3::2/64", "10.0.3.1", "fd00:3::1"},
		{r.inter, "int0", "10.0.2.2/24", "fd00:2::2/64", "10.0.2.1", "fd00:2::1"},
	} {
		side.Must(func() error {
			return errors.Join(nfqtest.Address(side.link, side.addr4, side.addr6), nfqtest.Route("0.0.0.0/0", side.via4), nfqtest.Route("::/0", side.via6))
		})
		side.WaitFor(side.link)
	}
	r.box.WaitFor("lan0", "lan1", "wan0")
	return r
}

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
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
	r.box.Must(func() (err error) {
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

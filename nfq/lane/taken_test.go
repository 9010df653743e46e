package lane

import (
	"errors"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// takeLink does what `bpftool link detach` does with every link at an interface.
func takeLink(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	q, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	for _, p := range q.Programs {
		id, ok := p.LinkID()
		if !ok {
			return errors.New("a program without a link")
		}
		attr := struct{ id, next, flags uint32 }{id: uint32(id)}
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno != 0 {
			return errno
		}
		of := struct{ fd uint32 }{uint32(fd)}
		if err := errors.Join(bpf(unix.BPF_LINK_DETACH, unsafe.Pointer(&of), unsafe.Sizeof(of)), unix.Close(int(fd))); err != nil {
			return err
		}
	}
	return nil
}

// takeFilter does what `tc filter del` does, takeQdisc what `tc qdisc del` does.
func takeFilter(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	for _, f := range filters {
		err = errors.Join(err, netlink.FilterDel(f))
	}
	return err
}

func takeQdisc(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	qdiscs, err := netlink.QdiscList(l)
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			err = errors.Join(err, netlink.QdiscDel(q))
		}
	}
	return err
}

// anew deletes lan0 with its other end and makes both again.
func (r *rig) anew(string) error {
	l, err := netlink.LinkByName("lan0")
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(l); err != nil {
		return err
	}
	return errors.Join(nfqtest.Veth("lan0", "sub0", r.sub.Space), nfqtest.Address("lan0", "10.0.1.1/24", "fd00:1::1/64"))
}

// Somebody takes the program away, by whatever means: it is noticed, put back, and does
// its work, with all that it knew.
func TestATakenProgramIsNoticedAndPutBack(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		server := r.echo()
		l := r.attached(how)
		l.Alive(time.Hour)
		if err := l.SetSource(sub4, 1); err != nil {
			t.Fatal(err)
		}
		l.Grant(1, 10)
		takings := []struct {
			why  string
			take func(string) error
		}{{"the link is detached", takeLink}, {"the interface is made anew", r.anew}}
		if how == "clsact" {
			takings = []struct {
				why  string
				take func(string) error
			}{{"the filter is deleted", takeFilter}, {"clsact is deleted", takeQdisc}, {"the interface is made anew", r.anew}}
		}
		for i, row := range takings {
			if taken := l.Taken(); len(taken) != 0 {
				t.Fatalf("before %s: taken from %v", row.why, taken)
			}
			r.box.Must(func() error { return row.take("lan0") })
			if taken := l.Taken(); !slices.Equal(taken, []string{"lan0"}) {
				t.Errorf("%s: taken from %v", row.why, taken)
			}
			r.box.Must(func() error { return errors.Join(l.Detach(), attachAll(l)) })
			if row.why == "the interface is made anew" {
				r.sub.Must(func() error {
					return errors.Join(nfqtest.Address("sub0", "10.0.1.2/24", "fd00:1::2/64"), nfqtest.Route("0.0.0.0/0", "10.0.1.1"))
				})
				r.sub.WaitFor("sub0")
				r.box.WaitFor("lan0")
			}
			talk(t, row.why, r.sub.dial(server.Addr()), 100)
			if s, err := l.Stats(); err != nil || s.SYNFast != uint64(i+1) {
				t.Errorf("%s: %d sessions began unasked, want %d, %v", row.why, s.SYNFast, i+1, err)
			}
		}
	})
}

// All interfaces of a side go: the lane is on none, and comes back with them.
func TestASideThatIsGoneComesBack(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		l := r.attached(how)
		r.box.Must(func() error {
			wan, err := netlink.LinkByName("wan0")
			if err != nil {
				return err
			}
			return netlink.LinkDel(wan)
		})
		r.box.Must(func() error {
			if missing, err := l.Attach(lans, wans); !errors.Is(err, errOneSided) || !slices.Equal(missing, wans) {
				t.Errorf("without wan0: missing %v, %v", missing, err)
			}
			return nil
		})
		if got := l.How(); got != "" {
			t.Errorf("without wan0 it is attached by %s", got)
		}
		r.box.Must(func() error {
			return errors.Join(nfqtest.Veth("wan0", "int0", r.inter.Space), nfqtest.Address("wan0", "10.0.2.1/24"), attachAll(l))
		})
		if got := l.How(); got != how || len(l.Taken()) != 0 {
			t.Errorf("with another wan0 it is attached by %q, taken from %v", got, l.Taken())
		}
	})
}

package nfq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

// space is a network namespace of a test.
type space struct{ nfqtest.Space }

func newSpace(t testing.TB) space { return space{nfqtest.NewSpace(t)} }

// rig is subscriber - box - internet, routed, with our ruleset in the box.
type rig struct {
	t               testing.TB
	sub, box, inter space
	lan             [6]byte // the box's address towards the subscriber
	subIndex        int
}

var (
	subscriber4, server4 = netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.2.2")
	subscriber6, server6 = netip.MustParseAddr("fd00:1::2"), netip.MustParseAddr("fd00:2::2")
)

const responderPort = 2525

func newRig(t testing.TB, queues uint16) *rig {
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
		if err := errors.Join(nfqtest.Address("lan0", "10.0.1.1/24", "fd00:1::1/64"), nfqtest.Address("wan0", "10.0.2.1/24", "fd00:2::1/64")); err != nil {
			return err
		}
		l, err := netlink.LinkByName("lan0")
		if err == nil {
			copy(r.lan[:], l.Attrs().HardwareAddr)
		}
		return err
	})
	r.sub.Must(func() error {
		l, err := netlink.LinkByName("sub0")
		if err != nil {
			return err
		}
		r.subIndex = l.Attrs().Index
		return errors.Join(nfqtest.Address("sub0", "10.0.1.2/24", "fd00:1::2/64"), nfqtest.Route("0.0.0.0/0", "10.0.1.1"), nfqtest.Route("::/0", "fd00:1::1"))
	})
	r.inter.Must(func() error {
		return errors.Join(nfqtest.Address("int0", "10.0.2.2/24", "fd00:2::2/64"), nfqtest.Route("0.0.0.0/0", "10.0.2.1"), nfqtest.Route("::/0", "fd00:2::1"))
	})
	r.steer(queues)
	return r
}

// steer applies the ruleset, changed by with.
func (r *rig) steer(queues uint16, with ...func(*ruleset.Options)) {
	r.box.Must(func() error {
		k, err := ruleset.Probe()
		if err != nil {
			return err
		}
		o := ruleset.Options{
			Marks: ruleset.Marks{Mask: ruleset.DefaultMask}, SubscriberIfs: []string{"lan0"}, Ports: []uint16{25},
			QueueFirst: 0, QueueCount: queues, FailOpen: true, ResponderPort: responderPort,
		}
		for _, change := range with {
			change(&o)
		}
		rs, err := ruleset.Apply(o, k)
		if err == nil {
			r.t.Cleanup(func() { _ = rs.Close() })
		}
		return err
	})
}

// listen listens in s, on all addresses of both families.
func (s space) listen(port int) *net.TCPListener {
	s.T.Helper()
	var l net.Listener
	s.Must(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	s.T.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dial connects from inside s.
func (s space) dial(to netip.Addr, port uint16, within time.Duration) (conn net.Conn, err error) {
	s.Do(func() {
		d := net.Dialer{Timeout: within, FallbackDelay: -1, KeepAlive: -1}
		conn, err = d.DialContext(context.Background(), "tcp", netip.AddrPortFrom(to, port).String())
	})
	if err == nil {
		s.T.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// retransmissions is how many TCP segments were sent again in s.
func (s space) retransmissions() int {
	s.T.Helper()
	n := -1
	s.Must(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] != "Tcp:" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, name := range names {
				if name == "RetransSegs" {
					n, err = strconv.Atoi(fields[i])
					return err
				}
			}
		}
		return errors.New("no RetransSegs in snmp")
	})
	return n
}

// inject sends IP packets from the subscriber to the box, whatever is in them.
func (r *rig) inject(packets ...[]byte) {
	r.t.Helper()
	r.sub.Must(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, p := range packets {
			to := &unix.SockaddrLinklayer{Ifindex: r.subIndex, Halen: 6, Protocol: 0x0008} // ETH_P_IP, big endian on a little endian machine
			if p[0]>>4 == 6 {
				to.Protocol = 0xdd86
			}
			copy(to.Addr[:], r.lan[:])
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// inTheBox is a Queues in the box with its Run.
type inTheBox struct {
	*Queues
	t      testing.TB
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
	err    error
}

func (r *rig) open(cfg Config) *Queues {
	r.t.Helper()
	cfg.Ports = []uint16{25}
	cfg.FailOpen = true
	var q *Queues
	r.box.Must(func() (err error) {
		q, err = Open(cfg)
		return err
	})
	return q
}

func (r *rig) run(cfg Config) *inTheBox {
	r.t.Helper()
	return r.start(r.open(cfg))
}

func (r *rig) start(q *Queues) *inTheBox {
	ctx, cancel := context.WithCancel(context.Background())
	run := &inTheBox{Queues: q, t: r.t, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- q.Run(ctx) }()
	r.t.Cleanup(func() { run.stop() })
	return run
}

// stop ends Run and returns its error.
func (r *inTheBox) stop() error {
	r.once.Do(func() {
		r.cancel()
		select {
		case r.err = <-r.done:
		case <-time.After(10 * time.Second):
			r.t.Error("Run did not end")
		}
	})
	return r.err
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE)
}

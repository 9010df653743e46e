package tags

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// rig is a bridge between two cables, of which the test has the other ends, and the program on both.
type rig struct {
	t        *testing.T
	space    nfqtest.Space
	lan, wan *cable
	tags     *Tags
}

// cable is a tap.
type cable struct {
	t    *testing.T
	name string
	fd   int
}

// Hardware addresses of who is behind lan0 and behind wan0.
var (
	near = []byte{2, 0, 0, 0, 0, 1}
	far  = []byte{2, 0, 0, 0, 0, 2}
)

func newRig(t *testing.T, pairs int) *rig {
	t.Helper()
	r := bareRig(t)
	r.space.Must(func() (err error) { r.tags, err = Open(Options{Ports: []uint16{25}, Pairs: pairs}); return err })
	t.Cleanup(func() {
		if err := r.tags.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// bareRig is a rig without the program.
func bareRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, space: nfqtest.NewSpace(t)}
	r.space.Must(func() error {
		for _, which := range []string{"iptables", "ip6tables"} {
			if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+which, []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		err := netlink.LinkAdd(br)
		if err == nil {
			r.lan, err = newCable(t, "lan0", br)
		}
		if err == nil {
			r.wan, err = newCable(t, "wan0", br)
		}
		return errors.Join(err, netlink.LinkSetUp(br))
	})
	nfqtest.Eventually(t, "the ports forward", func() bool {
		r.lan.send(frame(shape{}, mail4(25), false))
		return r.wan.next(10*time.Millisecond) != nil
	})
	r.drain()
	return r
}

func newCable(t *testing.T, name string, br *netlink.Bridge) (*cable, error) {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS | netlink.TUNTAP_NO_PI, NonPersist: true, Queues: 1}
	if err := netlink.LinkAdd(tap); err != nil {
		return nil, err
	}
	f := tap.Fds[0]
	t.Cleanup(func() { f.Close() })
	c := &cable{t: t, name: name, fd: int(f.Fd())}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(netlink.LinkSetMaster(l, br), netlink.LinkSetUp(l), unix.SetNonblock(c.fd, true))
}

func (c *cable) send(b []byte) {
	c.t.Helper()
	if _, err := unix.Write(c.fd, b); err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
}

// next is the next frame of one of the two, nil if none comes within a time; what the kernel itself says is left out.
func (c *cable) next(within time.Duration) []byte {
	c.t.Helper()
	b := make([]byte, 1<<16)
	for end := time.Now().Add(within); ; {
		n, err := unix.Read(c.fd, b)
		if err == nil {
			if n >= 12 && (bytes.Equal(b[6:12], near) || bytes.Equal(b[6:12], far)) {
				return b[:n]
			}
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			c.t.Fatalf("%s: %v", c.name, err)
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
	}
}

func (r *rig) drain() {
	for r.lan.next(0) != nil || r.wan.next(0) != nil {
	}
}

// look has the program be on both ports.
func (r *rig) look() {
	r.t.Helper()
	r.space.Must(func() error { r.tags.Look("br0", []string{"lan0", "wan0"}); return nil })
	if s := r.tags.State(); !s.On || s.Why != "" {
		r.t.Fatalf("%+v", s)
	}
}

// shape is what is between the Ethernet addresses and IP.
type shape struct {
	tags    []uint32 // protocol and TCI, the outer first
	session uint16   // of PPPoE; 0: none
}

func (s shape) String() string { return fmt.Sprintf("tags %#x, session %d", s.tags, s.session) }

// shapes are all that are taken apart.
func shapes() []shape {
	vlans := [][]uint32{{0x81000007}, {0x8100e007}, {0x88a80064}, {0x88a80064, 0x81000007}, {0x81000064, 0x81000007}, {0x81000000}}
	all := []shape{{nil, 9}}
	for _, v := range vlans {
		all = append(all, shape{v, 0}, shape{v, 0xfffe})
	}
	return all
}

// frame is a frame outwards, or inwards.
func frame(s shape, ip []byte, inwards bool) []byte {
	b := slices.Concat(far, near)
	if inwards {
		b = slices.Concat(near, far)
	}
	for _, tag := range s.tags {
		b = binary.BigEndian.AppendUint32(b, tag)
	}
	six := ip[0]>>4 == 6
	if s.session == 0 {
		return append(binary.BigEndian.AppendUint16(b, map[bool]uint16{false: 0x0800, true: 0x86dd}[six]), ip...)
	}
	b = append(b, 0x88, 0x64, 0x11, 0)
	b = binary.BigEndian.AppendUint16(b, s.session)
	b = binary.BigEndian.AppendUint16(b, uint16(len(ip)+2))
	return append(binary.BigEndian.AppendUint16(b, map[bool]uint16{false: 0x0021, true: 0x0057}[six]), ip...)
}

func tcp(from, to uint16, payload int) []byte {
	b := make([]byte, 20+payload)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[12], b[13] = 0x50, 0x10
	for i := range b[20:] {
		b[20+i] = byte(i)
	}
	return b
}

var (
	inside4, outside4 = []byte{100, 64, 0, 1}, []byte{203, 0, 113, 5}
	inside6           = []byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	outside6          = []byte{0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5}
)

func ip4(proto byte, fragment uint16, options int, payload []byte) []byte {
	header := 20 + 4*options
	b := make([]byte, header, header+len(payload))
	b[0] = 0x40 | byte(header/4)
	binary.BigEndian.PutUint16(b[2:], uint16(header+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[8], b[9] = 64, proto
	copy(b[12:], inside4)
	copy(b[16:], outside4)
	for i := 20; i < header; i++ {
		b[i] = 1 // no operation
	}
	sum := uint32(0)
	for i := 0; i < header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return append(b, payload...)
}

func ip6(next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	copy(b[8:], inside6)
	copy(b[24:], outside6)
	return append(b, payload...)
}

func mail4(payload int) []byte { return ip4(6, 0, 0, tcp(40000, 25, payload)) }
func mail6(payload int) []byte { return ip6(6, tcp(40000, 25, payload)) }

// crosses sends a frame and wants it at the other side as it was.
func (r *rig) crosses(what string, b []byte, inwards bool) {
	r.t.Helper()
	from, to := r.lan, r.wan
	if inwards {
		from, to = to, from
	}
	from.send(b)
	if got := to.next(2 * time.Second); !bytes.Equal(got, b) {
		r.t.Errorf("%s: sent\n%x, and there comes\n%x", what, b, got)
	}
}

// What is taken apart comes out as it went in, over both families, both ways, with any payload.
func TestTagsComeOffAndGoOnAgain(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	hop := append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp(40000, 25, 30)...) // options for every hop, and TCP behind
	n := 0
	for _, s := range shapes() {
		for what, ip := range map[string][]byte{
			"IPv4": mail4(100), "IPv4 without a payload": mail4(0), "IPv4 with options": ip4(6, 0, 3, tcp(25, 40000, 50)), "as long as can be": mail4(1400),
			"IPv6": mail6(100), "IPv6 with options": ip6(0, hop), "IPv4, a first fragment": ip4(6, 0x2000, 0, tcp(40000, 25, 80)), "IPv4, a later fragment": ip4(6, 0x2010, 0, make([]byte, 64)),
			"IPv6, a fragment": ip6(44, append([]byte{6, 0, 0, 1, 0, 0, 0, 7}, tcp(40000, 25, 24)...)),
		} {
			for _, inwards := range []bool{false, true} {
				r.crosses(fmt.Sprintf("%v, %s, inwards %v", s, what, inwards), frame(s, ip, inwards), inwards)
				n++
			}
		}
	}
	if s := r.tags.State().Stats; s.Taken != uint64(n) || s.Returned != uint64(n) || s.Odd+s.Unknown+s.Failed+s.Own != 0 {
		t.Errorf("%d packets: %+v", n, s)
	}
	t.Logf("%d packets with %d shapes", n, len(shapes()))
}

// What is none of ours, or cannot be put together again, passes as it is.
func TestWhatIsLeftAlone(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	vlan, session := shape{[]uint32{0x81000007}, 0}, shape{nil, 9}
	lcp := frame(session, mail4(10), false)
	binary.BigEndian.PutUint16(lcp[20:], 0xc021) // PPP's own control protocol, RFC 1661
	code := frame(session, mail4(10), false)
	code[15] = 0xa7 // PADT
	group := ip4(6, 0, 0, tcp(40000, 25, 10))
	group[16] = 224
	three := shape{[]uint32{0x88a80064, 0x81000007, 0x81000008}, 0}
	short := frame(session, mail4(10), false)
	binary.BigEndian.PutUint16(short[18:], 12) // less than IP says
	for what, b := range map[string][]byte{
		"without tags": frame(shape{}, mail4(10), false), "another port": frame(vlan, ip4(6, 0, 0, tcp(40000, 443, 10)), false), "UDP": frame(vlan, ip4(17, 0, 0, tcp(40000, 25, 10)), false),
		"another port in PPPoE": frame(session, ip6(6, tcp(40000, 443, 10)), false), "PPP's own": lcp, "PPPoE's own": code, "to a group": frame(vlan, group, false),
		"a third tag": frame(three, mail4(10), false), "ICMPv6 in a fragment": frame(vlan, ip6(44, append([]byte{58, 0, 0, 1, 0, 0, 0, 7}, make([]byte, 32)...)), false),
		"ARP in a VLAN": append(slices.Concat(far, near, []byte{0x81, 0, 0, 7, 8, 6}), make([]byte, 46)...),
	} {
		r.crosses(what, b, false)
	}
	if s := r.tags.State().Stats; s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	r.crosses("PPPoE that says less than IP", short, false)
	if s := r.tags.State().Stats; s != (Stats{Odd: 1}) {
		t.Errorf("%+v", s)
	}
}

// Whatever is sent comes out as it went in, or not at all; and never with other tags.
func TestRandomFramesPass(t *testing.T) {
	r := newRig(t, 64)
	r.look()
	rng := rand.New(rand.NewPCG(1, 2))
	all := append(shapes(), shape{})
	lost := 0
	for range 5000 {
		s := all[rng.IntN(len(all))]
		b := frame(s, map[bool]func(int) []byte{false: mail4, true: mail6}[rng.IntN(2) == 0](rng.IntN(200)), false)
		for range rng.IntN(4) {
			b[12+rng.IntN(len(b)-12)] ^= byte(1 + rng.IntN(255))
		}
		if rng.IntN(10) == 0 {
			b = b[:14+rng.IntN(len(b)-14)]
		}
		r.lan.send(b)
		got := r.wan.next(200 * time.Millisecond)
		if got == nil {
			lost++
			continue
		}
		if !bytes.Equal(got, b) && !bytes.Equal(got, said(b)) {
			t.Fatalf("sent\n%x, and there comes\n%x", b, got)
		}
	}
	s := r.tags.State().Stats
	if s.Taken == 0 || uint64(lost) > s.Failed+s.Unknown+50 { // some are none that a bridge forwards
		t.Errorf("%d of 5000 are lost; %+v", lost, s)
	}
	t.Logf("%d lost, %+v", lost, s)
}

// said is a frame whose header of PPPoE says as much as IP's does, where it says more.
func said(b []byte) []byte {
	b = bytes.Clone(b)
	at := 12
	for tags := 0; tags < 2 && at+4 <= len(b) && (b[at] == 0x81 && b[at+1] == 0 || b[at] == 0x88 && b[at+1] == 0xa8); tags++ {
		at += 4
	}
	if at+10+20 > len(b) || b[at] != 0x88 || b[at+1] != 0x64 {
		return b
	}
	ip := b[at+10:]
	is := binary.BigEndian.Uint16(ip[2:])
	if ip[0]>>4 == 6 {
		is = binary.BigEndian.Uint16(ip[4:]) + 40
	}
	if length := b[at+6 : at+8]; binary.BigEndian.Uint16(length) > is+2 {
		binary.BigEndian.PutUint16(length, is+2)
	}
	return b
}

// A header of PPPoE that says more than IP's, as some senders' do that count padding, says what IP's does afterwards: nobody reads the rest.
func TestPPPoEThatSaysTooMuch(t *testing.T) {
	r := newRig(t, 64)
	r.look()
	for _, s := range []shape{{nil, 9}, {[]uint32{0x81000007}, 9}} {
		b := frame(s, mail4(10), false)
		b = append(b, make([]byte, 8)...)
		at := 18 + 4*len(s.tags)
		binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+8)
		r.lan.send(b)
		if got := r.wan.next(2 * time.Second); !bytes.Equal(got, said(b)) || bytes.Equal(got, b) {
			t.Errorf("%v: sent\n%x, and there comes\n%x", s, b, got)
		}
	}
}

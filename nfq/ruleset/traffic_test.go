package ruleset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
)

// patience bounds every wait for something that comes within milliseconds.
const patience = 5 * time.Second

// packet is what the tests' listener sees of a queued packet.
type packet struct {
	id         uint32
	queue      uint16
	mark       uint32
	up         bool // to a governed port
	flags      byte
	payload    int
	ipv6, long bool // long: IPv4 options or an IPv6 extension header
}

// answer is what it does with it. The zero value accepts.
type answer struct {
	hold bool
	mark *uint32
}

func withMark(m uint32) answer { return answer{mark: &m} }

// listener is a minimal reader of queues: it asks judge and remembers.
type listener struct {
	t     *testing.T
	judge func(packet) answer // nil: accept
	nfq   map[uint16]*nfqueue.Nfqueue
	close func()
	ctx   context.Context // ends with close

	mu   sync.Mutex
	seen []packet // guarded by mu
}

// listen binds the queues in the box before any rule points at them.
func (r *rig) listen(queues []uint16, judge func(packet) answer) *listener {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{t: r.t, judge: judge, nfq: make(map[uint16]*nfqueue.Nfqueue), ctx: ctx}
	for _, number := range queues {
		r.box.Must(func() error {
			q, err := nfqueue.Open(&nfqueue.Config{NfQueue: number, MaxPacketLen: 256, MaxQueueLen: 4096, Copymode: nfqueue.NfQnlCopyPacket})
			if err != nil {
				return fmt.Errorf("open queue %d: %w", number, err)
			}
			if err := q.Con.SetReadBuffer(8 << 20); err != nil {
				return fmt.Errorf("queue %d: %w", number, err)
			}
			l.nfq[number] = q
			take := func(a nfqueue.Attribute) int { l.take(number, a); return 0 }
			return q.RegisterWithErrorFunc(ctx, take, func(error) int { return 0 })
		})
	}
	l.close = sync.OnceFunc(func() {
		cancel()
		for _, q := range l.nfq {
			_ = q.Close()
		}
	})
	r.t.Cleanup(l.close)
	return l
}

func (l *listener) take(number uint16, a nfqueue.Attribute) {
	p := parse(*a.Payload)
	p.id, p.queue = *a.PacketID, number
	if a.Mark != nil {
		p.mark = *a.Mark
	}
	l.mu.Lock()
	l.seen = append(l.seen, p)
	l.mu.Unlock()
	var do answer
	if l.judge != nil {
		do = l.judge(p)
	}
	if !do.hold {
		l.verdict(p, do)
	}
}

func (l *listener) verdict(p packet, do answer) {
	var options []nfqueue.VerdictOption
	if do.mark != nil {
		options = append(options, nfqueue.WithMark(*do.mark))
	}
	if err := l.nfq[p.queue].SetVerdictWithOption(p.id, nfqueue.NfAccept, options...); err != nil && l.ctx.Err() == nil {
		l.t.Errorf("verdict on packet %d: %v", p.id, err)
	}
}

func (l *listener) count(which func(packet) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, p := range l.seen {
		if which(p) {
			n++
		}
	}
	return n
}

func isSYN(p packet) bool  { return p.up && p.flags&(flagSYN|flagACK) == flagSYN }
func isBulk(p packet) bool { return p.flags&(flagSYN|flagFIN|flagRST) == 0 }
func isPureACK(p packet) bool {
	return isBulk(p) && p.payload == 0
}

// parse reads just what the tests' own sockets send.
func parse(b []byte) packet {
	var p packet
	header, length := 0, 0
	if b[0]>>4 == 4 {
		header, length = int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		p.long = header > 20
	} else {
		p.ipv6 = true
		header, length = 40, 40+int(binary.BigEndian.Uint16(b[4:]))
		if b[6] == 60 { // destination options
			p.long = true
			header += 8 * (int(b[41]) + 1)
		}
	}
	tcp := b[header:]
	p.up = binary.BigEndian.Uint16(tcp[2:]) == 25
	p.flags = tcp[13]
	p.payload = length - header - int(tcp[12]>>4)*4
	return p
}

// server listens in a namespace and hands over what it accepts.
type server struct {
	net.Listener
	t testing.TB
}

func (s space) serve(addr string, port int) server {
	s.T.Helper()
	var l net.Listener
	s.Must(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
		return err
	})
	s.T.Cleanup(func() { _ = l.Close() })
	return server{l, s.T}
}

// dial connects from one address to another within patience.
func (s space) dial(from, to string, port int, control func(fd int) error) (net.Conn, error) {
	return s.dialPort(from, 0, to, port, control)
}

// dialPort is dial from a port that may have been used just before.
func (s space) dialPort(from string, fromPort int, to string, port int, control func(fd int) error) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from), Port: fromPort}}
	if control != nil {
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) { err = control(int(fd)) }), err)
		}
	}
	var c net.Conn
	var err error
	s.Do(func() { c, err = dialer.Dial("tcp", net.JoinHostPort(to, strconv.Itoa(port))) })
	if err == nil {
		s.T.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// session is both ends of one TCP connection across the box.
type session struct {
	t              testing.TB
	client, server net.Conn
}

func (r *rig) connect(srv server, from, to string, port int) session {
	r.t.Helper()
	c, err := r.sub.dial(from, to, port, nil)
	if err != nil {
		r.t.Fatalf("connect %s to %s: %v", from, to, err)
	}
	return session{r.t, c, srv.accept()}
}

func (s server) accept() net.Conn {
	s.t.Helper()
	_ = s.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := s.Accept()
	if err != nil {
		s.t.Fatalf("accept: %v", err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// talk sends one line each way and demands that it arrives.
func (s session) talk(line string) {
	s.t.Helper()
	if err := errors.Join(pass(s.client, s.server, line), pass(s.server, s.client, "250 "+line)); err != nil {
		s.t.Fatalf("talk %q: %v", line, err)
	}
}

func pass(from, to net.Conn, text string) error {
	_ = from.SetDeadline(time.Now().Add(patience))
	_ = to.SetDeadline(time.Now().Add(patience))
	if _, err := from.Write([]byte(text)); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("got %q, sent %q", got, text)
	}
	return nil
}

// bulk sends n bytes from the client and waits until the server has them all.
func (s session) bulk(n int64) {
	s.t.Helper()
	if err := stream(s.client, s.server, n); err != nil {
		s.t.Fatalf("bulk of %d bytes: %v", n, err)
	}
}

func stream(from, to net.Conn, n int64) error {
	_ = from.SetDeadline(time.Now().Add(4 * patience))
	_ = to.SetDeadline(time.Now().Add(4 * patience))
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, n))
		sent <- err
	}()
	_, err := io.CopyN(io.Discard, to, n)
	return errors.Join(err, <-sent)
}

// sendsUntilReset writes on c until the peer's stack answers with a reset.
func (s session) sendsUntilReset(c net.Conn, who string) {
	s.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := c.Write([]byte("."))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		s.t.Fatalf("%s: got %v, want a reset", who, err)
	}
}

// abort closes with a reset.
func abort(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// elements reads both cut sets back.
func (r *rig) elements(rs *Ruleset) []nftables.SetElement {
	r.t.Helper()
	var all []nftables.SetElement
	err := rs.do(func(c *conn) error {
		for _, name := range []string{setCut4, setCut6} {
			els, err := c.GetSetElements(cutSet(rs.table, name))
			if err != nil {
				return err
			}
			all = append(all, els...)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func counters(t *testing.T, rs *Ruleset) Counters {
	t.Helper()
	c, err := rs.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// both runs f over IPv4 and over IPv6, each in a rig of its own.
func both(t *testing.T, f func(t *testing.T, r *rig, a addresses)) {
	for _, a := range []addresses{
		{"IPv4", subIP4, otherIP4, boxIP4, interIP4},
		{"IPv6", subIP6, otherIP6, boxIP6, intIP6},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			f(t, newRig(t), a)
		})
	}
}

type addresses struct{ name, sub, other, box, inter string }

func (a addresses) subAddr() netip.Addr { return netip.MustParseAddr(a.sub) }

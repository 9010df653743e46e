package radius

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Listener.
const (
	workers       = 2
	defaultQueue  = 1024    // requests that wait for one worker, each at most 4 KiB and a little
	receiveBuffer = 4 << 20 // bytes asked of the kernel, which may give less (net.core.rmem_max)
	firstPause    = 5 * time.Millisecond
	longestPause  = time.Second // after errors of the socket, doubling from firstPause
)

// ErrNotForUs is what Options.Handle returns, or wraps, for an event that it will never want: the request is answered.
var ErrNotForUs = errors.New("not for us")

// Options is what a Listener needs.
type Options struct {
	Addr    string         // UDP, "HOST:PORT" or ":1813"
	Secret  []byte         // see ReadSecret; it must not be empty
	Clients []netip.Prefix // who is heard; empty: everybody
	Dated   bool           // only what has an Event-Timestamp is heard
	// Handle takes an event. It is called by two goroutines, for one NAS always by the same one and in the order of arrival.
	// Its return means that the event is in force (nil; it may be lost with the power until it is saved), that it is of no use (ErrNotForUs), or that it has to
	// come again (any other error). It must expect an event that it has seen already, and one that is older than the last.
	Handle func(Event) error
	Log    *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
	Queue  int              // requests that wait for each worker; 0: 1024
}

// Listener hears accounting. Make it with Listen; Run serves it.
type Listener struct {
	conn   *net.UDPConn
	handle func(Event) error
	now    func() time.Time
	trust  atomic.Pointer[trust]
	queues [workers]chan request
	seed   maphash.Seed

	counters
	complaints complaints
}

// trust is who is believed.
type trust struct {
	secret  []byte
	clients []netip.Prefix
	dated   bool // only what says when it happened
}

func (t *trust) heard(a netip.Addr) bool {
	return len(t.clients) == 0 || slices.ContainsFunc(t.clients, func(p netip.Prefix) bool { return p.Contains(a) })
}

// request is a genuine packet on its way to its worker.
type request struct {
	id         byte
	sum        [16]byte       // its authenticator
	from       netip.AddrPort // as the socket gave it: where the answer goes
	local      []byte         // control message that makes the answer come from where the request was sent to
	proxyState []byte
	secret     []byte
	event      Event
	take       bool // false: only to be answered
}

// Listen opens the socket; it is closed when Run returns.
func Listen(o Options) (*Listener, error) {
	if len(o.Secret) == 0 {
		return nil, errors.New("listen for RADIUS accounting: no secret")
	}
	at, err := net.ResolveUDPAddr("udp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for RADIUS accounting: %w", err)
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("listen for RADIUS accounting: %w", err)
	}
	conn.SetReadBuffer(receiveBuffer)
	if err := askWhereTo(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen for RADIUS accounting on %s: %w", o.Addr, err)
	}
	l := &Listener{conn: conn, handle: o.Handle, now: o.Now, seed: maphash.MakeSeed()}
	if l.now == nil {
		l.now = time.Now
	}
	l.complaints.log = o.Log
	if o.Log == nil {
		l.complaints.log = slog.New(slog.DiscardHandler)
	}
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	for i := range l.queues {
		l.queues[i] = make(chan request, o.Queue)
	}
	l.Trust(o.Secret, o.Clients, o.Dated)
	return l, nil
}

// Trust changes who is believed, from the next packet on; see Options. secret must not be empty, and neither it nor clients
// are changed afterwards.
func (l *Listener) Trust(secret []byte, clients []netip.Prefix, dated bool) {
	l.trust.Store(&trust{secret: secret, clients: clients, dated: dated})
}

// Addr is where it listens.
func (l *Listener) Addr() netip.AddrPort { return l.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Run serves until ctx ends, then takes and answers what was read already. It is called once.
func (l *Listener) Run(ctx context.Context) error {
	defer l.conn.Close()
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var working sync.WaitGroup
	for _, q := range l.queues {
		working.Go(func() { l.work(q) })
	}
	err := l.read(ctx)
	for _, q := range l.queues {
		close(q)
	}
	working.Wait()
	return err
}

// read hands what is genuine to the workers, until ctx ends.
func (l *Listener) read(ctx context.Context) error {
	b, oob := make([]byte, maxSize), make([]byte, controlSize)
	var pause time.Duration
	for {
		n, oobn, _, from, err := l.conn.ReadMsgUDPAddrPort(b, oob)
		switch {
		case err == nil:
			pause = 0
			l.received.Add(1)
			local, lost := control(oob[:oobn])
			l.lose(lost)
			l.datagram(b[:n], from, local)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read RADIUS accounting: %w", err)
		default: // the kernel is out of memory for a while
			l.complaints.say(l.now(), "RADIUS accounting cannot be read", None, "error", err)
			pause = min(max(2*pause, firstPause), longestPause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// datagram judges one datagram and gives it to its worker. It keeps nothing of b.
func (l *Listener) datagram(b []byte, from netip.AddrPort, local netip.Addr) {
	t, now := l.trust.Load(), l.now()
	peer := netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	r, why := t.open(b, peer, now)
	l.badValues.Add(uint64(r.bad))
	if why != None {
		l.ignore(why, peer, now, r)
		if !why.answered() {
			return
		}
	}
	r.request.from, r.request.local = from, sendFrom(local, from.Addr().Is4())
	select {
	case l.queues[maphash.String(l.seed, r.nas)%workers] <- r.request:
	default:
		l.ignore(QueueFull, peer, now, r)
	}
}

// opened is a packet that was judged.
type opened struct {
	request
	nas  string    // whose order is kept
	bad  int       // values passed over
	says time.Time // when it says it happened, as far as it was read
}

// open judges a datagram that came from peer. It reads no more of it than its reason to refuse it needs.
func (t *trust) open(b []byte, peer netip.AddrPort, now time.Time) (o opened, why Reason) {
	if !t.heard(peer.Addr()) {
		return o, NotAllowed
	}
	p, why := frame(b)
	if why != None {
		return o, why
	}
	if why = p.genuine(t.secret); why != None {
		return o, why
	}
	o.request = request{id: p.id, sum: p.authenticator, proxyState: p.proxyState(), secret: t.secret}
	if p.code == codeStatusServer {
		o.nas = peer.Addr().String()
		return o, None
	}
	a := p.read()
	o.nas, o.bad, o.says = a.nas(peer), a.bad, a.at(now)
	if o.event, why = a.event(peer, now); why == None && t.dated && !o.event.Dated {
		why = Undated
	}
	o.take = why == None
	return o, why
}

// work takes and answers requests until the queue is closed.
func (l *Listener) work(queue <-chan request) {
	done, undated := copies{keep: copyTime, most: maxCopies}, copies{keep: MaxAge, most: maxUndated}
	for r := range queue {
		if !r.take {
			l.answer(r)
			continue
		}
		now, key := l.now(), copyKey{maphash.String(l.seed, r.event.NAS), r.sum}
		if done.has(key, now) || undated.has(key, now) {
			l.repeated.Add(1)
			l.answer(r)
			continue
		}
		switch err := l.handle(r.event); {
		case err == nil:
			l.handled.Add(1)
		case errors.Is(err, ErrNotForUs):
			l.notForUs.Add(1)
		default:
			l.failed.Add(1)
			l.complaints.say(now, "RADIUS accounting was not taken, the NAS has to repeat it", None, "nas", r.event.NAS, "error", err)
			continue
		}
		l.last.Store(now.UnixNano())
		if r.event.Dated {
			done.add(key, now)
		} else {
			undated.add(key, now)
		}
		l.answer(r)
	}
}

func (l *Listener) answer(r request) {
	if _, _, err := l.conn.WriteMsgUDPAddrPort(response(r.id, r.sum, r.proxyState, r.secret), r.local, r.from); err != nil {
		l.unsent.Add(1)
		l.complaints.say(l.now(), "RADIUS accounting cannot be answered", None, "client", r.from, "error", err)
		return
	}
	l.answered.Add(1)
}

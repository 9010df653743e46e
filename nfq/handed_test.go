package nfq

import (
	"net"
	"sync"
	"testing"

	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// spoken is what one end of a session wrote at once.
type spoken struct {
	up   bool
	text string
}

// listener is a connection that keeps what is written.
type listener struct {
	net.Conn
	up   bool
	note func(spoken)
}

func (l *listener) Write(p []byte) (int, error) {
	l.note(spoken{l.up, string(p)})
	return l.Conn.Write(p)
}

// sealedMail is a session with so many messages inside TLS, from the greeting to the answer to QUIT.
func sealedMail(t testing.TB, messages int) (all []spoken) {
	t.Helper()
	var mu sync.Mutex
	note := func(s spoken) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
	}
	config := serverTLS(t)
	config.SessionTicketsDisabled = true // which nobody reads before he writes
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		answer(&listener{server, false, note}, config)
	}()
	m := begin(t, &listener{client, true, note})
	m.send(messages)
	m.quit()
	<-done
	return all
}

// sealedLanes is a session of the fast lane, step by step.
type sealedLanes struct {
	*twoLanes
	*talk
	steps []spoken
	way   string
}

func newSealedLanes(t testing.TB, messages int) *sealedLanes {
	b := &sealedLanes{twoLanes: newTwoLanes(t, 100), talk: newTalk(4001), steps: sealedMail(t, messages)}
	b.q.copies = &copies{q: b.q, fd: -1, wake: -1, owners: map[Flow]*worker{}}
	b.send(newTalk(4000).syn())
	b.send(b.syn())
	b.send(b.synAck())
	return b
}

// packet is the next step's.
func (b *sealedLanes) packet() []byte {
	s := b.steps[0]
	b.steps = b.steps[1:]
	if s.up {
		return b.say(s.text)
	}
	return b.reply(s.text)
}

// until takes steps up to when enough is true.
func (b *sealedLanes) until(enough func() bool) {
	b.t.Helper()
	for !enough() {
		if len(b.steps) == 0 {
			b.t.Fatal("the session is over")
		}
		b.way = b.send(b.packet())
		b.read()
	}
}

// rest has the session go on as the kernel does when its flow is copied: nothing but the server's packets come, copies of them, but for
// those that are lost.
func (b *sealedLanes) rest(lost func(reply int) bool) {
	for reply := 0; len(b.steps) > 0; {
		up := b.steps[0].up
		ip := b.packet()
		switch {
		case up:
			continue
		case lost(reply):
			b.w.inbox.lost()
		default:
			b.w.inbox.put(ip, 0)
		}
		reply++
	}
	b.w.overhear(b.now)
	b.send(b.serverFIN())
	b.send(b.clientFIN())
}

// told is how many messages the policy was told of.
func (b *sealedLanes) told() (n int) {
	b.lessor.mu.Lock()
	defer b.lessor.mu.Unlock()
	for _, e := range b.lessor.events {
		if e.Kind == session.Message {
			n++
		}
	}
	return n
}

// ended is what is known of the session in the end.
func (b *sealedLanes) ended() session.Facts {
	b.t.Helper()
	for _, c := range b.lessor.closed() {
		if c.flow.Client == b.client {
			return c.Facts
		}
	}
	b.t.Fatal("the session did not end")
	return session.Facts{}
}

// A session of the fast lane that is handed over because a budget is near its end goes on with copies, as one of the queue does.
func TestInsideTLSAFlowIsHandedOverToCopies(t *testing.T) {
	const messages = 8
	b := newSealedLanes(t, messages)
	b.until(func() bool { return b.told() == 2 })
	b.lessor.mu.Lock()
	b.lessor.allowed = 0
	b.lessor.mu.Unlock()
	b.until(func() bool { return b.way == "handed" && !b.steps[0].up })
	b.until(func() bool { return b.steps[0].up })
	if f := b.w.table.flows.find(Flow{Client: b.client, Server: b.server}); f == nil || f.told != ruleset.Copied {
		t.Fatalf("the flow is not copied: %+v", f)
	}
	b.rest(func(int) bool { return false })
	if f := b.ended(); f.Gaps != 0 || f.MessagesLo != messages || f.MessagesHi != messages || b.told() != messages {
		t.Errorf("%d messages, %d told: %+v", messages, b.told(), f)
	}
}

// Copies of a session inside TLS are lost, in either lane: what comes behind is counted on, and told while the session runs.
func TestInsideTLSLostCopiesAreBounded(t *testing.T) {
	const messages = 20
	for name, lose := range map[string]func(b *sealedLanes) func(reply int) bool{
		"fast lane": func(b *sealedLanes) func(int) bool {
			b.until(func() bool { return !b.steps[0].up })
			b.lane.room = 0
			b.until(func() bool { return b.lane.lost == 1 })
			b.lane.room = 1000
			b.until(func() bool { return b.way == "handed" })
			return func(int) bool { return false }
		},
		"queue lane": func(b *sealedLanes) func(int) bool {
			b.lessor.mu.Lock()
			b.lessor.allowed = 0
			b.lessor.mu.Unlock()
			b.until(func() bool { return b.way == "handed" })
			return func(reply int) bool { return reply == 10 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSealedLanes(t, messages)
			b.until(func() bool { return b.told() == 2 })
			lost := lose(b)
			b.until(func() bool { return !b.steps[0].up })
			b.until(func() bool { return b.steps[0].up })
			b.rest(lost)
			f := b.ended()
			if f.Gaps == 0 || f.MessagesLo > messages || f.MessagesHi < messages || f.MessagesLo < messages-3 || f.MessagesHi > messages+3 || b.told() != f.MessagesLo {
				t.Errorf("%d messages, %d told: %+v", messages, b.told(), f)
			}
			t.Logf("%d..%d of %d messages, one of %d answers lost", f.MessagesLo, f.MessagesHi, messages, 4*messages)
		})
	}
}

// A session goes back to the queue while copies of it are under way: these are its own until a packet of it comes from there.
func TestCopiesUnderWayStayWithTheirSession(t *testing.T) {
	b := newSealedLanes(t, 4)
	b.lessor.mu.Lock()
	b.lessor.allowed = 0
	b.lessor.mu.Unlock()
	b.until(func() bool { return b.way == "handed" && !b.steps[0].up })
	b.until(func() bool { return b.steps[0].up })
	key := Flow{Client: b.client, Server: b.server}
	f := b.w.table.flows.find(key)
	if f == nil || f.told != ruleset.Copied || b.q.copies.owner(key) != b.w {
		t.Fatalf("the flow is not copied: %+v", f)
	}
	f.copied = false
	b.w.note(f, f.state()) // as when its mark is changed without a verdict
	if f.told != ruleset.Up || b.q.copies.owner(key) != b.w || b.q.copies.flows.Load() != 1 {
		t.Errorf("told %v, %d flows have an owner", f.told, b.q.copies.flows.Load())
	}
	b.until(func() bool { return !b.steps[0].up })
	b.until(func() bool { return b.steps[0].up })
	if b.q.copies.owner(key) != nil || b.q.copies.flows.Load() != 0 {
		t.Error("it is owned still")
	}
}

package nfq

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

// fakeLane is package lane without a kernel: packets are given to arrive, which does
// with them what the program does.
type fakeLane struct {
	leases  map[uint32]int32
	sources map[netip.Addr]uint32
	flows   map[Flow]*fakeFlow
	waited  map[Flow]uint32 // SYNs that took the way of the queue
	ring    []lane.Copy
	room    int // copies that still fit into the ring
	lost    uint64
	losers  map[uint32]uint32
	ends    []Flow
	full    bool // no source finds room
}

type fakeFlow struct {
	isn   uint32
	lease uint32
	state lane.State
}

func newFakeLane() *fakeLane {
	return &fakeLane{leases: map[uint32]int32{}, sources: map[netip.Addr]uint32{}, flows: map[Flow]*fakeFlow{}, waited: map[Flow]uint32{}, room: 1 << 20, losers: map[uint32]uint32{}}
}

func (l *fakeLane) Grant(n uint32, sessions int32) { l.leases[n] += sessions }
func (l *fakeLane) Tokens(n uint32) int32          { return l.leases[n] }
func (l *fakeLane) Recall(n uint32) int32 {
	left := l.leases[n]
	l.leases[n] = 0
	return left
}

func (l *fakeLane) SetSource(a netip.Addr, n uint32) error {
	if l.full {
		return errors.New("no room")
	}
	l.sources[a] = n
	return nil
}
func (l *fakeLane) DropSource(a netip.Addr) error { delete(l.sources, a); return nil }
func (l *fakeLane) Forget() uint32                { clear(l.sources); return 0 }

func (l *fakeLane) Read(each func(*lane.Copy)) int {
	some := l.ring
	l.ring = nil
	for i := range some {
		l.room++
		each(&some[i])
	}
	return len(some)
}
func (l *fakeLane) Wait(time.Time) error  { return nil }
func (l *fakeLane) Interrupt()            {}
func (l *fakeLane) Alive(time.Duration)   {}
func (l *fakeLane) Judging(time.Duration) {}
func (l *fakeLane) Edit(edits []lane.Edit) (found int, err error) {
	for _, e := range edits {
		f := l.flows[Flow(e.Key)]
		if f == nil || f.isn != e.ISN {
			continue
		}
		found++
		if f.state = e.State; e.Delete {
			delete(l.flows, Flow(e.Key))
		}
	}
	return found, nil
}
func (l *fakeLane) LostTotal() uint64         { return l.lost }
func (l *fakeLane) Lost(n uint32) uint32      { return l.losers[n] }
func (l *fakeLane) ClearLost(n uint32) uint32 { defer delete(l.losers, n); return l.losers[n] }
func (l *fakeLane) LostEnds(each func(lane.Key, lane.End)) error {
	for _, f := range l.ends {
		each(lane.Key(f), lane.RST)
	}
	l.ends = nil
	return nil
}
func (l *fakeLane) Stats() (lane.Stats, error) { return lane.Stats{}, nil }

// arrive is one packet: "fast" goes on without us, "queue" waits for a verdict, "handed" does and has the mark.
func (l *fakeLane) arrive(t testing.TB, ip []byte) string {
	t.Helper()
	var s packet.Segment
	if why := packet.Decode(ip, &s); why != packet.OK {
		t.Fatal(why)
	}
	up := s.Dst.Port() == 25
	key := Flow{s.Dst, s.Src}
	if up {
		key = Flow{s.Src, s.Dst}
	}
	f := l.flows[key]
	if up && s.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		switch {
		case f != nil && f.state == lane.Handed:
			return "handed"
		case f != nil && f.isn == s.Seq:
			l.ring = append(l.ring, lane.Copy{IP: ip, Length: len(ip), Lease: f.lease})
			return "fast"
		}
		n, known := l.sources[s.Src.Addr()]
		if isn, waited := l.waited[key]; waited && isn == s.Seq {
			known = false // sent again: the queue knows it
		}
		if !known || l.losers[n] > 0 || l.room == 0 || l.leases[n] <= 0 {
			l.waited[key] = s.Seq
			if f != nil {
				delete(l.flows, key)
				return "handed"
			}
			return "queue"
		}
		l.leases[n]--
		l.room--
		l.flows[key] = &fakeFlow{isn: s.Seq, lease: n}
		l.ring = append(l.ring, lane.Copy{IP: ip, Length: len(ip), Lease: n, Token: true})
		return "fast"
	}
	const kind = packet.SYN | packet.FIN | packet.RST
	switch {
	case f == nil:
		return "queue"
	case f.state == lane.Handed:
		if s.Flags.Any(packet.FIN | packet.RST) {
			l.room--
			l.ring = append(l.ring, lane.Copy{IP: ip, Length: len(ip), Lease: f.lease})
		}
		return "handed"
	case s.Flags&kind == 0 && (len(s.Payload) == 0 || f.state == lane.Both || f.state == lane.Up && up):
		return "fast"
	case l.room == 0:
		l.lost++
		l.losers[f.lease]++
		if s.Flags.Any(packet.FIN | packet.RST) {
			l.ends = append(l.ends, key)
		}
		return "fast"
	}
	l.room--
	l.ring = append(l.ring, lane.Copy{IP: ip, Length: len(ip), Lease: f.lease})
	return "fast"
}

// lessor lets every holder, an IPv4 address, have so many sessions.
type lessor struct {
	policy
	allowed int
}

func (l *lessor) Holder(a netip.Addr) string { return a.String() }
func (l *lessor) Lease(_ Flow, _ any, most int, _ time.Time) int {
	return min(most, l.allowed)
}

// twoLanes is a bench with the fast lane beside it.
type twoLanes struct {
	*bench
	lane   *fakeLane
	lessor *lessor
}

func newTwoLanes(t testing.TB, allowed int) *twoLanes {
	b := &twoLanes{lane: newFakeLane(), lessor: &lessor{allowed: allowed}}
	b.bench = newBench(t, Config{Policy: b.lessor, Lane: b.lane})
	return b
}

// send lets packets arrive and says which way the last one went. Those that wait for a
// verdict get it at once; copies are read later.
func (b *twoLanes) send(ips ...[]byte) (way string) {
	b.t.Helper()
	for _, ip := range ips {
		way = b.lane.arrive(b.t, ip)
		if way == "fast" {
			continue
		}
		p := queued{id: b.id + 1, ip: ip, length: len(ip)}
		b.id++
		if way == "handed" {
			p.mark = marks.Value(0)
		}
		b.out = b.w.batch([]queued{p}, b.now, b.out)
		b.w.send(b.out)
	}
	return way
}

func (b *twoLanes) read() {
	b.t.Helper()
	b.q.follower.catchUp()
}

// envelope is a session from the answer to its SYN up to the 354.
func (c *talk) envelope() [][]byte {
	return [][]byte{c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"), c.reply("250 hi\r\n"), c.say("MAIL FROM:<a@b>\r\n"), c.reply("250 ok\r\n"),
		c.say("RCPT TO:<a@b>\r\n"), c.reply("250 ok\r\n"), c.say("DATA\r\n"), c.reply("354 go\r\n")}
}

func (c *talk) quit() [][]byte {
	return [][]byte{c.say("QUIT\r\n"), c.reply("221 bye\r\n"), c.serverFIN(), c.clientFIN()}
}

// mail is a whole session of one message after its SYN.
func (c *talk) mail() [][]byte {
	return append(append(c.envelope(), c.say("text\r\n.\r\n"), c.reply("250 taken\r\n")), c.quit()...)
}

// The first session of a client waits for its verdict; as many as are let follow at
// once, unasked, and all of them are known in the end, each exactly once.
func TestSessionsBeginUnasked(t *testing.T) {
	b := newTwoLanes(t, 3)
	for i, want := range []string{"queue", "fast", "fast", "fast", "queue", "fast"} {
		c := newTalk(uint16(4000 + i))
		if way := b.send(c.syn()); way != want {
			t.Fatalf("session %d went by the way %s, want %s", i, way, want)
		}
		b.send(c.mail()...)
		if i == 3 && len(b.lessor.opened()) != 1 {
			t.Errorf("%d sessions are known before their copies are read", len(b.lessor.opened()))
		}
		if i == 4 { // who waits for a verdict is judged after all those before
			for k, f := range b.lessor.opened() {
				if f.Client.Port() != uint16(4000+k) {
					t.Errorf("judged as number %d: %v", k, f)
				}
			}
		}
	}
	b.read()
	if opened, closed := b.lessor.opened(), b.lessor.closed(); len(opened) != 6 || len(closed) != 6 {
		t.Fatalf("%d opened, %d closed, want six each", len(opened), len(closed))
	}
	for _, c := range b.lessor.closed() {
		if c.Messages != 1 || c.Recipients != 1 || c.EndReason != session.EndFIN || c.handle == nil {
			t.Errorf("closed %+v", c)
		}
	}
	s := b.q.Stats().Lane
	if s.Opened != 4 || s.Late != 0 || s.Handed != 0 || s.Holders != 1 || s.Addresses != 1 {
		t.Errorf("stats %+v", s)
	}
	b.later(time.Minute)
	b.later(time.Minute)
	b.q.follower.tend(b.now, nil)
	if len(b.lane.flows) != 0 {
		t.Errorf("the kernel still has %d flows", len(b.lane.flows))
	}
}

// Who waits for a verdict is judged after all that his sessions in the lane have done, also when nothing of his lease is
// left to be taken back.
func TestWhatWasDoneUnaskedIsKnownToTheNextOpen(t *testing.T) {
	b := newTwoLanes(t, 1)
	b.send(newTalk(4000).syn())
	running := newTalk(4001)
	if way := b.send(running.syn()); way != "fast" {
		t.Fatalf("the second session went by the way %s", way)
	}
	b.read()
	b.lessor.allowed = 0
	b.send(newTalk(4002).syn())
	b.send(newTalk(4003).syn())
	known := -1
	b.lessor.opening = func(Flow) Opening {
		known = 0
		for _, e := range b.lessor.events {
			if e.Kind == session.Message {
				known++
			}
		}
		return Opening{}
	}
	b.send(append(running.envelope(), running.say("text\r\n.\r\n"), running.reply("250 taken\r\n"))...)
	if way := b.send(newTalk(4004).syn()); way != "queue" || known != 1 {
		t.Errorf("by the way %s, %d messages were known, want the queue and 1", way, known)
	}
}

// When a budget that a running session can use up is near its end, nothing more goes on
// unasked: not this session, and not the others of the same client.
func TestNearTheEndOfAMessageBudgetSessionsWait(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	one, two := newTalk(4001), newTalk(4002)
	for _, c := range []*talk{one, two} {
		b.send(c.syn())
		b.send(c.envelope()...)
	}
	b.read()
	if way := b.send(one.say("text\r\n.\r\n")); way != "fast" {
		t.Fatalf("it went by the way %s before", way)
	}
	b.lessor.allowed = 0
	b.send(one.reply("250 taken\r\n"))
	b.read()
	for _, c := range []*talk{one, two} {
		if way := b.send(c.say("NOOP\r\n")); way != "handed" {
			t.Errorf("port %d: by the way %s", c.client.Port(), way)
		}
	}
}

// A reply that is to be held, in the middle of a session that began unasked: the flow
// goes to the queue with all that is known of it.
func TestAFlowIsHandedOver(t *testing.T) {
	b := newTwoLanes(t, 3)
	b.lessor.event = func(_ Flow, e session.Event) time.Duration {
		if e.Kind == session.Message {
			return time.Minute
		}
		return 0
	}
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.send(c.envelope()...)
	b.send(c.say("text\r\n.\r\n"), c.reply("250 taken\r\n"))
	b.read()
	if way := b.send(c.say("MAIL FROM:<c@d>\r\n")); way != "handed" {
		t.Fatalf("the next command goes by the way %s", way)
	}
	reply := c.reply("250 ok\r\n")
	b.send(reply)
	if got := b.answer(b.id); got != "none" {
		t.Fatalf("the next reply is answered %s, want held", got)
	}
	b.send(reply)
	if got := b.answer(b.id); got != "drop" {
		t.Errorf("sent again it is answered %s", got)
	}
	held := b.id - 1
	b.later(time.Minute)
	if got := b.answer(held); got == "none" {
		t.Error("it is never let go")
	}
	if s := b.stats(); s.Adopted != 1 || s.MidAir != 0 {
		t.Errorf("%d adopted, %d found in mid-air", s.Adopted, s.MidAir)
	}
	b.send(c.clientFIN(), c.serverFIN())
	for _, got := range b.lessor.closed() {
		if got.flow.Client == c.client && (got.Messages != 1 || got.Gaps != 0 || got.Held != time.Minute) {
			t.Errorf("closed %+v", got)
		}
	}
}

func TestWhoIsCutInTheFastLane(t *testing.T) {
	b := newTwoLanes(t, 3)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.send(c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"))
	b.read()
	b.q.Reset(func(f Flow, _ any) bool { return f.Client == c.client })
	b.q.follower.tend(b.now, nil)
	for _, ip := range [][]byte{c.say("DATA\r\n"), c.reply("500 no\r\n")} {
		if way := b.send(ip); way != "handed" || b.answer(b.id) != "cut" {
			t.Errorf("goes by the way %s and is answered %s", way, b.answer(b.id))
		}
	}
	var ends []session.EndReason
	for _, got := range b.lessor.closed() {
		ends = append(ends, got.EndReason)
	}
	if len(ends) != 1 || ends[0] != session.EndCut {
		t.Errorf("closed by %v", ends)
	}
}

// What is let becomes less while a session runs: what is left is taken back.
func TestALeaseIsTightened(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.lessor.event = func(_ Flow, e session.Event) time.Duration {
		if e.Kind == session.Message {
			b.lessor.allowed = 0
		}
		return 0
	}
	b.send(c.mail()...)
	b.read()
	if way := b.send(newTalk(4002).syn()); way != "queue" {
		t.Errorf("the next session goes by the way %s", way)
	}
}

func TestNobodyIsKnownAfterUnlease(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	b.q.Unlease()
	b.lessor.allowed = 2
	for i, want := range []string{"queue", "fast", "fast", "queue"} {
		if way := b.send(newTalk(uint16(4001 + i)).syn()); way != want {
			t.Errorf("session %d after it goes by the way %s, want %s", i, way, want)
		}
	}
}

// Copies are lost: the sessions of that holder go on through the queue, those whose end
// was lost have ended, and when that is done the lease may be used again.
func TestLostCopies(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	var talks []*talk
	for i := range 3 {
		c := newTalk(uint16(4001 + i))
		b.send(c.syn())
		b.send(c.synAck(), c.reply("220 hi\r\n"))
		talks = append(talks, c)
	}
	b.lane.room = 0
	if way := b.send(newTalk(4010).syn()); way != "queue" {
		t.Errorf("without room for its copy a session goes by the way %s", way)
	}
	b.lane.room = 0
	b.send(talks[0].say("EHLO lost\r\n"))
	b.send(talks[1].clientRST())
	if way := b.send(newTalk(4011).syn()); way != "queue" {
		t.Errorf("of a holder whose copies are lost a session goes by the way %s", way)
	}
	b.lane.room = 1000
	b.read()
	for i, want := range []string{"handed", "handed", "handed"} {
		if way := b.send(talks[i].say("NOOP\r\n")); way != want {
			t.Errorf("flow %d goes by the way %s, want %s", i, way, want)
		}
	}
	ended := 0
	for _, c := range b.lessor.closed() {
		if c.flow.Client == talks[1].client {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("the session whose reset was lost ended %d times", ended)
	}
	b.send(newTalk(4012).syn())
	if way := b.send(newTalk(4013).syn()); way != "fast" {
		t.Errorf("when the books are right a session goes by the way %s", way)
	}
	if s := b.q.Stats().Lane; s.Losses != 1 || s.LostEnds != 1 {
		t.Errorf("stats %+v", s)
	}
}

// A flow of which the kernel's table lost sight, or one packet of which came by another
// way, is still one session.
func TestAPacketBesideTheLane(t *testing.T) {
	b := newTwoLanes(t, 3)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	mail := c.mail()
	b.send(mail[:5]...)
	delete(b.lane.flows, Flow{c.client, c.server})
	b.send(mail[5:]...)
	for _, got := range b.lessor.closed() {
		if got.flow.Client == c.client && (got.Messages != 1 || got.Gaps != 0 || got.Unknown) {
			t.Errorf("closed %+v", got)
		}
	}
	if s := b.stats(); s.Adopted != 1 || s.MidAir != 0 || len(b.lessor.closed()) != 1 {
		t.Errorf("%d adopted, %d found in mid-air, %d closed", s.Adopted, s.MidAir, len(b.lessor.closed()))
	}
}

func TestBulkIsNotCopied(t *testing.T) {
	b := newTwoLanes(t, 3)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.send(c.envelope()...)
	b.read()
	copies := 0
	for range 100 {
		b.send(c.say(string(make([]byte, 1000))))
		copies += len(b.lane.ring)
		b.read()
	}
	if copies > bulkFrom/1000+2 || copies < 2 {
		t.Errorf("%d of 100 segments were copied", copies)
	}
	b.send(c.say("\r\n.\r\n"))
	b.send(c.reply("250 taken\r\n"))
	b.read()
	if f := b.lane.flows[Flow{c.client, c.server}]; f.state != lane.See {
		t.Errorf("after the message the state is %v", f.state)
	}
	b.send(c.quit()...)
	b.read()
	got := b.lessor.closed()
	if len(got) != 1 || got[0].Messages != 1 || got[0].Gaps != 0 || got[0].BytesUp < 100_000 {
		t.Errorf("closed %+v", got)
	}
}

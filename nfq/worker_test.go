package nfq

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

func TestStatesFollowTheSession(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	c := newTalk(4000)
	for _, step := range []struct {
		why  string
		ip   []byte
		want string
	}{
		{"the SYN makes the flow governed", c.syn(), "see"},
		{"nothing new", c.synAck(), "accept"},
		{"the greeting", c.reply("220 hi\r\n"), "accept"},
		{"a command", c.say("EHLO c\r\n"), "accept"},
		{"its reply", c.reply("250 hi\r\n"), "accept"},
		{"an envelope", c.say("MAIL FROM:<a@b>\r\n"), "accept"},
		{"taken", c.reply("250 ok\r\n"), "accept"},
		{"a recipient", c.say("RCPT TO:<a@b>\r\n"), "accept"},
		{"taken", c.reply("250 ok\r\n"), "accept"},
		{"DATA", c.say("DATA\r\n"), "accept"},
		{"354: the client's bulk may pass", c.reply("354 go\r\n"), "up"},
	} {
		if got := b.answer(b.take(step.ip)); got != step.want {
			t.Errorf("%s: %s, want %s", step.why, got, step.want)
		}
	}
	c.up += 100_000 // never seen by us
	if got := b.answer(b.take(c.reply("250 taken\r\n"))); got != "see" {
		t.Errorf("the reply to the end of data: %s, want see again", got)
	}
	b.take(c.say("QUIT\r\n"), c.reply("221 bye\r\n"), c.clientFIN(), c.serverFIN())
	closed := b.policy.closed()
	if len(closed) != 1 || closed[0].Messages != 1 || closed[0].EndReason != session.EndFIN {
		t.Errorf("closed %+v, want one session with one message", closed)
	}
}

func TestWhoIsANewSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why           string
		packets       func(c *talk) [][]byte
		opens, closes int
	}{
		{"a SYN", func(c *talk) [][]byte { return [][]byte{c.syn()} }, 1, 0},
		{"sent again", func(c *talk) [][]byte { s := c.syn(); return [][]byte{s, s, s} }, 1, 0},
		{"sent again after the answer", func(c *talk) [][]byte { s := c.syn(); return [][]byte{s, c.synAck(), s} }, 1, 0},
		{"another initial sequence number", func(c *talk) [][]byte { return [][]byte{c.syn(), c.syn()} }, 2, 1},
		{"the same one after a reset: nobody gets on unjudged that way", func(c *talk) [][]byte {
			s := c.syn()
			return [][]byte{s, c.clientRST(), s}
		}, 2, 1},
		{"the same one after both sides closed", func(c *talk) [][]byte {
			s := c.syn()
			return [][]byte{s, c.synAck(), c.clientFIN(), c.serverFIN(), s}
		}, 2, 1},
		{"from mid-air to new", func(c *talk) [][]byte { return [][]byte{c.say("NOOP\r\n"), c.syn()} }, 1, 1},
		{"a reset of nothing", func(c *talk) [][]byte { return [][]byte{c.clientRST()} }, 0, 0},
		{"stragglers", func(c *talk) [][]byte {
			return [][]byte{c.syn(), c.synAck(), c.clientFIN(), c.serverFIN(), c.serverFIN(), c.clientRST()}
		}, 1, 1},
	} {
		t.Run(c.why, func(t *testing.T) {
			b := newBench(t, Config{})
			for _, ip := range c.packets(newTalk(4000)) {
				b.take(ip)
			}
			if o, e := len(b.policy.opened()), len(b.policy.closed()); o != c.opens || e != c.closes {
				t.Errorf("%d opened and %d closed, want %d and %d", o, e, c.opens, c.closes)
			}
		})
	}
}

// A SYN in the middle of a session is nothing until its server consents: that may
// answer with a mere acknowledgement, and the session goes on.
func TestSYNInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why    string
		action Action // of the policy from the second session on
		offset uint32 // of the second SYN's number
		server func(c *talk) []byte
		opens  int
		want   string // the server's answer is told
		counts int    // messages of the session that was there first
	}{
		{"forged, the server acknowledges what it has", Defer, 1 << 25, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down, Ack: c.up, Flags: packet.ACK}.Packet()
		}, 1, "accept", 1},
		{"the server consents to something else", Defer, 1 << 25, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: 77, Ack: 99, Flags: packet.SYN | packet.ACK}.Packet()
		}, 1, "accept", 1},
		{"the old consent once more", Defer, 0, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: 5000, Ack: 1001, Flags: packet.SYN | packet.ACK}.Packet()
		}, 1, "accept", 1},
		{"the server consents", Pass, 1 << 25, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: 77, Ack: 1000 + 1<<25 + 1, Flags: packet.SYN | packet.ACK}.Packet()
		}, 2, "see", 0},
		{"it consents, too late for the responder", Defer, 1 << 25, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: 77, Ack: 1000 + 1<<25 + 1, Flags: packet.SYN | packet.ACK}.Packet()
		}, 2, "cut", 0},
		{"it consents to the same number with another of its own", Reset, 0, func(c *talk) []byte {
			return nfqtest.TCP{Src: c.server, Dst: c.client, Seq: 77, Ack: 1001, Flags: packet.SYN | packet.ACK}.Packet()
		}, 2, "cut", 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			p := &policy{}
			p.opening = func(Flow) Opening {
				if len(p.opens) > 1 {
					return Opening{Action: c.action}
				}
				return Opening{}
			}
			b := newBench(t, Config{Policy: p})
			k := newTalk(4000)
			b.take(k.syn(), k.synAck(), k.reply("220 hi\r\n"), k.say("EHLO c\r\n"), k.reply("250 hi\r\n"))
			b.take(nfqtest.TCP{Src: k.client, Dst: k.server, Seq: 1000 + c.offset, Flags: packet.SYN}.Packet())
			if n := len(p.opened()); n != 1 {
				t.Errorf("%d opened by the SYN alone", n-1)
			}
			if got := b.answer(b.take(c.server(k))); got != c.want {
				t.Errorf("the server's answer: %s, want %s", got, c.want)
			}
			if n := len(p.opened()); n != c.opens {
				t.Errorf("%d opened, want %d", n, c.opens)
			}
			b.take(k.say("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"), k.reply("250 ok\r\n250 ok\r\n354 go\r\n"), k.say("x\r\n.\r\n"), k.reply("250 ok\r\n"))
			b.later(2 * time.Hour)
			closed := p.closed()
			if len(closed) != c.opens || closed[0].Messages != c.counts {
				t.Errorf("closed %+v, want %d, the first with %d messages", closed, c.opens, c.counts)
			}
		})
	}
}

// What was to be redirected and comes to us all the same was not: the connection
// stood before.
func TestDeferredTooLateIsCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: &policy{opening: func(Flow) Opening { return Opening{Action: Defer} }}})
	c := newTalk(4000)
	b.take(c.syn())
	for _, ip := range [][]byte{c.say("MAIL FROM:<>\r\n"), c.reply("250 ok\r\n"), c.syn()} {
		if got := b.answer(b.take(ip)); got != "cut" && got != "deferred" {
			t.Errorf("got %s", got)
		}
	}
	if v := b.stats().Verdicts; v["cut"] != 2 || v["accept"] != 0 {
		t.Errorf("verdicts %v, want two resets", v)
	}
}

// A reset is an end only if nobody goes on: its receiver may not have taken it, or
// never got it.
func TestWhatGoesOnAfterAResetIsFollowed(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"), c.reply("250 hi\r\n"), c.clientRST())
	b.later(4 * time.Second)
	if n := len(b.policy.closed()); n != 0 {
		t.Error("closed by a reset alone")
	}
	for _, ip := range [][]byte{
		c.say("MAIL FROM:<>\r\n"), c.reply("250 ok\r\n"), c.say("RCPT TO:<a@b>\r\n"), c.reply("250 ok\r\n"), c.say("DATA\r\n"), c.reply("354 go\r\n"),
	} {
		if got := b.answer(b.take(ip)); got == "both" {
			t.Error("released")
		}
	}
	b.take(c.say("x\r\n.\r\n"), c.reply("250 ok\r\n"))
	again := b.answer(b.take(c.clientRST()))
	if again == "both" {
		t.Error("released at the end")
	}
	b.later(5 * time.Second)
	closed := b.policy.closed()
	if len(closed) != 1 || closed[0].Messages != 1 || closed[0].EndReason != session.EndRST || len(b.policy.opened()) != 1 {
		t.Errorf("closed %+v, want one session with one message", closed)
	}
	if s := b.stats(); s.Ended["rst"] != 1 || s.Flows != 1 {
		t.Errorf("ends %v, %d flows", s.Ended, s.Flows)
	}
	b.later(30 * time.Second)
	if n := b.stats().Flows; n != 0 {
		t.Errorf("%d flows left", n)
	}
}

// Waiting until the session is closed does not help.
func TestWhatGoesOnLongAfterAResetIsJudgedAnew(t *testing.T) {
	t.Parallel()
	for action, want := range map[Action]string{Pass: "see", Reset: "cut", Defer: "cut"} {
		p := &policy{}
		p.opening = func(Flow) Opening {
			if len(p.opens) > 1 {
				return Opening{Action: action}
			}
			return Opening{}
		}
		b := newBench(t, Config{Policy: p})
		c := newTalk(4000)
		b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"), c.reply("250 hi\r\n"), c.clientRST())
		b.later(10 * time.Second)
		if n := len(p.closed()); n != 1 {
			t.Fatalf("%d closed", n)
		}
		if got := b.answer(b.take(c.say("MAIL FROM:<>\r\n"))); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
		for _, ip := range [][]byte{c.reply("250 ok\r\n"), c.say("RCPT TO:<a@b>\r\n"), c.reply("250 ok\r\n"), c.say("DATA\r\n"), c.reply("354 go\r\n"), c.say("x\r\n.\r\n"), c.reply("250 ok\r\n")} {
			b.take(ip)
		}
		b.later(2 * time.Hour)
		closed := p.closed()
		if len(p.opened()) != 2 || len(closed) != 2 {
			t.Fatalf("%s: %d opened, closed %+v", action, len(p.opened()), closed)
		}
		if s := closed[1]; action == Pass && s.Messages == 0 {
			t.Errorf("no message was counted: %+v", s)
		}
	}
}

func TestTurnedAwayStaysTurnedAway(t *testing.T) {
	t.Parallel()
	for action, want := range map[Action]string{Defer: "deferred", Reset: "cut"} {
		b := newBench(t, Config{Policy: &policy{opening: func(Flow) Opening { return Opening{Action: action} }}})
		syn := newTalk(4000).syn()
		for i := range 5 { // as a client does it, for up to two minutes
			if got := b.answer(b.take(syn)); got != want {
				t.Errorf("%s, SYN %d: %s, want %s", action, i, got, want)
			}
			b.later(time.Second << i)
		}
		if o, c := len(b.policy.opened()), len(b.policy.closed()); o != 1 || c != 1 {
			t.Errorf("%s: %d opened, %d closed", action, o, c)
		}
	}
}

func TestDirection(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	a, z := netip.MustParseAddrPort("10.0.1.2:25"), netip.MustParseAddrPort("10.0.2.2:465") // both ports are governed
	seg := func(from, to netip.AddrPort, flags packet.Flags, seq uint32) []byte {
		return nfqtest.TCP{Src: from, Dst: to, Flags: flags, Seq: seq, Ack: 1}.Packet()
	}
	b.take(seg(a, z, packet.SYN, 1), seg(z, a, packet.SYN|packet.ACK, 9), seg(z, a, packet.PSH|packet.ACK, 10))
	if opens := b.policy.opened(); len(opens) != 1 || opens[0] != (Flow{a, z}) || b.stats().Flows != 1 {
		t.Errorf("opened %v, %d flows; the sender of the SYN is the client", opens, b.stats().Flows)
	}
	b.take(seg(z, netip.MustParseAddrPort("10.0.1.3:25"), packet.SYN|packet.ACK, 1))
	if n := b.stats().Passed["stray"]; n != 1 {
		t.Errorf("SYN+ACK of no flow: %d strays", n)
	}
	b.take(seg(netip.MustParseAddrPort("10.0.1.3:80"), netip.MustParseAddrPort("10.0.1.3:81"), packet.SYN, 1))
	if n := b.stats().Passed["not_governed"]; n != 1 {
		t.Errorf("no governed port: %d packets", n)
	}
}

func TestFullTable(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{MaxFlows: 3})
	talks := make([]*talk, 6)
	for i := range talks {
		talks[i] = newTalk(uint16(4000 + i))
	}
	established := func(c *talk) { b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n")) }
	established(talks[0])
	b.take(talks[1].syn()) // half-open
	b.take(talks[2].syn())
	b.take(talks[3].syn()) // displaces the oldest half-open one
	if c := b.policy.closed(); len(c) != 1 || c[0].flow.Client != talks[1].client || b.stats().Ended["evicted"] != 1 {
		t.Fatalf("closed %+v", c)
	}
	b.take(talks[2].synAck(), talks[2].reply("220 hi\r\n"), talks[3].synAck(), talks[3].reply("220 hi\r\n"))
	id := b.take(talks[5].say("NOOP\r\n")) // all three are alive
	if b.answer(id) != "accept" || b.stats().Passed["flow_table_full"] != 1 {
		t.Errorf("a packet in mid-air when the table is full: %s", b.answer(id))
	}
	id = b.take(talks[4].syn())
	if c := b.policy.closed(); b.answer(id) != "see" || len(c) != 2 || c[1].flow.Client != talks[0].client || len(b.policy.opened()) != 5 {
		t.Errorf("a SYN when the table is full: %s, closed %+v", b.answer(id), c)
	}
	b.take(talks[4].synAck(), talks[4].reply("220 hi\r\n"))
	b.take(talks[2].clientRST())
	b.take(talks[5].say("NOOP\r\n")) // takes the place of the one that is over
	if s := b.stats(); s.MidAir != 1 || s.Flows != 3 {
		t.Errorf("%d flows, %d in mid-air", s.Flows, s.MidAir)
	}
	b.later(2 * time.Hour)
	if n := b.q.flows.Load(); n != 0 || b.stats().Flows != 0 {
		t.Errorf("%d flows are still counted, %d known", n, b.stats().Flows)
	}
}

// Who opens thousands of connections that live displaces his own, and a SYN of
// anybody is judged.
func TestOneClientHasAShareOfTheTable(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{MaxFlows: 1000})
	greedy := func(i int) *talk {
		c := newTalk(uint16(2000 + i))
		b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
		return c
	}
	first := greedy(0)
	for i := 1; i < 1000; i++ {
		greedy(i)
	}
	s := b.stats()
	if s.Flows != 125 || s.Ended["evicted"] != 875 || b.policy.closed()[0].flow.Client != first.client || len(b.policy.opened()) != 1000 {
		t.Errorf("%d flows of one client, ends %v", s.Flows, s.Ended)
	}
	b.take(first.say("NOOP\r\n"))
	if n := b.stats().Passed["flow_table_full"]; n != 1 {
		t.Errorf("what was displaced comes back: %d passed", n)
	}
	for i := range 950 { // many that are modest, and the table is full
		c := newTalk(4000)
		c.client = withAddr(c.client, fmt.Sprintf("10.7.%d.%d", i/250, i%250))
		id := b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
		if got := b.answer(id); got != "see" {
			t.Fatalf("SYN %d of another client: %s", i, got)
		}
	}
	if n := b.stats().Flows; n != 1000 || len(b.policy.opened()) != 1950 {
		t.Errorf("%d flows, %d opened", n, len(b.policy.opened()))
	}
	if n := b.w.table.clients[first.client.Addr()].flows; n != 50 {
		t.Errorf("%d flows of the greedy client are left, want 50", n)
	}
	b.later(2 * time.Hour)
	if len(b.w.table.clients) != 0 {
		t.Errorf("%d clients without flows", len(b.w.table.clients))
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why     string
		packets func(c *talk) [][]byte
		lives   time.Duration
		ended   string
	}{
		{"no answer", func(c *talk) [][]byte { return [][]byte{c.syn()} }, time.Minute, "half_open"},
		{"a tarpit before the greeting", func(c *talk) [][]byte { return [][]byte{c.syn(), c.synAck()} }, 6 * time.Minute, "timeout"},
		{"idle in clear", func(c *talk) [][]byte { return [][]byte{c.syn(), c.synAck(), c.reply("220 hi\r\n")} }, 15 * time.Minute, "timeout"},
		{"a slow message", func(c *talk) [][]byte {
			return [][]byte{c.syn(), c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"), c.reply("250 ok\r\n"),
				c.say("MAIL FROM:<>\r\n"), c.reply("250 ok\r\n"), c.say("RCPT TO:<a@b>\r\n"), c.reply("250 ok\r\n"), c.say("DATA\r\n"), c.reply("354 go\r\n")}
		}, time.Hour, "timeout"},
	} {
		t.Run(c.why, func(t *testing.T) {
			b := newBench(t, Config{})
			for _, ip := range c.packets(newTalk(4000)) {
				b.take(ip)
			}
			b.later(c.lives - time.Second)
			if n := len(b.policy.closed()); n != 0 {
				t.Fatalf("closed after %v", c.lives-time.Second)
			}
			b.later(time.Second)
			if n := len(b.policy.closed()); n != 1 || b.stats().Ended[c.ended] != 1 || b.stats().Flows != 0 {
				t.Errorf("%d closed, ends %v", n, b.stats().Ended)
			}
		})
	}
}

func TestExpiryOfManyGoesInSteps(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	const n = 3 * sweepAtOnce
	for i := range n {
		b.take(newTalk(uint16(1024 + i)).syn())
	}
	b.now = b.now.Add(time.Minute)
	if _, next := b.w.tend(b.now, nil); next != 0 || b.stats().Flows != n-sweepAtOnce {
		t.Errorf("%d flows after one step, next in %v", b.stats().Flows, next)
	}
	b.later(0)
	if b.stats().Flows != 0 {
		t.Errorf("%d flows left", b.stats().Flows)
	}
}

func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"Open", "Event", "Close"} {
		t.Run(where, func(t *testing.T) {
			b := newBench(t, Config{Policy: panicky{where}})
			bad, good := newTalk(4000), newTalk(4001)
			var ids []uint32
			for _, ip := range [][]byte{bad.syn(), good.syn(), bad.synAck(), bad.reply("220 hi\r\n"), good.synAck(), bad.clientRST(), good.clientRST()} {
				ids = append(ids, b.take(ip))
			}
			for i, id := range ids {
				if got := b.answer(id); got == "none" || got == "drop" {
					t.Errorf("packet %d: %s", i, got)
				}
			}
			b.later(5 * time.Second)
			s := b.stats()
			if s.Panics == 0 {
				t.Error("no panic was counted")
			}
			balanced2(t, s)
			b.later(2 * time.Hour)
			if b.stats().Flows != 0 || b.q.flows.Load() != 0 {
				t.Error("flows left behind")
			}
		})
	}
}

// balanced2 is balanced without the demand that nothing went wrong.
func balanced2(t *testing.T, s QueueStats) {
	t.Helper()
	var given uint64
	for _, n := range s.Verdicts {
		given += n
	}
	if given+uint64(s.HeldNow) != s.Packets {
		t.Errorf("%d packets, %d verdicts, %d held", s.Packets, given, s.HeldNow)
	}
}

type panicky struct{ where string }

func (p panicky) Open(Flow, time.Time) Opening {
	if p.where == "Open" {
		panic("open")
	}
	return Opening{}
}

func (p panicky) Event(Flow, any, session.Event, time.Time) time.Duration {
	if p.where == "Event" {
		panic("event")
	}
	return 0
}

func (p panicky) Close(Flow, any, Summary) {
	if p.where == "Close" {
		panic("close")
	}
}

func TestResetIsAskedFromThePolicy(t *testing.T) {
	t.Parallel()
	p := &policy{}
	b := newBench(t, Config{Policy: p})
	p.event = func(f Flow, e session.Event) time.Duration {
		if e.Kind == session.Greeting {
			b.q.Reset(func(g Flow, _ any) bool { return g == f }) // under the worker's lock
		}
		return 0
	}
	c := newTalk(4000)
	b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
	b.later(0)
	if closed := p.closed(); len(closed) != 1 || closed[0].EndReason != session.EndCut {
		t.Errorf("closed %+v", closed)
	}
	for _, ip := range [][]byte{c.say("EHLO c\r\n"), c.reply("250 hi\r\n")} {
		if got := b.answer(b.take(ip)); got != "cut" {
			t.Errorf("a packet after the reset: %s", got)
		}
	}
}

func TestMarksOfOthersSurvive(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	b.out = b.w.batch([]queued{{id: 1, mark: 0xa0ffffff, ip: newTalk(4000).syn()}}, b.now, nil)
	if len(b.out) != 1 || b.out[0].mark != 0xa1ffffff || !b.out[0].marked {
		t.Errorf("verdict %+v", b.out)
	}
}

// Above 64 KiB the IP header has no length, and the copy ends before the packet does.
func TestCutCopyOfABigPacketIsNoGap(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
	ip := c.say("NOOP\r\n")
	ip[2], ip[3] = 0, 0 // as GRO makes it
	b.out = b.w.batch([]queued{{id: 99, ip: ip, length: len(ip) + 100_000}}, b.now, nil)
	b.w.send(b.out)
	c.up += 100_000
	b.take(c.clientFIN(), c.serverFIN())
	if s := b.policy.closed(); len(s) != 1 || s[0].BytesUp != 100_006 {
		t.Errorf("closed %+v, want 100006 bytes up", s)
	}
}

// Whatever comes, in whatever order: every packet gets exactly one verdict, and
// every Open exactly one Close.
func TestEveryPacketGetsExactlyOneVerdict(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := &policy{
			opening: func(Flow) Opening {
				return Opening{Action: Action(rnd.IntN(4)), Hold: time.Duration(rnd.IntN(20)) * time.Second}
			},
			event: func(Flow, session.Event) time.Duration { return time.Duration(rnd.IntN(3)-1) * time.Second },
		}
		b := newBench(t, Config{Policy: p, MaxFlows: 4, MaxHeldPerClient: 2})
		talks := []*talk{newTalk(4000), newTalk(4001), newTalk(4002), newTalk(4003), newTalk(4004), newTalk(4005)}
		for range 300 {
			c := talks[rnd.IntN(len(talks))]
			var ip []byte
			switch rnd.IntN(14) {
			case 0, 1:
				ip = c.syn()
			case 2, 3:
				ip = c.synAck()
			case 4, 5:
				ip = c.say([]string{"EHLO c\r\n", "MAIL FROM:<>\r\n", "DATA\r\n", "STARTTLS\r\n"}[rnd.IntN(4)])
			case 6, 7, 8:
				ip = c.reply([]string{"220 hi\r\n", "250 ok\r\n", "354 go\r\n", "421 no\r\n"}[rnd.IntN(4)])
			case 9: // again, or half again
				d := uint32(rnd.IntN(20))
				c.down -= min(d, c.down)
				ip = c.reply("250 ok\r\n")
			case 10:
				ip = c.clientFIN()
			case 11:
				ip = c.serverFIN()
			case 12:
				ip = c.clientRST()
			default:
				ip = c.say("x")[:rnd.IntN(41)]
			}
			b.take(ip)
			switch rnd.IntN(20) {
			case 0:
				b.later(time.Duration(rnd.IntN(30)) * time.Second)
			case 1:
				b.q.Unhold(func(Flow, any) bool { return rnd.IntN(2) == 0 })
			case 2:
				b.q.Reset(func(Flow, any) bool { return rnd.IntN(4) == 0 })
				b.later(0)
			}
		}
		balanced2(t, b.stats())
		if n := b.stats().Panics; n != 0 {
			t.Errorf("seed %d: %d panics", seed, n)
		}
		b.reader.interrupt()
		if err := b.w.settle(true); err != nil {
			t.Fatal(err)
		}
		for id := uint32(1); id <= b.id; id++ {
			if n := len(b.reader.given[id]); n != 1 {
				t.Fatalf("seed %d: packet %d got %d verdicts", seed, id, n)
			}
		}
		closes := 0
		for _, c := range p.closed() {
			if c.handle != nil {
				closes++
			}
		}
		if closes != len(p.opened()) || len(p.closed())-closes != int(b.stats().MidAir) {
			t.Fatalf("seed %d: %d opened, %d closed; %d in mid-air", seed, len(p.opened()), len(p.closed()), b.stats().MidAir)
		}
		if b.q.holding.now != 0 || len(b.q.holding.clients) != 0 || b.q.flows.Load() != 0 {
			t.Fatalf("seed %d: books not closed: %d held, %d clients, %d flows", seed, b.q.holding.now, len(b.q.holding.clients), b.q.flows.Load())
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Policy: &policy{}, Ports: []uint16{25}}
	for _, c := range []struct {
		why    string
		change func(*Config)
		ok     bool
	}{
		{"the least", func(*Config) {}, true},
		{"no policy", func(c *Config) { c.Policy = nil }, false},
		{"no port", func(c *Config) { c.Ports = nil }, false},
		{"numbers beyond the last", func(c *Config) { c.First, c.Count = 65535, 2 }, false},
		{"the last number", func(c *Config) { c.First, c.Count = 65535, 1 }, true},
		{"holding would fill the queue", func(c *Config) { c.Length, c.MaxHeld = 100, 51 }, false},
		{"half of it", func(c *Config) { c.Length, c.MaxHeld = 100, 50 }, true},
		{"a mask with a hole", func(c *Config) { c.Marks.Mask = 0x505 }, false},
		{"an unknown reader", func(c *Config) { c.Reader = "slow" }, false},
		{"a negative bound", func(c *Config) { c.MaxFlows = -1 }, false},
	} {
		cfg := good
		c.change(&cfg)
		var err error
		if cfg.Reader == "" {
			_, err = cfg.withDefaults()
		} else {
			_, err = Open(cfg)
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

func TestNamesAreFitForLabels(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	s := b.stats()
	for _, m := range []map[string]uint64{s.Passed, s.Dropped, s.Verdicts, s.Ended} {
		for name := range m {
			for _, r := range name {
				if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') || name == "unknown" && len(m) > 10 {
					t.Errorf("name %q", name)
				}
			}
		}
	}
	if len(s.Passed) != int(passReasons)-1 || len(s.Ended) != int(endeds) || fmt.Sprint(Action(9)) != "unknown" {
		t.Errorf("%d reasons, %d ends: two have one name", len(s.Passed), len(s.Ended))
	}
}

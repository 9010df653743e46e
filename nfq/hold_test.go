package nfq

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

func holdFor(d time.Duration) *policy {
	return &policy{opening: func(Flow) Opening { return Opening{Action: Hold, Hold: d} }}
}

func TestGreetingIsHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: holdFor(10 * time.Second)})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck())
	again := *c
	greeting := b.take(c.reply("220 hi\r\n"))
	for _, step := range []struct {
		why  string
		ip   []byte
		want string
	}{
		{"the same again", again.reply("220 hi\r\n"), "drop"},
		{"its end again", nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down - 2, Ack: c.up, Flags: packet.ACK, Payload: []byte("\r\n")}.Packet(), "drop"},
		{"again with more behind", nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down - 8, Ack: c.up, Flags: packet.ACK, Payload: []byte("220 hi\r\n220 x\r\n")}.Packet(), "drop"},
		{"the client", c.say("EHLO early\r\n"), "accept"},
		{"what follows it", c.reply("250 hi\r\n"), "accept"},
		{"a keep-alive of the server: the byte before", nfqtest.TCP{Src: c.server, Dst: c.client, Seq: again.down - 9, Ack: c.up, Flags: packet.ACK, Payload: []byte("x")}.Packet(), "accept"},
	} {
		if got := b.answer(b.take(step.ip)); got != step.want {
			t.Errorf("%s: %s, want %s", step.why, got, step.want)
		}
	}
	b.later(9999 * time.Millisecond)
	if got := b.answer(greeting); got != "none" {
		t.Errorf("too early: %s", got)
	}
	b.later(time.Millisecond)
	if got := b.answer(greeting); got != "accept" {
		t.Errorf("when its time has come: %s", got)
	}
	if s := b.stats(); s.Held != 1 || s.HeldNow != 0 || s.Dropped["retransmission_of_held"] != 3 {
		t.Errorf("%+v", s)
	}
	b.take(c.clientRST())
	b.later(5 * time.Second)
	if s := b.policy.closed(); len(s) != 1 || s[0].Held != 10*time.Second || s[0].DroppedPackets != 3 {
		t.Errorf("closed %+v", s)
	}
}

func TestHoldAcrossTheWrapOfSequenceNumbers(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: holdFor(10 * time.Second)})
	c := newTalk(4000)
	c.down = 0xffffffff - 3
	b.take(c.syn(), c.synAck())
	again := *c
	b.take(c.reply("220 hi\r\n"))
	if got := b.answer(b.take(again.reply("220 hi\r\n"))); got != "drop" {
		t.Errorf("the same again: %s", got)
	}
	if got := b.answer(b.take(c.reply("250 next\r\n"))); got != "accept" {
		t.Errorf("what follows: %s", got)
	}
}

func TestEventHoldsTheReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		kind session.Kind
		held int // which packet
	}{
		{"the reply after the one in hand", session.Rejected, 6},
		{"the next reply, when the client's packet told it", session.StartTLSAsked, 6},
	} {
		p := &policy{event: func(_ Flow, e session.Event) time.Duration {
			if e.Kind == c.kind {
				return time.Second
			}
			return 0
		}}
		b := newBench(t, Config{Policy: p})
		k := newTalk(4000)
		b.take(k.syn(), k.synAck(), k.reply("220 hi\r\n"))
		for i, ip := range [][]byte{
			k.say("EHLO c\r\n"), k.reply("250-hi\r\n250 STARTTLS\r\n"), k.say("MAIL FROM:<>\r\n"), k.reply("450 no\r\n"),
			k.say("STARTTLS\r\n"), k.reply("220 go\r\n"),
		} {
			want := "accept"
			if i+1 == c.held {
				want = "none"
			}
			if got := b.answer(b.take(ip)); got != want {
				t.Errorf("%s: packet %d: %s, want %s", c.why, i+1, got, want)
			}
		}
		b.later(time.Second)
		balanced2(t, b.stats())
		if b.stats().HeldNow != 0 {
			t.Errorf("%s: still held", c.why)
		}
	}
}

func TestSecondHoldOfAFlowProlongsTheFirst(t *testing.T) {
	t.Parallel()
	p := holdFor(2 * time.Second)
	p.event = func(_ Flow, e session.Event) time.Duration {
		if e.Kind == session.Greeting {
			return 5 * time.Second
		}
		return 0
	}
	b := newBench(t, Config{Policy: p})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck())
	greeting := b.take(c.reply("220 hi\r\n"))
	b.take(c.say("EHLO c\r\n"))
	if got := b.answer(b.take(c.reply("250 hi\r\n"))); got != "accept" {
		t.Errorf("the second reply: %s; it comes behind the first and waits with it", got)
	}
	b.later(4 * time.Second)
	if got := b.answer(greeting); got != "none" {
		t.Errorf("after 4 s: %s", got)
	}
	b.later(time.Second)
	if got := b.answer(greeting); got != "accept" {
		t.Errorf("after 5 s: %s", got)
	}
}

func TestHoldingIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: holdFor(time.Minute), Length: 100, MaxHeld: 3, MaxHeldPerClient: 2})
	want := []string{"none", "none", "accept", "none", "accept"} // two of one client, one of the other, then all three
	var talks []*talk
	for i := range want {
		c := newTalk(uint16(4000 + i))
		if i >= 3 {
			c.client = withAddr(c.client, "10.0.1.3")
		}
		talks = append(talks, c)
		b.take(c.syn(), c.synAck())
		if got := b.answer(b.take(c.reply("220 hi\r\n"))); got != want[i] {
			t.Errorf("greeting %d: %s, want %s", i, got, want[i])
		}
	}
	if n := b.stats().Passed["hold_bound"]; n != 2 {
		t.Errorf("%d passed over the bound", n)
	}
	b.take(talks[0].clientRST(), talks[2].clientRST())
	b.later(5 * time.Second)
	if closed := b.policy.closed(); len(closed) != 2 || closed[0].Unheld != 0 || closed[1].Unheld != 1 || closed[1].Held != 0 {
		t.Errorf("closed %+v, want the second to say that it was not held", closed)
	}
	c := newTalk(4100)
	b.take(c.syn(), c.synAck())
	if got := b.answer(b.take(c.reply("220 hi\r\n"))); got != "none" {
		t.Errorf("with room again: %s", got)
	}
}

// A hundred paced sessions of one client at once are all paced.
func TestHoldingIsGenerousByItself(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: holdFor(time.Minute)})
	for i := range 100 {
		c := newTalk(uint16(4000 + i))
		b.take(c.syn(), c.synAck())
		if got := b.answer(b.take(c.reply("220 hi\r\n"))); got != "none" {
			t.Fatalf("greeting %d: %s", i, got)
		}
	}
}

func TestHoldingCountsIPv6By64(t *testing.T) {
	t.Parallel()
	h := newHolding(10, 1)
	a, b, c := newTalk(1), newTalk(2), newTalk(3)
	a.client = withAddr(a.client, "2001:db8::1")
	b.client = withAddr(b.client, "2001:db8::2")
	c.client = withAddr(c.client, "2001:db8:0:1::1")
	if !h.take(clientNet(Flow{a.client, a.server})) || h.take(clientNet(Flow{b.client, b.server})) || !h.take(clientNet(Flow{c.client, c.server})) {
		t.Error("one /64 is one client, another is another")
	}
}

func TestUnholdTakesBackWhatIsToCome(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Policy: holdFor(time.Minute)})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck())
	if n := b.q.Unhold(func(Flow, any) bool { return true }); n != 0 {
		t.Errorf("let go of %d packets", n)
	}
	if got := b.answer(b.take(c.reply("220 hi\r\n"))); got != "accept" {
		t.Errorf("the greeting: %s", got)
	}
}

// The keeper wakes up for the earliest packet, also when it came last.
func TestKeeperKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{opening: func(f Flow) Opening {
			return Opening{Action: Hold, Hold: time.Duration(f.Client.Port()) * time.Millisecond}
		}}
		r := newFakeReader()
		q, err := open(Config{Policy: p, Ports: []uint16{25}}, func(uint16, readerOptions) (reader, error) { return r, nil })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- q.Run(ctx) }()
		began := time.Now()
		var ips []queued
		for i, port := range []uint16{9000, 700, 2500} {
			c := newTalk(port)
			ips = append(ips, queued{id: uint32(3*i + 1), ip: c.syn()}, queued{id: uint32(3*i + 2), ip: c.synAck()}, queued{id: uint32(3*i + 3), ip: c.reply("220 hi\r\n")})
		}
		r.packets <- ips
		for _, want := range []time.Duration{700 * time.Millisecond, 2500 * time.Millisecond, 9 * time.Second} {
			time.Sleep(time.Until(began.Add(want - time.Nanosecond)))
			synctest.Wait()
			before := q.Stats().Held
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if after := q.Stats().Held; after != before-1 {
				t.Errorf("at %v: %d held, %d before", want, after, before)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

package nfq

import (
	"testing"
	"time"
)

// A SYN with another ISN in the middle of a session (its server answers with an ACK,
// RFC 5961) is the flow's ISN in the kernel from then on. Who is cut all the same is.
func TestASYNInTheMiddleDoesNotTakeAFlowOutOfOurHands(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.send(c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"))
	again := *c
	again.up += 100_000
	if way := b.send(again.syn()); way != "fast" {
		t.Fatalf("the SYN goes by the way %s", way)
	}
	b.read()
	b.q.Reset(func(f Flow, _ any) bool { return f.Client == c.client })
	b.q.follower.tend(b.now, nil)
	if way := b.send(c.say("DATA\r\n")); way != "handed" || b.answer(b.id) != "cut" {
		t.Errorf("who is cut goes on by the way %s", way)
	}
}

func TestASYNInTheMiddleLeavesNoFlowBehind(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	c := newTalk(4001)
	b.send(c.syn())
	b.send(c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"))
	again := *c
	again.up += 100_000
	b.send(again.syn())
	b.send(c.quit()...)
	b.read()
	b.later(time.Hour)
	b.later(time.Hour)
	b.q.follower.tend(b.now, nil)
	if len(b.lane.flows) != 0 {
		t.Errorf("the kernel still has %d flows, for good", len(b.lane.flows))
	}
}

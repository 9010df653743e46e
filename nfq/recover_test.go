package nfq

import (
	"net/netip"
	"testing"

	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// losing is a lane in which something happens while flows are handed over.
type losing struct {
	*fakeLane
	meanwhile func()
}

func (l *losing) Edit(edits []lane.Edit) (int, error) {
	n, err := l.fakeLane.Edit(edits)
	if f := l.meanwhile; f != nil {
		l.meanwhile = nil
		f()
	}
	return n, err
}

// Copies of a second holder's are lost while what became of the first one's is put right:
// the second one's flows go to the queue as well.
func TestCopiesLostDuringTheRepairAreNotForgotten(t *testing.T) {
	l := &losing{fakeLane: newFakeLane()}
	b := &twoLanes{lane: l.fakeLane, lessor: &lessor{allowed: 5}}
	b.bench = newBench(t, Config{Policy: b.lessor, Lane: l})
	other := newTalk(4003)
	other.client = netip.MustParseAddrPort("100.64.9.9:4003")
	first := *other
	first.client = netip.MustParseAddrPort("100.64.9.9:4002")
	one := newTalk(4001)
	b.send(newTalk(4000).syn(), one.syn(), first.syn(), other.syn())
	for _, c := range []*talk{one, other} {
		b.send(c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"))
	}
	b.read()
	lose := func(c *talk) {
		room := l.room
		l.room = 0
		b.send(c.reply("250 hi\r\n"))
		l.room = room
	}
	lose(one)
	l.meanwhile = func() { lose(other) }
	b.read()
	b.read()
	for _, c := range []*talk{one, other} {
		p := nfqtest.TCP{Src: c.client, Dst: c.server, Seq: c.up, Ack: c.down, Flags: packet.PSH | packet.ACK, Payload: []byte("DATA\r\n")}.Packet()
		if way := b.lane.arrive(t, p); way != "handed" {
			t.Errorf("%v, of whom a copy was lost, goes on by the way %s", c.client, way)
		}
	}
}

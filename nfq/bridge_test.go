package nfq

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// takeBy gives a packet to the worker that came by a bridge's port from a neighbour.
func (b *bench) takeBy(port uint32, mac [6]byte, ip []byte) uint32 {
	b.id++
	b.out = b.w.batch([]queued{{id: b.id, ip: ip, length: len(ip), port: port, mac: mac}}, b.now, b.out)
	b.w.send(b.out)
	return b.id
}

// A bridge brings no answer by the port of the client: it is not the server's.
func TestAnAnswerFromTheSideOfTheClientTellsNothing(t *testing.T) {
	t.Parallel()
	const lan, wan, other = 3, 4, 5
	for _, begin := range []string{"with a SYN", "in mid-air"} {
		b := newBench(t, Config{})
		c := newTalk(4000)
		if begin == "with a SYN" {
			b.takeBy(lan, [6]byte{}, c.syn())
			b.takeBy(wan, [6]byte{}, c.synAck())
		}
		b.takeBy(lan, [6]byte{}, c.say("EHLO c\r\n"))
		before := len(b.policy.events)
		forged := *c
		if got := b.answer(b.takeBy(lan, [6]byte{}, forged.reply("354 go\r\n"))); got != "accept" {
			t.Errorf("%s: a forged reply: %s", begin, got)
		}
		s := b.stats()
		if s.Passed["forged"] != 1 || len(b.policy.events) != before || s.Verdicts["up"] != 0 {
			t.Errorf("%s: it told something: %+v", begin, s)
		}
		b.takeBy(other, [6]byte{}, c.reply("250 hi\r\n"))
		if s := b.stats(); s.Passed["forged"] != 1 {
			t.Errorf("%s: a server behind another port counts as forged", begin)
		}
	}
	// Where there is no bridge there are no ports.
	b := newBench(t, Config{})
	c := newTalk(4000)
	b.take(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
	if s := b.stats(); s.Passed["forged"] != 0 {
		t.Errorf("without a bridge: %+v", s.Passed)
	}
}

// wayBack remembers what it was told.
type wayBack struct {
	clients []netip.Addr
	macs    [][6]byte
	err     error
}

func (w *wayBack) Learn(client netip.Addr, mac [6]byte, _ time.Time) error {
	w.clients, w.macs = append(w.clients, client), append(w.macs, mac)
	return w.err
}

func TestTheWayBackIsLearntBeforeASessionIsDeferred(t *testing.T) {
	t.Parallel()
	mac := [6]byte{2, 0, 0, 0, 0, 9}
	for _, c := range []struct {
		err        error
		action     Action
		want       string
		told       int
		unanswered uint64
	}{
		{nil, Defer, "deferred", 1, 0},
		{errors.New("no room for another neighbour"), Defer, "cut", 1, 1},
		{nil, Pass, "see", 0, 0},
		{nil, Reset, "cut", 0, 0},
	} {
		way := &wayBack{err: c.err}
		b := newBench(t, Config{WayBack: way, Policy: &policy{opening: func(Flow) Opening { return Opening{Action: c.action} }}})
		if got := b.answer(b.takeBy(3, mac, newTalk(4000).syn())); got != c.want {
			t.Errorf("%v, %v: %s, want %s", c.action, c.err, got, c.want)
		}
		if len(way.clients) != c.told || c.told == 1 && (way.clients[0] != subscriber4 || way.macs[0] != mac) {
			t.Errorf("%v: told %v by %v", c.action, way.clients, way.macs)
		}
		if s := b.stats(); s.Unanswered != c.unanswered {
			t.Errorf("%v, %v: %d unanswered, want %d", c.action, c.err, s.Unanswered, c.unanswered)
		}
	}
}

func TestThePortAndTheNeighbourOfAPacket(t *testing.T) {
	t.Parallel()
	message := func(length uint16, more []byte) []byte {
		b := appendMessage(nil, messagePacket, 0, 0, 0)
		b = appendAttribute(b, attrPacketHeader, 7)
		b = append(b, 0, 0, 0, 9, 8, 0, 0, 0)
		b = appendAttribute32(b, attrPhysInDev, 77)
		b = appendAttribute(b, attrHWAddr, 4+len(more))
		b = binary.BigEndian.AppendUint16(b, length)
		b = append(append(b, 0, 0), more...)
		finishMessage(b, 0)
		return b
	}
	for _, c := range []struct {
		why    string
		length uint16
		bytes  []byte
		mac    [6]byte
	}{
		{"Ethernet", 6, []byte{1, 2, 3, 4, 5, 6, 0, 0}, [6]byte{1, 2, 3, 4, 5, 6}},
		{"another link layer", 8, []byte{1, 2, 3, 4, 5, 6, 7, 8}, [6]byte{}},
		{"none", 0, make([]byte, 8), [6]byte{}},
		{"cut short", 6, []byte{1, 2, 3, 4}, [6]byte{}},
	} {
		_, _, body, _, _ := nextMessage(message(c.length, c.bytes))
		var p queued
		if !parsePacket(body, &p) || p.id != 9 || p.port != 77 || p.mac != c.mac {
			t.Errorf("%s: %+v, want port 77 and %v", c.why, p, c.mac)
		}
	}
}

package nfq

import (
	"encoding/binary"
	"testing"
)

// copyOf is what the kernel sends: the number-th copy, with a packet.
func copyOf(number uint32, ip []byte) []byte {
	b := appendMessage(nil, messageCopy, 0, 0, 0)
	b = appendAttribute(b, copyPayload, len(ip))
	b = append(b, ip...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = appendAttribute(b, copyNumber, 4)
	b = binary.BigEndian.AppendUint32(b, number)
	finishMessage(b, 0)
	return b
}

// holes are the places in an inbox that say that copies are missing there: before how many packets.
func holes(l letters) (at []int) {
	packets := 0
	for _, x := range l.list {
		if x.length == 0 {
			at = append(at, packets)
		} else {
			packets++
		}
	}
	return at
}

// A number that is left out is so many copies lost, and each worker that has flows is told at the place where they are missing, once.
func TestANumberThatIsLeftOutIsALostCopy(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	c := &copies{q: b.q, owners: map[Flow]*worker{}}
	talk := newTalk(4000)
	c.owners[Flow{Client: talk.client, Server: talk.server}] = b.w
	for _, row := range []struct {
		number uint32
		lost   uint64
	}{{1<<32 - 2, 0}, {1<<32 - 1, 0}, {0, 0}, {3, 2}, {4, 2}, {9, 6}} {
		c.message(copyOf(row.number, talk.reply("250 OK\r\n")))
		if c.count.lost != row.lost {
			t.Errorf("behind number %d: %d lost, want %d", row.number, c.count.lost, row.lost)
		}
	}
	got := b.w.inbox.take()
	if at := holes(got); len(at) != 2 || at[0] != 3 || at[1] != 5 || c.count.packets != 6 {
		t.Errorf("of %d packets some are missing before %v, want 3 and 5", c.count.packets, at)
	}
	c.message(copyOf(10, newTalk(4001).reply("250 OK\r\n")))
	if c.count.stray != 1 {
		t.Errorf("a copy of nobody's flow: %d strays", c.count.stray)
	}
}

// What finds no room in an inbox is a lost copy like any other, and the worker knows it.
func TestAFullInboxTellsWhatItLost(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	c := &copies{q: b.q, owners: map[Flow]*worker{}}
	talk := newTalk(4000)
	c.owners[Flow{Client: talk.client, Server: talk.server}] = b.w
	ip := talk.reply(string(make([]byte, 1<<14)))
	room := inboxBytes / len(ip)
	for n := range room + 3 {
		c.message(copyOf(uint32(n), ip))
	}
	got := b.w.inbox.take()
	if at := holes(got); c.count.lost != 3 || len(at) != 1 || at[0] != room {
		t.Errorf("%d lost, and the worker is told so before %v, want 3 and %d", c.count.lost, at, room)
	}
	c.message(copyOf(uint32(room+3), ip))
	if got = b.w.inbox.take(); c.count.lost != 3 || len(got.list) != 1 {
		t.Errorf("there is room again: %d lost, %d in the inbox", c.count.lost, len(got.list))
	}
}

package nfq

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

// fakeReader remembers the verdicts that it is given.
type fakeReader struct {
	count   readerErrors
	packets chan []queued
	stop    chan struct{}
	given   map[uint32][]verdict
}

func newFakeReader() *fakeReader {
	return &fakeReader{packets: make(chan []queued), stop: make(chan struct{}, 8), given: map[uint32][]verdict{}}
}

func (r *fakeReader) read() ([]queued, error) {
	select {
	case p := <-r.packets:
		return p, nil
	case <-r.stop:
		return nil, errInterrupted
	}
}

func (r *fakeReader) send(vs []verdict) error {
	for _, v := range vs {
		r.given[v.id] = append(r.given[v.id], v)
	}
	return nil
}

func (r *fakeReader) interrupt()            { r.stop <- struct{}{} }
func (r *fakeReader) shut() error           { return nil }
func (r *fakeReader) close()                {}
func (r *fakeReader) errors() *readerErrors { return &r.count }

// bench is a worker on a table in front of the test: no kernel, no goroutine,
// and a clock that the test moves.
type bench struct {
	t      testing.TB
	q      *Queues
	w      *worker
	reader *fakeReader
	policy *policy
	now    time.Time
	id     uint32
	out    []verdict
}

var marks = ruleset.Marks{Mask: ruleset.DefaultMask}

func newBench(t testing.TB, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t, reader: newFakeReader(), now: time.Unix(1_000_000, 0)}
	if cfg.Policy == nil {
		b.policy = &policy{}
		cfg.Policy = b.policy
	} else {
		b.policy, _ = cfg.Policy.(*policy)
	}
	if cfg.Ports == nil {
		cfg.Ports = []uint16{25, 465}
	}
	cfg.Now = func() time.Time { return b.now }
	q, err := open(cfg, func(uint16, readerOptions) (reader, error) { return b.reader, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	b.q, b.w = q, q.workers[0]
	return b
}

// take gives packets to the worker in one batch and returns the first one's id.
func (b *bench) take(ips ...[]byte) uint32 {
	first := b.id + 1
	packets := make([]queued, len(ips))
	for i, ip := range ips {
		b.id++
		packets[i] = queued{id: b.id, ip: ip, length: len(ip)}
	}
	b.out = b.w.batch(packets, b.now, b.out)
	b.w.send(b.out)
	return first
}

// later moves the clock and does what is due.
func (b *bench) later(d time.Duration) {
	b.now = b.now.Add(d)
	for _, w := range b.q.all() {
		for next := time.Duration(0); next <= 0; {
			b.out, next = w.tend(b.now, b.out)
			w.send(b.out)
		}
	}
}

// answer is what packet id was told, in a word: "none" so far, "accept",
// "drop", or the state in the mark.
func (b *bench) answer(id uint32) string {
	switch vs := b.reader.given[id]; {
	case len(vs) == 0:
		return "none"
	case len(vs) > 1:
		return fmt.Sprintf("%d verdicts", len(vs))
	case vs[0].drop:
		return "drop"
	case vs[0].marked:
		s, _ := marks.State(vs[0].mark)
		return s.String()
	}
	return "accept"
}

func (b *bench) stats() QueueStats { return b.q.Stats().Queues[0] }

// talk is a TCP connection that makes its own packets.
type talk struct {
	client, server netip.AddrPort
	up, down       uint32 // next sequence numbers
}

func newTalk(port uint16) *talk {
	return &talk{netip.AddrPortFrom(subscriber4, port), netip.AddrPortFrom(server4, 25), 1000, 5000}
}

func (c *talk) syn() []byte {
	p := nfqtest.TCP{Src: c.client, Dst: c.server, Seq: c.up, Flags: packet.SYN}.Packet()
	c.up++
	return p
}

func (c *talk) synAck() []byte {
	p := nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down, Ack: c.up, Flags: packet.SYN | packet.ACK}.Packet()
	c.down++
	return p
}

func (c *talk) say(text string) []byte {
	p := nfqtest.TCP{Src: c.client, Dst: c.server, Seq: c.up, Ack: c.down, Flags: packet.PSH | packet.ACK, Payload: []byte(text)}.Packet()
	c.up += uint32(len(text))
	return p
}

func (c *talk) reply(text string) []byte {
	p := nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down, Ack: c.up, Flags: packet.PSH | packet.ACK, Payload: []byte(text)}.Packet()
	c.down += uint32(len(text))
	return p
}

func (c *talk) clientFIN() []byte {
	p := nfqtest.TCP{Src: c.client, Dst: c.server, Seq: c.up, Ack: c.down, Flags: packet.FIN | packet.ACK}.Packet()
	c.up++
	return p
}

func (c *talk) serverFIN() []byte {
	p := nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down, Ack: c.up, Flags: packet.FIN | packet.ACK}.Packet()
	c.down++
	return p
}

func (c *talk) clientRST() []byte {
	return nfqtest.TCP{Src: c.client, Dst: c.server, Seq: c.up, Flags: packet.RST}.Packet()
}

func withAddr(p netip.AddrPort, addr string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), p.Port())
}

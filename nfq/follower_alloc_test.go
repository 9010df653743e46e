package nfq

import (
	"testing"

	"github.com/mailweir/mailweir/nfq/lane"
)

// given is a lane whose copies are made beforehand.
type given struct {
	*fakeLane
	batches [][]lane.Copy
}

func (g *given) Read(each func(*lane.Copy)) int {
	if len(g.batches) == 0 {
		return g.fakeLane.Read(each)
	}
	some := g.batches[0]
	g.batches = g.batches[1:]
	for i := range some {
		each(&some[i])
	}
	return len(some)
}
func (g *given) Edit([]lane.Edit) (int, error) { return 0, nil }

func TestFollowingDoesNotAllocate(t *testing.T) {
	g := &given{fakeLane: newFakeLane()}
	b := &twoLanes{lane: g.fakeLane, lessor: &lessor{allowed: 64}}
	b.bench = newBench(t, Config{Policy: b.lessor, Lane: g})
	b.send(newTalk(3999).syn())
	var talks [16]*talk
	for i := range talks {
		c := newTalk(uint16(4000 + i))
		talks[i] = c
		b.send(c.syn(), c.synAck(), c.reply("220 hi\r\n"), c.say("EHLO c\r\n"), c.reply("250 hi\r\n"))
	}
	b.read()
	const runs = 1000
	for n := range runs + 1 {
		c := talks[n%16]
		up := c.say("NOOP\r\n")
		down := c.reply("250 ok\r\n")
		g.batches = append(g.batches, []lane.Copy{{IP: up, Length: len(up)}, {IP: down, Length: len(down), Down: true}})
	}
	if n := testing.AllocsPerRun(runs, b.read); n != 0 {
		t.Errorf("%v allocations per two copies", n)
	}
	if s := b.q.Stats().Lane; s.Opened != 16 {
		t.Errorf("%+v", s)
	}
}

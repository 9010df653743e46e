package nfq

import (
	"net/netip"
	"slices"
	"testing"
)

func TestALeaseIsShown(t *testing.T) {
	b := newTwoLanes(t, 5)
	holder := newTalk(4000).client.Addr().String()
	if l, ok := b.q.Lease(holder); ok {
		t.Errorf("before the first session: %+v", l)
	}
	b.send(newTalk(4000).syn())
	b.send(newTalk(4001).syn())
	b.send(newTalk(4002).syn())
	l, ok := b.q.Lease(holder)
	if !ok || l.Left != 3 || l.Suspended || !slices.Equal(l.Addresses, []netip.Addr{netip.MustParseAddr(holder)}) {
		t.Errorf("two of five were used: %+v, %v", l, ok)
	}
	b.lane.losers[0] = 1
	if l, _ := b.q.Lease(holder); !l.Suspended {
		t.Errorf("copies were lost: %+v", l)
	}
	b.q.Unlease()
	if l, _ := b.q.Lease(holder); len(l.Addresses) != 0 {
		t.Errorf("everything is forgotten: %+v", l)
	}
	if l, ok := newBench(t, Config{}).q.Lease(holder); ok {
		t.Errorf("without a fast lane: %+v", l)
	}
}

package governor

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const networks = 12

// aNetwork is one of a few destination networks, some of them of IPv6.
func aNetwork(t *rapid.T) netip.Prefix {
	n := rapid.IntRange(0, networks).Draw(t, "network")
	switch {
	case n == 0:
		return netip.Prefix{}
	case n < 4:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(n)}), 48)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(n), 0}), 24)
}

// The short way for sessions that give nothing to decide says and does what the long way does.
func TestTheShortWayIsTheLongWay(t *testing.T) {
	t.Parallel()
	short, all := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, rapid.SampledFrom([]Stage{StageObserve, StagePace, StageDefer, StageCut, StageCut}).Draw(t, "highest"))
		for range rapid.IntRange(0, 2).Draw(t, "destinations") {
			p.Plans[0].Budgets = append(p.Plans[0].Budgets, Budget{Of: Destinations, Limit: rapid.IntRange(1, 5).Draw(t, "limit"),
				Per: time.Duration(rapid.IntRange(5, 100).Draw(t, "per")) * time.Second, Burst: rapid.IntRange(1, 5).Draw(t, "burst")})
		}
		a, b := New(p, t0), New(p, t0)
		b.slow = true
		now := t0
		receipts := []Receipt{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"open", "open", "open", "open", "close", "withdraw", "spend", "wait", "wait", "accepted"}).Draw(t, "what") {
			case "open":
				at := Attempt{Subscriber: "S", Plan: "home", Destination: aNetwork(t), Unlisted: rapid.IntRange(0, 9).Draw(t, "unlisted") == 0}
				if e, ok := a.lookup("S"); ok && e.t == nil && e.stage == StageObserve {
					short++
				}
				all++
				x, y := a.Open(at, now), b.Open(at, now)
				if !reflect.DeepEqual(x, y) {
					t.Fatalf("%+v\nby the long way %+v", x, y)
				}
				receipts = append(receipts, x.Receipt)
			case "close":
				a.Close("S", now)
				b.Close("S", now)
			case "withdraw":
				if len(receipts) > 0 {
					r := receipts[rapid.IntRange(0, len(receipts)-1).Draw(t, "receipt")]
					a.Withdraw("S", r, now)
					b.Withdraw("S", r, now)
				}
			case "spend":
				k, n := rapid.SampledFrom(Kinds()).Draw(t, "kind"), rapid.IntRange(1, 3).Draw(t, "cost")
				if x, y := a.Spend("S", "home", k, n, now), b.Spend("S", "home", k, n, now); !reflect.DeepEqual(x, y) {
					t.Fatalf("%+v\nby the long way %+v", x, y)
				}
			case "accepted":
				n := rapid.IntRange(1, 30).Draw(t, "recipients")
				a.Accepted("S", n, now)
				b.Accepted("S", n, now)
			case "wait":
				now = now.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond)
			}
			if x, y := a.everybody(now), b.everybody(now); !reflect.DeepEqual(x, y) {
				t.Fatalf("%+v\nby the long way %+v", x, y)
			}
		}
	})
	if t.Logf("%d of %d sessions may have gone the short way", short, all); short < 20 {
		t.Error("too few to show anything")
	}
}

// everybody is everything that would be saved.
func (g *Governor) everybody(now time.Time) []Saved {
	all, _ := g.Snapshot(0, 1<<20, now)
	return all
}

func TestTokensWithoutADivision(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newLimit(Budget{Of: Sessions, Limit: rapid.IntRange(1, MaxLimit).Draw(t, "limit"), Burst: rapid.IntRange(1, MaxLimit).Draw(t, "burst"),
			Per: time.Duration(rapid.Int64Range(int64(MinPer), int64(MaxPer)).Draw(t, "per"))}, DefaultLadder())
		p := plan{}
		p.add(l)
		p.quicken()
		span := rapid.Int64Range(0, l.debt).Draw(t, "span")
		span += rapid.Int64Range(-1, 1).Draw(t, "edge") - span%l.token*rapid.Int64Range(0, 1).Draw(t, "whole")
		if span = max(0, span); p.quick[0].tokens(span) != int64(l.tokens(span)) {
			t.Fatalf("%d of %d: %d tokens, are %d", span, l.token, p.quick[0].tokens(span), l.tokens(span))
		}
	})
}

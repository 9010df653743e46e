package lane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// ways counts what became of SYNs.
type ways struct{ alone, fast, dropped int }

// give sends n SYNs, all different, and says what became of them.
func (h *hand) give(n int, client, server netip.Addr, port uint16) (w ways) {
	h.t.Helper()
	for i := range n {
		verdict, mark := h.up(connection(client, uint16(20000+i), server, port, uint32(i)).syn().Packet())
		switch {
		case verdict == drop:
			w.dropped++
		case mark == 0x0b000000:
			w.fast++
		case mark == 0:
			w.alone++
		default:
			h.t.Errorf("verdict %d, mark %#x", verdict, mark)
		}
	}
	return w
}

func TestWhoIsCutIsAnsweredNowAndThen(t *testing.T) {
	t.Parallel()
	o := options()
	o.AnswerRate, o.AnswerBurst = 1, 4
	h := newHand(t, o)
	h.lease(sub4, 1, 100)
	h.lease(sub6, 1, 0)
	h.lease(sub6.Next(), 1, 0)
	elsewhere := netip.MustParseAddr("fd00:1:0:1::2")
	h.lease(elsewhere, 1, 0)
	begun := connection(sub4, 999, inter4, 25, 1)
	h.up(begun.syn().Packet())
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(h.Block(sub4, time.Hour))
	check(h.Block(sub6, time.Hour))
	for _, row := range []struct {
		why            string
		set            func() error
		client, server netip.Addr
		port           uint16
		want           ways
	}{
		{"cut: as many are answered as are allowed at once", nil, sub4, inter4, 25, ways{alone: 4, dropped: 6}},
		{"a port that is only counted", nil, sub4, inter4, 587, ways{fast: 10}},
		{"IPv6 is cut by /64", nil, sub6.Next(), inter6, 25, ways{alone: 4, dropped: 6}},
		{"and all of it has one meter", nil, sub6, inter6, 25, ways{dropped: 10}},
		{"the next /64 is not", nil, elsewhere, inter6, 25, ways{fast: 10}},
		{"let go", func() error { return h.Unblock(sub4) }, sub4, inter4, 25, ways{fast: 10}},
		{"its time is over by itself", func() error { return h.Block(sub4, 0) }, sub4, inter4, 25, ways{fast: 10}},
		{"all are let go", func() error { return h.UnblockAll() }, sub6, inter6, 25, ways{fast: 10}},
	} {
		if row.set != nil {
			check(row.set())
		}
		if got := h.give(10, row.client, row.server, row.port); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.why, got, row.want)
		}
	}
	check(h.Block(sub4, time.Hour))
	if _, mark := h.up(begun.up(packet.ACK, "x").Packet()); mark != 0x0b000000 {
		t.Errorf("a session that had begun bears mark %#x", mark)
	}
	if s := h.stats(); s.CutAnswered != 8 || s.CutDropped != 22 {
		t.Errorf("stats %+v", s)
	}
}

func TestAnAnswerIsGivenAgainLater(t *testing.T) {
	t.Parallel()
	o := options()
	o.AnswerRate, o.AnswerBurst = 20, 2
	h := newHand(t, o)
	if err := h.Block(sub4, time.Hour); err != nil {
		t.Fatal(err)
	}
	h.give(10, sub4, inter4, 25)
	time.Sleep(60 * time.Millisecond) // a twentieth of a second, and some
	if got := h.give(1, sub4, inter4, 25); got != (ways{alone: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestAFloodIsMeteredBySource(t *testing.T) {
	t.Parallel()
	o := options()
	o.FloodRate, o.FloodBurst = 1, 3
	h := newHand(t, o)
	h.lease(other4, 1, 50)
	for _, row := range []struct {
		why            string
		act            bool
		client, server netip.Addr
		port           uint16
		want           ways
		over           uint64 // of this source since the last row
	}{
		{"observed: what is beyond passes, uncopied", false, sub4, inter4, 25, ways{alone: 3, fast: 7}, 7},
		{"enforced: it is dropped", true, sub4, inter4, 25, ways{dropped: 10}, 10},
		{"enforced, but the port is only counted", true, sub4, inter4, 465, ways{fast: 10}, 10},
		{"another source has its own meter", true, sub4.Next(), inter4, 25, ways{alone: 3, dropped: 7}, 7},
		{"IPv6 is metered", true, sub6, inter6, 25, ways{alone: 3, dropped: 7}, 7},
		{"by /64", true, sub6.Next(), inter6, 25, ways{dropped: 10}, 10},
		{"what goes by lease is not metered", true, other4, inter4, 25, ways{fast: 10}, 0},
	} {
		h.Act(row.act)
		h.copied()
		if got := h.give(10, row.client, row.server, row.port); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.why, got, row.want)
		}
		if copies := h.copied(); row.over > 0 && len(copies) != 0 {
			t.Errorf("%s: %d copies", row.why, len(copies))
		}
		var over uint64
		if err := h.Flooding(func(addr netip.Addr, n uint64) {
			if want := row.client; addr != want && addr != netip.PrefixFrom(want, 64).Masked().Addr() {
				t.Errorf("%s: %v is flooding", row.why, addr)
			}
			over += n
		}); err != nil || over != row.over {
			t.Errorf("%s: %d beyond the meter, want %d, %v", row.why, over, row.over, err)
		}
	}
	if s := h.stats(); s.FloodPassed != 17 || s.FloodDropped != 34 || s.SYNFast != 10 {
		t.Errorf("stats %+v", s)
	}
}

func TestForgedSourcesHaveOneMeterTogether(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		o := options()
		o.TotalRate, o.TotalBurst, o.FailOpen = 1, 5, open
		h := newHand(t, o)
		var got ways
		for client, i := sub4.Next(), 0; i < 20; client, i = client.Next(), i+1 {
			w := h.give(1, client, inter4, 25)
			got = ways{got.alone + w.alone, got.fast + w.fast, got.dropped + w.dropped}
		}
		want, s := ways{alone: 5, dropped: 15}, h.stats()
		if open {
			want = ways{alone: 5, fast: 15}
		}
		if got != want || s.TotalPassed != uint64(want.fast) || s.TotalDropped != uint64(want.dropped) || len(h.copied()) != 0 {
			t.Errorf("fail open %v: %+v, want %+v; stats %+v", open, got, want, s)
		}
		h.lease(sub4, 1, 1)
		if w := h.give(1, sub4, inter4, 25); w.fast != 1 || len(h.copied()) != 1 {
			t.Errorf("fail open %v: a lease in the middle of it: %+v", open, w)
		}
	}
}

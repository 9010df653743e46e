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

// One line has a whole delegated prefix to choose its addresses from.
func TestAFloodIsMeteredByLine(t *testing.T) {
	t.Parallel()
	o := options()
	o.FloodRate, o.FloodBurst, o.LineBits = 1, 3, 56
	h := newHand(t, o)
	h.Act(true)
	for _, row := range []struct {
		client string
		want   ways
	}{
		{"fd00:1:0:1200::2", ways{alone: 3, dropped: 7}},
		{"fd00:1:0:12ff:1234::9", ways{dropped: 10}},
		{"fd00:1:0:1300::2", ways{alone: 3, dropped: 7}},
		{"10.0.1.2", ways{alone: 3, dropped: 7}},
		{"10.0.1.3", ways{alone: 3, dropped: 7}},
	} {
		client, server := netip.MustParseAddr(row.client), inter6
		if client.Is4() {
			server = inter4
		}
		if got := h.give(10, client, server, 25); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.client, got, row.want)
		}
	}
	want := map[string]uint64{"fd00:1:0:1200::": 17, "fd00:1:0:1300::": 7, "10.0.1.2": 7, "10.0.1.3": 7}
	if err := h.Flooding(func(addr netip.Addr, over uint64) {
		if want[addr.String()] != over {
			t.Errorf("%v: %d beyond the meter", addr, over)
		}
		delete(want, addr.String())
	}); err != nil || len(want) > 0 {
		t.Errorf("%v are missing, %v", want, err)
	}
}

// When many wait, who sends many gives way, and those who send few are judged.
func TestInACrowdWhoSendsManyGivesWay(t *testing.T) {
	t.Parallel()
	for _, act := range []bool{true, false} {
		o := options()
		o.CalmRate, o.CalmBurst, o.TotalRate, o.TotalBurst = 1, 4, 1, 20
		h := newHand(t, o)
		h.Act(act)
		busy, calm := h.give(30, sub4, inter4, 25), ways{}
		for client, i := other4, 0; i < 5; client, i = client.Next(), i+1 {
			w := h.give(1, client, inter4, 25)
			calm = ways{calm.alone + w.alone, calm.fast + w.fast, calm.dropped + w.dropped}
		}
		wantBusy, wantCalm := ways{alone: 11, dropped: 19}, ways{alone: 5}
		if !act { // nobody is dropped, so nobody has room
			wantBusy, wantCalm = ways{alone: 20, fast: 10}, ways{fast: 5}
		}
		if s := h.stats(); busy != wantBusy || calm != wantCalm || s.CrowdDropped != uint64(wantBusy.dropped) {
			t.Errorf("enforced %v: who sends many %+v, few %+v; %d gave way", act, busy, calm, s.CrowdDropped)
		}
	}
}

// What would wait for a process that stands still passes; what does not wait is as always.
func TestWhatNobodyReadsPasses(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		o := options()
		o.FailOpen = open
		h := newHand(t, o)
		h.lease(sub4, 1, 3)
		handed, running := connection(sub4, 5000, inter4, 25, 1), connection(sub4, 5001, inter4, 25, 1)
		h.up(handed.syn().Packet())
		h.up(running.syn().Packet())
		if found, err := h.SetState(handed.Key, handed.isn, Handed); !found || err != nil {
			t.Fatal(found, err)
		}
		midAir := connection(other4, 5002, inter4, 25, 1)
		for _, row := range []struct {
			why    string
			ahead  time.Duration
			unread bool
		}{{"nobody has begun to read", 0, false}, {"somebody reads", time.Hour, false}, {"nobody reads any more", time.Nanosecond, true}} {
			h.Judging(row.ahead)
			pass := row.unread && open
			for _, p := range []struct {
				why   string
				ip    []byte
				waits uint32
			}{
				{"a SYN without a lease", connection(other4, 4999, inter4, 25, 1).syn().Packet(), 0},
				{"handed over", handed.up(packet.ACK, "x").Packet(), 0x01000000},
				{"in mid-air", midAir.up(packet.ACK, "x").Packet(), 0},
				{"in the lane", running.up(packet.ACK, "x").Packet(), 0x0b000000},
			} {
				want := p.waits
				if pass {
					want = 0x0b000000
				}
				if _, mark := h.up(p.ip); mark != want {
					t.Errorf("fail open %v, %s, %s: mark %#x, want %#x", open, row.why, p.why, mark, want)
				}
			}
		}
		want := uint64(3)
		if !open {
			want = 0
		}
		if s := h.stats(); s.Unread != want {
			t.Errorf("fail open %v: %d packets passed unread", open, s.Unread)
		}
	}
}

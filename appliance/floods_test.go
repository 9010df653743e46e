package appliance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq"
)

// told is a record about a flood, the short way.
type told struct {
	who   string
	count uint64
	good  bool
}

func TestEverySYNOfAFloodIsInOneRecord(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("2001:db8:1:2::")
	now := time.Unix(1_000_000, 0)
	var over map[netip.Addr]uint64 // in the kernel's table
	var said []told
	var stats nfq.LaneStats
	fs := &floods{
		bits: 64,
		flooding: func(each func(netip.Addr, uint64)) error {
			for addr, n := range over {
				each(addr, n)
			}
			return nil
		},
		of:  func(addr netip.Addr) string { return "of " + addr.String() },
		say: func(f records.HealthFacts) { said = append(said, told{f.Target, f.Count, f.Good}) },
		now: func() time.Time { return now },
	}
	for _, row := range []struct {
		why      string
		pass     time.Duration
		over     map[netip.Addr]uint64
		unlisted uint64 // counted, and in nobody's entry
		want     []told
	}{
		{"nothing", 0, nil, 0, nil},
		{"one begins: it is told at once", time.Second, map[netip.Addr]uint64{a: 300}, 0, []told{{"100.64.0.1", 300, false}}},
		{"it goes on", time.Second, map[netip.Addr]uint64{a: 500}, 0, nil},
		{"another one, by /64", time.Second, map[netip.Addr]uint64{a: 500, b: 7}, 0, []told{{"2001:db8:1:2::/64", 7, false}}},
		{"after a minute it is told again", 58 * time.Second, map[netip.Addr]uint64{a: 200, b: 1}, 0, []told{{"100.64.0.1", 1200, false}}},
		{"so many that the kernel's table forgot some", time.Second, map[netip.Addr]uint64{a: 200}, 5000, []told{{"other sources", 5000, false}}},
		{"quiet, but not for long", 9 * time.Second, nil, 0, []told{{"2001:db8:1:2::/64", 1, true}}},
		{"over, with what was not told", time.Second, nil, 0, []told{{"100.64.0.1", 200, true}}},
		{"nothing any more", time.Hour, nil, 0, nil},
	} {
		now, over, said = now.Add(row.pass), row.over, nil
		for _, n := range over {
			stats.FloodDropped += n
		}
		stats.FloodDropped += row.unlisted
		fs.watch(&stats)
		slices.SortFunc(said, func(x, y told) int { return int(x.count) - int(y.count) })
		if !slices.Equal(said, row.want) {
			t.Errorf("%s: %v, want %v", row.why, said, row.want)
		}
	}

	over, said = map[netip.Addr]uint64{}, nil
	all := uint64(0)
	for i := range 2 * floodsAtOnce {
		over[netip.AddrFrom4([4]byte{100, 65, 0, byte(i)})] = 10
		all += 10
	}
	stats.FloodPassed += all
	fs.watch(&stats)
	sum := uint64(0)
	for _, s := range said {
		sum += s.count
	}
	if len(said) != floodsAtOnce+1 || sum != all {
		t.Errorf("of %d sources: %d records of %d SYNs, want %d of %d", len(over), len(said), sum, floodsAtOnce+1, all)
	}
	over, said = map[netip.Addr]uint64{a: 3}, nil
	stats.FloodPassed += 3
	fs.watch(&stats)
	fs.end()
	if !slices.Equal(said, []told{{"other sources", 3, false}}) {
		t.Errorf("at the end: %v", said)
	}
}

func TestWhatHappensOftenIsToldInTheEnd(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	var said []string
	h := &health{now: func() time.Time { return now }, say: func(e records.Entry) bool { said = append(said, e.Text); return true }}
	for range 5 {
		h.often(records.HealthFacts{What: "flood", Target: "cut", Count: 3})
		now = now.Add(time.Second)
	}
	h.flush()
	h.flush()
	if want := []string{"flood cut: 3", "flood cut: 12"}; !slices.Equal(said, want) {
		t.Errorf("told %q, want %q", said, want)
	}
}

// What is too much is dropped or passes as network.on_failure has it, and that is what is said.
func TestAFloodIsSaidAsOnFailureHasIt(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for closed, want := range map[bool]string{false: "still too much passes unjudged.", true: "still too much is dropped, too, since network.on_failure is closed"} {
		fs := &floods{closed: closed, crowded: now.Add(-time.Second), now: func() time.Time { return now }}
		if p := fs.problem(now); p == nil || !strings.Contains(p.Meaning, want) {
			t.Errorf("closed %v: %+v", closed, p)
		}
	}
}

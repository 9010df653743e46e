package destinations

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 0}), 24)
}

// stream is a session, for counting exactly.
type sent struct {
	at time.Time
	to netip.Prefix
}

// Whatever the mixture, the true count lies between Sessions - Error and Sessions, Error is at most n / Counters, and nobody
// with more than that is missing.
func TestTheBoundHoldsAgainstExactCounts(t *testing.T) {
	t.Parallel()
	for name, draw := range map[string]func(r *rand.Rand, step int) int{
		"skewed":          func(r *rand.Rand, _ int) int { return int(math.Exp(r.Float64() * math.Log(60_000))) },
		"equal":           func(r *rand.Rand, _ int) int { return r.IntN(40_000) },
		"few":             func(r *rand.Rand, _ int) int { return r.IntN(300) },
		"each once":       func(_ *rand.Rand, step int) int { return step },
		"one among noise": func(r *rand.Rand, step int) int { return step * r.IntN(50) / max(r.IntN(50), 1) },
		"waves": func(r *rand.Rand, step int) int { // what was frequent is gone, and what comes was not there
			return step/20_000*1000 + int(math.Exp(r.Float64()*math.Log(2000)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			b := New()
			var all []sent
			now, worst := start, 0.0
			for step := range 120_000 {
				now = now.Add(time.Duration(r.IntN(1500)) * time.Millisecond) // some 25 hours
				to := network(draw(r, step))
				b.Add(to, 100, now)
				all = append(all, sent{now, to})
				if step%15_000 == 14_999 {
					for w := range windows {
						worst = max(worst, holds(t, b.Top(w, now), all))
					}
				}
			}
			t.Logf("the largest error was %.2f of the bound", worst)
			if name == "few" && worst != 0 {
				t.Error("few networks are not counted exactly")
			}
		})
	}
}

func holds(t *testing.T, v View, all []sent) (worst float64) {
	t.Helper()
	exact, n := map[netip.Prefix]uint64{}, uint64(0)
	for _, s := range all {
		if !s.at.Before(v.From) {
			exact[s.to]++
			n++
		}
	}
	if v.Sessions != n {
		t.Fatalf("%d sessions since %v, exactly %d", v.Sessions, v.From, n)
	}
	bound := float64(n) / Counters
	seen := map[netip.Prefix]bool{}
	for _, x := range v.Networks {
		seen[x.Prefix] = true
		if c := exact[x.Prefix]; c > x.Sessions || c < x.Sessions-x.Error || x.Error > v.Error || x.Bytes > 100*c {
			t.Fatalf("%+v, exactly %d of %d", x, c, n)
		}
		worst = max(worst, float64(x.Error)/bound)
	}
	if float64(v.Error) > bound || worst > 1 {
		t.Fatalf("an error of %d, with %d sessions", v.Error, n)
	}
	for to, c := range exact {
		if !seen[to] && c > v.Error {
			t.Fatalf("%v was contacted %d times and is not there", to, c)
		}
	}
	return worst
}

func TestWindowsEnd(t *testing.T) {
	t.Parallel()
	b := New()
	b.Add(network(1), 10, start)
	for _, row := range []struct {
		why            string
		after          time.Duration
		five, hour, in uint64
	}{
		{"at once", 0, 1, 1, 1},
		{"five minutes are not over", 5*time.Minute - time.Second, 1, 1, 1},
		{"they are over", 6 * time.Minute, 0, 1, 1},
		{"the hour is not over", time.Hour, 0, 1, 1},
		{"it is over", 65 * time.Minute, 0, 0, 1},
		{"the day is not over", 24 * time.Hour, 0, 0, 1},
		{"it is over", 25 * time.Hour, 0, 0, 0},
	} {
		now := start.Add(row.after)
		for w, want := range []uint64{row.five, row.hour, row.in} {
			if v := b.Top(Window(w), now); v.Sessions != want || uint64(len(v.Networks)) != want {
				t.Errorf("%s: window %d has %d sessions", row.why, w, v.Sessions)
			}
		}
	}
}

func TestAClockThatIsSet(t *testing.T) {
	t.Parallel()
	b := New()
	b.Add(network(1), 10, start)
	b.Add(network(1), 10, start.Add(-50*365*24*time.Hour)) // 1976
	b.Add(network(1), 10, start.Add(-50*365*24*time.Hour+time.Minute))
	if v := b.Top(FiveMinutes, start.Add(-50*365*24*time.Hour+2*time.Minute)); v.Sessions != 3 {
		t.Errorf("a clock set back: %+v", v)
	}
	if v := b.Top(Day, start.Add(100*365*24*time.Hour)); v.Sessions != 0 || len(v.Networks) != 0 {
		t.Errorf("a clock set ahead: %+v", v)
	}
	b.Add(network(2), 10, start.Add(100*365*24*time.Hour))
	if v := b.Top(Hour, start); v.Sessions != 1 {
		t.Errorf("and back: %+v", v)
	}
}

// Time that passes counts also where the clock is set back again and again.
func TestAClockThatIsSetBackOften(t *testing.T) {
	t.Parallel()
	b := New()
	b.Add(network(1), 10, start)
	for round := range 8 { // of 50 seconds each
		v := b.Top(FiveMinutes, start.Add(50*time.Second))
		if passed := time.Duration(round+1) * 50 * time.Second; (v.Sessions == 1) != (passed < 6*time.Minute) {
			t.Errorf("after %v: %d sessions", passed, v.Sessions)
		}
		b.Top(FiveMinutes, start)
	}
}

// A window says since when it is: the begin of the book while that is young, and then that of its oldest part, whenever it is
// looked at; also behind a clock that was set back.
func TestSinceWhenAWindowIs(t *testing.T) {
	t.Parallel()
	b := New()
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	b.Add(network(1), 10, start)
	for i := range 200 {
		now := minute(i).Add(17 * time.Second)
		b.Add(network(1), 10, now)
		for w, since := range []time.Time{minute(max(i-5, 0)), minute(max(i/5*5-60, 0)), start} {
			if v := b.Top(Window(w), now); !v.From.Equal(since) || !v.To.Equal(now) {
				t.Fatalf("after %d minutes window %d is of %v to %v, want from %v", i, w, v.From, v.To, since)
			}
		}
	}
	back := start.Add(-10 * time.Hour) // the part that runs has 17 seconds
	b.Top(FiveMinutes, back)
	for i := range 20 {
		now := back.Add(time.Duration(i)*time.Minute + 5*time.Second)
		if v := b.Top(FiveMinutes, now); i > 5 && !v.From.Equal(now.Add(-5*time.Minute-22*time.Second)) {
			t.Fatalf("%d minutes after it was set back: from %v to %v", i, v.From, v.To)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	b := New()
	b.Add(netip.Prefix{}, 1, start)
	if v := b.Top(Hour, start); v.Sessions != 0 || v.Networks != nil {
		t.Errorf("%+v", v)
	}
}

func BenchmarkAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	to := make([]netip.Prefix, 1<<16)
	for i := range to {
		to[i] = network(int(math.Exp(r.Float64() * math.Log(60_000))))
	}
	book, now := New(), start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(100 * time.Microsecond)
		book.Add(to[i%len(to)], 1000, now)
	}
}

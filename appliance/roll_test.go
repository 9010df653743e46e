package appliance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

func crowd(n int) []place {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]place, n)
	for i := range all {
		all[i] = place{id: fmt.Sprintf("S-%06d", i)}
		if r.IntN(10) == 0 {
			all[i].full = float64(r.IntN(40)) / 10
			all[i].stage = governor.StageObserve + governor.Stage(r.IntN(5))
		}
	}
	r.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// Page by page, everybody comes once and in order, also when the roll is made anew in between.
func TestPagesOfTheRollShowEverybodyOnce(t *testing.T) {
	t.Parallel()
	const n, limit = 10_000, 137
	all := crowd(n)
	var r roll
	now := time.Unix(0, 0)
	clock := func() time.Time { now = now.Add(100 * time.Millisecond); return now }
	made := 0
	seen, cursor := map[string]bool{}, ""
	var last place
	for {
		page := after(r.now(clock, func() []place { made++; return append([]place(nil), all...) }), cursor)
		page = page[:min(len(page), limit)]
		if len(page) == 0 {
			break
		}
		for _, p := range page {
			if seen[p.id] {
				t.Fatalf("%s comes twice", p.id)
			}
			if len(seen) > 0 && last.compare(p) >= 0 {
				t.Fatalf("%+v comes before %+v", last, p)
			}
			seen[p.id], last = true, p
		}
		cursor = last.cursor()
	}
	if len(seen) != n {
		t.Errorf("%d of %d", len(seen), n)
	}
	if pages := n/limit + 2; made < 2 || made > pages/5 {
		t.Errorf("made %d times for %d pages", made, pages)
	}
}

func TestTheRollIsNotMadeForEverybodyWhoAsks(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	takes := 400 * time.Millisecond
	made := 0
	var r roll
	ask := func() {
		r.now(func() time.Time { return now }, func() []place { made++; now = now.Add(takes); return []place{{id: "S-1"}} })
	}
	for _, row := range []struct {
		why  string
		wait time.Duration
		want int
	}{
		{"the first", 0, 1},
		{"at once again", 0, 1},
		{"three seconds on: it took 0.4 s, so it stands for four", 3 * time.Second, 1},
		{"five seconds on", 2 * time.Second, 2},
		{"the clock went back an hour", -time.Hour, 3},
	} {
		now = now.Add(row.wait)
		if ask(); made != row.want {
			t.Errorf("%s: made %d times, want %d", row.why, made, row.want)
		}
	}
}

func TestACursorOfNobodyBeginsAnew(t *testing.T) {
	t.Parallel()
	places := []place{{stage: governor.StageCut, id: "a"}, {id: "b c"}, {id: "d"}}
	for cursor, want := range map[string]int{"": 3, "12": 3, "%%%": 3, "b2JzZXJ2ZSAw": 3, "Y3V0IE5hTiBh": 3,
		places[0].cursor(): 2, places[1].cursor(): 1, places[2].cursor(): 0, place{id: "c, gone"}.cursor(): 1} {
		if got := len(after(places, cursor)); got != want {
			t.Errorf("after %q come %d, want %d", cursor, got, want)
		}
	}
}

// BenchmarkRoll is the whole list of 60,000 in pages of 1000.
func BenchmarkRoll(b *testing.B) {
	all := crowd(60_000)
	for b.Loop() {
		var r roll
		cursor := ""
		for {
			page := after(r.now(time.Now, func() []place { return append([]place(nil), all...) }), cursor)
			if len(page) == 0 {
				break
			}
			cursor = page[min(len(page), 1000)-1].cursor()
		}
	}
}

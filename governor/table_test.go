package governor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func TestARecordIsAsSmallAsPromised(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(record{}); n != recordSize {
		t.Errorf("a record is %d bytes", n)
	}
}

// Names beyond the first few thousand are in the memory given, as long as there is some, and are all found again.
func TestMemoryComesFromWhereItIsTold(t *testing.T) {
	t.Parallel()
	for why, pieces := range map[string]int{"none": 0, "one piece": 1, "enough": 100} {
		asked, given := 0, 0
		tab := newTable(func(size int) []byte {
			if asked++; asked > pieces {
				return nil
			}
			given += size
			return make([]byte, size)
		})
		const n = 50_000
		for i := range n {
			id := fmt.Sprint("S-", i)
			_, tag := tab.find(id)
			if slot := tab.insert(id, tag); slot != uint32(i+1) {
				t.Fatalf("%s: %s is at %d", why, id, slot)
			}
			if i < pageSlots && asked > 0 {
				t.Fatalf("%s: memory was asked for by the first %d", why, i+1)
			}
		}
		for i := range n {
			if slot, _ := tab.find(fmt.Sprint("S-", i)); slot != uint32(i+1) {
				t.Fatalf("%s: S-%d is found at %d", why, i, slot)
			}
		}
		if want := min(pieces, (n*(recordSize+8)+pieceSize-1)/pieceSize) * pieceSize; given < want || asked > pieces+1 {
			t.Errorf("%s: %d pieces asked for, %d bytes given, at least %d are needed", why, asked, given, want)
		}
	}
}

// The table against a plain map: names of any length come and go.
func TestTableAgainstAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tab, want := newTable(nil), map[string]uint32{}
		var dirtied []string
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			id := strings.Repeat("x", rapid.IntRange(0, 1).Draw(t, "long")*40) + fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))
			slot, tag := tab.find(id)
			if slot != want[id] {
				t.Fatalf("%s is at %d, want %d", id, slot, want[id])
			}
			switch {
			case slot == 0:
				if slot = tab.insert(id, tag); slot == 0 || slices.Contains(slices.Collect(maps.Values(want)), slot) {
					t.Fatalf("%s is given slot %d", id, slot)
				}
				want[id] = slot
			case rapid.Bool().Draw(t, "mark"):
				if tab.mark(slot); !slices.Contains(dirtied, id) {
					dirtied = append(dirtied, id)
				}
			default:
				tab.remove(slot)
				delete(want, id)
				dirtied = slices.DeleteFunc(dirtied, func(d string) bool { return d == id })
			}
			if tab.count != len(want) {
				t.Fatalf("%d names, want %d", tab.count, len(want))
			}
			if len(dirtied) > 0 && rapid.IntRange(0, 9).Draw(t, "save") == 0 {
				if got := tab.name(tab.pop()); got != dirtied[0] {
					t.Fatalf("first to be saved is %s, want %s", got, dirtied[0])
				}
				dirtied = dirtied[1:]
			}
		}
		for id, slot := range want {
			if tab.name(slot) != id {
				t.Fatalf("%s became %s", id, tab.name(slot))
			}
		}
	})
}

// Buckets split, and what is removed leaves no hole that hides others.
func TestIndexGrows(t *testing.T) {
	t.Parallel()
	x, rnd := newIndex(&pages{}), rand.New(rand.NewPCG(1, 1))
	in := map[uint64]bool{}
	find := func(tag, slot uint32) bool {
		b := x.bucket(tag)
		for i := tag % bucketCells; b[i] != 0; i = (i + 1) % bucketCells {
			if b[i] == uint64(tag)<<32|uint64(slot) {
				return true
			}
		}
		return false
	}
	for n := range uint32(60_000) {
		tag := rnd.Uint32()
		if n%3 == 0 {
			tag &= 0xfff00fff // many alike
		}
		if !x.add(tag, n+1) {
			t.Fatal("no room")
		}
		in[uint64(tag)<<32|uint64(n+1)] = true
		if n%2 == 1 {
			for c := range in {
				x.remove(uint32(c>>32), uint32(c))
				delete(in, c)
				break
			}
		}
	}
	total := uint32(0)
	for _, f := range x.fill {
		total += f.n
	}
	for c := range in {
		if !find(uint32(c>>32), uint32(c)) {
			t.Fatal("lost")
		}
	}
	t.Logf("%d names, %d buckets, depth %d", len(in), len(x.fill), x.depth)
	if int(total) != len(in) || x.depth < 4 {
		t.Errorf("%d counted, %d in", total, len(in))
	}
}

// Where all hashes are alike a bucket is filled and then refuses.
func TestIndexRefusesWhatItCannotTellApart(t *testing.T) {
	t.Parallel()
	x := newIndex(&pages{})
	n := uint32(0)
	for x.add(7, n+1) {
		n++
	}
	if n != bucketCells-1 || len(x.fill) != mostDepth+1 {
		t.Errorf("%d names, %d buckets", n, len(x.fill))
	}
	for ; n > 0; n-- {
		x.remove(7, n)
	}
}

func TestMoreBudgetsThanARecordHasRoomFor(t *testing.T) {
	t.Parallel()
	var many []Budget
	for i := range 20 {
		many = append(many, Budget{Of: Sessions, Limit: 100 + i, Per: time.Hour})
	}
	p := home(StageDefer, many...)
	p.Plans = append(p.Plans, Plan{Name: "office", HighestStage: StageDefer, Budgets: slices.Concat(many[:1], []Budget{{Of: Sessions, Limit: 50, Per: 24 * time.Hour}})})
	g := New(p, t0)
	opens(g, 7, t0)
	values := func(g *Governor) string {
		r, _ := g.Explain("S", t0)
		got := ""
		for _, b := range r.Budgets {
			got += fmt.Sprint(b.Value)
		}
		return got
	}
	if got := values(g); got != strings.Repeat("7", 20) {
		t.Errorf("%s", got)
	}
	h := New(p, t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0, t0)
	for _, g := range []*Governor{g, h} {
		g.Release("nobody", t0)
		if got := values(g); got != strings.Repeat("7", 20) {
			t.Errorf("%s", got)
		}
		g.SetPlans(func(string) string { return "office" }, t0)
		if got := values(g); got != "70" {
			t.Errorf("fewer: %s", got)
		}
		g.SetPlans(func(string) string { return "home" }, t0)
		if got := values(g); got != "7"+strings.Repeat("0", 19) {
			t.Errorf("more again: %s", got)
		}
		opens(g, 1, t0)
		g.Release("S", t0)
		if got := values(g); got != strings.Repeat("0", 20) {
			t.Errorf("released: %s", got)
		}
	}
	// a plan of more than that is cut off
	g = New(home(StageDefer, slices.Repeat(many, 4)...), t0)
	opens(g, 1, t0)
	if r, _ := g.Explain("S", t0); len(r.Budgets) != maxBudgets {
		t.Errorf("%d budgets", len(r.Budgets))
	}
}

// Plans that nobody is under any more are not kept, whatever comes and goes.
func TestPlansAreForgotten(t *testing.T) {
	t.Parallel()
	g := New(twoPlans(), t0)
	for i := range 100 {
		g.Open(Attempt{Subscriber: "S", Plan: fmt.Sprint("odd", i)}, t0)
		g.Open(Attempt{Subscriber: fmt.Sprint(i), Plan: fmt.Sprint("odd", i%10)}, t0)
		g.Close(fmt.Sprint(i), t0)
		p := twoPlans()
		p.Plans[0].Budgets[0].Burst = 5 + i
		g.SetPolicy(p, t0)
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
	}
	for i := range 100 {
		g.Tick(t0.Add(time.Hour + time.Duration(i)))
	}
	if live := len(g.shapes.all) - 1 - len(g.shapes.free); live != 1 || len(g.unknown) != 0 || g.Count() != 1 {
		t.Errorf("%d plans and %d unknown ones for %d subscribers", live, len(g.unknown), g.Count())
	}
}

// What only few need is given back when it is not needed any more.
func TestTroubleIsForgottenBeforeItsSubscriber(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 10, Per: time.Hour}, Budget{Of: Destinations, Limit: 5, Per: time.Hour}), t0)
	for n := range 4 {
		to(g, n, t0)
	}
	g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(1)}, t0)
	if e, _ := g.lookup("S"); e.t == nil || len(e.t.known) != 2 {
		t.Fatal("no trouble")
	}
	for i := range 200 { // its sessions run on
		g.Tick(t0.Add(30*time.Hour + time.Duration(i)))
	}
	if e, ok := g.lookup("S"); !ok || e.t != nil || g.decided[lines].n != 0 || len(g.rare.free) != len(g.rare.all)-1 {
		t.Errorf("%v %+v", ok, e.t)
	}
}

// A copy of everybody, made piece by piece while others decide, and what Dirty gave since: together they are the truth.
func TestACopyAndWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := home(StageCut)
		g, now := New(p, t0), t0
		live := func() {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "wait")) * time.Second)
			for range rapid.IntRange(0, 8).Draw(t, "sessions") {
				id := fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "who"))
				g.Open(Attempt{Subscriber: id, Plan: "home", Destination: host(rapid.IntRange(1, 5).Draw(t, "to"))}, now)
				g.Close(id, now)
			}
			if rapid.IntRange(0, 3).Draw(t, "tick") == 0 {
				g.Tick(now)
			}
			if rapid.IntRange(0, 9).Draw(t, "exempt") == 0 {
				id := fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "exempt who"))
				if err := g.Exempt(id, "home", Exemption{Until: now.Add(time.Hour), Reason: "r"}, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			live()
		}
		saveAll(g, now) // an earlier log, which the copy makes superfluous
		var log []Saved
		for from := 0; from >= 0; {
			var some []Saved
			some, from = g.Snapshot(from, rapid.IntRange(1, 7).Draw(t, "piece"), now)
			log = append(log, some...)
			live()
			log = append(log, g.Dirty(rapid.IntRange(0, 5).Draw(t, "dirty"), now)...)
		}
		log = append(log, saveAll(g, now)...)
		h := New(p, t0)
		bring(h, log, g.State(now, now), now, t0)
		g.List(now) // as an exemption's end is only noticed when somebody looks
		if a, b := told(g, now), told(h, t0); !maps.Equal(a, b) {
			t.Fatalf("%v\nrestored\n%v", a, b)
		}
	})
}

// told is what would be saved of everybody, without moments that have passed.
func told(g *Governor, now time.Time) map[string]string {
	m := map[string]string{}
	for _, s := range g.everybody(now) {
		for i := range s.Budgets {
			for _, at := range []*time.Duration{&s.Budgets[i].WholeAt, &s.Budgets[i].CalmAt} {
				if int64(*at) <= g.clock.t {
					*at = 0
				}
			}
		}
		x := ""
		if s.Exemption != nil {
			x, s.Exemption = fmt.Sprint(*s.Exemption), nil
		}
		m[s.Subscriber] = fmt.Sprintf("%+v %s", s, x)
	}
	return m
}

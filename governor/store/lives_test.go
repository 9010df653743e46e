package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// world is a governor that is only a map: who has which version, and what the disk may and must know of it.
type world struct {
	now   map[string]time.Duration // the version of each; none: gone
	sure  map[string]time.Duration // the version that a returned Save had; 0: gone
	given map[string][]time.Duration
	dirty map[string]bool
	last  time.Duration // versions given out
}

func (w *world) saved(id string) governor.Saved {
	v := w.now[id]
	w.given[id] = append(w.given[id], v)
	if v == 0 {
		return governor.Saved{Subscriber: id, Gone: true}
	}
	return governor.Saved{Subscriber: id, Plan: "p", Mode: governor.ModeEnforce, Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 1, Per: time.Hour}, WholeAt: v}}}
}

func (w *world) change(rnd *rand.Rand) {
	id := fmt.Sprintf("S-%02d", rnd.IntN(40))
	w.last++
	w.now[id] = w.last
	if rnd.IntN(5) == 0 {
		delete(w.now, id)
	}
	w.dirty[id] = true
}

func (w *world) save(b *budgets, rnd *rand.Rand) error {
	var subs []governor.Saved
	ids := slices.Sorted(maps.Keys(w.dirty))
	rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:rnd.IntN(len(ids)+1)]
	for _, id := range ids {
		subs = append(subs, w.saved(id))
	}
	err := b.save(subs, at(w.last+1))
	if err != nil {
		return err
	}
	for i, id := range ids {
		delete(w.dirty, id)
		w.sure[id] = 0
		if !subs[i].Gone {
			w.sure[id] = subs[i].Budgets[0].WholeAt
		}
	}
	return nil
}

// Many lives on one disk, each ended by a power cut in the middle of anything, with writes that fail in between: what
// the next life finds of each subscriber is what the last returned Save had, or something newer that was on its way.
func TestManyLivesEndedByPowerCuts(t *testing.T) {
	t.Parallel()
	var cuts, snapshots, failed int
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		m := newMemory(seed)
		w := &world{now: map[string]time.Duration{}, sure: map[string]time.Duration{}}
		for life := range 25 {
			b := onDisk(t, m)
			got, lost := loaded(b)
			if lost != 0 {
				t.Fatalf("seed %d, life %d: %d lost", seed, life, lost)
			}
			for id := range w.sure {
				v := time.Duration(0)
				if s, ok := got[id]; ok {
					v = s.Budgets[0].WholeAt
				}
				if v != w.sure[id] && !slices.Contains(w.given[id], v) {
					t.Fatalf("seed %d, life %d: %s is %d, saved %d, on its way %d", seed, life, id, v, w.sure[id], w.given[id])
				}
			}
			w.now, w.given, w.dirty = map[string]time.Duration{}, map[string][]time.Duration{}, map[string]bool{}
			for id, s := range got {
				w.now[id], w.sure[id] = s.Budgets[0].WholeAt, s.Budgets[0].WholeAt
			}
			for id := range w.sure {
				if _, ok := got[id]; !ok {
					w.sure[id] = 0
				}
			}
			until := rnd.IntN(120)
			fails := rnd.IntN(3) == 0
			m.fail = func(op, _ string) error {
				if until--; until < 0 {
					return errPower
				}
				if fails && op != "read" && op != "truncate" && rnd.IntN(10) == 0 {
					failed++
					return errNoSpace
				}
				return nil
			}
			n, err := w.live(b, rnd)
			snapshots += n
			if !errors.Is(err, errPower) {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			m = m.cut()
			cuts++
		}
	}
	t.Logf("%d power cuts, %d snapshots, %d failures", cuts, snapshots, failed)
	if snapshots < 100 || failed < 100 {
		t.Error("this test does too little")
	}
}

// live goes on until the power is cut, and says how many snapshots were finished.
func (w *world) live(b *budgets, rnd *rand.Rand) (snapshots int, err error) {
	var snap *Snapshot
	var left []string
	for !errors.Is(err, errPower) {
		for range rnd.IntN(4) {
			w.change(rnd)
		}
		err = nil
		switch k := rnd.IntN(6); {
		case k < 3:
			err = w.save(b, rnd)
		case snap == nil && k == 3:
			if snap, err = b.begin(); err == nil {
				left = slices.Sorted(maps.Keys(w.sure))
			}
		case snap == nil:
		case len(left) > 0:
			var some []governor.Saved
			for ; len(left) > 0 && rnd.IntN(10) > 0; left = left[1:] {
				if v := w.saved(left[0]); !v.Gone { // who is gone is not in it
					some = append(some, v)
				}
			}
			err = snap.Write(some, at(w.last+1))
		default:
			if err = snap.Commit(); err == nil {
				snapshots++
			} else {
				err = errors.Join(err, snap.Abort())
			}
			snap = nil
		}
		if err != nil && snap != nil {
			err = errors.Join(err, snap.Abort())
			snap = nil
		}
	}
	return snapshots, err
}

package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

func onDisk(t require, d disk) *budgets {
	b, err := openBudgets(d, new(atomic.Int64))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return b
}

// loaded is who is there after a load, and how many records were lost.
func loaded(b *budgets) (map[string]governor.Saved, uint64) {
	all := map[string]governor.Saved{}
	lost, _ := b.load(func(s *governor.Saved) {
		if s.Gone {
			delete(all, s.Subscriber)
		} else {
			all[s.Subscriber] = keep(s)
		}
	})
	return all, lost
}

func must(t require, err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// take makes a snapshot of all.
func take(t require, b *budgets, all map[string]governor.Saved, st governor.SavedState) {
	w, err := b.begin()
	must(t, err)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		must(t, w.Write([]governor.Saved{all[id]}, st))
	}
	must(t, w.Commit())
}

func TestSnapshotsAndLogsAreReadInTheirOrder(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	if all, lost := loaded(b); len(all)+int(lost) != 0 || b.any {
		t.Fatal("a fresh disk gives something")
	}
	must(t, b.save([]governor.Saved{some("a", 1), some("b", 1), some("c", 1)}, at(1)))
	must(t, b.save([]governor.Saved{some("b", 2), {Subscriber: "c", Gone: true}}, at(2)))
	w, err := b.begin()
	must(t, err)
	if _, err := b.begin(); err == nil {
		t.Error("two snapshots at once")
	}
	must(t, w.Write([]governor.Saved{some("a", 1)}, at(2)))
	must(t, b.save([]governor.Saved{some("a", 3), some("d", 3)}, at(3))) // behind the snapshot's back
	must(t, w.Write([]governor.Saved{some("b", 2)}, at(3)))
	// not finished: the two logs are as good
	want := map[string]governor.Saved{"a": some("a", 3), "b": some("b", 2), "d": some("d", 3)}
	if all, lost := loaded(onDisk(t, m)); !reflect.DeepEqual(all, want) || lost != 0 {
		t.Errorf("%v, lost %d", all, lost)
	}
	must(t, w.Commit())
	must(t, w.Abort()) // nothing is left to do
	names, _ := m.names()
	if len(names) != 2 || !strings.HasPrefix(names[0], "log-0000000002-") || !strings.HasPrefix(names[1], "snapshot-0000000002-") {
		t.Errorf("%q", names)
	}
	must(t, b.save([]governor.Saved{{Subscriber: "b", Gone: true}}, at(4)))
	delete(want, "b")
	for range 2 {
		next := onDisk(t, m)
		if all, lost := loaded(next); !reflect.DeepEqual(all, want) || lost != 0 || next.state != at(4) && !next.state.Wall.Equal(at(4).Wall) {
			t.Errorf("%v, lost %d, state %v", all, lost, next.state)
		}
		must(t, next.save(nil, at(4))) // only the time
	}
	// one after the other, each life with a snapshot
	for n := range 5 {
		next := onDisk(t, m)
		all, _ := loaded(next)
		take(t, next, all, at(4))
		if n%2 == 0 {
			must(t, next.save([]governor.Saved{some("d", 3)}, at(4)))
		}
	}
	names, _ = m.names()
	if all, lost := loaded(onDisk(t, m)); !reflect.DeepEqual(all, want) || lost != 0 || len(names) > 2 {
		t.Errorf("%v, lost %d, files %q", all, lost, names)
	}
}

func TestTheWallClockIsKeptOnlyWithTheClockThatBelongsToIt(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	for _, st := range []governor.SavedState{
		{Wall: wall, Clock: 50, Cases: 9},
		{Wall: wall.Add(time.Hour), Clock: 49, Cases: 10}, // an older clock: not with that wall clock
		{Wall: wall.Add(-time.Hour), Clock: 51, Cases: 8}, // the wall clock may go back
	} {
		must(t, b.save(nil, st))
	}
	if st := onDisk(t, m).state; !st.Wall.Equal(wall.Add(-time.Hour)) || st.Clock != 51 || st.Cases != 10 {
		t.Errorf("%+v", st)
	}
}

func TestASnapshotIsDueWhenTheLogHasOutgrownTheLast(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	all := map[string]governor.Saved{}
	for n := range 2000 {
		v := some(fmt.Sprintf("S-%05d", n), 1)
		v.Case = strings.Repeat("long", 700)
		all[v.Subscriber] = v
	}
	subs := slices.Collect(maps.Values(all))
	due := func(want bool, why string) {
		t.Helper()
		if b.due() != want {
			t.Errorf("%s: due %v, behind %d of %d", why, !want, b.behind, b.snapshot)
		}
	}
	due(false, "fresh")
	must(t, b.save(subs[:1000], at(1)))
	due(false, "2.8 MB of log and no snapshot")
	must(t, b.save(subs, at(1)))
	due(true, "8 MB of log and no snapshot")
	w, err := b.begin()
	must(t, err)
	due(false, "it is being written")
	must(t, w.Abort())
	due(true, "it came to nothing")
	take(t, b, all, at(1))
	due(false, "5.6 MB of snapshot and no log")
	must(t, b.save(subs[:1900], at(1)))
	due(false, "5.3 MB of log")
	must(t, b.save(subs[:200], at(1)))
	due(true, "5.9 MB of log")
	b = onDisk(t, m)
	due(true, "after a restart")
}

func TestWhileNoSnapshotSucceedsTheLogIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	v := some("a", 1)
	v.Case = strings.Repeat("x", 900_000)
	for n := 0; ; n++ {
		if err := b.save([]governor.Saved{v}, at(1)); err != nil {
			if !strings.Contains(err.Error(), "no snapshot") || n != maxBehind*minLog/900_000+1 {
				t.Errorf("after %d: %v", n, err)
			}
			break
		}
	}
	take(t, b, map[string]governor.Saved{"a": v}, at(1))
	must(t, b.save([]governor.Saved{v}, at(1)))
}

// A full disk costs nothing that is in memory, and what was half written is gone before the next frame.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	all := map[string]governor.Saved{}
	var subs []governor.Saved
	for n := range 1000 {
		v := some(fmt.Sprintf("S-%05d", n), 1)
		all[v.Subscriber], subs = v, append(subs, v)
	}
	must(t, b.save(subs, at(1)))
	m.room = 20_000
	for range 3 {
		if err := b.save(subs, at(2)); !errors.Is(err, errNoSpace) {
			t.Fatalf("%v", err)
		}
		if got, lost := loaded(onDisk(t, m)); !reflect.DeepEqual(got, all) || lost != 0 || m.room != 20_000 {
			t.Errorf("%d are there, %d lost, %d bytes free", len(got), lost, m.room)
		}
	}
	w, err := b.begin()
	must(t, err)
	if err := w.Write(subs, at(2)); !errors.Is(err, errNoSpace) {
		t.Fatalf("%v", err)
	}
	must(t, w.Abort())
	must(t, b.save(nil, at(3)))
	if names, _ := m.names(); len(names) != 2 {
		t.Errorf("%q", names)
	}
	small := some("S-00007", 9)
	all["S-00007"] = small
	must(t, b.save([]governor.Saved{small}, at(4)))
	for range 3 { // failing again and again makes no more files
		if w, err = b.begin(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(subs, at(4)), w.Commit()); !errors.Is(err, errNoSpace) {
			t.Fatalf("%v", err)
		}
		must(t, w.Abort())
	}
	if names, _ := m.names(); len(names) != 2 {
		t.Errorf("%q", names)
	}
	// a crash in the middle leaves a file that must not be in the way
	if w, err = b.begin(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(subs, at(4)); !errors.Is(err, errNoSpace) {
		t.Fatalf("%v", err)
	}
	b = onDisk(t, m)
	if got, lost := loaded(b); !reflect.DeepEqual(got, all) || lost != 0 {
		t.Errorf("%d are there, %d lost", len(got), lost)
	}
	m.room = 400_000
	take(t, b, all, at(5))
	must(t, b.save([]governor.Saved{small}, at(6)))
	if got, lost := loaded(onDisk(t, m)); !reflect.DeepEqual(got, all) || lost != 0 {
		t.Errorf("%d are there, %d lost", len(got), lost)
	}
}

func TestALogThatCannotBeReadIsLeftAloneAndReplaced(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	must(t, b.save([]governor.Saved{some("a", 1)}, at(1)))
	first, _ := m.names()
	was := slices.Clone(m.files[first[0]].data)
	eio := errors.New("input/output error")
	m.fail = func(op, name string) error {
		if op == "read" && name == first[0] {
			return eio
		}
		return nil
	}
	b = onDisk(t, m)
	if got, lost := loaded(b); len(got) != 0 || lost == 0 {
		t.Errorf("%v, lost %d", got, lost)
	}
	if _, why := b.load(func(*governor.Saved) {}); !errors.Is(why, eio) || !strings.Contains(why.Error(), first[0]) {
		t.Errorf("%v", why)
	}
	must(t, b.save([]governor.Saved{some("b", 2)}, at(2)))
	m.fail = nil
	if string(m.files[first[0]].data) != string(was) {
		t.Error("it was written to")
	}
	if got, lost := loaded(onDisk(t, m)); len(got) != 2 || lost != 0 {
		t.Errorf("the next life could read it: %v, lost %d", got, lost)
	}
	if !b.due() {
		t.Error("nothing replaces it")
	}
}

// Cut anywhere in the last two saves, a log gives what was saved before, and goes on from there.
func TestALogCutAtAnyByte(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	must(t, b.save([]governor.Saved{some("a", 1), some("b", 1)}, at(1)))
	var ends []int64
	for n := range 3 {
		must(t, b.save([]governor.Saved{some("a", time.Duration(n+2)), some("c", time.Duration(n+2))}, at(time.Duration(n+2))))
		ends = append(ends, b.log.good)
	}
	whole := m.files[b.log.name()].data
	for size := ends[0]; size <= ends[2]; size++ {
		m := newMemory(1)
		m.files[b.log.name()] = &inode{data: slices.Clone(whole[:size]), touched: map[int64]bool{}}
		want := time.Duration(2)
		if size >= ends[1] {
			want++
		}
		if size == ends[2] {
			want++
		}
		for life := range 2 {
			b := onDisk(t, m)
			got, lost := loaded(b)
			if a := got["a"]; !reflect.DeepEqual(a, some("a", want)) || lost != 0 || b.state.Clock != want || b.damaged {
				t.Fatalf("cut at %d, life %d: %v, lost %d", size, life, a, lost)
			}
			if torn := size != ends[0] && size != ends[1] && size != ends[2]; life == 0 && torn != (b.torn > 0) {
				t.Fatalf("cut at %d: %d bytes are torn", size, b.torn)
			}
			want = 9
			must(t, b.save([]governor.Saved{some("a", 9)}, at(9)))
		}
	}
}

// Whatever bits are flipped, and wherever a page is empty, what is given was once saved, what is lost is counted, and
// the next snapshot heals it.
func TestDamageAnywhere(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	ever := map[string]bool{}
	all := map[string]governor.Saved{}
	rnd := rand.New(rand.NewPCG(1, 2))
	round := func(n int) {
		var subs []governor.Saved
		for i := range 300 {
			v := some(fmt.Sprintf("S-%05d", i), time.Duration(1000*n+i))
			subs, all[v.Subscriber] = append(subs, v), v
			ever[rendered(v)] = true
		}
		must(t, b.save(subs, at(time.Duration(n))))
	}
	round(0)
	take(t, b, all, at(1))
	for n := range 4 {
		round(n + 1)
	}
	must(t, b.save(nil, at(5))) // so that damage is in the middle
	cases := 0
	for i := range 120 {
		hurt := newMemory(1)
		for name, f := range m.files {
			hurt.files[name] = &inode{data: slices.Clone(f.data), touched: map[int64]bool{}}
		}
		names, _ := hurt.names()
		name := names[rnd.IntN(len(names))]
		data := hurt.files[name].data
		from := rnd.IntN(len(data) - 60) // not the last frame, which is torn at worst
		what := fmt.Sprintf("%s: bit in byte %d", name, from)
		switch i % 3 {
		case 0:
			data[from] ^= 1 << rnd.IntN(8)
		case 1:
			clear(data[from:min(from+512, len(data)-60)])
			what = fmt.Sprintf("%s: empty from %d", name, from)
		case 2:
			rest := data[min(from+rnd.IntN(40_000), len(data)-60):]
			hurt.files[name].data = append(data[:from], rest...)
			what = fmt.Sprintf("%s: cut out from %d", name, from)
		}
		b := onDisk(t, hurt)
		got, lost := loaded(b)
		for _, v := range got {
			if !ever[rendered(v)] {
				t.Fatalf("%s: invented %+v", what, v)
			}
		}
		if lost > 0 {
			cases++
			if !b.due() {
				t.Errorf("%s: %d lost and nothing heals it", what, lost)
			}
		} else if !reflect.DeepEqual(got, all) {
			t.Errorf("%s: lost and not counted", what)
		}
		must(t, b.save([]governor.Saved{some("new", 9)}, at(9)))
		got["new"] = some("new", 9)
		take(t, b, got, at(9))
		if again, lost := loaded(onDisk(t, hurt)); !reflect.DeepEqual(again, got) || lost != 0 {
			t.Errorf("%s: not healed, %d lost, %d of %d there", what, lost, len(again), len(got))
		}
	}
	if cases < 90 {
		t.Errorf("only %d of 120 were noticed", cases)
	}
}

// rendered is all of v.
func rendered(v governor.Saved) string {
	x := v.Exemption
	v.Exemption = nil
	return fmt.Sprintf("%+v %+v", v, x)
}

// Where the older files could not be deleted, they stand in for a newer snapshot that is damaged.
func TestAnOlderSnapshotStandsIn(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	b := onDisk(t, m)
	all := map[string]governor.Saved{"a": some("a", 1), "b": some("b", 1)}
	take(t, b, all, at(1))
	all["a"] = some("a", 2)
	must(t, b.save([]governor.Saved{all["a"]}, at(2)))
	stuck := errors.New("read-only")
	m.fail = func(op, name string) error {
		if op == "rename" && !strings.HasSuffix(name, beingWritten) {
			return stuck
		}
		return nil
	}
	w, err := b.begin()
	must(t, err)
	must(t, w.Write([]governor.Saved{all["a"], all["b"]}, at(2)))
	if err := w.Commit(); !errors.Is(err, stuck) {
		t.Fatalf("%v", err)
	}
	m.fail = nil
	must(t, w.Abort())
	all["b"] = some("b", 3)
	must(t, b.save([]governor.Saved{all["b"]}, at(3)))
	if got, lost := loaded(onDisk(t, m)); !reflect.DeepEqual(got, all) || lost != 0 {
		t.Errorf("%v, %d lost", got, lost)
	}
	m.files[w.part.name()].data[50] ^= 1
	b = onDisk(t, m)
	if got, lost := loaded(b); !reflect.DeepEqual(got, all) || lost != 0 {
		t.Errorf("with the newer one damaged: %v, %d lost", got, lost)
	}
	take(t, b, all, at(4))
	if names, _ := m.names(); len(names) != 1 {
		t.Errorf("%q", names)
	}
}

// What a power cut left half deleted is deleted with the next snapshot, piece by piece.
func TestWhatWasLeftIsDeleted(t *testing.T) {
	t.Parallel()
	m := newMemory(1)
	left := part{number: 3, salt: 5}.name() + needlessNow
	m.files[left] = &inode{data: make([]byte, 3*shrinkBy+1), touched: map[int64]bool{}}
	m.files["notes.old"] = &inode{touched: map[int64]bool{}} // somebody else's
	pieces := 0
	m.fail = func(op, name string) error {
		if op == "truncate" && name == left {
			pieces++
		}
		return nil
	}
	b := onDisk(t, m)
	take(t, b, map[string]governor.Saved{"a": some("a", 1)}, at(1))
	names, _ := m.names()
	if len(names) != 2 || names[0] != "notes.old" || pieces != 3 {
		t.Errorf("%q after %d pieces", names, pieces)
	}
}

// A log without any good frame is torn if it is as short as one Save, and else it is damage, which is left alone.
func TestALongBadEndIsDamage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size int
		lost bool
	}{{maxTorn, false}, {maxTorn + 1, true}} {
		m := newMemory(1)
		name := part{number: 1, salt: 1}.name()
		m.files[name] = &inode{data: make([]byte, c.size), touched: map[int64]bool{}}
		b := onDisk(t, m)
		_, lost := loaded(b)
		if (lost > 0) != c.lost || b.due() != c.lost || (b.torn > 0) == c.lost {
			t.Errorf("%d bad bytes: %d lost, %d torn, a snapshot due: %v", c.size, lost, b.torn, b.due())
		}
		must(t, b.save([]governor.Saved{some("a", 1)}, at(1)))
		if got, _ := loaded(onDisk(t, m)); len(got) != 1 {
			t.Errorf("%v", got)
		}
		if left := len(m.files[name].data); (left == c.size) != c.lost {
			t.Errorf("%d of %d bytes are left", left, c.size)
		}
	}
}

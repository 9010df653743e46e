package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	berrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

var wall = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func fresh(t testing.TB) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "governor.db")
	return reopen(t, path), path
}

func reopen(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// at is the state at wall clock w, with as many nanoseconds on the governor's clock and as many cases.
func at(w time.Time, clock time.Duration) governor.SavedState {
	return governor.SavedState{Wall: w, Clock: clock, Cases: uint64(clock)}
}

func some(id string, clock time.Duration) governor.Saved {
	return governor.Saved{
		Subscriber: id, Plan: "residential", Mode: governor.ModeEnforce, Stage: governor.StageCut,
		Since: clock, Until: 2, Confirmed: 3, Calm: 4, Ended: 5, Case: "0001Z",
		Cause: governor.Cause{Of: governor.Sessions, Value: 15, Limit: 20, Burst: 5, Window: time.Hour},
		Budgets: []governor.SavedBudget{
			{Budget: governor.Budget{Of: governor.Sessions, Limit: 20, Per: time.Hour, Burst: 5}, WholeAt: 5, CalmAt: 6},
			{Budget: governor.Budget{Of: governor.ConcurrentSessions, Limit: 3, Burst: 3}},
		},
	}
}

func TestWhatIsSavedIsLoadedAfterReopening(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if got, st, err := s.Load(); err != nil || got != nil || st != (governor.SavedState{}) {
		t.Fatalf("a fresh store gives %v %v %v", got, st, err)
	}
	var subs []governor.Saved
	for i := range 2*MaxKeys + 1 {
		subs = append(subs, some(fmt.Sprintf("S-%05d", i), time.Duration(i)))
	}
	if err := s.Save(subs, at(wall.Add(-time.Hour), 8000)); err != nil {
		t.Fatal(err)
	}
	// some of them go, one comes again as another, in another order
	last := []governor.Saved{{Subscriber: "S-00005", Gone: true}, some("S-00003", 9001), {Subscriber: "S-00001", Gone: true}}
	if err := s.Save(last, at(wall, 9002)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, st, err := reopen(t, path).Load()
	if err != nil || !st.Wall.Equal(wall) || st.Clock != 9002 || st.Cases != 9002 {
		t.Fatalf("saved at %v, error %v", st, err)
	}
	want := append([]governor.Saved{subs[0], subs[2], last[1], subs[4]}, subs[6:]...)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%d values loaded, %d wanted, or they differ", len(got), len(want))
	}
}

func TestTheClockAndTheCasesOutliveEverySubscriber(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for i, subs := range [][]governor.Saved{{some("a", 50)}, {{Subscriber: "a", Gone: true}}, nil} {
		if err := s.Save(subs, at(wall, time.Duration(50+i))); err != nil {
			t.Fatal(err)
		}
	}
	if got, st, err := s.Load(); err != nil || len(got) != 0 || st.Clock != 52 || st.Cases != 52 {
		t.Fatalf("%+v %+v %v", got, st, err)
	}
}

// A wall clock without the governor's would make the time between vanish for everybody.
func TestTheWallClockIsKeptOnlyWithTheClockThatBelongsToIt(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for _, clock := range []time.Duration{50, 0, 49} {
		if err := s.Save(nil, at(wall.Add(clock), clock)); err != nil {
			t.Fatal(err)
		}
	}
	if _, st, err := s.Load(); err != nil || !st.Wall.Equal(wall.Add(50)) || st.Clock != 50 {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestGovernorComesBackThroughTheStore(t *testing.T) {
	t.Parallel()
	p := governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{{Name: "home", HighestStage: governor.StageDefer,
		Budgets: []governor.Budget{{Of: governor.Sessions, Limit: 4, Per: time.Hour}}}}}
	s, path := fresh(t)
	g := governor.New(p, wall)
	for range 5 {
		g.Open(governor.Attempt{Subscriber: "S", Plan: "home"}, wall)
	}
	if err := s.Save(g.Dirty(MaxKeys, wall), g.State(wall, wall)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	subs, st, err := reopen(t, path).Load()
	if err != nil {
		t.Fatal(err)
	}
	// five minutes later, by a monotonic clock that began anew
	now := time.Unix(1000, 0)
	g = governor.New(p, now)
	v, err := g.Restore(st, func(each func(*governor.Saved)) error {
		for i := range subs {
			each(&subs[i])
		}
		return nil
	}, wall.Add(5*time.Minute), now)
	if err != nil || v != governor.ClockGood {
		t.Fatalf("clock %v, %v", v, err)
	}
	d := g.Open(governor.Attempt{Subscriber: "S", Plan: "home"}, now)
	if d.Action != governor.ActionDefer || d.Wait != 10*time.Minute || d.Before != governor.StageDefer || d.Case != "00001" {
		t.Errorf("%v wait %v before %v case %q", d.Action, d.Wait, d.Before, d.Case)
	}
}

func TestMeta(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if v, err := s.Meta("box"); v != nil || err != nil {
		t.Fatalf("%q %v", v, err)
	}
	if err := s.PutMeta("box", []byte("b1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := reopen(t, path).Meta("box"); string(v) != "b1" || err != nil {
		t.Fatalf("%q %v", v, err)
	}
	if err := s.PutMeta("", nil); err == nil {
		t.Error("closed, and yet it was written")
	}
	if err := s.Save([]governor.Saved{some("a", 1)}, at(wall, 9000)); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		t.Errorf("closed: %v", err)
	}
}

// What stands on the boxes in the field must be read for ever, so the bytes are pinned.
func TestTheFormOfAValueStays(t *testing.T) {
	t.Parallel()
	const pinned = "020b7265736964656e7469616c0104c8010406080a05303030315a" +
		"011e280a8080c58bc6d101" + "02" + "01288080c58bc6d1010a0a0c" + "040600060000" + "a69f7621"
	v := some("", 100)
	if got := hex.EncodeToString(encode(nil, &v)); got != pinned {
		t.Errorf("a value is now\n%s, was\n%s", got, pinned)
	}
	b, err := hex.DecodeString(pinned)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := decode(b); !ok || !reflect.DeepEqual(got, v) {
		t.Errorf("%v %+v", ok, got)
	}
}

func TestAnyValueSurvivesEncodingAndAnyFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	dur := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "d")) })
	num := rapid.Custom(func(t *rapid.T) int { return int(rapid.Int32().Draw(t, "n")) })
	rapid.Check(t, func(t *rapid.T) {
		v := governor.Saved{Plan: rapid.String().Draw(t, "plan"), Mode: governor.Mode(rapid.Byte().Draw(t, "mode")), Stage: governor.Stage(rapid.Byte().Draw(t, "stage")),
			Since: dur.Draw(t, "since"), Until: dur.Draw(t, "until"), Confirmed: dur.Draw(t, "confirmed"), Calm: dur.Draw(t, "calm"), Ended: dur.Draw(t, "ended"),
			Case:    rapid.String().Draw(t, "case"),
			Cause:   governor.Cause{Of: governor.Kind(rapid.Byte().Draw(t, "of")), Value: num.Draw(t, "value"), Limit: num.Draw(t, "limit"), Burst: num.Draw(t, "burst"), Window: dur.Draw(t, "window")},
			Budgets: make([]governor.SavedBudget, rapid.IntRange(0, 9).Draw(t, "budgets"))}
		for i := range v.Budgets {
			v.Budgets[i] = governor.SavedBudget{Budget: governor.Budget{Of: governor.Kind(rapid.Byte().Draw(t, "of")), Limit: num.Draw(t, "limit"), Per: dur.Draw(t, "per"), Burst: num.Draw(t, "burst")},
				WholeAt: dur.Draw(t, "whole"), CalmAt: dur.Draw(t, "calm")}
		}
		b := encode(nil, &v)
		if got, ok := decode(b); !ok || !reflect.DeepEqual(got, v) {
			t.Fatalf("%v %+v, was %+v", ok, got, v)
		}
		i := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[i/8] ^= 1 << (i % 8)
		if _, ok := decode(b); ok {
			t.Fatalf("bit %d flipped and not noticed", i)
		}
	})
}

func FuzzDecode(f *testing.F) {
	v := some("", 100)
	sound := encode(nil, &v)
	f.Add(sound[1 : len(sound)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := decode(seal(b)); ok {
			if again, ok := decode(encode(nil, &v)); !ok || !reflect.DeepEqual(v, again) {
				t.Fatalf("%+v became %+v", v, again)
			}
		}
	})
}

// seal puts the version before b and the right checksum behind it, so that the fuzzer gets past them.
func seal(b []byte) []byte {
	b = append([]byte{version}, b...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestLockedFileIsAnErrorAndNotDamage(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	_, err := Open(path, Options{Timeout: 20 * time.Millisecond})
	if !errors.Is(err, berrors.ErrTimeout) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	left(t, path, 0)
}

func TestNoAccessIsAnErrorAndNotDamage(t *testing.T) {
	t.Parallel()
	if _, err := Open(filepath.Join(t.TempDir(), "nowhere", "x.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a directory was opened")
	}
}

func left(t *testing.T, path string, want int) {
	t.Helper()
	found, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(found) != want {
		t.Errorf("%d damaged files are left, want %d: %v", len(found), want, found)
	}
}

func TestDamagedFileIsSetAsideWithItsContent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	for i, junk := range []string{"short", strings.Repeat("junk", 5000), strings.Repeat("\x00", 1<<16), "again", "and again"} {
		if err := os.WriteFile(path, []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		aside, why := s.Damaged()
		kept, readErr := os.ReadFile(aside)
		if readErr != nil || string(kept) != junk || why == nil {
			t.Errorf("%d: set aside as %q because of %v: %v", i, aside, why, readErr)
		}
		if err := s.Save([]governor.Saved{some("a", 1)}, at(wall, 9000)); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	left(t, path, keepDamaged)
	if aside, _ := reopen(t, path).Damaged(); aside != "" {
		t.Errorf("a sound file was set aside as %s", aside)
	}
}

// Whatever bits are flipped and wherever the file is cut, the store opens, can be read and written, and what it gives
// is what was once saved.
func TestNoDamageStopsUs(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	was := map[string]governor.Saved{}
	for round := range 3 {
		var subs []governor.Saved
		for i := range 300 {
			v := some(fmt.Sprintf("S-%05d", i), time.Duration(1000*round+i))
			subs = append(subs, v)
			was[fmt.Sprint(v.Subscriber, v.Since)] = v
		}
		if err := s.Save(subs, at(wall, 9000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 240
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	aside, skipped := 0, 0
	for i := range rounds {
		data := bytes.Clone(sound)
		what := "flip"
		switch i % 3 {
		case 0:
			data = data[:rnd.IntN(len(data))]
			what = fmt.Sprintf("cut at %d", len(data))
		case 1:
			n := rnd.IntN(len(data))
			data[n] ^= 1 << rnd.IntN(8)
			what = fmt.Sprintf("bit in byte %d", n)
		case 2:
			n := rnd.IntN(len(data)) / 4096 * 4096
			clear(data[n:min(len(data), n+4096)])
			what = fmt.Sprintf("page at %d empty", n)
		}
		p := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(p, Options{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		subs, _, err := s.Load()
		if err != nil {
			t.Errorf("%s: load: %v", what, err)
		}
		for _, v := range subs {
			if want, ok := was[fmt.Sprint(v.Subscriber, v.Since)]; !v.Gone && (!ok || !reflect.DeepEqual(v, want)) {
				// a flipped bit in a key makes another name of it; that is not under the checksum
				if what[:3] != "bit" {
					t.Errorf("%s: invented %+v", what, v)
				}
			}
		}
		if err := s.Save([]governor.Saved{some("new", 1)}, at(wall, 9000)); err != nil {
			t.Errorf("%s: save: %v", what, err)
		}
		if a, _ := s.Damaged(); a != "" {
			aside++
		}
		skipped += int(s.Skipped())
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
		for _, f := range []string{p, mustAside(t, p)} {
			if f != "" {
				if err := os.Remove(f); err != nil {
					t.Error(err)
				}
			}
		}
	}
	t.Logf("%d kinds of damage: %d files set aside, %d values left out", rounds, aside, skipped)
	if aside == 0 || skipped == 0 {
		t.Error("this test does not damage what it should")
	}
}

func mustAside(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(found) > 1 {
		t.Fatal(found, err)
	}
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// What the store says it has written is what the kernel saw it write.
func TestWrittenBytesAreHonest(t *testing.T) {
	before := wrote(t)
	s, _ := fresh(t)
	open := wrote(t)
	if open == before {
		t.Fatal("/proc/self/io does not count")
	}
	for i := range 20 {
		var subs []governor.Saved
		for k := range 500 {
			subs = append(subs, some(fmt.Sprintf("S-%05d", k*7+i), 5))
		}
		if err := s.Save(subs, at(wall, 9000)); err != nil {
			t.Fatal(err)
		}
	}
	really, said := wrote(t)-open, s.WrittenBytes()
	t.Logf("written: said %d, really %d", said, really)
	if said < really*9/10 || said > really*11/10 {
		t.Errorf("said %d, really %d", said, really)
	}
}

func wrote(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("no wchar in /proc/self/io")
	return 0
}

func BenchmarkSave1000Of100k(b *testing.B) {
	s, _ := fresh(b)
	var subs []governor.Saved
	for i := range 100_000 {
		subs = append(subs, some(fmt.Sprintf("S-%06d", i), 1))
	}
	if err := s.Save(subs, at(wall, 9000)); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	rnd := rand.New(rand.NewPCG(1, 2))
	from := s.WrittenBytes()
	for b.Loop() {
		part := make([]governor.Saved, MaxKeys)
		for i := range part {
			part[i] = subs[rnd.IntN(len(subs))]
		}
		if err := s.Save(part, at(wall, 9000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.WrittenBytes()-from)/float64(b.N), "B-written/op")
}

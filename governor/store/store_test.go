package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

func fresh(t testing.TB) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	return reopen(t, dir), dir
}

func reopen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
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

func TestGovernorComesBackThroughTheStore(t *testing.T) {
	t.Parallel()
	p := governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{{Name: "home", HighestStage: governor.StageDefer,
		Budgets: []governor.Budget{{Of: governor.Sessions, Limit: 4, Per: time.Hour}}}}}
	s, dir := fresh(t)
	if st, ok := s.State(); ok {
		t.Fatalf("a fresh store has the state %v", st)
	}
	g := governor.New(p, wall)
	for range 5 {
		g.Open(governor.Attempt{Subscriber: "S", Plan: "home"}, wall)
		g.Open(governor.Attempt{Subscriber: "T", Plan: "home"}, wall)
	}
	if err := s.Save(g.Dirty(1, wall), g.State(wall, wall)); err != nil {
		t.Fatal(err)
	}
	w, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; from >= 0; {
		some, next := g.Snapshot(from, 1, wall)
		if err := w.Write(some, g.State(wall, wall)); err != nil {
			t.Fatal(err)
		}
		from = next
	}
	if err := errors.Join(w.Commit(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(nil, g.State(wall, wall)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed, and yet: %v", err)
	}
	s = reopen(t, dir)
	// five minutes later, by a monotonic clock that began anew
	now := time.Unix(1000, 0)
	g = governor.New(p, now)
	st, ok := s.State()
	v, err := g.Restore(st, func(each func(*governor.Saved)) error {
		lost, err := s.Load(each)
		if lost != 0 {
			t.Errorf("%d lost", lost)
		}
		return err
	}, wall.Add(5*time.Minute), now)
	if v != governor.ClockGood || err != nil || !ok {
		t.Fatalf("clock %v, %v", v, err)
	}
	for _, id := range []string{"S", "T"} {
		d := g.Open(governor.Attempt{Subscriber: id, Plan: "home"}, now)
		if d.Action != governor.ActionDefer || d.Wait != 10*time.Minute || d.Before != governor.StageDefer || d.Case == "" {
			t.Errorf("%s: %v wait %v before %v case %q", id, d.Action, d.Wait, d.Before, d.Case)
		}
	}
}

// Saves and a snapshot at the same time, as the box has them; the race detector looks on.
func TestSaveWhileASnapshotIsWritten(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	var subs []governor.Saved
	for i := range 2000 {
		subs = append(subs, some(fmt.Sprintf("S-%05d", i), 1))
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := range 20 {
			if err := s.Save(subs[100*i:100*i+100], at(2)); err != nil {
				t.Error(err)
			}
			s.SnapshotDue()
			s.WrittenBytes()
		}
	})
	for range 5 {
		w, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := w.Write(subs[100*i:100*i+100], at(1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	wait.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, lost := loaded(reopen(t, dir).budgets); len(got) != len(subs) || lost != 0 {
		t.Errorf("%d are there, %d lost", len(got), lost)
	}
}

// killed is what the process that will be killed does: it saves, says what is saved, and makes snapshots.
func killed(dir string) error {
	s, err := Open(dir, Options{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	const subscribers = 50
	var version [subscribers]time.Duration
	if lost, err := s.Load(func(v *governor.Saved) {
		var n int
		if _, err := fmt.Sscanf(v.Subscriber, "S-%d", &n); err == nil {
			version[n] = v.Budgets[0].WholeAt
		}
	}); lost != 0 || err != nil {
		return fmt.Errorf("%d lost: %w", lost, err)
	}
	if s.aside != "" {
		return s.why
	}
	go func() { // what deletes old values goes on all the time
		for {
			if _, err := s.WipeFree(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			time.Sleep(time.Millisecond) // there may be nothing to do
		}
	}()
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	of := func(n int) governor.Saved {
		return governor.Saved{Subscriber: fmt.Sprintf("S-%d", n), Plan: "p", Budgets: []governor.SavedBudget{{Budget: governor.Budget{Limit: 1, Per: time.Hour}, WholeAt: version[n]}}}
	}
	for round := 0; ; round++ {
		var subs []governor.Saved
		var changes []Change
		said := ""
		for range 1 + rnd.IntN(20) {
			n := rnd.IntN(subscribers)
			version[n]++
			subs = append(subs, of(n))
			changes = append(changes, Change{Key: []byte(subs[len(subs)-1].Subscriber), Value: fmt.Appendf(nil, "%d%*s", version[n], rnd.IntN(3000), "")})
			said += fmt.Sprintf("%d %d\n", n, version[n])
		}
		if err := errors.Join(s.Save(subs, at(1)), s.Shelf("x").Apply(changes)); err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString(said); err != nil {
			return err
		}
		if round%7 != 6 {
			continue
		}
		w, err := s.Snapshot()
		if err != nil {
			return err
		}
		for n := range subscribers {
			if err := w.Write([]governor.Saved{of(n)}, at(1)); err != nil {
				return err
			}
		}
		if err := w.Commit(); err != nil {
			return err
		}
	}
}

const killedIn = "MAILWEIR_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedIn); dir != "" {
		fmt.Fprintln(os.Stderr, killed(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// What a killed process said to be saved is saved, whenever it was killed.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sure, shelved := map[string]time.Duration{}, map[string]time.Duration{} // killed between the two, they differ
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killedIn+"="+dir)
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		// after so many lines, which is at no moment in particular of what goes on there
		for left := rnd.IntN(1000); left > 0 && lines.Scan(); left-- {
			note(t, sure, lines.Text())
			note(t, shelved, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			note(t, sure, lines.Text())
			note(t, shelved, lines.Text())
		}
		if err := cmd.Wait(); err == nil || complaint.Len() > 0 {
			t.Fatalf("round %d: %v %s", round, err, complaint.String())
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, why := s.Damaged(); why != nil {
			t.Fatal(why)
		}
		shelf := onShelf(t, s.Shelf("x"))
		got, lost := loaded(s.budgets)
		for id, v := range sure {
			if found := got[id]; len(found.Budgets) != 1 || found.Budgets[0].WholeAt < v || found.Budgets[0].WholeAt > v+40 {
				t.Errorf("round %d: %s is %v, saved was %d", round, id, found, v)
			}
			sure[id] = got[id].Budgets[0].WholeAt
		}
		for id, v := range shelved {
			kept, _, _ := strings.Cut(shelf[id], " ")
			n, err := time.ParseDuration(kept + "ns")
			if err != nil || n < v || n > max(v, sure[id])+40 {
				t.Errorf("round %d: %s is %.20q on its shelf, saved was %d", round, id, shelf[id], v)
			}
			shelved[id] = n
		}
		if lost != 0 {
			t.Errorf("round %d: %d lost", round, lost)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// note reads a line of the process that will be killed; its last one may be cut.
func note(t *testing.T, sure map[string]time.Duration, line string) {
	t.Helper()
	var n int
	var v time.Duration
	if _, err := fmt.Sscanf(line, "%d %d", &n, &v); err == nil {
		id := fmt.Sprintf("S-%d", n)
		sure[id] = max(sure[id], v)
	}
}

// What the store says it has written is what the kernel saw it write.
func TestWrittenBytesAreHonest(t *testing.T) {
	before := wrote(t)
	s, _ := fresh(t)
	open := wrote(t)
	if open == before {
		t.Fatal("/proc/self/io does not count")
	}
	var subs []governor.Saved
	var changes []Change
	for i := range 1000 {
		subs = append(subs, some(fmt.Sprintf("S-%05d", i), 1))
		changes = append(changes, Change{Key: []byte(subs[i].Subscriber), Value: make([]byte, 100)})
	}
	for i := range 10 {
		if err := errors.Join(s.Save(subs, at(1)), s.Shelf("x").Apply(changes[100*i:100*i+100])); err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(subs, at(1)), w.Commit()); err != nil {
		t.Fatal(err)
	}
	really, said := wrote(t)-open, s.WrittenBytes()
	t.Logf("written: said %d, really %d", said, really)
	if said < really*95/100 || said > really*105/100 {
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

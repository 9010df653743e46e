package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a shelf of n lines, each with an address in key and value; what a line of another round had differs.
func lines(n, round int) (changes []Change) {
	for i := range n {
		changes = append(changes, Change{Key: addressKey(i), Value: fmt.Appendf(nil, "held 198.51.%d.%d in round %d %s", i/256, i%256, round, strings.Repeat("x", i%300))})
	}
	return changes
}

func addressKey(i int) []byte { return fmt.Appendf(nil, "line 203.0.%03d.%03d", i/256, i%256) }

// raw is mailweir.db as it lies on the disk.
func raw(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "mailweir.db"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wipe(t testing.TB, s *Store) int64 {
	t.Helper()
	n, err := s.WipeFree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What was deleted or replaced is nowhere in the file after WipeFree, and what was not is there: of keys in leaves and in
// branches, of values within a page and of several, and of a change that a crash cut off behind the last page.
func TestWhatWasDeletedIsNotInTheFile(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f := s.Shelf("directory")
	const n = 3000
	long := func(word string) []byte { return bytes.Repeat([]byte(word), 3000) }
	if err := errors.Join(f.Apply(lines(n, 1)), f.Apply(lines(n, 2))); err != nil {
		t.Fatal(err)
	}
	gone := func(i int) bool { return i%7 != 0 || i > 1000 && i < 2000 } // whole leaves and branches of them, and single ones
	var changes []Change
	for i := range n {
		if gone(i) {
			changes = append(changes, Change{Key: addressKey(i), Delete: true})
		}
	}
	if err := errors.Join(f.Apply(changes), s.Shelf("observer").Put([]byte("long"), long("192.0.2.66 ")),
		s.Shelf("observer").Put([]byte("long"), long("192.0.2.77 "))); err != nil { // last, since bbolt uses pages again
		t.Fatal(err)
	}
	b := raw(t, dir)
	for _, what := range [][]byte{addressKey(1500), []byte("in round 1 "), []byte("192.0.2.66")} {
		if !bytes.Contains(b, what) {
			t.Fatalf("bbolt wipes %q by itself", what)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	torn := append(b, make([]byte, 4096)...) // a change that never came to its meta page
	copy(torn[len(torn)-100:], "line 203.0.113.99")
	if err := os.WriteFile(filepath.Join(dir, "mailweir.db"), torn, 0o600); err != nil {
		t.Fatal(err)
	}

	s = reopen(t, dir)
	f = s.Shelf("directory")
	before := s.WrittenBytes()
	wiped := wipe(t, s)
	b = raw(t, dir)
	for i := range n {
		if gone(i) == bytes.Contains(b, addressKey(i)) {
			t.Errorf("line %d: deleted %v, in the file %v", i, gone(i), !gone(i))
		}
	}
	for _, word := range []string{"in round 1 ", "192.0.2.66", "203.0.113.99"} {
		if bytes.Contains(b, []byte(word)) {
			t.Errorf("the file has %q", word)
		}
	}
	if !bytes.Contains(b, []byte("192.0.2.77")) || len(onShelf(t, f)) != len(lines(n, 2))-len(changes) {
		t.Error("what was not deleted is not there")
	}
	if wiped == 0 || wiped%4096 != 0 || s.WrittenBytes()-before != wiped {
		t.Errorf("%d bytes wiped, %d counted as written", wiped, s.WrittenBytes()-before)
	}

	// Nothing changed: nothing is looked at. One thing did: a few pages are written.
	if n := wipe(t, s); n != 0 {
		t.Errorf("%d bytes again", n)
	}
	if err := f.Delete(addressKey(7)); err != nil {
		t.Fatal(err)
	}
	if n := wipe(t, s); n == 0 || n > 16*4096 || bytes.Contains(raw(t, dir), addressKey(7)) {
		t.Errorf("%d bytes for one line", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if path, why := reopen(t, dir).Damaged(); path != "" {
		t.Error(why)
	}
}

// A power cut keeps any of the pages that were written, or parts of them. Whichever: the database is whole.
func TestAPowerCutWhileWiping(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f := s.Shelf("directory")
	if err := errors.Join(f.Apply(lines(1200, 1)), f.Apply(lines(1000, 2)), f.Apply(lines(300, 3))); err != nil {
		t.Fatal(err)
	}
	want := onShelf(t, f)
	before := raw(t, dir)
	wipe(t, s)
	after := raw(t, dir)
	const sector = 512
	var touched []int
	for at := 0; at < len(before); at += sector {
		if !bytes.Equal(before[at:at+sector], after[at:at+sector]) {
			touched = append(touched, at)
		}
	}
	if len(touched) < 100 {
		t.Fatalf("%d sectors", len(touched))
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for cut := range 60 {
		disk := bytes.Clone(before)
		for _, at := range touched {
			if rnd.IntN(60) < cut {
				copy(disk[at:at+sector], after[at:])
			}
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mailweir.db"), disk, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if path, why := s.Damaged(); path != "" {
			t.Fatal(why)
		}
		if got := onShelf(t, s.Shelf("directory")); !maps.Equal(got, want) {
			t.Fatalf("%d of %d lines are there", len(got), len(want))
		}
		// The next life can go on, and finds what was not wiped.
		if err := s.Shelf("directory").Apply(lines(300, 4)); err != nil {
			t.Fatal(err)
		}
		wipe(t, s)
		if b := raw(t, dir); bytes.Contains(b, []byte("in round 3 ")) || !bytes.Contains(b, []byte("in round 4 ")) {
			t.Error("after the next life")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Who reads sees what was there when it began, however much is changed meanwhile; wiping waits for it.
func TestWipingWaitsForReaders(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f := s.Shelf("directory")
	room := []byte("room in bbolt's map, since a change that needs more waits for who reads")
	if err := errors.Join(f.Put(room, make([]byte, 4<<20)), f.Delete(room), f.Apply(lines(500, 1))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	wiped := make(chan error)
	n := 0
	err := f.Range(func(_, value []byte) error {
		if n++; n == 1 {
			if err := s.Shelf("directory").Apply(lines(500, 2)); err != nil { // which who reads does not see
				return err
			}
			go func() {
				_, err := s.WipeFree(ctx)
				wiped <- err
			}()
			select {
			case err := <-wiped:
				return fmt.Errorf("it did not wait: %w", err)
			case <-time.After(200 * time.Millisecond):
			}
		}
		if !bytes.Contains(value, []byte("in round 1 ")) {
			return fmt.Errorf("entry %d is %q", n, value)
		}
		return nil
	})
	if err != nil || n != 500 {
		t.Fatal(n, err)
	}
	if err := <-wiped; err != nil {
		t.Fatal(err)
	}
	stop()
	if bytes.Contains(raw(t, dir), []byte("in round 1 ")) {
		t.Error("what was replaced is there")
	}
	// Who will not wait longer says so, and has not wiped all.
	if err := f.Apply(lines(500, 3)); err != nil {
		t.Fatal(err)
	}
	if err := f.Range(func(_, _ []byte) error {
		if _, err := s.WipeFree(ctx); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%w is what it says", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if wipe(t, s) == 0 {
		t.Error("it believes that all is wiped")
	}
}

// Changes while it wipes are there, all of them, and what they deleted is gone after the next time.
func TestChangesWhileWiping(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f := s.Shelf("directory")
	if err := f.Apply(lines(2000, 0)); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				wipe(t, s)
			}
		}
	})
	for round := range 20 {
		if err := f.Apply(lines(2000, round)[round*10:]); err != nil {
			t.Error(err)
		}
	}
	close(over)
	wait.Wait()
	got := onShelf(t, f)
	for i, c := range lines(2000, 19) {
		round := min(i/10, 19)
		if want := lines(i+1, round)[i].Value; got[string(c.Key)] != string(want) {
			t.Fatalf("line %d is %q, want %q", i, got[string(c.Key)], want)
		}
	}
	if err := f.Apply(lines(2000, 20)); err != nil {
		t.Fatal(err)
	}
	wipe(t, s)
	if b := raw(t, dir); bytes.Contains(b, []byte("in round 19 ")) || !bytes.Contains(b, []byte("in round 20 ")) {
		t.Error("what the last change replaced is there")
	}
}

// After a change that failed nobody knows which of two meta pages the disk has, so nothing is wiped before one succeeds.
func TestNothingIsWipedInDoubt(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f := s.Shelf("directory")
	if err := errors.Join(f.Apply(lines(10, 1)), f.Apply(lines(10, 2))); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(nil, nil); err == nil {
		t.Fatal("a key of no bytes is taken")
	}
	if _, err := s.WipeFree(t.Context()); !errors.Is(err, errDoubt) || !bytes.Contains(raw(t, dir), []byte("in round 1 ")) {
		t.Errorf("%v", err)
	}
	if err := f.Put([]byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if wipe(t, s); bytes.Contains(raw(t, dir), []byte("in round 1 ")) {
		t.Error("not wiped")
	}
}

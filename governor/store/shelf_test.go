package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	berrors "go.etcd.io/bbolt/errors"
)

func onShelf(t *testing.T, f *Shelf) map[string]string {
	t.Helper()
	all := map[string]string{}
	var keys []string
	if err := f.Range(func(k, v []byte) error {
		all[string(k)] = string(v)
		keys = append(keys, string(k))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(keys) {
		t.Errorf("%q is not sorted", keys)
	}
	return all
}

func TestAShelfKeepsWhatIsPutThere(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	f, other := s.Shelf("bindings"), s.Shelf("cases")
	if got := onShelf(t, f); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if err := errors.Join(f.Apply(nil), f.Delete([]byte("nobody"))); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Put([]byte("b"), []byte("2")), f.Put([]byte("a"), nil), other.Put([]byte("a"), []byte("not this one"))); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply([]Change{{Key: []byte("c"), Value: []byte("3")}, {Key: []byte("b"), Value: []byte("22")}, {Key: []byte("c"), Delete: true}, {Key: []byte("d")}}); err != nil {
		t.Fatal(err)
	}
	// all or nothing: a key that cannot be is refused with all the rest
	if err := f.Apply([]Change{{Key: []byte("e")}, {Key: nil}}); err == nil || !strings.Contains(err.Error(), "bindings") {
		t.Errorf("%v", err)
	}
	stop := errors.New("stop")
	if err := f.Range(func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir)
	want := map[string]string{"a": "", "b": "22", "d": ""}
	if got := onShelf(t, s.Shelf("bindings")); !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// bbolt has no checksums of what it keeps; a value of which a bit has turned is left out and not believed.
func TestASpoiltValueIsLeftOut(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	if err := s.Shelf("x").Apply([]Change{{Key: []byte("key-one"), Value: []byte("value-one")}, {Key: []byte("key-two"), Value: []byte("value-two")}, {Key: []byte("key-three"), Value: []byte("value-three")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "mailweir.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("value-one"), []byte("velue-one"))
	b = bytes.ReplaceAll(b, []byte("key-two"), []byte("key-twp"))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir)
	if got := onShelf(t, s.Shelf("x")); !maps.Equal(got, map[string]string{"key-three": "value-three"}) || s.Spoilt() != 2 {
		t.Errorf("%q, %d spoilt", got, s.Spoilt())
	}
}

func TestLockedDataIsAnErrorAndNotDamage(t *testing.T) {
	t.Parallel()
	_, dir := fresh(t)
	if _, err := Open(dir, Options{Timeout: 20 * time.Millisecond}); !errors.Is(err, berrors.ErrTimeout) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	left(t, dir, 0)
	// the budgets have a lock of their own, since mailweir.db may be replaced
	if f, err := lock(filepath.Join(dir, "budgets")); err == nil {
		t.Error("locked twice")
		f.Close()
	}
}

func TestNoAccessIsAnErrorAndNotDamage(t *testing.T) {
	t.Parallel()
	if _, err := Open(filepath.Join(t.TempDir(), "nowhere"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "budgets"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func left(t *testing.T, dir string, want int) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "mailweir.db.damaged-*"))
	if err != nil || len(found) != want {
		t.Errorf("%d damaged files are left, want %d: %v", len(found), want, found)
	}
}

func TestEitherSurvivesDamageToTheOther(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	if err := errors.Join(s.Shelf("x").Put([]byte("k"), []byte("v")), s.Save([]governor.Saved{some("a", 1)}, at(1))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "mailweir.db")
	for i, junk := range []string{"short", strings.Repeat("junk", 5000), strings.Repeat("\x00", 1<<16), "again", "and again"} {
		if err := os.WriteFile(path, []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		aside, why := s.Damaged()
		kept, readErr := os.ReadFile(aside)
		if readErr != nil || string(kept) != junk || why == nil {
			t.Errorf("%d: set aside as %q because of %v: %v", i, aside, why, readErr)
		}
		if got, lost := loaded(s.budgets); len(got) != 1 || lost != 0 {
			t.Errorf("%d: the budgets are %v, %d lost", i, got, lost)
		}
		if err := errors.Join(s.Shelf("x").Put([]byte("k"), []byte("v")), s.Close()); err != nil {
			t.Error(err)
		}
	}
	left(t, dir, keepDamaged)
	logs, err := filepath.Glob(filepath.Join(dir, "budgets", "log-*"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	if err := os.WriteFile(logs[0], bytes.Repeat([]byte("junk"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir)
	if aside, _ := s.Damaged(); aside != "" {
		t.Errorf("a sound file was set aside as %s", aside)
	}
	if got := onShelf(t, s.Shelf("x")); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if err := s.Save([]governor.Saved{some("a", 1)}, at(1)); err != nil {
		t.Error(err)
	}
}

// Whatever happens to mailweir.db, it opens, can be read and written, and gives nothing that was not put there.
func TestNoDamageToTheShelvesStopsUs(t *testing.T) {
	t.Parallel()
	s, dir := fresh(t)
	was := map[string]string{}
	for round := range 3 {
		var changes []Change
		for i := range 300 {
			k, v := fmt.Sprintf("key-%03d", i), fmt.Sprintf("value %d of %d", round, i)
			changes = append(changes, Change{Key: []byte(k), Value: []byte(v)})
			was[k+v] = k
		}
		if err := s.Shelf("x").Apply(changes); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(filepath.Join(dir, "mailweir.db"))
	if err != nil {
		t.Fatal(err)
	}
	aside, spoilt := 0, int64(0)
	for i := range 90 {
		data := bytes.Clone(sound)
		n := (i * 7919 * 13) % len(data)
		switch i % 3 {
		case 0:
			data = data[:n]
		case 1:
			data[n] ^= 1 << (i / 3 % 8)
		case 2:
			clear(data[n&^4095 : min(len(data), n&^4095+4096)])
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mailweir.db"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("%d, at %d: %v", i, n, err)
		}
		for k, v := range onShelf(t, s.Shelf("x")) {
			if was[k+v] != k {
				t.Errorf("%d, at %d: invented %q: %q", i, n, k, v)
			}
		}
		if err := s.Shelf("x").Put([]byte("new"), nil); err != nil {
			t.Errorf("%d, at %d: %v", i, n, err)
		}
		if path, _ := s.Damaged(); path != "" {
			aside++
		}
		spoilt += s.Spoilt()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d files set aside, %d values left out", aside, spoilt)
	if aside == 0 || spoilt == 0 {
		t.Error("this test does not damage what it should")
	}
}

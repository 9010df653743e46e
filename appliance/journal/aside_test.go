package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// unread is a journal of many files, the third of which cannot be read any more: a directory in its place answers as a disk does that cannot read it.
func unread(t *testing.T, b Bounds) (w *world, path string, first, last uint64) {
	t.Helper()
	w = open(t, b)
	for i := range 50 {
		w.session("S-1", fmt.Sprintf("203.0.113.%d", i+100), noon.Add(time.Duration(i)*time.Minute))
		w.drain()
	}
	if len(w.Journal.records) < 5 {
		t.Fatalf("%d files", len(w.Journal.records))
	}
	bad := w.Journal.records[2]
	if err := os.Remove(bad.path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bad.path, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w, bad.path, bad.sum.FirstSeq, bad.sum.LastSeq
}

func (w *world) setAsides() []string {
	w.Helper()
	found, err := filepath.Glob(filepath.Join(w.opt.Dir, "*"+asideMark+"*"))
	if err != nil {
		w.Fatal(err)
	}
	return found
}

// One file that cannot be read keeps no other from going when its time is over, nor the journal from going on beyond its bound: it is set aside, its numbers are told, and
// it goes like the others.
func TestOneFileThatCannotBeReadKeepsNoOther(t *testing.T) {
	t.Parallel()
	w, bad, first, last := unread(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20})
	w.tidy(noon.Add(2 * time.Hour))
	if st := w.Status(); st.Err != nil {
		t.Error(st.Err)
	}
	found := w.Damaged()
	if len(found) != 1 || !strings.Contains(found[0].String(), bad) || !strings.Contains(found[0].String(), "is a directory") {
		t.Fatalf("told %v", found)
	}
	if f, l := found[0].Lost(); f != first || l != last {
		t.Errorf("told %d to %d, want %d to %d", f, l, first, last)
	}
	for i := range 50 {
		if addr := fmt.Sprintf("203.0.113.%d", i+100); w.holding(addr) != nil {
			t.Errorf("%s is in %v", addr, w.holding(addr))
		}
	}
	w.tidy(noon.Add(3 * time.Hour)) // the directory is of today, which was later than noon
	w.tidy(noon.Add(5 * time.Hour))
	if left := w.setAsides(); len(left) > 0 {
		t.Errorf("set aside: %v", left)
	}
	for i := range 20_000 {
		w.session("S-2", "198.51.100.9", noon.Add(8*time.Hour+time.Duration(i)*time.Millisecond))
		if i%1000 == 0 {
			w.flush()
		}
	}
	w.flush()
	if st := w.Status(); st.Err != nil || st.Lost > 0 || st.Bytes > 2<<20 {
		t.Errorf("%+v", st)
	}
}

// Nor does it where the bound is what has the oldest go: what was set aside counts, and goes first.
func TestWhatWasSetAsideGoesFirst(t *testing.T) {
	t.Parallel()
	w, _, _, _ := unread(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20})
	for i := range 20_000 {
		w.session("S-2", "198.51.100.9", noon.Add(50*time.Minute+time.Duration(i)*time.Millisecond))
		if i%1000 == 0 {
			w.flush()
		}
	}
	w.flush()
	if st := w.Status(); st.Err != nil || st.Lost > 0 || st.Bytes > 2<<20 || len(w.setAsides()) > 0 || len(w.Damaged()) != 1 {
		t.Errorf("%+v, set aside: %v", st, w.setAsides())
	}
}

// A start with such a file has a journal, tells its numbers, and goes on behind the last one.
func TestAStartWithAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w, bad, first, last := unread(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	found := w.reopen()
	if len(found) != 1 || !strings.Contains(found[0].String(), bad) {
		t.Fatalf("told %v", found)
	}
	if f, l := found[0].Lost(); f != first || l != last {
		t.Errorf("told %d to %d, want %d to %d", f, l, first, last)
	}
	if seq, _, err := w.Last(); seq != 50 || err != nil {
		t.Errorf("the last record is %d, %v", seq, err)
	}
	w.session("S-1", "203.0.113.200", noon.Add(51*time.Minute))
	w.drain()
	if n := len(w.items(Query{Above: last})); n != 51-int(last) {
		t.Errorf("%d records behind it", n)
	}
}

// What is held goes neither with its time nor for its room, though nobody can read it; nor does anything while it is not known what is.
func TestWhatWasSetAsideMayBeHeld(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20}
	w, _, _, _ := unread(t, b)
	if err := w.Hold(Hold{Case: "00007", Subscriber: "S-1", From: noon, To: noon.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	stays := func(why string) {
		t.Helper()
		for h := range 5 {
			w.tidy(noon.Add(time.Duration(10+3*h) * time.Hour))
		}
		if len(w.setAsides()) != 1 {
			t.Errorf("%s: set aside: %v", why, w.setAsides())
		}
	}
	stays("held")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(w.opt.Dir, holdsFile)
	if err := os.WriteFile(list, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	stays("not known what is held")
	for i := range 10_000 {
		w.session("S-2", "198.51.100.9", noon.Add(30*time.Hour+time.Duration(i)*time.Millisecond))
		if i%1000 == 0 {
			w.flush()
		}
	}
	stays("no room")
	said := `[{"case": "00008", "subscriber": "S-8", "from": "2036-11-21T12:00:00Z"}]` // of another time
	if err := os.WriteFile(list, []byte(said), 0o600); err != nil {
		t.Fatal(err)
	}
	w.tidy(noon.Add(40 * time.Hour))
	if left := w.setAsides(); len(left) > 0 {
		t.Errorf("set aside: %v", left)
	}
}

// Files that have gone, as when somebody removed them, are told as such, and not with numbers that would explain why they are not there.
func TestAFileThatIsGoneIsNotExplained(t *testing.T) {
	t.Parallel()
	w, bad, _, _ := unread(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20})
	if err := os.RemoveAll(bad); err != nil {
		t.Fatal(err)
	}
	w.tidy(noon.Add(2 * time.Hour))
	found := w.Damaged()
	if len(found) != 1 || !strings.Contains(found[0].String(), bad+" is gone") || w.Status().Err != nil || len(w.setAsides()) > 0 {
		t.Fatalf("told %v, %v", found, w.Status().Err)
	}
	if first, last := found[0].Lost(); first > 0 || last > 0 {
		t.Errorf("told %d to %d", first, last)
	}
	if slices.ContainsFunc(w.Journal.records, func(s *segment) bool { return s.path == bad }) {
		t.Error("it is still a file of the journal")
	}
}

// A list of holds that was set aside names subscribers, which may be addresses: it goes when the time of records is over, once it is known what is held, and not before.
func TestAListOfHoldsThatWasSetAsideDoesNotStay(t *testing.T) {
	t.Parallel()
	w := open(t, hours)
	const sub, addr = "203.0.113.77/32", "203.0.113.77"
	w.stage(sub, "00007", noon)
	w.drain()
	if err := w.Hold(Hold{Case: "00007", Subscriber: sub, From: noon, To: noon.Add(time.Minute), Reason: "x", By: "admin", Since: noon}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	list := filepath.Join(w.opt.Dir, holdsFile)
	content, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, content[:len(content)-8], 0o600); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	aside := func() int {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(w.opt.Dir, holdsAside+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	w.tidy(noon) // which is earlier than the list was set aside: its time begins now
	w.tidy(noon.Add(10 * time.Hour))
	if aside() != 1 {
		t.Fatal("it is gone while it is not known what is held")
	}
	if err := os.WriteFile(list, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.tidy(noon.Add(hours.Records - 2*ahead))
	if aside() != 1 {
		t.Error("it is gone before its time")
	}
	w.Close()
	w.reopen()
	w.tidy(noon.Add(hours.Records))
	if aside() > 0 || w.holding(addr) != nil {
		t.Errorf("%d lists are set aside, the address is in %v", aside(), w.holding(addr))
	}
}

// Of two such files side by side nobody knows which numbers each had: they are told once.
func TestTwoFilesSideBySideThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w, bad, first, _ := unread(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 2 << 20})
	next := w.Journal.records[3]
	last := next.sum.LastSeq
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(next.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(next.path, 0o700); err != nil {
		t.Fatal(err)
	}
	found := w.reopen()
	if len(found) != 2 {
		t.Fatalf("told %v", found)
	}
	lost := uint64(0)
	for _, d := range found {
		if f, l := d.Lost(); f > 0 {
			if lost += l - f + 1; f != first || l != last {
				t.Errorf("told %d to %d, want %d to %d", f, l, first, last)
			}
		} else if d.File != bad || d.With != next.path || !strings.Contains(d.String(), next.path) {
			t.Errorf("told %v of the other", d)
		}
	}
	if lost != last-first+1 {
		t.Errorf("%d are told to be lost, of %d", lost, last-first+1)
	}
}

package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// aged is a box without a collector that has a journal of some files.
type aged struct {
	*world
	journal *journal.Journal
	dir     string
	at      time.Time // of the next record
}

var keptBounds = journal.Bounds{Bytes: 64 << 20, Sessions: time.Hour, Records: time.Hour}

func newAged(t *testing.T) *aged {
	t.Helper()
	k := &aged{world: &world{t: t, data: t.TempDir()}, at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	k.dir = journal.Dir(k.data)
	write(t, filepath.Join(k.data, boxFile), []byte("box-1\n"))
	var err error
	if k.chain, err = records.OpenChain(filepath.Join(k.data, stateFile), "box-1"); err != nil {
		t.Fatal(err)
	}
	k.open()
	return k
}

func (k *aged) open() {
	k.t.Helper()
	var err error
	if k.journal, _, err = journal.Open(journal.Options{Dir: k.dir, Bounds: keptBounds}); err != nil {
		k.t.Fatal(err)
	}
}

// run has the journal do what waits.
func (k *aged) run() {
	k.t.Helper()
	ctx, end := context.WithCancel(k.t.Context())
	end()
	if err := errors.Join(k.journal.Run(ctx), k.journal.Status().Err); err != nil {
		k.t.Fatal(err)
	}
}

// pass makes a record each minute.
func (k *aged) pass(minutes int, add bool) {
	k.t.Helper()
	for range minutes {
		r := k.say(records.Audit(records.AuditFacts{Time: k.at, Who: "admin", What: "release", Object: "S-1"}))
		if add {
			k.journal.Add(r)
		}
		k.at = k.at.Add(time.Minute)
	}
}

// sweep has the journal delete what is beyond its time.
func (k *aged) sweep() {
	k.t.Helper()
	ctx, end := context.WithCancel(k.t.Context())
	done := make(chan error)
	go func() { done <- k.journal.Run(ctx) }()
	for range 3 { // it holds one, so that the first is done when the third is taken
		for k.journal.Sweep(k.at); ; time.Sleep(time.Millisecond) {
			if st := k.journal.Status(); st.Err != nil {
				k.t.Fatal(st.Err)
			} else if st.Since.IsZero() || k.at.Sub(st.Since) < keptBounds.Records {
				break
			}
		}
	}
	end()
	if err := <-done; err != nil {
		k.t.Fatal(err)
	}
}

func (k *aged) files() []string {
	files, _ := filepath.Glob(filepath.Join(k.dir, "records-*.seg"))
	return files
}

// What retention removed of a journal, its first files and all, is told from what somebody removed.
func TestFirstFilesThatWentOnTimeAndThoseThatWereRemoved(t *testing.T) {
	t.Parallel()
	k := newAged(t)
	k.pass(60, true)
	k.run()
	if files := k.files(); len(files) < 10 {
		t.Fatal(files)
	}
	check := func() Report {
		t.Helper()
		return k.check(k.dir)
	}
	if r := check(); !r.Whole() || r.Records != 60 {
		t.Fatalf("%+v", r)
	}
	k.pass(180, true)
	k.run()
	k.sweep()
	if err := k.journal.Close(); err != nil {
		t.Fatal(err)
	}
	r := check()
	if begin, err := journal.BeginOf(k.dir); err != nil || begin.After == 0 || len(begin.Hash) != 64 || !r.Whole() || r.Boxes[0].First > begin.After+1 || r.Records >= 62 || r.Boxes[0].Last != 240 {
		t.Fatalf("after retention: %+v, %+v, %v", r, begin, err)
	}
	begin, _ := journal.BeginOf(k.dir)
	files := k.files()
	gone, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	told(t, "the first file that is left removed", check(), NotWhole, Gap, fmt.Sprintf("record %d is missing", begin.After+1), files[1])
	write(t, files[0], gone)
	path := filepath.Join(k.dir, "begin")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte(strings.Replace(string(content), fmt.Sprint(begin.After), fmt.Sprint(begin.After+9), 1)))
	told(t, "a begin that was changed", check(), NotKnown, Unread, "damaged")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	told(t, "no begin", check(), NotKnown, Unread, fmt.Sprintf("begins with record %d and does not say", begin.After+1))
	for _, file := range k.files() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, content)
	told(t, "no file is left", check(), NotWhole, Gap, fmt.Sprintf("records %d to 240 are missing", begin.After+1))
}

// Records of a life without a journal are neither whole nor missing: the box says since when it has had none, and afterwards which the journal never got.
func TestALifeWithoutAJournalIsNotKnown(t *testing.T) {
	t.Parallel()
	k := newAged(t)
	k.pass(10, true)
	k.run()
	if err := k.journal.Close(); err != nil {
		t.Fatal(err)
	}
	last, hash := k.chain.Head()
	// This life has none.
	if err := errors.Join(journal.SetNone(k.data, journal.None{After: last, Why: "it is broken"}), journal.SetNone(k.data, journal.None{After: 99})); err != nil {
		t.Fatal(err)
	}
	k.pass(6, false)
	r := k.check(k.dir)
	told(t, "in that life", r, NotKnown, Unread, "no journal since record 10 (it is broken)")
	if len(r.Findings) != 1 || r.Findings[0].First != 11 || r.Findings[0].Last != 16 || r.Records != 10 {
		t.Errorf("%+v", r)
	}
	aside := k.dir + ".aside"
	if err := os.Rename(k.dir, aside); err != nil {
		t.Fatal(err)
	}
	part := func() Report {
		parts, err := Paths([]string{k.data}, Options{})
		if err != nil || len(parts) != 2 {
			t.Fatal(parts, err)
		}
		return parts[0].Report
	}
	told(t, "without a directory", part(), NotKnown, Unread, "no journal since record 10")
	write(t, k.dir, []byte("x"))
	told(t, "where something else is", part(), NotKnown, Unread, "is no directory")
	if err := errors.Join(os.Remove(k.dir), os.Rename(aside, k.dir)); err != nil {
		t.Fatal(err)
	}
	// The next one has.
	k.open()
	now, head := k.chain.Head()
	k.journal.Never(last+1, now, hash, head, k.at)
	k.pass(5, true)
	k.run()
	if err := errors.Join(k.journal.Close(), journal.EndNone(k.data), journal.EndNone(k.data)); err != nil {
		t.Fatal(err)
	}
	r = k.check(k.dir)
	told(t, "in the next one", r, NotKnown, Unread, "records 11 to 16 were never here")
	if len(r.Findings) != 1 || r.Records != 15 {
		t.Errorf("%+v", r)
	}
	// What stands beside it is held against it all the same.
	files := k.files()
	content, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(content), "prev=")
	write(t, files[len(files)-1], slices.Concat(content[:at+9], []byte{content[at+9] ^ 1}, content[at+10:]))
	if r := k.check(k.dir); r.Verdict() != NotWhole {
		t.Errorf("changed behind it: %+v", r)
	}
}

// Many gaps that nothing explains are read as one that names each number.
func TestManyGapsAreStatedToTheNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lines []string
	var want []string
	for i, l := range w.lines {
		if seq := i + 1; seq%3 == 0 && seq < many {
			want = append(want, fmt.Sprint(seq))
		} else {
			lines = append(lines, l)
		}
	}
	joined := Joined(w.check(w.log(lines)).Findings)
	if len(joined) != 1 || !strings.HasSuffix(joined[0].Text, ": "+strings.Join(want, ",")) || !strings.Contains(joined[0].Text, "19 records are missing in 19 places") {
		t.Errorf("%+v", joined)
	}
}

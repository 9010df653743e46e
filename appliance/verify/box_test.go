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
	"github.com/mailweir/mailweir/appliance/spool"
)

// newBox is a world with a journal and the id of the box beside the spool, each with the same records; acknowledged says how many the collector has.
func newBox(t *testing.T, acknowledged uint64) (w *world, theSpool *spool.Spool) {
	t.Helper()
	w = &world{t: t, data: t.TempDir()}
	write(t, filepath.Join(w.data, boxFile), []byte("box-1\n"))
	var err error
	if w.chain, err = records.OpenChain(filepath.Join(w.data, stateFile), "box-1"); err != nil {
		t.Fatal(err)
	}
	if theSpool, err = spool.Open(spool.Options{Dir: filepath.Join(w.data, "spool"), Limit: 1 << 20, Sessions: time.Hour, Records: time.Hour}); err != nil {
		t.Fatal(err)
	}
	reader := theSpool.Reader("relp://192.0.2.1")
	j, _, err := journal.Open(journal.Options{Dir: journal.Dir(w.data), Bounds: journal.Bounds{Bytes: 64 << 20, Sessions: time.Hour, Records: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	w.chain.Before(theSpool.Append)
	for i := range many {
		j.Add(w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: fmt.Sprint("S-", i)})))
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	reader.Ack(acknowledged)
	if err := errors.Join(j.Run(ctx), j.Close()); err != nil {
		t.Fatal(err)
	}
	return w, theSpool
}

// both is the findings of the data directory's two parts, as one report.
func (w *world) both() Report {
	w.t.Helper()
	parts, err := Paths([]string{w.data}, Options{})
	if err != nil || len(parts) != 2 {
		w.t.Fatal(parts, err)
	}
	return Report{Findings: slices.Concat(parts[0].Findings, parts[1].Findings), Boxes: parts[0].Boxes}
}

// Of state, spool and journal each says what the others must have, whichever is gone.
func TestSpoolAndJournalAreHeldAgainstEachOther(t *testing.T) {
	t.Parallel()
	w, s := newBox(t, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := w.both(); !r.Whole() {
		t.Fatalf("whole: %+v", r)
	}
	spools, _ := filepath.Glob(filepath.Join(w.data, "spool", "*.spool"))
	segments, _ := filepath.Glob(filepath.Join(journal.Dir(w.data), "records-*.seg"))
	if len(spools) != 1 || len(segments) != 1 {
		t.Fatal(spools, segments)
	}
	kept := map[string][]byte{}
	for _, path := range []string{spools[0], segments[0], filepath.Join(w.data, stateFile)} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept[path] = content
	}
	remove := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore := func() {
		for path, content := range kept {
			write(t, path, content)
		}
	}
	state := filepath.Join(w.data, stateFile)
	remove(state)
	told(t, "no state", w.both(), NotKnown, Unread, "there is no "+stateFile)

	lines := strings.SplitAfter(string(kept[spools[0]]), "\n")
	write(t, spools[0], []byte(strings.Join(lines[:41], "")))
	told(t, "no state, and the end of the spool", w.both(), NotWhole, Gap, "records 41 to 60 are missing", segments[0])
	remove(spools[0])
	told(t, "no state, and no file of the spool", w.both(), NotWhole, Gap, "records 1 to 60 are missing", segments[0])
	restore()
	remove(state, segments[0])
	told(t, "no state, and no file of the journal", w.both(), NotWhole, Gap, "records 1 to 60 are missing", spools[0])
	restore()

	// Both are whole in themselves, and of two chains.
	other, s := newBox(t, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	theirs, _ := filepath.Glob(filepath.Join(other.data, "spool", "*.spool"))
	content, err := os.ReadFile(theirs[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, spools[0], content)
	told(t, "the spool of another chain", w.both(), NotWhole, Conflict, "record 1 stands here and at "+segments[0], "the two differ")
	restore()

	positions, _ := filepath.Glob(filepath.Join(w.data, "spool", "position-*"))
	remove(positions...)
	remove(spools...)
	told(t, "an empty spool", w.both(), NotKnown, Unread, "no collector has a position")
	if parts, err := Paths([]string{w.data}, Options{WithoutCollector: true}); err != nil || parts[0].What[:7] != "journal" || !parts[0].Whole() || len(parts[1].Findings) > 0 {
		t.Errorf("of a box without a collector: %v %+v", err, parts)
	}
}

// What all collectors have may go from a spool, in whichever order: a spool from which it went is whole.
func TestASpoolOfWhichTheAcknowledgedExpiredIsWhole(t *testing.T) {
	t.Parallel()
	w, s := newBox(t, many)
	for range 3 { // the one that is written to is sealed first
		s.Expire(time.Now().Add(2 * time.Hour))
	}
	w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := w.check(filepath.Join(w.data, "spool")); !r.Whole() || r.Records != 1 {
		t.Errorf("%+v", r)
	}
	// Some of them, as where only one kind was due, and not the newest.
	w, s = newBox(t, 40)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(w.data, "spool", "*.spool"))
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	write(t, files[0], []byte(strings.Join(slices.Concat(lines[:21], lines[31:]), "")))
	if r := w.both(); !r.Whole() {
		t.Errorf("21 to 30 of 40 that are acknowledged are gone: %+v", r.Findings)
	}
	write(t, files[0], []byte(strings.Join(slices.Concat(lines[:31], lines[51:]), "")))
	told(t, "31 to 50", w.both(), NotWhole, Gap, "records 41 to 50 are missing")
}

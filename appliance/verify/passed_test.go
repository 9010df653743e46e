package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
)

// A log can come through a pipe, in whatever order the files are named.
func TestLogsFromPipes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintln(f, strings.Join(w.lines[:30], "\n"))
			f.Close()
		}
		wrote <- err
	}()
	r := w.check(w.log(w.lines[30:]), pipe)
	if err := <-wrote; err != nil || !r.Whole() || r.Records != many || r.Boxes[0].First != 1 {
		t.Errorf("%v %+v", err, r)
	}
}

// In a directory links to files are followed, and what is passed over is named.
func TestWhatIsPassedOverInADirectoryIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mail.log"), []byte(strings.Join(w.lines[30:], "\n")+"\n"))
	for name, to := range map[string]string{"mail.log.1": w.log(w.lines[:30]), "current": "mail.log"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.check(dir); !r.Whole() || r.Records != many || r.Duplicates > 0 {
		t.Errorf("a link: %+v", r)
	}
	old := filepath.Join(dir, "old")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	told(t, "a directory", w.check(dir), NotKnown, Unread, old, "name it, too")
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", old); err != nil {
		t.Fatal(err)
	}
	told(t, "a link to nothing", w.check(dir), NotKnown, Unread, old, "passed over")
}

// A first line that does not begin as a record does, but holds one, is named: nothing else says that it was one.
func TestALineWithASpoiltBeginningIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for why, bend := range map[string]func(string) string{
		"another version":   func(s string) string { return strings.Replace(s, ">1 ", ">2 ", 1) },
		"no version":        func(s string) string { return strings.Replace(s, ">1 ", "x1 ", 1) },
		"a byte order mark": func(s string) string { return "\uFEFF" + s },
		"and another kind": func(s string) string {
			return strings.Replace(strings.Replace(s, ">1 ", ">2 ", 1), " AUDIT ", " audit ", 1)
		},
	} {
		lines := slices.Clone(w.lines)
		lines[0] = bend(lines[0])
		told(t, why, w.check(w.log(lines)), NotKnown, Unread, ":2:", "the line holds a record 1 ")
	}
}

// One record of a number that is far ahead makes none of those behind it stand in the wrong place.
func TestOneRecordThatLeapsIsTheOneInTheWrongPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const far = "18446744073709551615"
	forged := strings.Replace(w.lines[20], ` seq="21"`, ` seq="`+far+`"`, 1)
	for at := range 3 {
		at *= 25
		r := w.check(w.log(slices.Insert(slices.Clone(w.lines), at, forged)))
		if len(r.Findings) != 1 || r.Findings[0].Kind != Reordered || !strings.Contains(r.Findings[0].Text, "record "+far+" stands before record") || r.Records != many || r.Boxes[0].Last != many {
			t.Errorf("before line %d: %+v", at, r)
		}
	}
	moved := slices.Insert(slices.Delete(slices.Clone(w.lines), 40, 41), 20, w.lines[40])
	if r := w.check(w.log(moved)); len(r.Findings) != 1 || r.Findings[0].First != 41 || r.Records != many {
		t.Errorf("a record that was moved to the front: %+v", r)
	}
	moved = slices.Insert(slices.Delete(slices.Clone(w.lines), 20, 21), 40, w.lines[20])
	if r := w.check(w.log(moved)); r.Whole() || len(r.Findings) != 1 || r.Findings[0].Kind != Reordered || r.Findings[0].First != 21 || r.Records != many {
		t.Errorf("a record that was moved to the back: %+v", r)
	}
	lacking := slices.Delete(slices.Insert(slices.Clone(w.lines), 20, forged), 31, 33)
	told(t, "a gap behind it", w.check(w.log(lacking)), NotWhole, Gap, "records 31 to 32 are missing")
}

// Where there is no record, nothing is whole.
func TestNothingIsNotWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.check(w.log(nil)); r.Whole() || r.Verdict() != NotKnown {
		t.Errorf("%+v", r)
	}
}

// The gaps of one cause are read as one, and what a HEALTH record says is missing, in the spool or at a collector, is their cause.
func TestGapsOfOneCauseAreJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, target := range []string{"spool", "relp://192.0.2.1:2514"} {
		said := w.say(records.Health(records.HealthFacts{What: "record_loss", Target: target, Count: 6, FirstSeq: 2, LastSeq: 12, Seqs: "2,4,6,8,10,12"}))
		w.say(records.Health(records.HealthFacts{What: "record_loss", Target: target, Count: 14, FirstSeq: 20, LastSeq: 33}))
		var lines []string
		for i, l := range w.lines {
			if seq := i + 1; !(seq <= 12 && seq%2 == 0) && !(20 <= seq && seq <= 33) && seq != 50 {
				lines = append(lines, l)
			}
		}
		r := w.check(w.log(lines))
		joined := Joined(r.Findings)
		if len(r.Findings) != 8 || len(joined) != 2 {
			t.Fatalf("%d findings, joined %+v", len(r.Findings), joined)
		}
		for _, word := range []string{"record 2 is missing", fmt.Sprintf("record %d says so (record_loss %s)", said.Seq, target), "and 6 more such", "of 20 records between 2 and 33"} {
			if !strings.Contains(joined[0].Text, word) {
				t.Errorf("%q is not in %s", word, joined[0].Text)
			}
		}
		w = newWorld(t)
	}
}

// What the journal never got a collector has all the same: that a HEALTH record says so is no reason for a gap in the collector's log.
func TestWhatTheJournalMissesIsNoExcuseForALog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say(records.Health(records.HealthFacts{What: "record_loss", Target: "journal", Count: 20, FirstSeq: 10, LastSeq: 29}))
	r := w.check(w.log(slices.Delete(slices.Clone(w.lines), 11, 20)))
	if len(r.Findings) != 1 || r.Findings[0].First != 12 || r.Findings[0].Last != 20 || strings.Contains(r.Findings[0].Text, "says so") {
		t.Errorf("%+v", r.Findings)
	}
}

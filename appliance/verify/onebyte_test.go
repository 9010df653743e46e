package verify

import (
	"context"
	"encoding/binary"
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

// eachByte flips bits of each byte of a file from from to to, and wants the file named for it.
func (w *world) eachByte(path string, from, to int, flips ...byte) {
	w.t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	for at := from; at < min(to, len(whole)); at++ {
		for _, flip := range flips {
			bent := slices.Clone(whole)
			bent[at] ^= flip
			write(w.t, path, bent)
			r := w.both()
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.Where+f.Text, path) }) {
				w.t.Errorf("%s: byte %d, %q in place of %q: %+v", path, at, bent[at], whole[at], r.Findings)
			}
		}
	}
	write(w.t, path, whole)
}

// What vouches for records counts to the byte, too: the checksum of a line of the spool, as it is written; the end of each file of the journal; what the journal had when it was closed.
func TestEveryByteThatVouchesForRecordsCounts(t *testing.T) {
	t.Parallel()
	w, s := newBox(t, 0)
	dir := journal.Dir(w.data)
	j, _, err := journal.Open(journal.Options{Dir: dir, Bounds: journal.Bounds{Bytes: 64 << 20, Sessions: time.Hour, Records: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	j.Add(w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"}))) // in a file of its own
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := errors.Join(j.Run(ctx), j.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if r := w.both(); !r.Whole() {
		t.Fatal(r.Findings)
	}

	spools, _ := filepath.Glob(filepath.Join(w.data, "spool", "*.spool"))
	content, err := os.ReadFile(spools[0])
	if err != nil {
		t.Fatal(err)
	}
	at, letters := 0, 0
	for line := range strings.Lines(string(content)) {
		if sum := line[:8]; at > 0 && strings.ContainsAny(sum, "abcdef") && letters < 3 {
			letters++
			w.eachByte(spools[0], at, at+len(sum), 0x01, 0x20) // also in the other case
		}
		at += len(line)
	}
	if letters == 0 {
		t.Error("no checksum has a letter")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "records-*.seg"))
	if len(files) != 2 {
		t.Fatal(files)
	}
	const trailer = 12 // behind the summary's length
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := len(content)
		summary := int(binary.LittleEndian.Uint32(content[n-trailer:]))
		w.eachByte(file, n-trailer-summary, n, 0x01)
	}
	w.eachByte(filepath.Join(w.data, "journal.last"), 0, 1<<10, 0x01)
	if r := w.both(); !r.Whole() {
		t.Error(r.Findings)
	}
}

// A line of a log that holds a record is named whatever its version and the blank behind it were made to be, and its record is not taken for whole.
func TestTheBeginOfALineIsHeldToTheByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const i = 20
	line := w.lines[i]
	behind := strings.Index(line, ">") + 1
	for at := behind; at < behind+2; at++ {
		for b := range 256 {
			if byte(b) == line[at] || b == '\n' { // which makes two lines of it: one that is nobody's, and a record without a priority
				continue
			}
			bent := []byte(line)
			bent[at] = byte(b)
			lines := slices.Clone(w.lines)
			lines[i] = string(bent)
			c := logs{Checker: NewChecker(), behind: map[int]int{}}
			c.take = c.Add
			for n, l := range lines {
				c.line(fmt.Sprint(n), []byte(l))
			}
			if r := c.Report(); !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Where == fmt.Sprint(i) || f.Where == fmt.Sprint(i+1) }) {
				t.Errorf("%q: %+v", bent[:behind+8], r.Findings)
			}
		}
	}
}

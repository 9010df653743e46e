package verify

import (
	"compress/gzip"
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

const many = 60

// world has made a chain of records, and kept it in a spool.
type world struct {
	t     *testing.T
	data  string
	chain *records.Chain
	lines []string // of a collector
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, data: t.TempDir()}
	var err error
	if w.chain, err = records.OpenChain(filepath.Join(w.data, "records.state"), "box-1"); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(spool.Options{Dir: filepath.Join(w.data, "spool"), Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Reader("relp://192.0.2.1")
	w.chain.Before(s.Append)
	for i := range many {
		w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: fmt.Sprintf(`S-"%d"]`, i), Before: "cut"}))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) say(e records.Entry) records.Record {
	r := w.chain.Append(e, time.Now())
	w.lines = append(w.lines, string(r.AppendLine(nil, 20)))
	return r
}

// log writes lines as a collector does, with somebody else's between them.
func (w *world) log(lines []string) string {
	path := filepath.Join(w.t.TempDir(), "mail.log")
	text := "Nov 29 03:12:07 other sshd[1]: hello\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) check(paths ...string) Report {
	w.t.Helper()
	parts, err := Paths(paths, Options{})
	if err != nil || len(parts) != 1 {
		w.t.Fatal(parts, err)
	}
	return parts[0].Report
}

// first checks what the first finding says.
func first(t *testing.T, why string, r Report, kind string, seq uint64, where string) {
	t.Helper()
	if r.Whole() {
		t.Errorf("%s: whole", why)
		return
	}
	f := r.Findings[0]
	if f.Kind != kind || f.First != seq || !strings.HasSuffix(f.Where, where) {
		t.Errorf("%s: %+v, want %s of %d at %s", why, f, kind, seq, where)
	}
}

func TestAWholeLogIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	again := slices.Concat(w.lines[:40], w.lines[20:])
	for why, lines := range map[string][]string{"as sent": w.lines, "with an overlap": again, "from the middle": w.lines[30:]} {
		if r := w.check(w.log(lines)); !r.Whole() || r.Duplicates != len(lines)-r.Records || r.Boxes[0].Last != many {
			t.Errorf("%s: %+v", why, r)
		}
	}
	// Rotated, the older one packed, in whatever order they are named; and one line that the collector was killed in the middle of.
	dir := t.TempDir()
	torn := w.lines[29] + "\n" + w.lines[30][:200] + w.lines[30] + "\n" + w.lines[31][:90] + w.lines[31]
	old, err := os.Create(filepath.Join(dir, "z.1.gz"))
	if err != nil {
		t.Fatal(err)
	}
	pack := gzip.NewWriter(old)
	fmt.Fprintln(pack, strings.Join(w.lines[:29], "\n"))
	if err := pack.Close(); err != nil {
		t.Fatal(err)
	}
	old.Close()
	if err := os.WriteFile(filepath.Join(dir, "a.log"), []byte(torn+"\n"+strings.Join(w.lines[32:], "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.check(dir); !r.Whole() || r.Records != many {
		t.Errorf("rotated: %+v", r)
	}
}

func TestEveryManipulationOfALogIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(i int) string { return fmt.Sprintf(":%d", i+2) } // the line of lines[i], behind somebody else's
	edit := func(i int, old, new string) []string {
		lines := slices.Clone(w.lines)
		if lines[i] = strings.Replace(lines[i], old, new, 1); lines[i] == w.lines[i] {
			t.Fatalf("%s is not in %s", old, lines[i])
		}
		return lines
	}
	first(t, "one removed", w.check(w.log(slices.Delete(slices.Clone(w.lines), 20, 21))), Gap, 21, at(20))
	first(t, "three removed", w.check(w.log(slices.Delete(slices.Clone(w.lines), 20, 23))), Gap, 21, at(20))
	swapped := slices.Clone(w.lines)
	swapped[20], swapped[21] = swapped[21], swapped[20]
	first(t, "two swapped", w.check(w.log(swapped)), Reordered, 21, at(21))
	first(t, "a value", w.check(w.log(edit(20, `before="cut"`, `before="cup"`))), Edited, 21, at(20))
	first(t, "the kind", w.check(w.log(edit(20, " AUDIT ", " AUDIX "))), Edited, 21, at(20))
	first(t, "prev", w.check(w.log(edit(20, `prev="`+value(t, w.lines[20], "prev")[:4], `prev="0000`))), Edited, 21, at(20))
	first(t, "the text", w.check(w.log(edit(20, "admin: release", "admin: Release"))), Edited, 21, at(20))
	first(t, "a quote that ends a value", w.check(w.log(edit(20, `before="cut"`, `before=cut"`))), Damaged, 0, at(20))
	first(t, "another record of the same number", w.check(w.log(slices.Insert(slices.Clone(w.lines), 30, edit(20, `before="cut"`, `before="cup"`)[20]))), Conflict, 21, at(30))
	if r := w.check(w.log(edit(20, ` seq="21"`, ` seq="27"`))); r.Whole() || !strings.HasSuffix(r.Findings[0].Where, at(20)) {
		t.Errorf("another number: %+v", r.Findings)
	}
}

func value(t *testing.T, line, name string) string {
	l, err := records.ParseLine([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return l.Value(name)
}

// Every byte of every line that the chain holds, changed: the place is that record or the one that vouches for it.
func TestEveryByteOfARecordCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const i = 20
	line := w.lines[i]
	from := strings.Index(line, ">1 ") + 3
	host := strings.Index(line, " box-1 ")
	for at := from; at < len(line); at++ {
		if at > host && at <= host+len("box-1") {
			continue
		}
		lines := slices.Clone(w.lines)
		bent := []byte(line)
		if bent[at] ^= 1; bent[at] == '\n' {
			continue
		}
		lines[i] = string(bent)
		c := logs{Checker: NewChecker()}
		c.take = c.Add
		for n, l := range lines {
			c.line(fmt.Sprint(n), []byte(l))
		}
		r := c.Report()
		if r.Whole() {
			t.Fatalf("byte %d (%q): whole\n%s", at, line[at], bent)
		}
		if f := r.Findings[0]; f.Where != fmt.Sprint(i) && f.Where != fmt.Sprint(i+1) {
			t.Errorf("byte %d (%q): %+v", at, line[at], f)
		}
	}
}

// What a collector misses, and a HEALTH record says so, is a gap all the same; the report says who says so.
func TestAStatedGapNamesWhoStatesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	said := w.say(records.Health(records.HealthFacts{What: "record_loss", Target: "spool", Count: 4, FirstSeq: 11, LastSeq: 22, Seqs: "11-13,22"}))
	r := w.check(w.log(slices.Concat(w.lines[:10], w.lines[13:])))
	first(t, "stated", r, Gap, 11, "")
	if want := fmt.Sprintf("record %d says so (record_loss spool)", said.Seq); len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Text, want) {
		t.Errorf("%+v does not say %q", r.Findings, want)
	}
	if r = w.check(w.log(slices.Concat(w.lines[:10], w.lines[14:]))); strings.Contains(r.Findings[0].Text, "says so") {
		t.Errorf("more is missing than was stated: %+v", r.Findings)
	}
}

func TestEveryManipulationOfASpoolIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files, _ := filepath.Glob(filepath.Join(w.data, "spool", "*.spool"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(whole), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	if r := w.check(filepath.Join(w.data, "spool")); !r.Whole() || r.Records != many || len(lines) != many+1 {
		t.Fatalf("%d lines, %+v", len(lines), r)
	}
	with := func(lines []string) Report {
		if err := os.WriteFile(files[0], []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		return w.check(filepath.Join(w.data, "spool"))
	}
	first(t, "one removed", with(slices.Delete(slices.Clone(lines), 20, 21)), Gap, 20, ":21")
	first(t, "the last removed", with(lines[:many]), Gap, many, "the state of the chain")
	swapped := slices.Clone(lines)
	swapped[20], swapped[21] = swapped[21], swapped[20]
	first(t, "two swapped", with(swapped), Reordered, 20, ":22")
	at := len(strings.Join(lines[:20], ""))
	for i := range len(lines[20]) - 1 { // each byte of one line, priority and host name, too
		bent := []byte(string(whole))
		bent[at+i] ^= 1
		if err := os.WriteFile(files[0], bent, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := w.check(filepath.Join(w.data, "spool")); r.Whole() || !strings.HasSuffix(r.Findings[0].Where, ":21") {
			t.Fatalf("byte %d: %+v", i, r.Findings)
		}
	}
}

// A journal in which something was removed, swapped or changed; each frame there is a checksum and a record.
func TestEveryManipulationOfAJournalIsNamed(t *testing.T) {
	t.Parallel()
	w := &world{t: t, data: t.TempDir()}
	var err error
	if w.chain, err = records.OpenChain(filepath.Join(w.data, stateFile), "box-1"); err != nil {
		t.Fatal(err)
	}
	dir := journal.Dir(w.data)
	j, _, err := journal.Open(journal.Options{Dir: dir, Bounds: journal.Bounds{Bytes: 64 << 20, Sessions: time.Hour, Records: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	for range many {
		j.Add(w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"})))
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := errors.Join(j.Run(ctx), j.Close()); err != nil {
		t.Fatal(err)
	}
	if r := w.check(dir); !r.Whole() || r.Records != many {
		t.Fatalf("%+v", r)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "records-*.seg"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var at []int64 // where each record begins, and the last one ends
	reader, err := journal.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Each(journal.Query{}, func(it *journal.Item) error { at = append(at, it.Offset); return nil }); err != nil {
		t.Fatal(err)
	}
	with := func(parts ...[]byte) Report {
		if err := os.WriteFile(files[0], slices.Concat(parts...), 0o600); err != nil {
			t.Fatal(err)
		}
		return w.check(dir)
	}
	place := func(offset int64) string { return fmt.Sprintf(":%d", offset) }
	first(t, "one removed", with(whole[:at[20]], whole[at[21]:]), Gap, 21, place(at[20]))
	first(t, "two swapped", with(whole[:at[20]], whole[at[21]:at[22]], whole[at[20]:at[21]], whole[at[22]:]), Reordered, 21, place(at[20]+at[22]-at[21]))
	for i := at[20]; i < at[21]; i++ {
		bent := slices.Clone(whole)
		bent[i] ^= 1
		if r := with(bent); r.Whole() {
			t.Fatalf("byte %d of %d: whole", i-at[20], at[21]-at[20])
		} else if f := r.Findings[0]; !strings.HasSuffix(f.Where, place(at[20])) && f.First > 21 {
			t.Errorf("byte %d of %d: %+v", i-at[20], at[21]-at[20], f)
		}
	}
}

package verify

import (
	"bytes"
	"compress/gzip"
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

// told checks that something of a kind was found, that its words hold some, and what the verdict is.
func told(t *testing.T, why string, r Report, verdict, kind string, words ...string) {
	t.Helper()
	for _, f := range r.Findings {
		missing := slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.Where+": "+f.Text, w) })
		if f.Kind == kind && !missing && r.Verdict() == verdict {
			return
		}
	}
	t.Errorf("%s: %s: %+v; want %s, %s %q", why, r.Verdict(), r.Findings, verdict, kind, words)
}

// write makes a file.
func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever was taken away from the beginning of a spool, or all of it, is missing: the collectors' positions and the chain's state know of it.
func TestWhatASpoolLacksIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(w.data, "spool")
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	whole, err := os.ReadFile(files[0])
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	with := func(kept ...string) Report {
		write(t, files[0], []byte(strings.Join(kept, "")))
		return w.check(dir)
	}
	first(t, "the first records", with(slices.Concat(lines[:1], lines[8:])...), Gap, 1, ":2")
	told(t, "they and what is before them", with(lines[8:]...), NotWhole, Gap, "records 1 to 7 are missing")
	told(t, "all records", with(lines[0]), NotWhole, Gap, fmt.Sprintf("records 1 to %d are missing", many), stateName)
	told(t, "all lines", with(), NotWhole, Gap, fmt.Sprintf("records 1 to %d are missing", many), stateName)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	told(t, "the file", w.check(dir), NotWhole, Gap, fmt.Sprintf("records 1 to %d are missing", many), stateName)

	write(t, files[0], whole)
	if r := w.check(dir); !r.Whole() || r.Records != many {
		t.Fatalf("put back: %+v", r)
	}
	write(t, files[0]+".unreadable", nil)
	told(t, "a file that the box could not read", w.check(dir), NotKnown, Unread, "set it aside")
	if err := os.Remove(files[0] + ".unreadable"); err != nil {
		t.Fatal(err)
	}
	positions, _ := filepath.Glob(filepath.Join(dir, "position-*"))
	write(t, positions[0], []byte("x"))
	told(t, "a position that cannot be read", w.check(dir), NotKnown, Unread, positions[0])
	if err := os.Remove(positions[0]); err != nil {
		t.Fatal(err)
	}
	told(t, "no position", w.check(dir), NotKnown, Unread, "no collector has a position")
	if parts, err := Paths([]string{dir}, Options{WithoutCollector: true}); err != nil || !parts[0].Whole() {
		t.Errorf("without a collector: %v %+v", err, parts)
	}
	write(t, filepath.Join(w.data, "records.state"), []byte("x"))
	told(t, "a state that cannot be read", w.check(dir), NotKnown, Unread, stateName)
}

// A data directory has a spool and a journal; one without is not whole.
func TestADataDirectoryLacksNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := journal.Dir(w.data)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := func() (r Report) {
		t.Helper()
		parts, err := Paths([]string{w.data}, Options{})
		if err != nil || len(parts) != 2 {
			t.Fatal(parts, err)
		}
		return Report{Findings: slices.Concat(parts[0].Findings, parts[1].Findings)}
	}
	told(t, "no file of the journal", all(), NotWhole, Gap, stateName, fmt.Sprintf("records 1 to %d are missing", many))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	told(t, "no journal", all(), NotWhole, Gap, dir, "there is no journal")
	if err := os.RemoveAll(filepath.Join(w.data, "spool")); err != nil {
		t.Fatal(err)
	}
	told(t, "no spool", all(), NotWhole, Damaged, "there is no spool")
}

// The text for people cannot be taken away, and nothing can be added to it.
func TestTextsAreHeldToTheByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(i int) string { return fmt.Sprintf(":%d", i+2) }
	textless := func(line string) string { return line[:strings.LastIndex(line, "] ")+1] }
	for why, bend := range map[string]func(string) string{
		"taken away":      textless,
		"but the space":   func(s string) string { return textless(s) + " " },
		"a space more":    func(s string) string { return s + " " },
		"a space before":  func(s string) string { return strings.Replace(s, "] ", "]  ", 1) },
		"words behind":    func(s string) string { return s + ", approved" },
		"a tab":           func(s string) string { return s + "\t" },
		"a mark before":   func(s string) string { return strings.Replace(s, "] ", "] \uFEFF\uFEFF", 1) },
		"a record behind": func(s string) string { return s + " " + w.lines[3] },
	} {
		lines := slices.Clone(w.lines)
		lines[20] = bend(lines[20])
		first(t, why, w.check(w.log(lines)), Edited, 21, at(20))
	}
	var none []string
	for _, l := range w.lines {
		none = append(none, textless(l))
	}
	log := w.log(none)
	told(t, "no texts at all", w.check(log), NotKnown, Unread, at(0), "not one of the 60 records has its text")
	if r, err := Logs([]string{log}, Options{WithoutText: true}); err != nil || !r.Whole() || r.Records != many {
		t.Errorf("a collector that keeps none: %v %+v", err, r)
	}
}

// What quotes a record is none, wherever it comes from: it makes nothing whole and nothing unwhole.
func TestQuotedRecordsAreInert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forged := strings.Replace(w.lines[20], `before="cut"`, `before="cup"`, 1)
	hostile := w.say(records.Entry{Kind: records.KindAudit, Severity: records.Info, Text: "admin: release " + forged})
	again := w.say(records.Entry{Kind: records.KindAudit, Severity: records.Info, Text: w.lines[20]})
	for why, quoted := range map[string]string{
		"a program that logs what somebody typed": "Nov 29 03:12:07 other sshd[1]: Invalid user " + forged,
		"a program of RFC 5424":                   "<38>1 2026-11-29T03:12:07Z other sshd 1 - - Invalid user " + forged,
		"the same record":                         "<38>1 2026-11-29T03:12:07Z other sshd 1 - - Invalid user " + w.lines[20],
		"without its priority":                    "Nov 29 03:12:07 other sshd[1]: " + forged[strings.Index(forged, ">1 ")+3:],
	} {
		if r := w.check(w.log(slices.Insert(slices.Clone(w.lines), 30, quoted))); !r.Whole() || r.Records != many+2 || r.Duplicates > 0 {
			t.Errorf("%s: %+v", why, r)
		}
		lines := slices.Insert(slices.Clone(w.lines), 30, quoted)
		r := w.check(w.log(slices.Delete(lines, 20, 21)))
		first(t, why+", in place of the record", r, Gap, 21, ":22")
		if !strings.Contains(r.Findings[0].Text, "quotes a record 21") {
			t.Errorf("%s: %+v", why, r.Findings)
		}
	}
	for _, rec := range []records.Record{hostile, again} {
		line := string(rec.AppendLine(nil, 20))
		r := w.check(w.log([]string{line}))
		if !r.Whole() || r.Records != 1 || r.Boxes[0].First != rec.Seq {
			t.Errorf("a record that quotes another: %+v", r)
		}
		// Its collector dies within it, and goes on behind it with the next record.
		for cut := range len(line) - 1 {
			next := w.lines[len(w.lines)-1]
			if rec.Seq != hostile.Seq {
				continue
			}
			r := w.check(w.log(append(slices.Clone(w.lines[:many]), line[:cut+1]+line, next)))
			if !r.Whole() || r.Records != many+2 {
				t.Fatalf("cut at %d: %+v", cut+1, r.Findings)
			}
		}
	}
}

// A collector died within a line, at any byte, and after its restart went on behind it: with the same record, or with the next one.
func TestALineThatACollectorDiedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for why, form := range map[string]func(string) string{
		"as sent":                       func(s string) string { return s },
		"without priority and version":  func(s string) string { return s[strings.Index(s, ">1 ")+3:] },
		"with another form of its time": func(s string) string { return strings.Replace(s, "Z ", "000+00:00 ", 1) },
	} {
		var lines []string
		for _, l := range w.lines[:4] {
			lines = append(lines, form(l))
		}
		data := strings.LastIndex(lines[1], "] ") + 1
		for cut := 1; cut < len(lines[1]); cut++ {
			if r := w.check(w.log([]string{lines[0], lines[1][:cut] + lines[1], lines[2]})); !r.Whole() || r.Records != 3 {
				t.Fatalf("%s, cut at %d, and again: %+v", why, cut, r.Findings)
			}
			r := w.check(w.log([]string{lines[0], lines[1][:cut] + lines[2], lines[3]}))
			switch {
			case cut < data && (len(r.Findings) != 1 || r.Findings[0].Kind != Gap || r.Findings[0].First != 2 || r.Findings[0].Last != 2):
				t.Fatalf("%s, cut at %d: %+v", why, cut, r.Findings)
			case cut >= data && (len(r.Findings) != 1 || r.Findings[0].Kind != Edited || !strings.Contains(r.Findings[0].Text, "text of record 2 is cut off")):
				t.Fatalf("%s, cut at %d: %+v", why, cut, r.Findings)
			}
		}
	}
}

// What cannot be read is said, with its place and what could be checked, and nobody is told that it is whole.
func TestWhatIsNotReadIsNotWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintln(z, strings.Join(w.lines[:30], "\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	rest := write(t, filepath.Join(dir, "log"), []byte(strings.Join(w.lines[30:], "\n")+"\n"))
	old := filepath.Join(dir, "log.1")
	for name, magic := range map[string]string{"zstd": "\x28\xb5\x2f\xfd....", "xz": "\xfd7zXZ\x00...", "lz4": "\x04\x22\x4d\x18..."} {
		write(t, old, []byte(magic))
		told(t, name, w.check(dir), NotKnown, Unread, old, name+" -d")
	}
	write(t, old, []byte("\x00\x01\x02 a packing that nobody knows"))
	told(t, "unknown", w.check(dir), NotKnown, Unread, old, "it is no text")

	write(t, old, packed.Bytes())
	if r := w.check(dir); !r.Whole() || r.Records != many {
		t.Errorf("packed with gzip, whatever its name: %+v", r)
	}
	write(t, old, packed.Bytes()[:packed.Len()/2])
	r := w.check(dir)
	told(t, "cut", r, NotWhole, Unread, old+":", "unexpected EOF", "records before that were")
	told(t, "cut", r, NotWhole, Gap, rest+":1")
	if r.Records <= 30 {
		t.Errorf("cut: %d records were checked", r.Records)
	}
	bent := slices.Clone(packed.Bytes())
	bent[len(bent)-6] ^= 1 // in its checksum: all lines came
	write(t, old, bent)
	told(t, "bent", w.check(dir), NotKnown, Unread, old+":31", "checksum")

	long := strings.Repeat("x", 3*maxLine)
	if r := w.check(w.log(slices.Insert(slices.Clone(w.lines), 20, "Nov 29 03:12:07 other httpd: GET /"+long))); !r.Whole() || r.Records != many {
		t.Errorf("somebody else's long line: %+v", r)
	}
	lines := slices.Clone(w.lines)
	at := len("Nov 29 03:12:07 other sshd[1]: hello\n" + strings.Join(lines[:20], "\n") + "\n")
	lines[20] += long
	r = w.check(w.log(lines))
	told(t, "a record's long line", r, NotWhole, Damaged, ":22", fmt.Sprintf("the line at byte %d", at))
	told(t, "a record's long line", r, NotWhole, Gap, "record 21 is missing")
}

// Rotated logs are read in the order of their numbers, box by box: neither names nor times count.
func TestFilesAreReadInTheOrderOfTheirNumbers(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	boxes := map[string][]string{}
	for _, box := range []string{"box-1", "box-2", "box-3"} {
		chain, err := records.OpenChain(filepath.Join(t.TempDir(), "records.state"), box)
		if err != nil {
			t.Fatal(err)
		}
		for range many {
			rec := chain.Append(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"}), at)
			boxes[box] = append(boxes[box], string(rec.AppendLine(nil, 20)))
			at = at.Add(-time.Second) // whose clock goes backwards
		}
	}
	dir := t.TempDir()
	part := func(name string, lines ...[]string) {
		write(t, filepath.Join(dir, name), []byte(strings.Join(slices.Concat(lines...), "\n")+"\n"))
	}
	one, two, three := boxes["box-1"], boxes["box-2"], boxes["box-3"]
	part("c", one[:20], two[:5])
	part("a", two[5:], one[20:40])
	part("b", one[40:], three[:30])
	part("0", three[30:])
	w := &world{t: t}
	if r := w.check(dir); !r.Whole() || r.Records != 3*many || len(r.Boxes) != 3 {
		t.Errorf("%s of %d records: %+v", r.Verdict(), r.Records, r.Findings)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	told(t, "without the middle", w.check(dir), NotWhole, Gap, "records 21 to 40 are missing")
}

// The end of a log can be cut off unnoticed, and its last record changed, but for who knows what the box says was its last.
func TestTheHeadNoticesAnEndThatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last, err := records.ParseLine([]byte(w.lines[many-1]))
	if err != nil {
		t.Fatal(err)
	}
	head := Head{Seq: many, Hash: last.Hash()}
	check := func(lines []string, heads ...Head) Report {
		t.Helper()
		r, err := Logs([]string{w.log(lines)}, Options{Heads: heads})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	cut := w.lines[:50]
	if r := check(cut); !r.Whole() {
		t.Errorf("who does not know the head notices nothing: %+v", r.Findings)
	}
	told(t, "cut", check(cut, head), NotWhole, Gap, headName, "records 51 to 60 are missing")
	changed := slices.Clone(w.lines)
	changed[many-1] = strings.Replace(changed[many-1], `before="cut"`, `before="cup"`, 1)
	if r := check(changed); !r.Whole() {
		t.Errorf("who does not know the head notices nothing: %+v", r.Findings)
	}
	told(t, "the last one changed", check(changed, head), NotWhole, Edited, "record 60 is not what "+headName+" says it was")
	w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"}))
	if r := check(w.lines, head, Head{Box: "box-1", Seq: many, Hash: last.Hash()}); !r.Whole() {
		t.Errorf("the log has more: %+v", r.Findings)
	}
	told(t, "another box", check(w.lines, Head{Box: "box-2", Seq: 7, Hash: last.Hash()}), NotWhole, Gap, "no record of the box")
	if r := check(w.lines[30:], Head{Seq: 7, Hash: last.Hash()}); !r.Whole() || len(r.Notes) != 1 {
		t.Errorf("a head from before: %+v", r)
	}
}

// A collector that writes words of its own before each line is understood by who says how many.
func TestWordsBeforeEachLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lines []string
	for _, l := range w.lines {
		lines = append(lines, "Nov  9 03:12:07 relay "+l)
	}
	log := w.log(append(lines, "Nov  9 03:12:07 relay sshd[1]: Invalid user "+w.lines[3]))
	if r := w.check(log); r.Records > 0 || !strings.Contains(strings.Join(r.Notes, "\n"), "60 lines have a record behind 4 words and were passed over; if the collector's template begins with so many, say --prefix 4") {
		t.Errorf("%+v", r)
	}
	if r, err := Logs([]string{log}, Options{Prefix: 4}); err != nil || !r.Whole() || r.Records != many || r.Duplicates > 0 {
		t.Errorf("%v %+v", err, r)
	}
}

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/records"
)

// Options say what is known of what is checked.
type Options struct {
	Prefix      int    // words that the collector writes before each line, by its own template
	WithoutText bool   // the collector keeps no texts: they are not asked for
	Heads       []Head // what boxes say of their last records, against which a log's end is held
	Collector   string // whose the log is, as syslog.targets of the box names him: what others lost explains no gap then; "": not known

	WithoutCollector bool // the box has no collector configured: nothing is asked of a spool without positions
}

// Logs checks lines as collectors store them, of one file or several, which are taken in the order of the numbers in them, box by box, whatever their names and times are. Each is read
// once, so that it may be a pipe. What is packed with gzip or bzip2 is unpacked; what cannot be read is a finding. Lines that do not begin with a record of mailweir are passed over,
// whatever they quote.
func Logs(paths []string, o Options) (Report, error) { return logsAnd(paths, nil, o) }

// logsAnd is Logs, with what beside the files was not looked at.
func logsAnd(paths []string, skipped []Item, o Options) (Report, error) {
	l := logs{Options: o, Checker: NewChecker(), behind: map[int]int{}}
	l.log, l.collector = true, o.Collector
	l.take = l.Add
	var files []*content
	for _, path := range paths {
		if len(paths) > 1 {
			files = append(files, newContent(path))
			l.take = files[len(files)-1].add
		}
		if err := l.file(path); err != nil {
			return Report{}, err
		}
	}
	for _, f := range inOrder(files) {
		f.give(l.Add)
	}
	for _, it := range skipped {
		l.Add(it)
	}
	if err := l.heads(o.Heads); err != nil {
		return Report{}, err
	}
	for _, words := range slices.Sorted(maps.Keys(l.behind)) {
		l.Note("%d lines have a record behind %d words and were passed over; if the collector's template begins with so many, say --prefix %d", l.behind[words], words, o.Prefix+words)
	}
	return l.Report(), nil
}

// logs reads lines.
type logs struct {
	Options
	*Checker
	take   func(Item)  // what was read
	behind map[int]int // lines with a record further on, by the words before it
	found  int         // records in this file
}

func (l *logs) file(path string) error {
	t, unread, err := openText(path)
	if err != nil {
		return err
	}
	if unread != "" {
		l.take(Item{Where: path, Unread: unread})
		return nil
	}
	defer t.close()
	l.found = 0
	for {
		line, n, at, long, err := t.next()
		where := fmt.Sprintf("%s:%d", path, n)
		switch {
		case err == nil && long:
			l.long(where, at, line)
		case err == nil:
			l.line(where, line)
		default:
			if l.found == 0 && t.binary {
				l.take(Item{Where: path, Unread: "it is no text, and there is no record in it; what it is packed with is not known here"})
			}
			if !errors.Is(err, io.EOF) {
				l.take(Item{Where: where, Unread: fmt.Sprintf("it cannot be read on from byte %d of its text: %v; %d records before that were", at, err, l.found)})
			}
			return nil
		}
	}
}

// long takes the beginning of a line that is longer than any record.
func (l *logs) long(where string, at int64, line []byte) {
	if _, err := records.ParseLine(l.own(line)); !errors.Is(err, records.ErrNoRecord) {
		l.take(Item{Where: where, Damage: fmt.Sprintf("the line at byte %d begins with a record and is longer than %d bytes, which no record is", at, maxLine)})
	}
}

// own is a line behind the words that the collector writes before each.
func (l *logs) own(line []byte) []byte {
	for range l.Prefix {
		line = bytes.TrimLeft(line, " ")
		line = line[max(bytes.IndexByte(line, ' '), 0):]
	}
	if l.Prefix > 0 {
		line = bytes.TrimLeft(line, " ")
	}
	return line
}

var (
	ours  = []byte("[mailweir@")
	named = []byte(" mailweir - ")
)

// line takes a line of the file.
func (l *logs) line(where string, line []byte) {
	if bytes.Contains(line, ours) || bytes.Contains(line, named) { // nearly all others are somebody else's
		l.record(where, l.own(line))
	}
}

// record takes what may be a record: a whole one, or the beginning of one where a collector died within it, and directly behind it, from after the restart, a whole one.
func (l *logs) record(where string, line []byte) {
	rec, err := records.ParseLine(line)
	switch {
	case errors.Is(err, records.ErrNoRecord):
		at := records.Quoted.FindIndex(line)
		if at == nil {
			l.spoilt(where, line)
			return
		}
		if from := beginOf(line, at[0]); from > 0 && records.MayBegin(line[:from]) {
			l.record(where, line[from:])
		} else {
			l.spoilt(where, line)
			l.quotes(where, line, from, at[0])
		}
		return
	case err == nil && (rec.TextKept() || rec.TextMissing()):
		l.add(where, &rec, false)
		return
	}
	// It does not end as the record in it ends. Is there another one that does? What a text quotes does not: nobody can foretell the sum of all that follows.
	for _, at := range records.Quoted.FindAllIndex(line, -1) {
		front := line[:beginOf(line, at[0])]
		if len(front) == 0 || !records.MayBegin(front) && !bytes.Contains(front, named) {
			continue // that in front, of which one byte may be another
		}
		if next, bad := records.ParseLine(line[at[0]:]); bad == nil && next.TextKept() && len(next.Text) > 0 {
			if err == nil {
				l.add(where, &rec, true)
			} // else what it was is missing, or comes again
			l.add(where, &next, false)
			return
		}
	}
	if err != nil {
		l.take(Item{Where: where, Damage: err.Error()})
		return
	}
	l.add(where, &rec, false)
}

var begins = regexp.MustCompile(`<\d{1,3}>1 $`)

// beginOf is where a record begins of which the timestamp stands at an offset.
func beginOf(line []byte, stamp int) int {
	if at := begins.FindIndex(line[max(stamp-len("<191>1 "), 0):stamp]); at != nil {
		return stamp - (at[1] - at[0])
	}
	return stamp
}

// inPlace matches a line that has the structured data of a record about where a record has it, with one word before its timestamp that may have been priority and version.
var inPlace = regexp.MustCompile(`^ *(?:\S+ +){0,3}mailweir - \S+ \[mailweir@\d+ seq="(\d+)"`)

// spoilt names a line that cannot be read as a record and does not quote one behind words of its own: it may be one, of which the beginning was changed.
func (l *logs) spoilt(where string, line []byte) {
	if at := inPlace.FindSubmatch(line); at != nil {
		l.take(Item{Where: where, cause: "spoilt", Unread: fmt.Sprintf("the line holds a record %s and does not begin as one does, but with %.40q: it was not read (if the collector writes a word before each record: --prefix)", at[1], line)})
	}
}

// quotes notes a record that stands further on in a line.
func (l *logs) quotes(where string, line []byte, from, stamp int) {
	if line[max(from-1, 0)] == ' ' {
		l.behind[len(bytes.Fields(line[:from]))]++
	}
	if rec, err := records.ParseLine(line[stamp:]); err == nil {
		l.Quote(rec.Value("box"), rec.Seq, where)
	}
}

func (l *logs) add(where string, rec *records.Line, torn bool) {
	l.found++
	it := item(where, rec)
	if what := rec.Value("what"); rec.Kind() == records.KindHealth && (what == "records_again" || what == "record_loss") { // which is of a collector's log, and of nothing on the box
		it.doubt = records.ParseRanges(rec.Value("doubt"))
	}
	switch {
	case torn:
		it.Text = TextTorn
	case it.Text == TextMissing && l.WithoutText:
		it.Text = TextKept
	}
	l.take(it)
}

func item(where string, l *records.Line) Item {
	it := Item{Where: where, Box: l.Value("box"), First: l.Seq, Last: l.Seq, Prev: l.Value("prev"), Hash: l.Hash(), at: l.Time}
	switch {
	case l.TextMissing():
		it.Text = TextMissing
	case !l.TextKept():
		it.Text = TextChanged
	}
	if l.Kind() == records.KindHealth && l.Value("target") != ofJournal { // what the journal never got collectors have all the same
		it.Lost, it.LostWhy, it.LostOf = records.Lost(l.Value), lossWords(l.Value), lostOf(l.Value)
		it.twiceAfter, _ = strconv.ParseUint(l.Value("twice_after"), 10, 64) // 0 where it says nothing
	}
	return it
}

// ofJournal is the target of a record_loss that says what the journal does not have.
const ofJournal = "journal"

// lossWords are the words for what a HEALTH record says is missing, or may be.
func lossWords(value func(string) string) string {
	why := value("what")
	if target := value("target"); target != "" {
		why += " " + target
	}
	if of := value("collectors"); of != "" {
		why += " of " + of
	}
	return why
}

// lostOf are the collectors that a HEALTH record says miss something: its target, where that is one, or those that it names beside it. nil: it names none, or not all had room.
func lostOf(value func(string) string) []string {
	of := value("collectors")
	if target := value("target"); strings.Contains(target, "://") {
		of = target
	}
	if strings.HasSuffix(of, "...") {
		return nil
	}
	return strings.Fields(of)
}

// heads holds the end of a chain against what its box says was its last record.
func (l *logs) heads(heads []Head) error {
	for _, h := range heads {
		if h.Box == "" {
			if len(l.boxes) > 1 {
				return fmt.Errorf("there are records of %d boxes: say whose head it is (--head BOX:SEQ:HASH)", len(l.boxes))
			}
			for box := range l.boxes {
				h.Box = box
			}
		}
		l.order++
		switch b := l.boxes[h.Box]; {
		case b == nil || !b.begun:
			l.find(Finding{Kind: Gap, Where: headName, Box: h.Box, First: 1, Last: h.Seq, order: l.order, Text: fmt.Sprintf("there is no record of the box, whose last is %d", h.Seq)})
		case h.Seq < b.first:
			l.Note("record %d, the head that was given, is from before the first record of %s, %d: it says nothing of them", h.Seq, b.box, b.first)
		default:
			l.Add(Item{Where: headName, Box: h.Box, First: h.Seq + 1, Last: h.Seq, Hash: h.Hash, Anchor: true})
		}
	}
	return nil
}

const headName = "the head that was given"

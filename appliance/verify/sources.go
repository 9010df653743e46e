package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

// maxLine bounds a line of a log; what is longer is no record.
const maxLine = 1 << 20

// Logs checks lines as collectors store them, of one file or several, which are read in the order of the time of their first record. Files whose name
// ends in .gz are unpacked. Lines without a record of mailweir are passed over.
func Logs(paths []string) (Report, error) {
	type log struct {
		path string
		at   time.Time
	}
	var logs []log
	for _, path := range paths {
		at, err := firstTime(path)
		if err != nil {
			return Report{}, err
		}
		logs = append(logs, log{path, at})
	}
	slices.SortStableFunc(logs, func(a, b log) int { return a.at.Compare(b.at) })
	c := NewChecker()
	for _, l := range logs {
		if err := eachLine(l.path, func(n int, line []byte) error { addLine(c, fmt.Sprintf("%s:%d", l.path, n), line); return nil }); err != nil {
			return Report{}, err
		}
	}
	return c.Report(), nil
}

var errEnough = errors.New("enough")

func firstTime(path string) (at time.Time, err error) {
	err = eachLine(path, func(_ int, line []byte) error {
		if l, err := records.ParseLine(line); err == nil {
			at = l.Time
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, err
}

func eachLine(path string, give func(n int, line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := give(n, lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}

var begin = []byte(`[mailweir@32473 seq="`)

// addLine adds the records of a line. There is more than one where a collector died in the middle of one, and went on behind it after its
// restart: what is before the last one is a fragment, which counts only if it is a whole record.
func addLine(c *Checker, where string, line []byte) {
	more := bytes.Count(line, begin) > 1
	for bytes.Count(line, begin) > 1 {
		next := bytes.Index(line, begin) + len(begin)
		if l, err := records.ParseLine(line); err == nil {
			l.Text = nil
			c.Add(item(where, &l))
		}
		line = line[next:]
	}
	l, err := records.ParseLine(line)
	switch {
	case errors.Is(err, records.ErrNoRecord):
	case err != nil && !more && bytes.Contains(line, begin): // otherwise a fragment: what it was is missing, or comes again
		c.Add(Item{Where: where, Damage: err.Error()})
	case err == nil:
		c.Add(item(where, &l))
	}
}

func item(where string, l *records.Line) Item {
	it := Item{Where: where, Box: l.Value("box"), First: l.Seq, Last: l.Seq, Prev: l.Value("prev"), Hash: l.Hash(), TextChanged: !l.TextKept()}
	if l.Kind() == records.KindHealth {
		it.Lost, it.Target = lost(l.Value)
	}
	return it
}

// lost are the numbers that a HEALTH record says are missing.
func lost(value func(string) string) (lost Ranges, target string) {
	if what := value("what"); what != "record_loss" && what != "chain_restart" {
		return nil, ""
	}
	text := value("seqs")
	if text == "" && value("first_seq") != "" {
		text = value("first_seq") + "-" + value("last_seq")
	}
	for word := range strings.SplitSeq(text, ",") {
		a, b, many := strings.Cut(word, "-")
		if !many {
			b = a
		}
		from, err1 := strconv.ParseUint(a, 10, 64)
		to, err2 := strconv.ParseUint(b, 10, 64)
		if err1 == nil && err2 == nil && from <= to {
			lost = append(lost, from, to)
		}
	}
	return lost, value("target")
}

// Spool checks a spool. With the number and the hash of the last record that the box's chain knows, it also tells whether the end is missing; 0: not known.
func Spool(dir string, last uint64, hash string) (Report, error) {
	c := NewChecker()
	box := ""
	err := spool.Each(dir, func(p spool.Place) error {
		where := fmt.Sprintf("%s:%d", p.File, p.Line)
		switch {
		case p.Damage != "":
			c.Add(Item{Where: where, Damage: p.Damage})
		case p.Record == nil:
			if box != "" && p.Hash != "" {
				c.Add(Item{Where: where, Box: box, First: p.Seq, Last: p.Seq, Hash: p.Hash, Anchor: true})
			}
		default:
			it := item(where, p.Record)
			box = it.Box
			c.Add(it)
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	if box != "" && last > 0 {
		c.Add(Item{Where: stateName, Box: box, First: last, Last: last, Hash: hash, Anchor: true})
	}
	return c.Report(), nil
}

// Journal checks a journal. What was deleted on time left its hash there, so that the chain goes on. last and hash are as for Spool.
func Journal(dir string, last uint64, hash string) (Report, error) {
	r, err := journal.Read(dir)
	if err != nil {
		return Report{}, err
	}
	c := NewChecker()
	box := ""
	var before []Item // stubs before the first record: whose they are is not known yet
	err = r.Each(journal.Query{}, func(it *journal.Item) error {
		where := fmt.Sprintf("%s:%d", it.File, it.Offset)
		switch {
		case it.Damage != "":
			c.Add(Item{Where: where, Damage: it.Damage})
		case it.Stub != nil:
			s := Item{Where: where, Box: box, First: it.Stub.First, Last: it.Stub.Last, Prev: hexOf(it.Stub.Prev), Hash: hexOf(it.Stub.Hash)}
			if it.Stub.Why == journal.Lost {
				s = Item{Where: where, Box: box, First: it.Stub.Last, Last: it.Stub.Last, Hash: s.Hash, Anchor: true}
			}
			if box == "" {
				before = append(before, s)
				return nil
			}
			c.Add(s)
		default:
			rec := &it.Record
			box = rec.Box
			for _, s := range before {
				s.Box = box
				c.Add(s)
			}
			before = nil
			i := Item{Where: where, Box: box, First: rec.Seq, Last: rec.Seq, Prev: rec.Value("prev"), Hash: rec.HexHash(), TextChanged: !rec.TextKept()}
			if rec.Kind == records.KindHealth {
				i.Lost, i.Target = lost(rec.Value)
			}
			c.Add(i)
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	if box != "" && last > 0 {
		c.Add(Item{Where: stateName, Box: box, First: last, Last: last, Hash: hash, Anchor: true})
	}
	return c.Report(), nil
}

// journalLag is by how much a journal may be behind the chain of a box that runs: it is written four times a second.
const journalLag = time.Second

// journalBeside checks a journal whose box may be writing to it, with what the state beside it knew before.
func journalBeside(dir string) (Report, error) {
	last, hash := stateBeside(dir)
	r, err := Journal(dir, last, hash)
	if err == nil && len(r.Findings) == 1 && r.Findings[0].Where == stateName {
		time.Sleep(journalLag)
		r, err = Journal(dir, last, hash)
	}
	return r, err
}

const stateName = "the state of the chain"

// stateBeside is the last record that the chain of a data directory knows, of which dir is a part; 0 where there is none, for instance since dir is a copy.
func stateBeside(dir string) (last uint64, hash string) {
	last, hash, err := records.ReadState(filepath.Join(filepath.Dir(filepath.Clean(dir)), "records.state"))
	if err != nil {
		return 0, ""
	}
	return last, hash
}

func hexOf(b [32]byte) string {
	if b == ([32]byte{}) {
		return ""
	}
	return hex.EncodeToString(b[:])
}

// Part is what was checked as one chain, and what came of it.
type Part struct {
	What string `json:"what"` // spool DIR, journal DIR, or the files
	Report
}

// Paths checks whatever the paths are: data directories of a box, spools, journals, and files of lines or directories of such files, which all together count as
// one collector's log.
func Paths(paths []string) ([]Part, error) {
	var parts []Part
	var logs []string
	add := func(what string, r Report, err error) error {
		parts = append(parts, Part{what, r})
		return err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			logs = append(logs, path)
			continue
		}
		known := false
		for _, dir := range []string{path, filepath.Join(path, "spool")} {
			if some, _ := filepath.Glob(filepath.Join(dir, "*.spool")); len(some) > 0 {
				last, hash := stateBeside(dir)
				if readers, _ := filepath.Glob(filepath.Join(dir, "position-*")); len(readers) == 0 {
					last, hash = 0, "" // no collector is configured any more, and nothing is added
				}
				r, err := Spool(dir, last, hash)
				if err := add("spool "+dir, r, err); err != nil {
					return nil, err
				}
				known = true
			}
		}
		for _, dir := range []string{path, filepath.Join(path, "journal")} {
			if some, _ := filepath.Glob(filepath.Join(dir, "records-*.seg")); len(some) > 0 {
				r, err := journalBeside(dir)
				if err := add("journal "+dir, r, err); err != nil {
					return nil, err
				}
				known = true
			}
		}
		if known {
			continue
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if f.Type().IsRegular() {
				logs = append(logs, filepath.Join(path, f.Name()))
			}
		}
	}
	if len(logs) > 0 {
		r, err := Logs(logs)
		if err := add(strings.Join(logs, " "), r, err); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(a.What, b.What) })
	return parts, nil
}

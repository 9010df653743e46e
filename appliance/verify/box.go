package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

const (
	stateFile = "records.state"
	boxFile   = "box.id"
	stateName = "the state of the chain"
)

// end is the last record of a box, as something on the box knows it. Seq 0: it knows none.
type end struct {
	Head
	where string
}

// highest is the highest number that is known.
func highest(ends []end) (seq uint64) {
	for _, e := range ends {
		seq = max(seq, e.Seq)
	}
	return seq
}

// last is up to where a box's chain is known so far.
func (c *Checker) last(box string) end {
	b := c.boxes[box]
	if b == nil && len(c.boxes) == 1 {
		for _, b = range c.boxes { // which no box.id names
		}
	}
	if b == nil || !b.begun {
		return end{}
	}
	return end{Head{b.box, b.max, b.entries[b.max].hash}, b.maxWhere}
}

// against holds the end of a chain against what others say it is.
func (c *Checker) against(ends []end, box string) {
	for _, e := range ends {
		if e.Seq > 0 {
			c.Add(Item{Where: e.where, Box: box, First: e.Seq + 1, Last: e.Seq, Hash: e.Hash, Anchor: true})
		}
	}
}

// headBeside is the last record that the chain of a data directory knows, of which dir is a part; unread says why it is not known. A part that was copied away from all others has
// none, and alone says so.
func headBeside(dir string) (head end, unread string, alone bool) {
	data := filepath.Dir(filepath.Clean(dir))
	id, err := os.ReadFile(filepath.Join(data, boxFile))
	seq, hash, bad := records.ReadState(filepath.Join(data, stateFile))
	gone := errors.Is(bad, fs.ErrNotExist)
	head = end{Head{strings.TrimSpace(string(id)), seq, hash}, stateName}
	switch {
	case gone && errors.Is(err, fs.ErrNotExist):
		return head, fmt.Sprintf("there is no %s beside %s, so that whether the end is missing is not known", stateFile, dir), true
	case gone:
		return head, fmt.Sprintf("there is no %s in %s, so that whether the end is missing is not known", stateFile, data), false
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		bad = errors.Join(bad, err)
	}
	if bad != nil {
		return head, fmt.Sprintf("it cannot be read, so that whether the end is missing is not known: %v", bad), false
	}
	return head, "", false
}

// journalLag is by how much a journal may be behind the chain of a box that runs: it is written four times a second.
const journalLag = time.Second

// ofBox checks the spool and the journal of a box, or one of them where the other's directory is "", against the state beside them and against each other: what one has, the other
// must have, too, and the same.
func ofBox(spoolDir, journalDir string, o Options) ([]Part, error) {
	known := spoolDir
	if known == "" {
		known = journalDir
	}
	head, unread, alone := headBeside(known)
	s, j, err := together(spoolDir, journalDir, head, o)
	if err == nil && behind(s, j) { // of a box that may be writing
		time.Sleep(journalLag)
		s, j, err = together(spoolDir, journalDir, head, o)
	}
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, p := range []struct {
		what, dir string
		c         *Checker
	}{{"journal ", journalDir, j}, {"spool ", spoolDir, s}} {
		switch {
		case p.c == nil:
			continue
		case unread != "" && alone && (s == nil || j == nil):
			p.c.Note("%s", unread)
		case unread != "":
			p.c.Add(Item{Where: stateName, Unread: unread})
		}
		parts = append(parts, Part{p.what + p.dir, p.c.Report()})
	}
	return parts, nil
}

// together reads spool and journal, each with what the state and the other one say of the end. The box writes the state behind the spool and the journal last, so what was read first
// must be in what is read after it.
func together(spoolDir, journalDir string, head end, o Options) (s, j *Checker, err error) {
	var inSpool, inJournal end
	if spoolDir != "" {
		if s, inSpool, err = spoolChain(spoolDir, head.Box, []end{head}, o); err != nil {
			return nil, nil, err
		}
	}
	if journalDir != "" {
		if j, inJournal, err = journalChain(journalDir, head.Box, []end{head, inSpool}); err != nil {
			return nil, nil, err
		}
	}
	if s == nil || j == nil {
		return s, j, nil
	}
	if inJournal.Seq > inSpool.Seq {
		if s, _, err = spoolChain(spoolDir, head.Box, []end{head, inJournal}, o); err != nil {
			return nil, nil, err
		}
	}
	s.differs(j)
	return s, j, nil
}

// behind tells whether one of the chains ends before another says it does.
func behind(chains ...*Checker) bool {
	for _, c := range chains {
		if c == nil {
			continue
		}
		for _, b := range c.boxes {
			if b.begun && b.entries[b.max].anchor {
				return true
			}
		}
	}
	return false
}

// differs names the records that are not the same in another chain.
func (c *Checker) differs(other *Checker) {
	for box, b := range c.boxes {
		for _, seq := range slices.Sorted(maps.Keys(b.entries)) {
			if e, o := b.entries[seq], other.boxes[box]; o != nil && !e.anchor {
				if there, known := o.entries[seq]; known && !there.anchor && there.hash != e.hash {
					c.find(Finding{Kind: Conflict, Where: e.where, Box: box, First: seq, Last: seq, order: c.order,
						Text: fmt.Sprintf("record %d stands here and at %s, and the two differ", seq, there.where)})
				}
			}
		}
	}
}

package appliance

import (
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// Reproduced is what came of deciding again under the policies that were in force, held against the DECISION and STAGE
// records of the journal, word by word.
type Reproduced struct {
	Same        int           // records that were made again
	OnlyThen    int           // records that were not
	OnlyNow     int           // decisions that have no record
	CutOff      int           // of the last moments before a crash, or before this very moment: their records were not written yet
	Unchecked   int           // records, or decisions without one, of a time of which something is missing in the journal
	First, Last time.Time     // of the unchecked ones
	Covered     time.Duration // of time in which all was as it was: 0, nothing could be checked
	Examples    []string      // of the second and the third
}

// shownExamples is how many differences are told.
const shownExamples = 10

// unwritten is how long before a crash a record may have been decided and not yet written.
const unwritten = 2 * time.Second

// late is how long after its time a record may be made or written: a change of stage is of the time when it was due.
const late = time.Minute

// comparison compares while a tape is played.
type comparison struct {
	run    *trial
	seed   maphash.Seed
	left   map[uint64]int // records that were not made again yet, by their hash
	oldest time.Time      // of the oldest record there is; zero: it is the box's first
	wanted time.Time      // records from then on; zero: all
	holes  []span         // of time of which records are missing
	newest time.Time      // of the last record there is
	exact  bool
	from   time.Time // since when it is exact
	spans  []span    // of time in which it was, but for the last
	tail   []decided // in this life, without a record
	ended  bool

	previous time.Time // of the last input
	report   Reproduced
}

type span struct{ from, to time.Time }

// decided is a decision, or a change of stage, as its record would say it.
type decided struct {
	at    time.Time
	words string
}

var _ notes = (*comparison)(nil)

var comparedKinds = []records.Kind{records.KindDecision, records.KindStage}

var errEnough = errors.New("enough")

// compare reads the records that are to be made again.
func compare(r *journal.Reader, from time.Time) (*comparison, error) {
	c := &comparison{seed: maphash.MakeSeed(), left: map[uint64]int{}, run: newTrial("", "as it was", governor.PlayerOptions{}), wanted: from}
	c.run.noted = c
	err := r.Each(journal.Query{From: from}, func(it *journal.Item) error {
		if it.Record.Seq == 0 {
			return nil
		}
		if it.Record.Seq > 1 { // what was before it is not there any more
			c.oldest = it.Record.Time
		}
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if c.newest, err = r.Holes(func(from, to time.Time) error {
		c.holes = append(c.holes, span{from.Add(-late), to.Add(late)})
		return nil
	}); err != nil {
		return nil, err
	}
	err = r.Each(journal.Query{Kinds: comparedKinds, From: from}, func(it *journal.Item) error {
		c.left[c.hash(wordsOf(it.Record.Kind, it.Record.Time, it.Record.Params()))]++
		return nil
	})
	return c, err
}

func (c *comparison) hash(words string) uint64 { return maphash.String(c.seed, words) }

// elsewhere are the parameters of a record that a decision does not know: its place in the chain, and whose packet it was.
var elsewhere = map[string]bool{"seq": true, "prev": true, "box": true, "event": true, "policy": true, "text_sum": true,
	"src": true, "sport": true, "dst": true, "dport": true, "binding": true, "answer": true}

// wordsOf is what a record says, but for that.
func wordsOf(kind records.Kind, at time.Time, params []records.Param) string {
	var b strings.Builder
	b.WriteString(string(kind) + " " + records.Stamp(at))
	for _, p := range params {
		if !elsewhere[p.Name] {
			b.WriteString(" " + p.Name + "=" + p.Value)
		}
	}
	return b.String()
}

// decision is told what is decided again.
func (c *comparison) decision(d governor.Decision) {
	if d.Session > 0 && d.Notable() || d.Session == 0 && holdsReply(d) {
		c.made(records.Decision(records.DecisionFacts{Decision: d}))
	}
}

func (c *comparison) change(s governor.StageChange) { c.made(records.Stage(s)) }

// made is a record that is made again.
func (c *comparison) made(e records.Entry) {
	params := append([]records.Param{{Name: "mode", Value: e.Mode}}, e.Params()...)
	at := e.Time.UTC().Truncate(time.Millisecond)
	words := wordsOf(e.Kind, at, params)
	if h := c.hash(words); c.left[h] > 0 {
		c.left[h]--
		c.report.Same++
	} else if !c.run.player.Exact || at.Before(c.oldest) || at.Before(c.wanted) {
		return
	} else {
		c.tail = append(c.tail, decided{at, words})
	}
}

// played is told of each input after it was played.
func (c *comparison) played(in *governor.Input) {
	switch {
	case in.Op == governor.OpLost: // what was decided from there on nobody can tell
		c.close(c.previous.Add(-late))
		return
	case in.Op == governor.OpBegin:
		c.endLife()
		c.exact, c.from, c.ended = true, in.Now, false
	case in.Op == governor.OpEnd:
		c.ended = true
	case !c.exact && c.run.player.Exact: // a checkpoint has ended; what was made of its last moment was not compared
		c.exact, c.from = true, in.Now.Add(time.Millisecond)
	}
	c.previous = in.Now
}

// endLife ends what is exact with the last input: whether there were others behind it, which are lost, only a life that ended in order tells.
func (c *comparison) endLife() {
	end := c.previous.Add(-unwritten)
	if c.ended {
		end = c.previous.Add(time.Millisecond)
	}
	c.close(end)
	c.settle(c.ended)
}

func (c *comparison) close(at time.Time) {
	if c.exact {
		c.spans, c.exact = append(c.spans, span{c.from, at}), false
	}
}

// settle decides what those without a record are, at the end of a life.
func (c *comparison) settle(inOrder bool) {
	last := c.previous.Add(-unwritten).Truncate(time.Millisecond)
	for _, d := range c.tail {
		switch {
		case !inOrder && !d.at.Before(last):
			c.report.CutOff++
		case d.at.After(c.newest), slices.ContainsFunc(c.holes, func(h span) bool { return !d.at.Before(h.from) && !d.at.After(h.to) }):
			c.unchecked(d.at) // its record may be among those that are missing
		default:
			c.report.OnlyNow++
			c.example("only now:  " + d.words)
		}
	}
	c.tail = nil
}

func (c *comparison) example(text string) {
	if len(c.report.Examples) < shownExamples {
		c.report.Examples = append(c.report.Examples, text)
	}
}

// finish looks for the records that were not made again.
func (c *comparison) finish(r *journal.Reader) (*Reproduced, error) {
	c.endLife()
	for _, s := range c.spans {
		if d := s.to.Sub(later(s.from, c.wanted)); d > 0 {
			c.report.Covered += d
		}
	}
	err := r.Each(journal.Query{Kinds: comparedKinds, From: c.wanted}, func(it *journal.Item) error {
		words := wordsOf(it.Record.Kind, it.Record.Time, it.Record.Params())
		h := c.hash(words)
		if c.left[h] == 0 {
			return nil
		}
		c.left[h]--
		for _, s := range c.spans {
			if !it.Record.Time.Before(s.from.Truncate(time.Millisecond)) && it.Record.Time.Before(s.to) {
				c.report.OnlyThen++
				c.example("only then: " + words)
				return nil
			}
		}
		c.unchecked(it.Record.Time)
		return nil
	})
	return &c.report, err
}

// unchecked counts a record, of a time, that cannot be held against a decision, or the other way around.
func (c *comparison) unchecked(at time.Time) {
	c.report.Unchecked++
	if c.report.First.IsZero() || at.Before(c.report.First) {
		c.report.First = at
	}
	c.report.Last = later(c.report.Last, at)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

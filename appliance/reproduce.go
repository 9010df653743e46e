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
	CutOff      int           // decisions behind the last one that has a record, before a crash or this very moment: theirs were not written
	Unchecked   int           // records, or decisions without one, of a time of which something is missing in the journal
	First, Last time.Time     // of the unchecked ones
	Covered     time.Duration // of time in which all was as it was: 0, nothing could be checked
	Examples    []string      // of the second and the third
}

// shownExamples is how many differences are told.
const shownExamples = 10

// unwritten is how long before the last thing of a life that was written another may have been decided whose record was not.
const unwritten = 2 * time.Second

// late is how long after its time a record may be made or written: a change of stage is of the time when it was due.
const late = time.Minute

// comparison compares while a tape is played. It accuses nobody for what a crash or a power cut took, or damage, or for a clock that was set
// back: a record counts as not made again only where all that the governor was told is there, and a decision as one without a record only
// where the records about it are there.
type comparison struct {
	run    *trial
	seed   maphash.Seed
	left   map[uint64]int // records that were not made again yet, by their hash
	oldest time.Time      // of decisions before that the records may have gone; zero: all are there from the box's first on
	wanted time.Time      // records from then on; zero: all
	holes  []span         // of time of which records are missing
	back   []span         // of time that was twice, since the clock was set back
	newest time.Time      // of the last record there is
	exact  bool
	from   time.Time // since when it is exact
	spans  []span    // of time in which it was, but for the last
	ended  bool      // this life, in order

	tail    []decided // in this life, without a record
	matched int       // of these are before the last decision that has one
	written time.Time // the time of that

	previous time.Time // of the last input
	latest   time.Time // of all before
	report   Reproduced
}

type span struct{ from, to time.Time }

func (s span) has(at time.Time) bool { return !at.Before(s.from) && !at.After(s.to) }

func inside(all []span, at time.Time) bool {
	return slices.ContainsFunc(all, func(s span) bool { return s.has(at) })
}

// around is the time between two moments, whichever is earlier, and a while more.
func around(a, b time.Time) span {
	if b.Before(a) {
		a, b = b, a
	}
	return span{a.Add(-late), b.Add(late)}
}

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
	whole := false // from the box's first record on
	err := r.Each(journal.Query{}, func(it *journal.Item) error {
		whole = it.Record.Seq == 1
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if c.newest, err = r.Holes(func(from, to time.Time) error {
		c.holes = append(c.holes, around(from, to))
		return nil
	}); err != nil {
		return nil, err
	}
	var latest time.Time
	err = r.Beside(journal.Query{Kinds: comparedKinds, From: from}, func() (func(*journal.Item) error, func()) {
		type told struct {
			hash uint64
			at   time.Time
			held bool
		}
		var all []told
		return func(it *journal.Item) error {
				all = append(all, told{c.hash(wordsOf(it.Record.Kind, it.Record.Time, it.Record.Params())), it.Record.Time, len(it.Held) > 0})
				return nil
			}, func() {
				for _, r := range all {
					c.left[r.hash]++
					if !whole && c.oldest.IsZero() && !r.held { // of the same kind, and not held, is what was before it and is not there any more
						c.oldest = r.at.Add(late)
					}
					if r.at.Before(latest.Add(-late)) {
						c.back = append(c.back, around(r.at, latest))
					}
					latest = later(latest, r.at)
				}
			}
	})
	if !whole && c.oldest.IsZero() {
		c.oldest = later(latest, c.newest).Add(late)
	}
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
		if c.left[h]--; c.left[h] == 0 {
			delete(c.left, h)
		}
		c.report.Same++
		c.matched, c.written = len(c.tail), at
	} else if !c.run.player.Exact || at.Before(c.wanted) {
		return
	} else if at.Before(c.oldest) {
		c.unchecked(at) // its record may have gone
	} else {
		c.tail = append(c.tail, decided{at, words})
	}
}

// played is told of each input after it was played.
func (c *comparison) played(in *governor.Input) {
	switch {
	case in.Op == governor.OpLost: // what was decided from there on nobody can tell
		c.endLife(lifeLost)
		return
	case in.Op == governor.OpBegin:
		inOrder := c.ended
		c.endLife(lifeOver)
		if c.exact, c.from = true, in.Now; !inOrder { // what is lost of the one before may be of a clock that was ahead
			c.from = later(in.Now, c.previous.Add(late))
		}
	case in.Op == governor.OpEnd:
		c.ended = true
	case !c.exact && c.run.player.Exact: // a checkpoint has ended; what was made of its last moment was not compared
		c.exact, c.from = true, in.Now.Add(time.Millisecond)
	}
	if c.latest = later(c.latest, c.previous); in.Op == governor.OpBegin || !c.exact {
		c.twice(in.Now)
	}
	if in.Op != governor.OpEnd { // where another life's begin is missing, that the one before ended in order says nothing of it
		c.ended = false
	}
	c.previous = in.Now
}

// twice notes a time that a clock which was set back between two lives has had before.
func (c *comparison) twice(at time.Time) {
	if n := len(c.back); at.Before(c.latest) && (n == 0 || !c.back[n-1].has(at) || !c.back[n-1].has(c.latest)) {
		c.back = append(c.back, around(at, c.latest))
	}
}

// lifeEnd is how a life ends, as far as that is known.
type lifeEnd uint8

const (
	lifeOver lifeEnd = iota // another one begins
	lifeLost                // something is missing
	lifeOpen                // nothing is behind it: it may go on
)

// endLife ends what is exact: whether something was behind the last input, which is lost, only a life that ended in order tells.
func (c *comparison) endLife(how lifeEnd) {
	end := c.previous.Add(-late)
	if c.ended && how != lifeLost {
		end = c.previous.Add(time.Millisecond)
	}
	if c.exact {
		c.report.Covered += max(0, c.previous.Sub(later(c.from, c.wanted)))
		c.spans, c.exact = append(c.spans, span{c.from.Truncate(time.Millisecond), end.Add(-1)}), false
	}
	c.settle(how)
	c.ended = false
}

// settle decides what those without a record are. Records are written in their order, but a crash takes the last ones, and a power cut those of some
// seconds: what is behind the last decision that has one proves nothing, unless the journal has records of a later time.
func (c *comparison) settle(how lifeEnd) {
	last := c.previous.Add(-unwritten)
	until := c.written.Add(-unwritten)
	for i, d := range c.tail {
		behind := i >= c.matched || !d.at.Before(until)
		if how == lifeOpen && c.back == nil && d.at.Before(c.newest.Add(-unwritten)) {
			behind = false
		}
		switch {
		case !c.ended && how == lifeLost && (behind || !d.at.Before(last)):
			c.unchecked(d.at)
		case !c.ended && (behind || !d.at.Before(last)):
			c.report.CutOff++
		case d.at.After(c.newest), inside(c.holes, d.at):
			c.unchecked(d.at) // its record may be among those that are missing
		default:
			c.report.OnlyNow++
			c.example("only now:  " + d.words)
		}
	}
	c.tail, c.matched, c.written = nil, 0, time.Time{}
}

func (c *comparison) example(text string) {
	if len(c.report.Examples) < shownExamples {
		c.report.Examples = append(c.report.Examples, text)
	}
}

// finish looks for the records that were not made again.
func (c *comparison) finish(r *journal.Reader) (*Reproduced, error) {
	if c.endLife(lifeOpen); len(c.left) == 0 {
		return &c.report, nil
	}
	err := r.Each(journal.Query{Kinds: comparedKinds, From: c.wanted}, func(it *journal.Item) error {
		words := wordsOf(it.Record.Kind, it.Record.Time, it.Record.Params())
		h := c.hash(words)
		if c.left[h] == 0 {
			return nil
		}
		c.left[h]--
		if at := it.Record.Time; inside(c.spans, at) && !inside(c.back, at) {
			c.report.OnlyThen++
			c.example("only then: " + words)
		} else {
			c.unchecked(at)
		}
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

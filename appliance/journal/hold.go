package journal

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Hold keeps what belongs to a case beyond its time.
type Hold struct {
	Case       string    `json:"case"`
	Subscriber string    `json:"subscriber"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to,omitzero"` // zero: the case is open
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	Since      time.Time `json:"since"`
}

// holds tells whether r is held by h.
func (h *Hold) holds(r *records.Record) bool {
	if r.Value("case") == h.Case {
		return true
	}
	return r.Value("subscriber") == h.Subscriber && !r.Time.Before(h.From) && (h.To.IsZero() || !r.Time.After(h.To))
}

// mayHold tells whether a row could be held, without taking it apart.
func (h *Hold) mayHold(r *row) bool {
	return bytes.Contains(r.canonical, []byte(`case="`+h.Case+`"`)) ||
		r.ms >= h.From.UnixMilli() && (h.To.IsZero() || r.ms <= h.To.UnixMilli()) && bytes.Contains(r.canonical, []byte(` subscriber="`))
}

// holders are the cases that hold r.
func holders(holds []Hold, r *records.Record) (cases []string) {
	for i := range holds {
		if holds[i].holds(r) {
			cases = append(cases, holds[i].Case)
		}
	}
	return cases
}

// Hold holds a case from now on, in place of an earlier hold of it, and has that on the disk when it returns.
func (j *Journal) Hold(h Hold) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("journal: hold case %q: %w", h.Case, err)
	}
	return j.changeHolds(func(all []Hold) []Hold {
		return append(slices.DeleteFunc(all, func(o Hold) bool { return o.Case == h.Case }), h)
	})
}

// Unhold ends the hold of a case; false if there is none. What is beyond its time goes with the next Sweep.
func (j *Journal) Unhold(number string) (Hold, bool, error) {
	var ended Hold
	found := false
	err := j.changeHolds(func(all []Hold) []Hold {
		return slices.DeleteFunc(all, func(o Hold) bool {
			if o.Case != number {
				return false
			}
			ended, found = o, true
			return true
		})
	})
	return ended, found, err
}

// Closed tells when a held case ended; the zero time: it goes on after all.
func (j *Journal) Closed(number string, at time.Time) error {
	return j.changeHolds(func(all []Hold) []Hold {
		for i := range all {
			if all[i].Case == number && (all[i].To.IsZero() || at.IsZero()) {
				all[i].To = at
			}
		}
		return all
	})
}

func (j *Journal) changeHolds(change func([]Hold) []Hold) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.learn() // nobody's list is written over
	before := j.holdsNow()
	next := held{change(slices.Clone(before.all)), before.unknown}
	if slices.Equal(before.all, next.all) {
		return nil
	}
	if err := writeHolds(j.opt.Dir, next); err != nil {
		return fmt.Errorf("journal: write down what is held: %w", err)
	}
	j.held.Store(&next)
	j.again = true
	return nil
}

// noJournal is why nothing is known of holds where there is none.
const noJournal = "there is no journal in this life"

// Holds lists what is known to be held, by when the hold began. unknown says why there may be more, for which nothing of any case is deleted; "": there is not.
func (j *Journal) Holds() (all []Hold, unknown string) {
	if j == nil {
		return nil, noJournal
	}
	h := j.holdsNow()
	return slices.Clone(h.all), h.unknown
}

func (j *Journal) holdsNow() held {
	if h := j.held.Load(); h != nil {
		return *h
	}
	return held{}
}

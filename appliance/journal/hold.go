package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
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

const holdsFile = "holds.json"

func readHolds(dir string) ([]Hold, error) {
	b, err := os.ReadFile(filepath.Join(dir, holdsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Hold
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, holdsFile), err)
	}
	return all, nil
}

func writeHolds(dir string, all []Hold) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, holdsFile), append(b, '\n'))
}

// Hold holds a case from now on, in place of an earlier hold of it, and has that on the disk when it returns.
func (j *Journal) Hold(h Hold) error {
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

// Closed tells when a held case ended.
func (j *Journal) Closed(number string, at time.Time) error {
	return j.changeHolds(func(all []Hold) []Hold {
		for i := range all {
			if all[i].Case == number && all[i].To.IsZero() {
				all[i].To = at
			}
		}
		return all
	})
}

func (j *Journal) changeHolds(change func([]Hold) []Hold) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	before := j.holdsNow()
	next := change(slices.Clone(before))
	if slices.Equal(before, next) {
		return nil
	}
	if err := writeHolds(j.opt.Dir, next); err != nil {
		return fmt.Errorf("journal: write down what is held: %w", err)
	}
	j.held.Store(&next)
	j.again = true
	return nil
}

// Holds lists what is held, by when the hold began.
func (j *Journal) Holds() []Hold {
	if j == nil {
		return nil
	}
	return slices.Clone(j.holdsNow())
}

func (j *Journal) holdsNow() []Hold {
	if all := j.held.Load(); all != nil {
		return *all
	}
	return nil
}

package appliance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

// Bounds of the casebook. Of a case that moves up and down more often, the first
// change and the newest ones are kept; of more cases, those that ended longest ago
// make room.
const (
	maxCases       = 20_000
	maxCaseChanges = 64
)

// casebook keeps what happened under each case number, also after the case has
// ended: the number is what a customer reads in a 421 and tells the abuse desk
// days later. It is memory, with changes saved beside the budgets.
type casebook struct {
	mu    sync.Mutex
	cases map[string]*caseFile
	ended []string            // numbers of those that ended, the longest ago first
	dirty map[string]struct{} // changed or dropped since they were saved
}

// caseFile is one case as it is kept on disk, too.
type caseFile struct {
	ID         string         `json:"id"`
	Subscriber string         `json:"subscriber"`
	Plan       string         `json:"plan"`
	Opened     time.Time      `json:"opened"`
	Closed     time.Time      `json:"closed,omitzero"`
	Until      time.Time      `json:"until,omitzero"`
	Stage      governor.Stage `json:"stage"`
	Highest    governor.Stage `json:"highest"`
	Reason     string         `json:"reason"` // why Highest was entered
	Changes    []caseChange   `json:"changes"`
	Left       int            `json:"left,omitempty"` // changes that were left out of Changes
}

type caseChange struct {
	At     time.Time      `json:"at"`
	From   governor.Stage `json:"from"`
	To     governor.Stage `json:"to"`
	Reason string         `json:"reason"`
}

func newCasebook() *casebook {
	return &casebook{cases: map[string]*caseFile{}, dirty: map[string]struct{}{}}
}

// note takes a change of stage into the case it belongs to.
func (b *casebook) note(c governor.StageChange) {
	if c.Case == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.cases[c.Case]
	if f == nil {
		f = &caseFile{ID: c.Case, Subscriber: c.Subscriber, Opened: c.At}
		b.cases[c.Case] = f
	} else if !f.Closed.IsZero() {
		return
	}
	f.Plan, f.Stage, f.Until = c.Plan, c.To, c.Until
	if c.To > f.Highest {
		f.Highest, f.Reason = c.To, c.Why
	}
	if len(f.Changes) == maxCaseChanges {
		f.Changes = slices.Delete(f.Changes, 1, 2)
		f.Left++
	}
	f.Changes = append(f.Changes, caseChange{At: c.At, From: c.From, To: c.To, Reason: c.Why})
	b.dirty[f.ID] = struct{}{}
	if c.To == governor.StageObserve {
		b.end(f, c.At)
	}
}

// end closes a case. The caller holds b.mu.
func (b *casebook) end(f *caseFile, at time.Time) {
	f.Closed, f.Until = at, time.Time{}
	b.ended = append(b.ended, f.ID)
	b.dirty[f.ID] = struct{}{}
	for len(b.cases) > maxCases && len(b.ended) > 0 {
		b.drop()
	}
}

// drop forgets the case that ended longest ago. The caller holds b.mu.
func (b *casebook) drop() {
	delete(b.cases, b.ended[0])
	b.dirty[b.ended[0]] = struct{}{}
	b.ended = b.ended[1:]
}

// forget drops cases that ended before a time.
func (b *casebook) forget(before time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.ended) > 0 && b.cases[b.ended[0]].Closed.Before(before) {
		b.drop()
	}
}

// file is a copy of a case.
func (b *casebook) file(id string) (caseFile, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.cases[id]
	if f == nil {
		return caseFile{}, false
	}
	c := *f
	c.Changes = slices.Clone(f.Changes)
	return c, true
}

// changes takes what changed since the last call, for saving; redo gives back what
// could not be saved.
func (b *casebook) changes() (out []store.Change, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.dirty {
		c := store.Change{Key: []byte(id), Delete: b.cases[id] == nil}
		if f := b.cases[id]; f != nil {
			if c.Value, err = json.Marshal(f); err != nil {
				return nil, fmt.Errorf("case %s: %w", id, err)
			}
		}
		out = append(out, c)
	}
	clear(b.dirty)
	return out, nil
}

func (b *casebook) redo(lost []store.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range lost {
		b.dirty[string(c.Key)] = struct{}{}
	}
}

// load takes what was saved. A value that cannot be read is left out and counted.
func (b *casebook) load(each func(func(key, value []byte) error) error) (damaged int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err = each(func(key, value []byte) error {
		f := &caseFile{}
		if json.Unmarshal(value, f) != nil || f.ID != string(key) {
			damaged++
			return nil
		}
		b.cases[f.ID] = f
		if !f.Closed.IsZero() {
			b.ended = append(b.ended, f.ID)
		}
		return nil
	})
	slices.SortFunc(b.ended, func(x, y string) int {
		return cmp.Or(b.cases[x].Closed.Compare(b.cases[y].Closed), cmp.Compare(x, y))
	})
	return damaged, err
}

// reconcile ends open cases that the governor does not know any more, as after a
// power cut that took its last moments: nothing else would ever end them.
func (b *casebook) reconcile(caseOf func(subscriber string) string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, f := range b.cases {
		if f.Closed.IsZero() && caseOf(f.Subscriber) != id {
			f.Changes = append(f.Changes, caseChange{At: now, From: f.Stage, To: governor.StageObserve, Reason: "not known any more after a restart"})
			f.Stage = governor.StageObserve
			b.end(f, now)
		}
	}
}

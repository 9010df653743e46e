package appliance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// Bounds of the casebook. Of a case that moves up and down more often, the first
// change and the newest ones, at least 32, are kept; of more cases, those that ended longest ago
// make room, but for those that are held. Cases of sources that no list has may be a quarter of all, so that
// forged addresses push out nobody's. Where nothing has ended a new case is not
// kept, and counted.
const (
	maxCases         = 20_000
	maxStrangerCases = maxCases / 4
	maxCaseChanges   = 64
)

// casesAtOnce is how many cases are worked on before others get their turn at the
// mutex: the packet path waits for it.
const casesAtOnce = 64

// casebook keeps what happened under each case number, also after the case has
// ended: the number is what a customer reads in a 421 and tells the abuse desk
// days later. It is memory, with changes saved beside the budgets.
type casebook struct {
	mu        sync.Mutex // held for some microseconds at most
	cases     map[string]*caseFile
	strangers int                 // of cases
	ended     [2]caseQueue        // of lines, and of strangers
	dirty     map[string]struct{} // changed or dropped since they were saved
	held      map[string]struct{} // these stay, also after their time
	lost      uint64              // changes of stage that are in no case, since the book was full
}

// caseQueue are cases that ended, the longest ago first.
type caseQueue struct{ first, last *caseFile }

func (q *caseQueue) push(f *caseFile) { q.before(nil, f) }

// before puts f before another one; nil: at the end.
func (q *caseQueue) before(next, f *caseFile) {
	prev := q.last
	if next != nil {
		prev = next.prev
	}
	if f.prev, f.next = prev, next; prev == nil {
		q.first = f
	} else {
		prev.next = f
	}
	if next == nil {
		q.last = f
	} else {
		next.prev = f
	}
}

// insert puts a case where it belongs by its end.
func (q *caseQueue) insert(f *caseFile) {
	if q.last == nil || !f.Closed.Before(q.last.Closed) {
		q.push(f)
		return
	}
	at := q.first
	for !f.Closed.Before(at.Closed) {
		at = at.next
	}
	q.before(at, f)
}

func (q *caseQueue) remove(f *caseFile) {
	if f.prev == nil {
		q.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		q.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
}

func (q *caseQueue) pop() *caseFile {
	f := q.first
	q.remove(f)
	return f
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
	Reason     string         `json:"reason"`         // why Highest was entered
	Changes    []caseChange   `json:"changes"`        // what is in it never changes, so that a copy may share it
	Left       int            `json:"left,omitempty"` // changes that were left out of Changes

	prev, next *caseFile // of those that ended
	aside      bool      // it ended and is in no queue, since it is held
}

// class is the queue that a case belongs into when it ends.
func (f *caseFile) class() int {
	if subscriber.Unlisted(f.Subscriber) {
		return 1
	}
	return 0
}

type caseChange struct {
	At     time.Time      `json:"at"`
	From   governor.Stage `json:"from"`
	To     governor.Stage `json:"to"`
	Reason string         `json:"reason"`
}

func newCasebook() *casebook {
	return &casebook{cases: map[string]*caseFile{}, dirty: map[string]struct{}{}, held: map[string]struct{}{}}
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
		if !b.room(f) {
			b.lost++
			return
		}
		b.add(f)
	} else if !f.Closed.IsZero() || f.Subscriber != c.Subscriber {
		if c.At.After(f.Closed) || f.Subscriber != c.Subscriber { // not merely told late
			b.lost++
		}
		return
	}
	f.Plan, f.Stage, f.Until = c.Plan, c.To, c.Until
	if c.To > f.Highest {
		f.Highest, f.Reason = c.To, c.Why
	}
	f.happened(caseChange{At: c.At, From: c.From, To: c.To, Reason: c.Why})
	b.dirty[f.ID] = struct{}{}
	if c.To == governor.StageObserve {
		b.end(f, c.At)
	}
}

// happened adds a change. Over the bound it begins a new list, of the first and the
// newer half of the others.
func (f *caseFile) happened(c caseChange) {
	if n := len(f.Changes); n >= maxCaseChanges {
		list := append(make([]caseChange, 0, maxCaseChanges), f.Changes[0])
		list = append(list, f.Changes[n/2+1:]...)
		f.Left += n - len(list)
		f.Changes = list
	}
	f.Changes = append(f.Changes, c)
}

// room makes room for f; false when there is none. The caller holds b.mu.
func (b *casebook) room(f *caseFile) bool {
	if class := f.class(); class == 1 && b.strangers >= maxStrangerCases {
		return b.drop(class)
	}
	if len(b.cases) < maxCases {
		return true
	}
	line, stranger := b.oldest(0), b.oldest(1)
	if line == nil || stranger != nil && stranger.Closed.Before(line.Closed) {
		return b.drop(1)
	}
	return b.drop(0)
}

func (b *casebook) add(f *caseFile) {
	b.cases[f.ID] = f
	b.strangers += f.class()
}

// end closes a case. The caller holds b.mu.
func (b *casebook) end(f *caseFile, at time.Time) {
	f.Closed, f.Until = at, time.Time{}
	b.ended[f.class()].push(f)
	b.dirty[f.ID] = struct{}{}
}

// reopen has a case go on that has ended, since what ended it was taken back. One that goes on, or is not there, stays so.
func (b *casebook) reopen(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.cases[id]
	if f == nil || f.Closed.IsZero() {
		return
	}
	if !f.aside {
		b.ended[f.class()].remove(f)
	}
	f.Closed, f.aside = time.Time{}, false
	b.dirty[id] = struct{}{}
}

// oldest is the case of a class that ended longest ago and may go; nil if there is
// none. The caller holds b.mu.
func (b *casebook) oldest(class int) *caseFile {
	for {
		f := b.ended[class].first
		if f == nil {
			return nil
		}
		if _, held := b.held[f.ID]; !held {
			return f
		}
		b.ended[class].pop().aside = true
	}
}

// hold keeps the case of a number, whether or not it is in the book yet.
func (b *casebook) hold(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[id] = struct{}{}
}

// unhold has the case go with its time.
func (b *casebook) unhold(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.held, id)
	if f := b.cases[id]; f != nil && f.aside {
		f.aside = false
		b.ended[f.class()].insert(f)
	}
}

// drop forgets the case of a class that ended longest ago; false if none has ended
// that may go. The caller holds b.mu.
func (b *casebook) drop(class int) bool {
	if b.oldest(class) == nil {
		return false
	}
	f := b.ended[class].pop()
	delete(b.cases, f.ID)
	b.strangers -= class
	b.dirty[f.ID] = struct{}{}
	return true
}

// forget drops cases that ended before a time.
func (b *casebook) forget(before time.Time) {
	for class := range b.ended {
		for b.forgetSome(class, before) {
		}
	}
}

func (b *casebook) forgetSome(class int, before time.Time) (more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range casesAtOnce {
		if f := b.oldest(class); f == nil || !f.Closed.Before(before) {
			return false
		}
		b.drop(class)
	}
	return true
}

// file is a copy of a case, whose changes are not to be written to.
func (b *casebook) file(id string) (caseFile, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.cases[id]
	if f == nil {
		return caseFile{}, false
	}
	return *f, true
}

// missed is how many changes of stage are in no case.
func (b *casebook) missed() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// pending gives the numbers of the cases that changed since the last call. Who
// cannot save them gives them to redo.
func (b *casebook) pending() []string {
	next := map[string]struct{}{}
	b.mu.Lock()
	taken := b.dirty
	b.dirty = next
	b.mu.Unlock()
	return slices.Collect(maps.Keys(taken))
}

// redo takes back numbers that pending gave.
func (b *casebook) redo(ids []string) {
	for some := range slices.Chunk(ids, casesAtOnce) {
		b.mu.Lock()
		for _, id := range some {
			b.dirty[id] = struct{}{}
		}
		b.mu.Unlock()
	}
}

// changes encodes cases for saving. One that cannot be is left out and is the error.
func (b *casebook) changes(ids []string) (out []store.Change, bad []string, err error) {
	var copies [casesAtOnce]caseFile
	for some := range slices.Chunk(ids, casesAtOnce) {
		b.copy(some, copies[:])
		for i, id := range some {
			c := store.Change{Key: []byte(id), Delete: copies[i].ID == ""}
			if !c.Delete {
				value, e := json.Marshal(&copies[i])
				if e != nil {
					bad, err = append(bad, id), cmp.Or(err, fmt.Errorf("case %s: %w", id, e))
					continue
				}
				c.Value = value
			}
			out = append(out, c)
		}
	}
	return out, bad, err
}

// copy copies cases, zero ones for those that are not there.
func (b *casebook) copy(ids []string, into []caseFile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, id := range ids {
		into[i] = caseFile{}
		if f := b.cases[id]; f != nil {
			into[i] = *f
		}
	}
}

// load takes what was saved. A value that cannot be read is left out and counted.
func (b *casebook) load(each func(func(key, value []byte) error) error) (damaged int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ended []*caseFile
	err = each(func(key, value []byte) error {
		f := &caseFile{}
		if json.Unmarshal(value, f) != nil || f.ID != string(key) {
			damaged++
			return nil
		}
		b.add(f)
		if !f.Closed.IsZero() {
			ended = append(ended, f)
		}
		return nil
	})
	slices.SortFunc(ended, func(x, y *caseFile) int {
		return cmp.Or(x.Closed.Compare(y.Closed), cmp.Compare(x.ID, y.ID))
	})
	for _, f := range ended {
		b.ended[f.class()].push(f)
	}
	return damaged, err
}

// highest is the greatest number of a case that is known.
func (b *casebook) highest() (n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.cases {
		if one, ok := governor.ParseCase(id); ok {
			n = max(n, one)
		}
	}
	return n
}

// reconcile ends open cases that the governor does not know any more, as after a
// power cut that took its last moments: nothing else would ever end them.
func (b *casebook) reconcile(caseOf func(subscriber string) string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, f := range b.cases {
		if f.Closed.IsZero() && caseOf(f.Subscriber) != id {
			f.happened(caseChange{At: now, From: f.Stage, To: governor.StageObserve, Reason: "not known any more after a restart"})
			f.Stage = governor.StageObserve
			b.end(f, now)
		}
	}
}

package notices

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/governor/store"
)

const (
	maxWaiting  = 1000 // notices for one target; over it the oldest are lost and told
	maxRefusals = 12   // after so many, about 20 hours, a notice that its target refuses is given up

	firstRefusal = time.Minute // until a refused notice is tried again, doubled each time
	lastRefusal  = 4 * time.Hour
	firstPause   = time.Second     // until a target that failed is tried again with anything, doubled each time
	lastPause    = 5 * time.Minute // for one that is not reached
	shortPause   = time.Minute     // for one that refused, since the next notice may be to its taste
	longestAsked = time.Hour       // of the pauses that a target asks for itself
)

// item is a notice on its way to one target, as it is on the disk.
type item struct {
	Notice   Notice `json:"notice"`
	Refusals int    `json:"refusals,omitempty"`
	// First is when the first of what a digest stands for happened; zero: it is no digest.
	First time.Time `json:"first,omitzero"`

	key []byte
	due time.Time // not before; zero: now
}

// queue is what waits for one target. A notice that the target refuses waits by itself: others go before it. A target that
// is not reached costs no notice anything but time.
type queue struct {
	name string
	wake chan struct{} // of one

	mu       sync.Mutex // guards all below; never held over the disk or the network
	items    []*item    // oldest first
	paused   time.Time  // nothing is tried before
	failures int        // since the last success
	why      string     // the last one's
	since    time.Time  // of the first of them, or of the first success after them
	sent     uint64
	failed   uint64
	lost     uint64
}

func newQueue(name string, now time.Time) *queue {
	return &queue{name: name, wake: make(chan struct{}, 1), since: now}
}

// key is where the shelf has a notice of a target; numbers sort as they were given.
func key(target string, n uint64) []byte { return fmt.Appendf(nil, "q %s %016x", target, n) }

// ofKey is the target and the number in a key.
func ofKey(key string) (target string, n uint64, ok bool) {
	rest, found := strings.CutPrefix(key, "q ")
	cut := strings.LastIndexByte(rest, ' ')
	if !found || cut < 0 {
		return "", 0, false
	}
	if _, err := fmt.Sscanf(rest[cut+1:], "%016x", &n); err != nil {
		return "", 0, false
	}
	return rest[:cut], n, true
}

// add takes what is on the disk already, and returns what is to be deleted there: old ones that had to go.
func (q *queue) add(i *item) (changes []store.Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, i)
	for len(q.items) > maxWaiting {
		changes = append(changes, store.Change{Key: q.items[0].key, Delete: true})
		q.items[0] = nil
		q.items = q.items[1:]
		q.lost++
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return changes
}

// change puts the item on the shelf.
func (i *item) change() store.Change {
	value, err := json.Marshal(i)
	if err != nil {
		panic("notices: " + err.Error()) // strings and numbers only
	}
	return store.Change{Key: i.key, Value: value}
}

// next is the notice to try now: the one that was refused least often, then the oldest. Without one, in is how long there
// will be none; 0: until something comes.
func (q *queue) next(now time.Time) (i *item, in time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, 0
	}
	if wait := q.paused.Sub(now); wait > 0 {
		return nil, wait
	}
	first := time.Duration(-1)
	for _, one := range q.items {
		if wait := one.due.Sub(now); wait > 0 {
			if first < 0 || wait < first {
				first = wait
			}
			continue
		}
		if i == nil || one.Refusals < i.Refusals {
			i = one
		}
	}
	if i != nil {
		return i, 0
	}
	return nil, first
}

// settled takes what became of an attempt. It returns what changes on the disk, and why the notice is given up, if it is.
func (q *queue) settled(i *item, err error, now time.Time) (changes []store.Change, givenUp string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		if q.failures > 0 {
			q.since = now
		}
		q.sent++
		q.failures, q.why, q.paused = 0, "", time.Time{}
		return q.drop(i), ""
	}
	if q.failures == 0 {
		q.since = now
	}
	q.failures++
	q.failed++
	q.why = err.Error()
	most := lastPause
	r, refused := err.(*refusal)
	if refused {
		most = shortPause
		i.Refusals++
		i.due = now.Add(backOff(firstRefusal, lastRefusal, i.Refusals))
	}
	q.paused = now.Add(backOff(firstPause, most, q.failures))
	if u, ok := err.(*unreachable); ok && u.after > 0 {
		q.paused = now.Add(min(u.after, longestAsked))
	}
	if !refused {
		return nil, ""
	}
	if i.Refusals >= maxRefusals {
		q.lost++
		return q.drop(i), r.Error()
	}
	if !slices.Contains(q.items, i) {
		return nil, "" // it made room meanwhile
	}
	return []store.Change{i.change()}, ""
}

// giveUp takes away what happened before a time, which has waited too long.
func (q *queue) giveUp(before time.Time) (old []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = slices.DeleteFunc(q.items, func(i *item) bool {
		if !i.happened().Before(before) {
			return false
		}
		old = append(old, i)
		return true
	})
	q.lost += uint64(len(old))
	return old
}

// happened is when what the item tells happened; of a digest the first of it.
func (i *item) happened() time.Time {
	if !i.First.IsZero() {
		return i.First
	}
	return i.Notice.Time
}

func (q *queue) drop(i *item) []store.Change {
	if at := slices.Index(q.items, i); at >= 0 { // it may have made room meanwhile
		q.items = slices.Delete(q.items, at, at+1)
	}
	return []store.Change{{Key: i.key, Delete: true}}
}

// backOff is first doubled n-1 times, at most most, less up to a third by chance so that boxes do not come all at once.
func backOff(first, most time.Duration, n int) time.Duration {
	d := most
	if n < 20 && first<<(n-1) < most {
		d = first << (n - 1)
	}
	return d - rand.N(d/3)
}

// retry lets everything be tried at once, as after a change of the configuration.
func (q *queue) retry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = time.Time{}
	for _, i := range q.items {
		i.due = time.Time{}
	}
}

// Status is how one target stands.
type Status struct {
	Name, Kind, Where        string // Kind: webhook, mail
	Up                       bool   // the last attempt was taken, or there was none
	Since                    time.Time
	Waiting                  int
	Delivered, Failed, Given uint64 // Given: given up, or made room
	LastError                string
}

func (q *queue) status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{Name: q.name, Up: q.failures == 0, Since: q.since, Waiting: len(q.items), Delivered: q.sent, Failed: q.failed, Given: q.lost, LastError: q.why}
}

// refusal is the error of a target that was reached and does not take this notice.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// unreachable is the error of a target that takes nothing now.
type unreachable struct {
	why   string
	after time.Duration // as it asks for; 0: it does not
}

func (u *unreachable) Error() string { return u.why }

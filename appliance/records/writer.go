package records

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Writer takes entries from anywhere, the packet path included, and makes records of them in one goroutine: whoever calls Run.
//
// Between the two is a bounded queue. When it is full the newest entry is dropped and counted by kind; as soon as half of the
// queue is free again a HEALTH record says how many were lost. Those never had a number, so seq has no gap. The last eighth
// of the queue is closed to SESSION and DECISION, so that a flood of mail costs no AUDIT, CONFIG, HEALTH or STAGE record;
// as many of the two may get in as there are goroutines that say them at the same moment.
type Writer struct {
	chain *Chain
	now   func() time.Time
	sinks []func(Record)
	queue chan Entry
	haste chan struct{} // holds one: an entry came that is not to wait
	batch []Entry       // only Run's, empty between its turns

	settle chan chan struct{} // what comes here is closed when everything said before is a record
	runs   atomic.Bool

	mu    sync.Mutex // guards lost and total
	lost  map[Kind]uint64
	total uint64
}

// NewWriter makes a writer whose queue holds capacity entries. Each record goes to all sinks in turn, in the order of seq;
// a sink must not block, and must not call Say and wait.
func NewWriter(c *Chain, capacity int, now func() time.Time, sinks ...func(Record)) *Writer {
	return &Writer{chain: c, now: now, sinks: sinks, queue: make(chan Entry, capacity), haste: make(chan struct{}, 1),
		settle: make(chan chan struct{}), lost: make(map[Kind]uint64)}
}

// Say hands over an entry and never blocks; false when it had to be dropped.
func (w *Writer) Say(e Entry) bool {
	if w.open(e.Kind) {
		select {
		case w.queue <- e:
			if !plenty(e.Kind) {
				select {
				case w.haste <- struct{}{}:
				default:
				}
			}
			return true
		default:
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost[e.Kind]++
	w.total++
	return false
}

// open tells whether the queue takes entries of a kind.
func (w *Writer) open(kind Kind) bool {
	all := cap(w.queue)
	return !plenty(kind) || len(w.queue) < all-all/8
}

// plenty tells whether mail makes entries of a kind by the thousand. Behind others somebody may wait for their record.
func plenty(kind Kind) bool { return kind == KindSession || kind == KindDecision }

// Lost is how many entries were dropped since the start.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// Waiting is how many entries are in the queue.
func (w *Writer) Waiting() int { return len(w.queue) }

const (
	// restFor is how long the writer looks away after it has written, unless something else than a SESSION or DECISION comes:
	// what happens meanwhile is written in one go, and the packet path wakes nobody for it.
	restFor = 20 * time.Millisecond
	// atOnce bounds that.
	atOnce = 256
)

// Run makes records until ctx ends, then of everything still in the queue, and returns nil.
func (w *Writer) Run(ctx context.Context) error {
	w.runs.Store(true)
	defer w.runs.Store(false)
	rest := time.NewTimer(0)
	defer rest.Stop()
	var queue chan Entry // nil while it rests
	for {
		select {
		case e := <-queue:
			w.batch = append(w.batch, e)
			select {
			case <-w.haste: // whoever it is from is in the queue, or this one
			default:
			}
			w.all()
		case <-w.haste:
			w.all()
		case done := <-w.settle:
			w.all()
			close(done)
		case <-rest.C:
			queue = w.queue
			continue
		case <-ctx.Done():
			for len(w.queue) > 0 {
				w.all()
			}
			w.tellLoss()
			return nil
		}
		queue = nil
		rest.Reset(restFor)
	}
}

// Settle returns when everything that was said before is a record, so that who reads the records sees what was; or when ctx ends; at once while nobody runs it.
func (w *Writer) Settle(ctx context.Context) {
	if !w.runs.Load() {
		return
	}
	done := make(chan struct{})
	select {
	case w.settle <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// all makes records of what is in the batch and in the queue.
func (w *Writer) all() {
	for n := len(w.queue); n > 0; n-- {
		if w.batch = append(w.batch, <-w.queue); len(w.batch) >= atOnce {
			w.flush()
		}
	}
	w.flush()
	if len(w.queue) <= cap(w.queue)/2 {
		w.tellLoss()
	}
}

// flush makes records of the batch.
func (w *Writer) flush() {
	for _, r := range w.chain.AppendAll(w.batch, w.now()) {
		for _, sink := range w.sinks {
			sink(r)
		}
	}
	clear(w.batch)
	w.batch = w.batch[:0]
}

func (w *Writer) tellLoss() {
	w.mu.Lock()
	lost := w.lost
	if len(lost) > 0 {
		w.lost = make(map[Kind]uint64)
	}
	w.mu.Unlock()
	if len(lost) == 0 {
		return
	}
	var n uint64
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(lost)) {
		n += lost[kind]
		parts = append(parts, fmt.Sprintf("%s %d", kind, lost[kind]))
	}
	w.batch = append(w.batch, Health(HealthFacts{Time: w.now(), What: "record_loss", Target: "writer", Count: n,
		Detail: "more happened at once than could be recorded: " + strings.Join(parts, ", ")}))
	w.flush()
}

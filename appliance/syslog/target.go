package syslog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// item is a record ready to go.
type item struct {
	seq  uint64
	line []byte // shared between targets: nobody writes to it
}

// sender is one connection to a collector. Only target.run calls it.
type sender interface {
	// send writes items and says how many need not be written again, unless pending has them.
	send(items []item) (int, error)
	// broken is closed when the collector ended the connection or its host refused a record; why then says what happened.
	broken() <-chan struct{}
	why() error
	// pending is what was sent and may not have arrived, in the order of seq.
	pending() []item
	// unsure is about how many those are; it may be some milliseconds old, and costs nothing.
	unsure() int
	// settle waits until nothing is pending, or ctx ends.
	settle(ctx context.Context)
	// close ends the connection; pending still answers. interrupt, from any goroutine, makes send and settle return.
	close()
	interrupt()
}

var errEnded = errors.New("the collector ended the connection")

const (
	maxBatch  = 256                  // records per write
	restFor   = 5 * time.Millisecond // after a write that was not full: what comes meanwhile goes with the next
	askPeriod = time.Second          // how often a quiet connection is asked whether all has arrived
)

// target sends to one collector. Its goroutine is Exporter.Run's.
type target struct {
	cfg     *Config
	url     string
	network string // udp or tcp; empty: not active
	address string
	queue   chan item
	backlog []item // taken from the queue and to be sent; only run touches it, and the next one
	broke   bool   // a connection has ended in trouble

	mu      sync.Mutex // guards all below
	status  Status     // without Behind
	down    bool       // Down has been told, and not Up since
	lost    Event      // what the next Loss will tell
	unsure  int        // pending of the connection
	waiting int        // length of the backlog
}

// put queues an item or drops it.
func (t *target) put(it item) {
	select {
	case t.queue <- it:
	default:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.lost.Count == 0 {
			t.lost.FirstSeq = it.seq
		}
		t.lost.Count++
		t.lost.LastSeq = it.seq
		t.status.Dropped++
	}
}

func (t *target) state() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Behind = len(t.queue) + t.waiting + t.unsure
	return s
}

// run connects, sends and connects again until ctx has ended and everything is sent, or the drain time is over.
func (t *target) run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends Config.Drain after ctx
	defer cancel()
	defer context.AfterFunc(ctx, func() { // runs in a goroutine of its own, which ends with hard
		select {
		case <-time.After(t.cfg.Drain):
			cancel()
		case <-hard.Done():
		}
	})()

	pause := t.cfg.MinPause
	for {
		began := time.Now()
		err := t.connection(ctx, hard)
		if err == nil || hard.Err() != nil {
			break
		}
		t.troubled(err)
		// Only a connection that lasted begins with short pauses again: a collector that takes connections and drops them
		// must not have us dial, and tell about it, twice a second.
		if time.Since(began) > t.cfg.MaxPause {
			pause = t.cfg.MinPause
		}
		over := ctx.Done() // stopping cuts a pause short, once
		if ctx.Err() != nil {
			pause, over = t.cfg.MinPause, hard.Done()
		}
		select {
		case <-time.After(pause + rand.N(pause/4+1)):
		case <-over:
		}
		pause = min(2*pause, t.cfg.MaxPause)
	}
	t.abandon()
}

// connection serves one connection from dialling to its end. nil means that ctx has ended and everything is sent.
func (t *target) connection(ctx, hard context.Context) error {
	if ctx.Err() != nil && len(t.queue) == 0 && len(t.backlog) == 0 {
		return nil
	}
	s, err := dial(hard, t.network, t.address, t.broke)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(hard, s.interrupt)
	err = t.serve(ctx, hard, s)
	stop()
	s.close()
	t.backlog = append(s.pending(), t.backlog...)
	t.count(0, nil)
	t.broke = t.broke || err != nil
	return err
}

func (t *target) serve(ctx, hard context.Context, s sender) error {
	ask := time.NewTicker(askPeriod)
	defer ask.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	if t.network == "tcp" {
		t.fine() // a connection is news by itself; with UDP only a record that was not refused is
	}
	for {
		if len(t.backlog) == 0 {
			select {
			case it := <-t.queue:
				t.backlog = append(t.backlog, it)
			case <-s.broken():
				return s.why()
			case <-ask.C:
				t.count(0, s)
				continue
			case <-ctx.Done():
				if len(t.queue) == 0 {
					s.settle(hard)
					if len(s.pending()) > 0 {
						return errEnded
					}
					return nil
				}
				continue
			}
		}
		select {
		case <-rest.C:
		case <-s.broken(): // which send tells
		case <-ctx.Done():
		}
		for len(t.backlog) < maxBatch && len(t.queue) > 0 {
			t.backlog = append(t.backlog, <-t.queue)
		}
		n, err := s.send(t.backlog[:min(len(t.backlog), maxBatch)])
		t.backlog = append(t.backlog[:0], t.backlog[n:]...)
		t.count(n, s)
		if err != nil {
			return err
		}
		t.fine()
		if hard.Err() != nil {
			return hard.Err()
		}
		if n < maxBatch {
			rest.Reset(restFor)
		} else {
			rest.Reset(0)
		}
	}
}

// count keeps Status in step. s is nil when there is no connection.
func (t *target) count(sent int, s sender) {
	unsure := 0
	if s != nil {
		unsure = s.unsure()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Sent += uint64(sent)
	t.waiting, t.unsure = len(t.backlog), unsure
}

// fine notes that sending works, and tells what was dropped when there is room for telling it.
func (t *target) fine() {
	t.mu.Lock()
	var tell []Event
	t.status.Up, t.status.LastError = true, ""
	if t.down {
		t.down = false
		tell = append(tell, Event{What: Up})
	}
	if t.lost.Count > 0 && len(t.queue) <= cap(t.queue)/2 {
		t.lost.What = Loss
		tell = append(tell, t.lost)
		t.lost = Event{}
	}
	t.mu.Unlock()
	t.tell(tell...)
}

// troubled notes that sending does not work, and tells it once per trouble.
func (t *target) troubled(err error) {
	t.mu.Lock()
	first := !t.down
	t.down = true
	t.status.Up, t.status.LastError = false, err.Error()
	t.mu.Unlock()
	if first {
		t.tell(Event{What: Down, Err: err.Error()})
	}
}

func (t *target) tell(events ...Event) {
	for _, e := range events {
		e.Target, e.Time = t.url, t.cfg.Now()
		t.cfg.OnEvent(e)
	}
}

// abandon counts what will never be sent, at the end of the drain time.
func (t *target) abandon() {
	left := append(t.backlog, make([]item, 0, len(t.queue))...)
	for len(t.queue) > 0 {
		left = append(left, <-t.queue)
	}
	t.backlog = nil
	t.mu.Lock()
	t.status.Dropped += uint64(len(left))
	t.status.Up = false
	t.waiting, t.unsure = 0, 0
	t.mu.Unlock()
	if len(left) > 0 {
		t.cfg.Log.Warn("records not sent before the end", "target", t.url, "count", len(left),
			"first_seq", left[0].seq, "last_seq", left[len(left)-1].seq)
	}
}

package notices

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/store"
)

const (
	taken        = 1024             // notices between the writer of records and the disk; over it the newest are counted only
	attemptLimit = 20 * time.Second // of one attempt to deliver
	tellAfter    = 3                // failures of a target in a row
)

// Shelf is where notices wait, and outlive a restart: store.Shelf.
type Shelf interface {
	Apply([]store.Change) error
	Range(each func(key, value []byte) error) error
}

// Options of a Service. All functions must be quick, and may be called from several goroutines.
type Options struct {
	Shelf Shelf
	Box   string
	Log   *slog.Logger
	Now   func() time.Time
	// Name is that of a subscriber, "" for none.
	Name func(subscriber string) string
	// Trouble tells that a target fails, and with an empty why that it is well again. Neither need be news.
	Trouble func(target, why string)
	// Lost tells that a target will never get n notices.
	Lost func(target string, n int, why string)
}

// Service takes records and delivers notices. The zero value is of no use; see Open.
type Service struct {
	opt   Options
	in    chan Notice
	setup atomic.Pointer[Setup]
	over  atomic.Uint64 // notices that found no room in the channel
	kept  atomic.Uint64 // notices that went into a digest

	changes chan struct{}  // of one: the setup did
	old     chan time.Time // of one: what is too old by then is to be given up

	mu     sync.Mutex // guards queues
	queues map[string]*queue

	limits map[string]*limit // by type; only Run's
	number uint64            // of the last item; only Run's
}

// limitKey is where the shelf has what is held back of a type.
func limitKey(kind string) []byte { return []byte("held " + kind) }

// Open brings back what a former life did not deliver. What cannot be read is left out and told.
func Open(o Options) (*Service, error) {
	s := &Service{opt: o, in: make(chan Notice, taken), changes: make(chan struct{}, 1), old: make(chan time.Time, 1), queues: map[string]*queue{}, limits: map[string]*limit{}}
	s.setup.Store(&Setup{})
	for _, kind := range Subjects {
		s.limits[kind] = &limit{}
	}
	bad := 0
	err := o.Shelf.Range(func(key, value []byte) error {
		if target, n, ok := ofKey(string(key)); ok {
			i := &item{key: slices.Clone(key)}
			if json.Unmarshal(value, i) != nil {
				bad++
				return nil
			}
			q := s.queue(target)
			q.items = append(q.items, i)
			s.number = max(s.number, n)
			return nil
		}
		for kind, l := range s.limits {
			if string(key) == string(limitKey(kind)) && json.Unmarshal(value, &l.held) != nil {
				bad++
			}
		}
		return nil
	})
	if bad > 0 {
		o.Log.Error("notices of before cannot be read and are left out", "notices", bad)
	}
	return s, err
}

// queue is that of a target, made if need be.
func (s *Service) queue(name string) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		q = newQueue(name, s.opt.Now())
		s.queues[name] = q
	}
	return q
}

// Use delivers to the targets of another setup from now on. What waits for a target that is still among them waits on.
func (s *Service) Use(next Setup) {
	s.setup.Store(&next)
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// Take makes a notice of a record, if anybody is to be told of it. It never blocks, and costs a SESSION or DECISION record
// nothing but a comparison.
func (s *Service) Take(r records.Record) {
	switch r.Kind {
	case records.KindStage, records.KindCluster, records.KindHealth:
	default:
		return
	}
	setup := s.setup.Load()
	if len(setup.Targets) == 0 {
		return
	}
	n, ok := from(&r, setup.Stages)
	if !ok || !setup.wanted(n.Type) {
		return
	}
	select {
	case s.in <- n:
	default:
		s.over.Add(1)
	}
}

// Expire gives up what happened longer ago than the setup's MaxAge, and tells. It is to be called now and then, with a clock that can be believed; it does
// not wait for the disk.
func (s *Service) Expire(now time.Time) {
	select {
	case s.old <- now:
	default: // the one before is still to be worked on
	}
}

// Run delivers until ctx ends. Then what was taken is on the disk, and is delivered in the next life.
func (s *Service) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		sending, stop := context.WithCancel(ctx)
		var senders sync.WaitGroup
		s.begin(sending, &senders)
		s.take(ctx)
		stop()
		senders.Wait()
	}
	s.keep(s.waiting(nil))
	return nil
}

// begin starts a sender for each target of the setup, and lets go of what waits for others.
func (s *Service) begin(ctx context.Context, senders *sync.WaitGroup) {
	setup := s.setup.Load()
	for _, l := range s.limits {
		l.interval = setup.Per / time.Duration(max(setup.Limit, 1))
		l.burst = setup.Per - l.interval
	}
	s.mu.Lock()
	gone := map[string]*queue{}
	for name, q := range s.queues {
		if !slices.ContainsFunc(setup.Targets, func(t Target) bool { return t.Name == name }) {
			gone[name] = q
			delete(s.queues, name)
		}
	}
	s.mu.Unlock()
	for name, q := range gone {
		var changes []store.Change
		for _, i := range q.items {
			changes = append(changes, store.Change{Key: i.key, Delete: true})
		}
		s.apply(changes)
		s.opt.Trouble(name, "")
		if n := len(q.items); n > 0 {
			s.opt.Lost(name, n, "the configuration does not have this target any more")
		}
	}
	for _, t := range setup.Targets {
		q := s.queue(t.Name)
		q.retry()
		senders.Go(func() { s.deliver(ctx, q, t.to) })
	}
}

// take brings what comes to disk and to the queues, until ctx ends or the setup changes.
func (s *Service) take(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changes:
			return
		case n := <-s.in:
			s.keep(s.waiting([]Notice{n}))
		case <-timer.C:
			s.keep(nil)
		case now := <-s.old:
			s.expire(now.Add(-s.setup.Load().MaxAge))
		}
		if n := s.over.Swap(0); n > 0 {
			s.opt.Lost("all targets", int(n), "more happened at once than could be written down")
		}
		wait := time.Hour
		now := s.opt.Now()
		for _, l := range s.limits {
			if l.held.N > 0 {
				wait = min(wait, max(l.next().Sub(now), 0))
			}
		}
		timer.Reset(wait)
	}
}

// waiting is first and what else is in the channel.
func (s *Service) waiting(first []Notice) []Notice {
	for n := len(s.in); n > 0; n-- {
		first = append(first, <-s.in)
	}
	return first
}

// keep puts notices, and digests that are due, onto the disk, all at once, and then into the queues.
func (s *Service) keep(all []Notice) {
	var ready []delivery
	now := s.opt.Now()
	changed := map[string]bool{}
	for kind, l := range s.limits {
		if l.held.N > 0 && l.spend(now) {
			n := l.held.notice(kind, newID(), s.opt.Box, s.setup.Load().Mode, now)
			changed[kind] = true
			ready = append(ready, s.deliveries(n, kind, l.held.First)...)
			l.held = digest{}
		}
	}
	for _, n := range all {
		l := s.limits[n.Type]
		if l.held.N > 0 || !l.spend(now) {
			l.held.add(n)
			s.kept.Add(1)
			changed[n.Type] = true
			continue
		}
		ready = append(ready, s.deliveries(s.complete(n), n.Type, time.Time{})...)
	}
	var changes []store.Change
	for kind := range changed {
		c := store.Change{Key: limitKey(kind), Delete: s.limits[kind].held.N == 0}
		if !c.Delete {
			c.Value, _ = json.Marshal(s.limits[kind].held) // a number and texts
		}
		changes = append(changes, c)
	}
	for _, d := range ready {
		changes = append(changes, d.item.change())
	}
	s.apply(changes)
	for _, d := range ready {
		if gone := d.to.add(d.item); len(gone) > 0 {
			s.apply(gone)
			s.opt.Lost(d.to.name, len(gone), fmt.Sprintf("%d waited already, so that the oldest made room", maxWaiting))
		}
	}
}

// delivery is a notice for one target.
type delivery struct {
	to   *queue
	item *item
}

// deliveries are those to every target that wants this kind. first is that of a digest.
func (s *Service) deliveries(n Notice, kind string, first time.Time) (all []delivery) {
	for _, t := range s.setup.Load().Targets {
		if t.Of[kind] {
			s.number++
			all = append(all, delivery{s.queue(t.Name), &item{Notice: n, First: first, key: key(t.Name, s.number)}})
		}
	}
	return all
}

// complete adds what the record does not have.
func (s *Service) complete(n Notice) Notice {
	if n.Subscriber != "" {
		n.Name = s.opt.Name(n.Subscriber)
	}
	text, err := s.setup.Load().Texts.Customer(n)
	if err != nil {
		s.opt.Log.Error("the customer's text of a notice cannot be made; it goes without", "err", err)
	}
	n.Customer = text
	return n
}

// apply changes the disk. When that fails notices are delivered all the same; a restart would lose or repeat them.
func (s *Service) apply(changes []store.Change) {
	if err := s.opt.Shelf.Apply(changes); err != nil {
		s.opt.Log.Error("notices cannot be saved", "err", err)
	}
}

// deliver brings a target what waits for it, until ctx ends.
func (s *Service) deliver(ctx context.Context, q *queue, to transport) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		i, in := q.next(s.opt.Now())
		if i == nil {
			if in > 0 {
				timer.Reset(in)
			}
			select {
			case <-ctx.Done():
			case <-q.wake:
			case <-timer.C:
			}
			continue
		}
		err := to.send(ctx, i.Notice)
		if ctx.Err() != nil && err != nil {
			return // not the target's fault
		}
		changes, givenUp := q.settled(i, err, s.opt.Now())
		s.apply(changes)
		switch st := q.status(); {
		case err == nil:
			s.opt.Trouble(q.name, "")
		case q.count() >= tellAfter:
			s.opt.Trouble(q.name, st.LastError)
		}
		if givenUp != "" {
			s.opt.Lost(q.name, 1, fmt.Sprintf("refused %d times, the last time: %s (%s)", maxRefusals, givenUp, i.Notice.Text))
		}
	}
}

// count is how many attempts in a row failed.
func (q *queue) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failures
}

// Result is what became of the test notice at one target.
type Result struct {
	Target string
	Took   time.Duration
	Err    error
}

// Test sends a notice of type test to every target at once and waits for what they say. It goes past queues and limits.
func (s *Service) Test(ctx context.Context, who string) []Result {
	setup := s.setup.Load()
	now := s.opt.Now()
	n := Notice{ID: newID(), Type: Test, Time: now.UTC().Truncate(time.Millisecond), Box: s.opt.Box, Mode: setup.Mode, Severity: "info",
		Text: "This is a test, asked for by " + who + ". Nothing has happened."}
	results := make([]Result, len(setup.Targets))
	var all sync.WaitGroup
	for i, t := range setup.Targets {
		all.Go(func() {
			began := s.opt.Now()
			err := t.to.send(ctx, n)
			results[i] = Result{t.Name, s.opt.Now().Sub(began), err}
		})
	}
	all.Wait()
	return results
}

// Status is how the targets stand, in the configuration's order.
func (s *Service) Status() []Status {
	var all []Status
	for _, t := range s.setup.Load().Targets {
		st := s.queue(t.Name).status()
		st.Kind, st.Where = t.Kind, t.Where
		all = append(all, st)
	}
	return all
}

// Digested is how many notices went into a digest since the start.
func (s *Service) Digested() uint64 { return s.kept.Load() }

// newID is a UUID of version 4 (RFC 9562).
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

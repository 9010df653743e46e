package nfq

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
)

// Replay judges packets that were captured, as a queue's worker judges those of the kernel: the same flows, time-outs and
// trackers, and the same Policy, at the time that the capture has. It needs no kernel and no rights.
//
// The live box does not see everything that is in a capture: the kernel passes pure acknowledgements and what a
// tracker released. That changes nothing of what a session tells (tests of package session hold one against the other), but
// a flow that only acknowledges does not fall silent here.
//
// It is not safe for concurrent use.
type Replay struct {
	w   *worker
	now time.Time
	one [1]queued
	out []verdict
}

// NewReplay makes one. Of cfg only Ports, Policy, MaxFlows and Log count. What the policy wants to be held, deferred or
// reset is treated so: a policy for which the capture's sessions went on as they did lets all of them pass.
func NewReplay(cfg Config) (*Replay, error) {
	if cfg.Lane != nil {
		return nil, errors.New("nfq: a replay has no fast lane")
	}
	r := &Replay{}
	cfg.Count, cfg.Now = 1, r.Now
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queues{cfg: cfg, holding: newHolding(cfg.MaxHeld, cfg.MaxHeldPerClient)}
	r.w = newWorker(q, 0, &noVerdicts{})
	q.workers = []*worker{r.w}
	return r, nil
}

// Now is the time of the last packet, or of what happened since. It may be asked from the policy.
func (r *Replay) Now() time.Time { return r.now }

// stepBack is how far the times of packets go back without meaning anything: those of several interfaces, or CPUs, come
// in about the right order.
const stepBack = time.Minute

// Packet judges an IP packet of length bytes, of which ip may have fewer, after what Advance does.
func (r *Replay) Packet(ip []byte, length int, now time.Time) {
	r.Advance(now)
	r.one[0] = queued{ip: ip, length: length}
	r.out = r.w.batch(r.one[:], r.now, r.out)
}

// Advance lets time pass: all time-outs up to then take their turn. Time may go back by stepBack; further back, the
// capture's clock was set.
func (r *Replay) Advance(to time.Time) {
	if to.Before(r.now) {
		if r.now.Sub(to) > stepBack {
			r.now = to
		}
		return
	}
	for due, ok := r.w.due(); ok && !due.After(to); due, ok = r.w.due() {
		if due.After(r.now) {
			r.now = due
		}
		r.out, _ = r.w.tend(r.now, r.out)
	}
	r.now = to
}

// Close closes the sessions that still run, in the order in which they fell silent.
func (r *Replay) Close() {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range slices.SortedFunc(w.table.flows.all(), func(a, b *flow) int {
		return cmp.Or(a.seen.Compare(b.seen), a.Client.Compare(b.Client), a.Server.Compare(b.Server))
	}) {
		w.end(f, session.EndShutdown, ended(session.EndShutdown), r.now)
	}
	w.endAll()
}

// Stats are those of a queue.
func (r *Replay) Stats() QueueStats { return r.w.stats() }

// due is when the next flow is silent for too long or the next held packet may go; false if there is none of either.
func (w *worker) due() (at time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range classes {
		f := w.table.oldest(c)
		if f == nil {
			continue
		}
		if t := f.seen.Add(w.timeouts[c]); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if len(w.holds) > 0 && (!ok || w.holds[0].until.Before(at)) {
		at, ok = w.holds[0].until, true
	}
	return at, ok
}

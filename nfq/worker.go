package nfq

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// worker judges the packets of one queue. Its goroutines are the one that
// calls run, and the keeper, which run starts and waits for.
type worker struct {
	q         *Queues
	number    uint16
	reader    reader
	lane      *follower     // nil: it is a queue's worker
	busy      atomic.Int64  // since when a batch is in hand, as sinceOpen has it; 0: none is
	abandoned chan struct{} // closed when another worker took the queue, since this one hangs

	wake chan struct{} // to the keeper; holds one, more say nothing new

	mu       sync.Mutex
	table    table
	timeouts timeouts
	holds    holdHeap
	count    counters
	out      []verdict // given, not sent yet
	segment  packet.Segment
	events   []session.Event
	idle     []*session.Tracker // of sessions that are over, for the next ones
	current  *flow              // of the packet in hand, for the one who cleans up after a panic
	answered bool               // the packet in hand has its verdict, or is held, or has gone on
	broken   error              // sending failed
	inbox    inbox              // what went on already; guards itself
	returned bool               // a flow went back to the queue since copies were read; guarded by mu
	last     KernelQueue        // at the end of run
	panicked time.Time

	asking sync.Mutex
	asks   []func(Flow, any) bool // Reset's, for the keeper
}

func newWorker(q *Queues, number uint16, r reader) *worker {
	w := &worker{q: q, number: number, reader: r, timeouts: defaultTimeouts, wake: make(chan struct{}, 1), abandoned: make(chan struct{})}
	w.table.init(q.cfg.MaxFlows)
	return w
}

// run judges until ctx ends or the queue breaks, and leaves no packet without
// a verdict that the kernel still wants one for.
//
// The runtime must be given a processor (runtime.GOMAXPROCS) for each worker beside
// those that are really there: while all that it has compute, it looks at the network
// only once in ten milliseconds.
func (w *worker) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, w.reader.interrupt)()
	done, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		w.keep(done)
	}()
	err := w.judgeAll(ctx)
	close(done)
	<-kept
	return errors.Join(err, w.settle(err == nil))
}

func (w *worker) judgeAll(ctx context.Context) error {
	var out []verdict
	for ctx.Err() == nil {
		packets, err := w.reader.read()
		if errors.Is(err, errInterrupted) {
			if ctx.Err() == nil {
				return errors.New("its reader was closed")
			}
			break
		}
		if err != nil {
			return err
		}
		now := w.q.cfg.Now()
		w.busy.Store(int64(w.q.sinceOpen(now)))
		out = w.batch(packets, now, out)
		w.send(out)
		w.busy.Store(0)
	}
	return w.failure()
}

// failure is what broke sending.
func (w *worker) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// batch judges packets and returns their verdicts and those of packets that
// were let go because of them. It gives back the caller's last slice.
func (w *worker) batch(packets []queued, now time.Time, out []verdict) []verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.batches++
	w.count.packets += uint64(len(packets))
	behind := w.q.copies != nil && (w.returned || w.q.copies.flows.Load() > 0)
	for i := range packets {
		if behind && (w.returned || decides(packets[i].ip)) {
			behind, w.returned = false, false
			w.q.copies.catchUp()
			w.hear(now)
		}
		w.judgeSafely(&packets[i], now)
	}
	return w.swap(out)
}

// swap takes the verdicts to be sent and leaves an empty slice for the next.
func (w *worker) swap(empty []verdict) []verdict {
	out := w.out
	w.out = empty[:0]
	return out
}

// send is called without the lock, since verdicts carry packets through the
// rest of the kernel's way, inside the system call. After an error nothing more
// can be sent: the worker ends, and the kernel clears its queue.
func (w *worker) send(out []verdict) {
	if len(out) == 0 {
		return
	}
	if err := w.reader.send(out); err != nil {
		w.mu.Lock()
		if w.broken == nil {
			w.broken = err
		}
		w.mu.Unlock()
		w.reader.interrupt()
	}
}

// judgeSafely gives p a verdict even when judging it panics: it passes, and
// its flow is closed, since nobody knows in what state it was left.
func (w *worker) judgeSafely(p *queued, now time.Time) {
	w.current, w.answered = nil, p.copied
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		w.caught(cause, now)
		if f := w.current; f != nil && f.tracker != nil {
			f.wanted, f.marked = ruleset.Both, false // the kernel alone, from now on
			w.end(f, session.EndUnknown, ended(session.EndUnknown), now)
		}
		if !w.answered {
			w.pass(p, passPanic)
		}
	}()
	w.judge(p, now)
}

// caught counts a panic, and logs at most once a minute.
func (w *worker) caught(cause any, now time.Time) {
	w.count.panics++
	if w.panicked.IsZero() || now.Sub(w.panicked) >= time.Minute {
		w.panicked = now
		w.q.cfg.Log.Error("panic on a packet, it passes", "queue", w.number, "panic", cause, "stack", string(debug.Stack()))
	}
}

// accept lets the packet in hand pass.
func (w *worker) accept(p *queued, f *flow, syn bool) {
	if p.copied {
		if f.told == ruleset.Copied && f.state() != ruleset.Copied {
			w.remark(f)
		}
		return
	}
	w.give(f, p.id, p.mark, syn)
	w.answered = true
}

// give is a verdict that accepts a packet of f, with a mark if the kernel must
// learn something: also with every SYN, since the kernel keeps what it was told
// only if the packet gets through.
func (w *worker) give(f *flow, id, mark uint32, syn bool) {
	if w.lane != nil {
		w.count.accepted++
		w.lane.steer(f)
		return
	}
	state := f.state()
	v := verdict{id: id}
	if syn || !f.marked || f.told != state || state == ruleset.Deferred || state == ruleset.Cut {
		v.mark, v.marked = w.q.cfg.Marks.Apply(mark, state), true
		w.note(f, state)
		w.count.marked[state]++
	} else {
		w.count.accepted++
	}
	if state != ruleset.Copied {
		w.release(f)
	}
	w.out = append(w.out, v)
}

// pass accepts a packet of no flow.
func (w *worker) pass(p *queued, why passReason) {
	w.count.passed[why]++
	w.count.accepted++
	w.out = append(w.out, verdict{id: p.id})
	w.answered = true
}

// drop drops a retransmission of what f holds.
func (w *worker) drop(p *queued, f *flow) {
	f.dropped++
	w.count.retransmissions++
	w.count.dropped++
	w.out = append(w.out, verdict{id: p.id, drop: true})
	w.answered = true
}

// room makes sure that a flow of key can be added. A client that has its share
// displaces its own. When the table is full those that are over go first, then the
// oldest whose server never answered: a flood of SYNs displaces itself. A session that
// opens has to be judged all the same, so it displaces the oldest of the client with
// the most flows among those that were silent for longest. Workers that find
// the last place at the same moment all take it, so the bound may be passed by
// one flow per worker.
func (w *worker) room(key Flow, opens bool, now time.Time) bool {
	most := w.table.clients[clientNet(key)]
	if most != nil && most.flows >= w.q.share() {
		if opens {
			w.evict(most.oldest(), now)
		}
		return opens
	}
	if w.q.flows.Load() < int64(w.q.cfg.MaxFlows) {
		return true
	}
	for _, c := range [...]class{closed, over, aborted, halfOpen} {
		if f := w.table.oldest(c); f != nil {
			w.evict(f, now)
			return true
		}
	}
	if !opens {
		return false
	}
	for _, c := range [...]class{answered, running, released} {
		if f := w.table.oldest(c); f != nil && (most == nil || f.client.flows > most.flows) {
			most = f.client
		}
	}
	if most == nil { // other workers have all flows
		return false
	}
	w.evict(most.oldest(), now)
	return true
}

func (w *worker) evict(f *flow, now time.Time) {
	w.end(f, session.EndTimeout, endedEvicted, now)
	w.forget(f)
}

func (w *worker) add(key Flow, now time.Time) *flow {
	w.q.flows.Add(1)
	return w.table.add(key, now)
}

func (w *worker) forget(f *flow) {
	w.release(f)
	switch fl := w.q.follower; {
	case !f.laned:
	case w.lane != nil:
		fl.edit(f, lane.Edit{Delete: true})
	default:
		fl.unlist(f)
	}
	w.table.remove(f)
	w.q.flows.Add(-1)
}

// maxIdle bounds worker.idle: half a megabyte.
const maxIdle = 256

// track makes a tracker.
func (w *worker) track(opt session.Options) *session.Tracker {
	n := len(w.idle)
	if n == 0 {
		return session.New(opt)
	}
	t := w.idle[n-1]
	w.idle = w.idle[:n-1]
	t.Reset(opt)
	return t
}

// end closes f, if it is open: what it holds goes on and the policy hears of it.
// f stays in the table for its stragglers.
func (w *worker) end(f *flow, why session.EndReason, as ended, now time.Time) {
	t := f.tracker
	if t == nil {
		return
	}
	// What is held goes on to the client. If that is cut it then says something and
	// hears the reset: with a mark Cut on what is held it would be the server that
	// gets a reset, and a client that waits for its greeting would learn nothing.
	w.letGo(f, now)
	at := now
	if why == session.EndCut {
		f.wanted = ruleset.Cut
	}
	if f.class == aborted { // that was its end, then
		why, as, at = session.EndRST, ended(session.EndRST), f.seen
		f.reset = true
	}
	f.tracker = nil
	f.hold, f.holdUntil = 0, time.Time{}
	if why == session.EndFIN && f.wanted == ruleset.See {
		w.table.touch(f, closed, at)
	} else {
		w.table.touch(f, over, at)
	}
	w.count.ended[as]++
	w.close(f, t, session.Facts{EndReason: why}, at)
	if len(w.idle) < maxIdle {
		w.idle = append(w.idle, t)
	}
	if f.wanted != ruleset.Cut { // that is for the answer to its next packet
		return
	}
	if w.lane != nil {
		w.lane.hand(f)
	} else if f.told == ruleset.Copied {
		w.remark(f)
	}
}

// close tells the policy. Whatever goes wrong in there, f is closed. Without a
// tracker the facts are those given.
func (w *worker) close(f *flow, t *session.Tracker, facts session.Facts, now time.Time) {
	defer func() {
		if cause := recover(); cause != nil {
			w.caught(cause, now)
		}
	}()
	handle := f.handle
	f.handle = nil
	if t != nil {
		// What the tracker still read behind a hole is charged like all else.
		for _, e := range t.End(facts.EndReason, now) {
			if !f.midAir {
				w.q.cfg.Policy.Event(f.Flow, handle, e, now)
			}
		}
		facts = t.Facts()
	}
	w.q.cfg.Policy.Close(f.Flow, handle, Summary{Facts: facts, Held: f.heldFor, Unheld: f.unheld, DroppedPackets: f.dropped})
}

package nfq

import (
	"context"
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// FastLane is the part of the fast lane that is in the kernel: package lane.
type FastLane interface {
	tokens
	// Read gives every copy that is there, without waiting.
	Read(each func(*lane.Copy)) int
	// Wait returns when a copy comes, when Interrupt was called or at until. Others
	// may read meanwhile.
	Wait(until time.Time) error
	Interrupt()
	// Alive is how long from now on leases may be used.
	Alive(d time.Duration)
	// Judging is how long from now on the queues are read.
	Judging(d time.Duration)
	// Edit changes flows in the kernel's table, those that are still there.
	Edit([]lane.Edit) (found int, err error)
	// LostTotal counts copies that found no room. Lost counts those of flows of one
	// lease; nobody can use it before ClearLost. LostEnds gives and forgets the
	// flows whose FIN, RST or SYN was among them.
	LostTotal() uint64
	Lost(lease uint32) uint32
	ClearLost(lease uint32) uint32
	LostEnds(each func(lane.Key, lane.End)) error
	Stats() (lane.Stats, error)
}

// follower follows the sessions that begin unasked: their packets have gone on
// when it reads the copies of them. It is a worker whose verdicts nobody waits for;
// what it wants to say of a flow it tells the kernel's flow table.
//
// A flow that needs somebody to wait for verdicts (its next reply is to be held, it
// is cut, copies of it were lost) is handed over: from then on its packets go into
// the queues, and the worker that gets the first of them adopts the flow with its
// tracker and all. A queue's worker may take the follower's mutex while it has its
// own; the follower never takes another's.
type follower struct {
	*worker
	lane   FastLane
	lessor Lessor
	leases *leases
	copy   *lane.Copy // in hand
	copyOf *lease     // that it took a token of
	turn   *turn      // and whose turn it is by that
	at     time.Time  // when the copies in hand were read
	take   func(*lane.Copy)
	edits  []lane.Edit // of the kernel's table, not made yet
	lost   uint64      // of FastLane.LostTotal, seen so far
	tally  laneCounters

	complained time.Time // of the kernel's flow table
}

// laneCounters are guarded by the follower's mutex.
type laneCounters struct {
	handed uint64 // flows handed over to the queues
	late   uint64 // sessions that passed and that Open then would have stopped
	ends   uint64 // sessions whose end was lost
	losses uint64 // times that copies were found to be lost
}

// Times of the follower.
const (
	// laneAlive is how long leases may be used without a sign of life from us.
	laneAlive = 2 * time.Second
	// readEvery is how long copies wait while there are some.
	readEvery = 2 * time.Millisecond
	// restAfter many looks that found nothing it waits to be woken.
	restAfter = 20
	// lookEvery is the longest it waits.
	lookEvery = 500 * time.Millisecond
	// bulkFrom is after how many bytes of a message the client's packets are not
	// copied any more: to say so costs as much as a few copies.
	bulkFrom = 16 << 10
)

func newFollower(q *Queues, l FastLane, lessor Lessor, most int) *follower {
	fl := &follower{lane: l, lessor: lessor, leases: newLeases(l, most)}
	fl.worker = newWorker(q, 0, &noVerdicts{})
	fl.worker.lane = fl
	fl.take = fl.takeCopy
	return fl
}

// noVerdicts is the reader of a worker whose packets have gone on already.
type noVerdicts struct{ count readerErrors }

func (*noVerdicts) read() ([]queued, error) { return nil, errInterrupted }
func (*noVerdicts) send([]verdict) error    { return nil }
func (*noVerdicts) interrupt()              {}
func (*noVerdicts) shut() error             { return nil }
func (*noVerdicts) close()                  {}
func (r *noVerdicts) errors() *readerErrors { return &r.count }

// run follows until ctx ends.
func (fl *follower) run(ctx context.Context) {
	defer context.AfterFunc(ctx, fl.lane.Interrupt)()
	done, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		fl.keep(done)
	}()
	fl.live(ctx)
	close(done)
	<-kept
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.endAll()
}

func (fl *follower) readAll(ctx context.Context) error {
	for idle := 0; ctx.Err() == nil; {
		fl.lane.Alive(laneAlive)
		if fl.catchUp() > 0 {
			idle = 0
		} else if idle++; idle > restAfter {
			if err := fl.lane.Wait(time.Now().Add(lookEvery)); err != nil {
				return err
			}
			continue
		}
		time.Sleep(readEvery)
	}
	return nil
}

// catchUp reads every copy that is there.
func (fl *follower) catchUp() int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.read()
}

// read is catchUp for who has the mutex.
func (fl *follower) read() int {
	fl.at = fl.q.cfg.Now()
	n := fl.lane.Read(fl.take)
	fl.out = fl.out[:0]
	if n > 0 {
		fl.count.batches++
		fl.count.packets += uint64(n)
	}
	if total := fl.lane.LostTotal(); total != fl.lost {
		fl.lost = total
		fl.recover()
	}
	fl.sweep(fl.at)
	fl.flush()
	return n
}

// takeCopy follows one copy.
func (fl *follower) takeCopy(c *lane.Copy) {
	fl.copy, fl.copyOf = c, nil
	if c.Token {
		fl.copyOf, fl.turn = fl.leases.used(c.Lease)
	}
	fl.judgeSafely(&queued{ip: c.IP, length: c.Length}, fl.at)
	fl.copy = nil
	fl.asked() // what came twice, or could not be judged, is not asked about
}

// asked ends the turn of the copy in hand.
func (fl *follower) asked() {
	if t := fl.turn; t != nil {
		fl.turn = nil
		fl.leases.asked(t)
	}
}

// settle takes back what is left of the lease of client's holder and reads all copies, so
// that the next Open knows of every session that has begun with it and of what those under
// way have done. Who has no lease has nothing in the lane.
func (fl *follower) settle(client netip.Addr) *turn {
	t, has := fl.leases.recall(fl.lessor.Holder(client))
	if has {
		fl.catchUp()
	}
	return t
}

// began is what becomes of a session that has begun unasked and of which Open says
// that action is to be taken. Within a lease that is always Pass; anything else means
// that what is allowed became less in the moment between. A cut ends such a session,
// and a greeting can still be held if it has not come yet, but it is too late to lead
// the session to the responder.
func (fl *follower) began(f *flow, action Action) Action {
	f.laned, f.number, f.lease = true, fl.copy.Lease, fl.copyOf
	if action == Pass {
		return Pass
	}
	fl.tally.late++
	if action == Defer {
		return Pass
	}
	fl.hand(f)
	return action
}

// relet lets the holder of f begin sessions unasked, if he may. unasked: f has begun so
// itself, and unless much of the lease is used up nothing is to be done.
func (fl *follower) relet(f *flow, unasked bool, now time.Time) {
	if unasked && !fl.leases.low(fl.copy.Lease) {
		return
	}
	client := f.Client.Addr()
	holder := fl.lessor.Holder(client)
	since := fl.leases.stamp(holder)
	fl.leases.grant(holder, client, fl.lessor.Lease(f.Flow, f.handle, leaseMost, now), since)
}

// tighten lets the holder of f begin no more sessions than he may after what f did. If that
// is none, what f does next waits for its verdict: a budget that a running session can use
// up is near its end.
func (fl *follower) tighten(f *flow, unasked bool, now time.Time) {
	var holder string
	if f.lease != nil {
		holder = f.lease.holder
	} else {
		holder = fl.lessor.Holder(f.Client.Addr())
	}
	l := fl.leases.spent(holder)
	if l == nil && !unasked {
		return
	}
	may := fl.lessor.Lease(f.Flow, f.handle, leaseMost, now)
	if l != nil {
		fl.leases.limit(l, may)
	}
	if may == 0 && unasked {
		fl.handAll(f.client)
	}
}

// handAll hands over what c has in the lane.
func (fl *follower) handAll(c *client) {
	for _, l := range c.alive {
		for f := l.first; f != nil; f = f.younger {
			if f.tracker != nil {
				fl.hand(f)
			}
		}
	}
}

// steer tells the kernel what of f is to be copied from now on.
func (fl *follower) steer(f *flow) {
	state := f.state()
	if state == ruleset.Copied { // that is what the lane does
		state = ruleset.Up
	}
	switch {
	case f.handed:
		return
	case state == ruleset.Cut, state == ruleset.Deferred:
		fl.hand(f)
		return
	case f.tracker == nil:
		return
	case state == f.told:
		return
	case state == ruleset.Up:
		if f.bulk += len(fl.segment.Payload) + fl.segment.Missing; f.bulk < bulkFrom {
			return
		}
	}
	f.bulk, f.told = 0, state
	s := lane.See
	switch state {
	case ruleset.Up:
		s = lane.Up
	case ruleset.Both:
		s = lane.Both
	}
	fl.edit(f, lane.Edit{State: s})
}

// writtenAnew notes that the program has a flow of key under the ISN of the SYN in hand and copies
// all of it, also if the SYN says nothing to a session under way.
func (fl *follower) writtenAnew(key Flow, isn uint32) {
	if f := fl.table.flows.find(key); f != nil && f.kernelISN != isn {
		f.kernelISN, f.told = isn, ruleset.See
	}
}

// edit changes f in the kernel's table with the next flush.
func (fl *follower) edit(f *flow, e lane.Edit) {
	e.Key, e.ISN = lane.Key(f.Flow), f.kernelISN
	fl.edits = append(fl.edits, e)
}

// flush makes the changes. An error leaves flows as they are: they go on, and more or
// less of them is copied than is needed.
func (fl *follower) flush() {
	if len(fl.edits) == 0 {
		return
	}
	_, err := fl.lane.Edit(fl.edits)
	fl.edits = fl.edits[:0]
	if err != nil {
		fl.tellOnce("change flows", err)
	}
}

// unlist deletes f, which a queue's worker has, from the kernel's table.
func (fl *follower) unlist(f *flow) {
	if _, err := fl.lane.Edit([]lane.Edit{{Key: lane.Key(f.Flow), ISN: f.kernelISN, Delete: true}}); err != nil {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		fl.tellOnce("delete a flow", err)
	}
}

// hand gives f to the queues.
func (fl *follower) hand(f *flow) {
	if f.handed {
		return
	}
	f.handed = true
	fl.tally.handed++
	fl.edit(f, lane.Edit{State: lane.Handed})
}

// tellOnce logs an error of the kernel's flow table at most once a minute. The flow
// goes on as it is.
func (fl *follower) tellOnce(what string, err error) {
	if now := fl.q.cfg.Now(); fl.complained.IsZero() || now.Sub(fl.complained) >= time.Minute {
		fl.complained = now
		fl.q.cfg.Log.Error("fast lane: "+what, "err", err)
	}
}

// giveAway gives the flow of key to a queue's worker; nil if it is not here.
func (fl *follower) giveAway(key Flow) *flow {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.read()
	f := fl.table.flows.find(key)
	if f == nil {
		return nil
	}
	fl.hand(f)
	fl.flush()
	fl.table.take(f)
	return f
}

// recover puts the books right after copies were lost. Those of SYNs never are, so
// every session is known. Sessions whose FIN or RST was lost count as ended; if one
// goes on all the same, it does so through the queues, as all others of the same
// holders do. The next ones wait for their verdicts, too, until the kernel is told
// here that the lease may be used again.
func (fl *follower) recover() {
	fl.tally.losses++
	err := fl.lane.LostEnds(func(k lane.Key, lost lane.End) {
		if f := fl.table.flows.find(Flow(k)); f != nil && f.tracker != nil && lost&(lane.FINUp|lane.FINDown|lane.RST) != 0 {
			fl.tally.ends++
			fl.end(f, session.EndUnknown, ended(session.EndUnknown), fl.at)
			f.reset = true // who goes on has a new session: see follow
			fl.hand(f)
		}
	})
	if err != nil {
		fl.tellOnce("learn which sessions ended", err)
	}
	// What is lost from here on is put right next time: a lease whose flows were not handed over
	// is not cleared.
	losing := map[uint32]bool{}
	fl.leases.each(func(number uint32) {
		if fl.lane.Lost(number) > 0 {
			losing[number] = true
		}
	})
	for f := range fl.table.flows.all() {
		if f.tracker != nil && losing[f.number] {
			f.tracker.Lossy()
			fl.hand(f)
		}
	}
	fl.flush()
	for number := range losing {
		fl.leases.recallNumber(number)
		fl.lane.ClearLost(number)
	}
}

package appliance

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/session"
)

// rehearsal is one configuration's judge over captured packets. It stands between the replay and the judge: the judge
// decides as in the running box, and no packet is held, turned away or reset for it, since the capture goes on as it
// went. What the kernel would have reset before it came to the judge does not come to it here either.
type rehearsal struct {
	*judge
	cfg    *config.Config
	replay *nfq.Replay
	tally  *tally
	tell   func(*ReplayedSession)

	started bool
	ticked  time.Time
	swept   time.Time                       // when blocked was last looked through
	running map[string]map[*played]struct{} // sessions that the governor counts, by subscriber
	cutNow  []cutJob                        // subscribers whose running sessions end, once the packet in hand is through
	blocked map[netip.Addr]block            // the kernel's set of cut addresses
	current *played                         // the session that the judge is asked about
}

// played is a session of the capture.
type played struct {
	*visit
	flow   nfq.Flow
	denied bool // it would not have begun
	over   bool // it would have been ended before it did

	decided bool
	action  governor.Action // the strictest that was decided for it; and with that:
	acted   bool
	stage   governor.Stage
	reason  string
}

// block is an address in the kernel's set.
type block struct {
	subscriber string
	until      time.Time
}

// maxBlocked bounds the set; over it the judge goes on answering.
const maxBlocked = 1 << 16

var (
	_ nfq.Policy = (*rehearsal)(nil)
	_ cuts       = (*rehearsal)(nil)
	_ notes      = (*rehearsal)(nil)
	_ answerer   = (*rehearsal)(nil)
)

func rehearse(cfg *config.Config, table *subscriber.Table, log *slog.Logger) (*rehearsal, error) {
	r := &rehearsal{cfg: cfg, tally: newTally(), running: map[string]map[*played]struct{}{}, blocked: map[netip.Addr]block{}}
	r.judge = &judge{who: newIdentity(cfg, table), say: func(records.Entry) bool { return true }, traffic: &traffic{},
		cases: newCasebook(), book: sources.New(), now: r.time, answers: r, cutter: r, noted: r, end: r.ending}
	r.judge.rules.Store(rulesOf(cfg))
	var err error
	r.replay, err = nfq.NewReplay(nfq.Config{Ports: cfg.Network.Ports(), Policy: r, MaxFlows: sizesFor(memoryHere()).followed, Log: log})
	return r, err
}

func (r *rehearsal) time() time.Time { return r.replay.Now() }

// packet takes the next packet of the capture.
func (r *rehearsal) packet(p *capture.Packet) {
	if !r.started {
		r.gov = governor.New(r.cfg.Policy(), p.Time)
		r.started, r.ticked = true, p.Time
	}
	r.advance(p.Time)
	r.replay.Packet(p.IP, p.Length, p.Time)
	r.endCut()
}

// advance lets time pass up to a packet. The running box looks at who comes down the ladder every second, and only who
// looks often sees each step of it; where nobody is above observe there is nothing to see. In a long silence the looks
// become rarer, to a thousandth of it.
func (r *rehearsal) advance(to time.Time) {
	begun := r.ticked
	for {
		at := r.ticked.Add(max(time.Second, r.ticked.Sub(begun)/1000))
		if !at.Before(to) || !r.above() {
			break
		}
		r.replay.Advance(at)
		r.tick()
	}
	r.replay.Advance(to)
	if since := r.time().Sub(r.ticked); since >= time.Second || since < 0 {
		r.tick()
	}
}

// above tells whether somebody is above observe.
func (r *rehearsal) above() bool {
	for stage, n := range r.gov.Stages() {
		if stage != governor.StageObserve && n > 0 {
			return true
		}
	}
	return false
}

// tick is what the running box does every second.
func (r *rehearsal) tick() {
	now := r.time()
	r.ticked = now
	for _, c := range r.gov.Tick(now) {
		r.changed(c, c.Mode)
	}
	r.endCut()
	r.cases.pending() // nobody saves them
	if now.Sub(r.swept) < time.Minute {
		return
	}
	r.swept = now
	for addr, b := range r.blocked {
		if !now.Before(b.until) {
			delete(r.blocked, addr)
		}
	}
}

// finish closes what still runs and sums up.
func (r *rehearsal) finish() ReplayRun {
	if r.started {
		r.tick()
		r.replay.Close()
	}
	return r.tally.run(r)
}

// Open asks the judge about a session that the kernel would have let come to it.
func (r *rehearsal) Open(f nfq.Flow, now time.Time) nfq.Opening {
	p := &played{flow: f}
	limited := slices.Contains(r.rules.Load().limited, f.Server.Port())
	if b, cut := r.blocked[cutAddr(f.Client.Addr())]; cut && limited && now.Before(b.until) {
		p.visit = &visit{who: r.who.of(f.Client.Addr()), since: now, limited: true}
		p.denied, p.action, p.acted = true, governor.ActionCut, true
		p.stage, p.reason = governor.StageCut, "the cut goes on"
		r.judge.cut.Add(1)
		r.judge.acted.Add(1)
		r.tally.account(p.id, p.plan).count(p.action)
		return nfq.Opening{Handle: p}
	}
	r.current = p
	o := r.judge.Open(f, now)
	r.current = nil
	p.visit = o.Handle.(*visit)
	p.denied = o.Action == nfq.Defer || o.Action == nfq.Reset
	if p.limited {
		r.tally.account(p.id, p.plan).count(p.action)
	}
	if p.counted {
		all := r.running[p.id]
		if all == nil {
			all = map[*played]struct{}{}
			r.running[p.id] = all
		}
		all[p] = struct{}{}
	}
	return nfq.Opening{Handle: p}
}

// Event charges what a session did that would have been running.
func (r *rehearsal) Event(f nfq.Flow, handle any, e session.Event, now time.Time) time.Duration {
	p := handle.(*played)
	if p.denied || p.over {
		return 0
	}
	r.current = p
	r.judge.Event(f, p.visit, e, now)
	r.current = nil
	return 0 // the reply went when it did
}

// Close ends a session.
func (r *rehearsal) Close(f nfq.Flow, handle any, s nfq.Summary) {
	p, begun := handle.(*played)
	switch {
	case !begun: // found in mid-air
		p = &played{flow: f, visit: &visit{who: r.who.of(f.Client.Addr())}}
		r.judge.Close(f, nil, s)
	case !p.denied && !p.over:
		r.judge.Close(f, p.visit, s)
		r.forget(p)
	}
	r.tally.session(p, &s)
	if r.tell != nil {
		r.tell(replayed(p, &s))
	}
}

func (r *rehearsal) forget(p *played) {
	all := r.running[p.id]
	if delete(all, p); len(all) == 0 {
		delete(r.running, p.id)
	}
}

// decision notes what was decided about the session in hand.
func (r *rehearsal) decision(d governor.Decision) {
	p := r.current
	if p == nil {
		return
	}
	action := d.Action
	if action == governor.ActionPace && d.Wait <= 0 {
		action = governor.ActionWarn // nothing would have been held
	}
	if !p.decided || action > p.action {
		p.decided, p.action, p.acted, p.stage, p.reason = true, action, d.Acted && action > governor.ActionWarn, d.Stage, d.Reason()
	}
	if p.visit != nil { // it runs: a message would have waited for its reply
		r.tally.account(p.id, p.plan).count(action)
	}
}

// change notes a change of stage.
func (r *rehearsal) change(c governor.StageChange) {
	r.tally.change(c)
	if c.From == governor.StageCut && c.To != governor.StageCut {
		for addr, b := range r.blocked {
			if b.subscriber == c.Subscriber {
				delete(r.blocked, addr)
			}
		}
	}
}

// ending is told that a subscriber is cut: its running sessions end, which from within a decision must wait.
func (r *rehearsal) ending(subscriber string, lasts time.Duration) {
	r.cutNow = append(r.cutNow, cutJob{subscriber: subscriber, lasts: lasts})
}

// endCut ends the sessions of those who were cut.
func (r *rehearsal) endCut() {
	for len(r.cutNow) > 0 {
		job := r.cutNow[0]
		r.cutNow = r.cutNow[1:]
		for p := range r.running[job.subscriber] {
			if !p.limited {
				continue
			}
			p.over = true
			r.forget(p)
			r.judge.Close(p.flow, p.visit, nfq.Summary{Facts: session.Facts{EndReason: session.EndCut}})
			r.judge.cutter.cut(job.subscriber, p.flow.Client.Addr(), job.lasts)
		}
	}
}

// cut puts an address into the kernel's set.
func (r *rehearsal) cut(subscriber string, addr netip.Addr, lasts time.Duration) {
	if key := cutAddr(addr); lasts > 0 && r.who.mine(subscriber, addr) && (len(r.blocked) < maxBlocked || r.blocked[key].subscriber != "") {
		r.blocked[key] = block{subscriber, r.time().Add(lasts)}
	}
}

// cutAddr is what the kernel resets for an address: with IPv6 its whole /64.
func cutAddr(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is6() {
		p, _ := addr.Prefix(64) // 64 is a valid length for IPv6
		return p.Addr()
	}
	return addr
}

// reviewSoon has nothing to do: nobody's address changes, and change lets go.
func (r *rehearsal) reviewSoon() {}

// Expect has nobody to tell.
func (r *rehearsal) Expect(netip.AddrPort, string) {}

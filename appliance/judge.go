package appliance

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/responder"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
)

// judge is where a session meets its budgets: it answers the workers of package
// nfq with what the governor decides, and tells what was decided. It is called
// under a worker's lock, so everything in it is memory: what needs the kernel,
// the disk or the network is handed over.
type judge struct {
	gov     *governor.Governor
	who     *identity
	answers answerer
	cutter  cuts
	say     func(records.Entry) bool
	traffic *traffic
	cases   *casebook
	book    *sources.Book
	seen    *sightings  // nil: nobody looks at what all do
	crypt   *encryption // nil: nobody looks at which servers offer STARTTLS
	now     func() time.Time

	rules atomic.Pointer[rules]
	// end ends the running sessions of a subscriber that is cut for so long; set
	// before the first packet.
	end func(subscriber string, lasts time.Duration)
	// stirred is told of every change of stage, which is to be on the disk soon; nil: nobody is.
	stirred func()
	// noted is told of every decision and every change of stage; nil: nobody is.
	noted notes
	// answerable tells whether who is deferred can be told why; set before the first packet, nil: always.
	answerable func(client netip.Addr) bool

	open, total         atomic.Int64
	passed, paced       atomic.Int64
	deferred, cut       atomic.Int64
	acted, wouldHave    atomic.Int64
	counted, handshakes atomic.Int64
	messages, estimated atomic.Int64
}

// answerer says 421 to clients that are deferred: responder.Responder.
type answerer interface {
	// Expect announces that client will come and what it is to be told. It never blocks.
	Expect(client netip.AddrPort, text string)
}

// cuts resets the sessions of cut subscribers before they come to us: cutter.
type cuts interface {
	// cut begins with addr, which is subscriber's; reviewSoon lets go of whoever is not cut any more. Neither blocks.
	cut(subscriber string, addr netip.Addr, lasts time.Duration)
	reviewSoon()
}

// notes is somebody who follows what is decided.
type notes interface {
	decision(governor.Decision)
	change(governor.StageChange)
}

// rules are the parts of a configuration that the judge reads per session.
type rules struct {
	limited        []uint16
	deferText      string
	v4bits, v6bits int // of destination networks
}

// destination is the network that addr is counted under.
func (r *rules) destination(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := r.v6bits
	if addr.Is4() {
		bits = r.v4bits
	}
	p, err := addr.Prefix(bits)
	if err != nil { // the configuration has checked the bits
		return netip.Prefix{}
	}
	return p
}

// visit is one session of one subscriber, kept by nfq as the flow's handle.
type visit struct {
	who
	limited bool // on a limited port, so budgets apply
	counted bool // the governor counts it as running
	since   time.Time
	receipt governor.Receipt
	number  uint64 // governor.Decision.Session
}

var _ nfq.Policy = (*judge)(nil)

// Open decides on a session's first SYN.
func (j *judge) Open(f nfq.Flow, now time.Time) nfq.Opening {
	r := j.rules.Load()
	v := &visit{who: j.who.of(f.Client.Addr()), since: now, limited: slices.Contains(r.limited, f.Server.Port())}
	if !v.limited {
		j.begin(now)
		j.counted.Add(1)
		return nfq.Opening{Handle: v}
	}
	a := governor.Attempt{Subscriber: v.id, Plan: v.plan, Destination: r.destination(f.Server.Addr()), Unlisted: v.binding == ""}
	d := j.gov.Open(a, now)
	j.book.Session(f.Client.Addr(), v.id, a.Unlisted, a.Destination, now)
	if d.Action >= governor.ActionDefer {
		j.book.Denied(f.Client.Addr(), v.id)
	}
	v.counted, v.receipt, v.number = d.LetThrough(), d.Receipt, d.Session
	j.count(d)
	j.told(f, v, d)
	switch d.Effective() {
	case governor.ActionDefer:
		if !j.canAnswer(f.Client.Addr()) {
			return nfq.Opening{Action: nfq.Reset, Handle: v}
		}
		j.answers.Expect(f.Client, responder.Fill(r.deferText, d.Reason(), d.Wait, d.Case))
		return nfq.Opening{Action: nfq.Defer, Handle: v}
	case governor.ActionCut:
		j.cutter.cut(v.id, f.Client.Addr(), d.Wait)
		return nfq.Opening{Action: nfq.Reset, Handle: v}
	}
	j.begin(now)
	if d.Effective() == governor.ActionPace && d.Wait > 0 {
		return nfq.Opening{Action: nfq.Hold, Hold: d.Wait, Handle: v}
	}
	return nfq.Opening{Handle: v}
}

func (j *judge) canAnswer(client netip.Addr) bool { return j.answerable == nil || j.answerable(client) }

func (j *judge) begin(now time.Time) {
	j.open.Add(1)
	j.total.Add(1)
	j.traffic.started(now)
}

// count adds a decision to the figures of status: passed + paced + deferred + cut
// is all of them, and what is not passed was either acted on or would have been.
func (j *judge) count(d governor.Decision) {
	switch {
	case d.Action == governor.ActionPace && d.Wait > 0:
		j.paced.Add(1)
	case d.Action == governor.ActionDefer:
		j.deferred.Add(1)
	case d.Action == governor.ActionCut:
		j.cut.Add(1)
	default:
		j.passed.Add(1)
		return
	}
	if d.Acted {
		j.acted.Add(1)
	} else {
		j.wouldHave.Add(1)
	}
}

// told writes the records of a decision and carries out what a new stage asks for.
func (j *judge) told(f nfq.Flow, v *visit, d governor.Decision) {
	if j.noted != nil {
		j.noted.decision(d)
	}
	if d.Notable() {
		j.decided(f, v, d)
	}
	if d.Change != nil {
		j.changed(*d.Change, d.Mode)
	}
}

// changed tells a change of stage, whoever caused or noticed it. A subscriber that is
// cut loses its running sessions too; one that is not any more is let go soon.
func (j *judge) changed(c governor.StageChange, mode governor.Mode) {
	if j.noted != nil {
		j.noted.change(c)
	}
	if j.stirred != nil {
		j.stirred()
	}
	j.cases.note(c)
	j.say(records.Stage(c))
	if c.From == governor.StageCut && c.To != governor.StageCut {
		j.cutter.reviewSoon()
	}
	if c.To == governor.StageCut && mode == governor.ModeEnforce {
		j.end(c.Subscriber, c.Until.Sub(j.now()))
	}
}

// Event charges what a running session does. Only a message can be answered
// with a wait: the server's next reply is then held.
func (j *judge) Event(f nfq.Flow, handle any, e session.Event, now time.Time) time.Duration {
	v, ok := handle.(*visit)
	if ok && e.Kind == session.ClientHello {
		j.traffic.handshake(now)
	}
	if !ok || !v.limited {
		return 0
	}
	switch e.Kind {
	case session.ClientHello:
		j.handshakes.Add(1)
		j.spend(f, v, governor.TLSHandshakes, 1, now)
	case session.HandshakeFailed:
		j.spend(f, v, governor.TLSFailures, 1, now)
	case session.Message:
		if e.Estimated { // inside TLS: nobody is cut for it alone
			j.estimated.Add(1)
			return j.spent(f, v, j.gov.In(v.number).SpendEstimated(v.id, v.plan, 1, now))
		}
		j.messages.Add(1)
		if e.Recipients > 0 {
			j.gov.In(v.number).Accepted(v.id, e.Recipients, now)
			j.spend(f, v, governor.Recipients, e.Recipients, now)
		}
		return j.spend(f, v, governor.Messages, 1, now)
	case session.Rejected:
		if e.Code >= 500 { // 4xx is lawful: greylisting
			return j.spend(f, v, governor.Rejected, 1, now)
		}
	}
	return 0
}

// cameAbout tells whether the TCP handshake of a session finished, as far as can
// be seen: the client's last packet of it is a pure ACK, which passes in the
// kernel. After it somebody speaks, or both sides close in order.
func cameAbout(s nfq.Summary) bool {
	switch s.EndReason {
	case session.EndRST, session.EndTimeout:
		return s.BytesUp > 0 || s.BytesDown > 0
	}
	return true
}

// spend charges and returns how long the next reply is to be held. A charge that
// neither waits nor changes the stage is no decision about anything, so it
// leaves no record of its own.
func (j *judge) spend(f nfq.Flow, v *visit, of governor.Kind, cost int, now time.Time) time.Duration {
	return j.spent(f, v, j.gov.In(v.number).Spend(v.id, v.plan, of, cost, now))
}

// holdsReply tells whether a charge in a running session holds the server's next reply, or would.
func holdsReply(d governor.Decision) bool { return d.Action == governor.ActionPace && d.Wait > 0 }

func (j *judge) spent(f nfq.Flow, v *visit, d governor.Decision) time.Duration {
	if d.Change != nil {
		j.changed(*d.Change, d.Mode)
	}
	if !holdsReply(d) {
		return 0
	}
	if j.noted != nil {
		j.noted.decision(d)
	}
	j.decided(f, v, d)
	j.count(d)
	if !d.Acted {
		return 0
	}
	return d.Wait
}

// Close ends what Open began. A session that was deferred or cut never was one.
func (j *judge) Close(f nfq.Flow, handle any, s nfq.Summary) {
	v, ok := handle.(*visit)
	if !ok { // found in mid-air: the subscriber is known, the session's start is not
		v = &visit{who: j.who.of(f.Client.Addr())}
	} else if v.limited && !v.counted {
		return
	}
	now := j.now()
	switch {
	case !v.counted:
	case cameAbout(s):
		j.gov.In(v.number).Close(v.id, now)
	default:
		j.gov.In(v.number).Withdraw(v.id, v.receipt, now)
	}
	if ok {
		j.open.Add(-1)
	}
	if cameAbout(s) {
		j.book.Ended(f.Client.Addr(), v.id, sources.Facts{JA4: s.JA4, Messages: s.MessagesLo}, now)
		if j.seen != nil {
			j.seen.add(sightingOf(v, j.rules.Load().destination(f.Server.Addr()), &s))
		}
	}
	j.traffic.ended(s.Facts, now)
	if j.crypt != nil {
		j.crypt.saw(f.Server, s.Facts, now)
	}
	j.say(records.Session(sessionFacts(f, v, s)))
}

func (j *judge) decided(f nfq.Flow, v *visit, d governor.Decision) {
	facts := records.DecisionFacts{Decision: d, Binding: v.binding, Src: f.Client, Dst: f.Server}
	if d.Effective() == governor.ActionDefer && !j.canAnswer(f.Client.Addr()) {
		facts.Answer = "reset"
	}
	j.say(records.Decision(facts))
}

// sessionFacts are those of the SESSION record.
func sessionFacts(f nfq.Flow, v *visit, s nfq.Summary) records.SessionFacts {
	return records.SessionFacts{
		Subscriber: v.id, Plan: v.plan, Binding: v.binding, Src: f.Client, Dst: f.Server, Start: s.Start, End: s.End,
		BytesUp: s.BytesUp, BytesDown: s.BytesDown,
		StartTLS: s.StartTLS.String(), TLS: s.TLS.String(), TLSVersion: s.TLSVersion, JA4: s.JA4, JA3: s.JA3, SNI: s.SNI,
		Handshake: s.Handshake.String(), Resumed: s.Resumed, Alert: s.Alert, HandshakeBytes: s.HandshakeBytes,
		Messages: s.Messages, MessagesLo: s.MessagesLo, MessagesHi: s.MessagesHi, Recipients: s.Recipients, Rejected: s.Rejected,
		EndReason: s.EndReason.String(), Held: s.Held, Dropped: s.DroppedPackets, Unheld: s.Unheld, Gaps: s.Gaps, Unknown: s.Unknown,
	}
}

package appliance

import (
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
)

// ReplayedSession is a line of `mailweir replay --json`. The keys up to EndReason are the command-line contract's.
type ReplayedSession struct {
	Src            string    `json:"src"`
	SPort          uint16    `json:"sport"`
	Dst            string    `json:"dst"`
	DPort          uint16    `json:"dport"`
	Start          time.Time `json:"start"`
	End            time.Time `json:"end"`
	Messages       int       `json:"messages"`
	MessagesLo     int       `json:"messages_lo"`
	MessagesHi     int       `json:"messages_hi"` // -1: no bound is known
	Recipients     int       `json:"recipients"`
	StartTLS       string    `json:"starttls"`
	TLS            string    `json:"tls"`
	TLSVersion     string    `json:"tls_version"`
	SNI            string    `json:"sni"`
	JA3            string    `json:"ja3"`
	JA4            string    `json:"ja4"`
	Handshake      string    `json:"handshake"`
	BytesUp        int64     `json:"bytes_up"`
	BytesDown      int64     `json:"bytes_down"`
	HandshakeBytes int64     `json:"handshake_bytes"`
	EndReason      string    `json:"end_reason"`

	Rejected   int    `json:"rejected"`
	Alert      string `json:"alert,omitempty"`
	Gaps       int    `json:"gaps"`              // holes: bytes that the capture does not have
	Unknown    bool   `json:"unknown,omitempty"` // found in mid-air, or not SMTP
	Subscriber string `json:"subscriber"`
	Plan       string `json:"plan"`
	Action     string `json:"action"` // what the governor would have done: pass, warn, pace, defer or cut
	Acted      bool   `json:"acted"`  // in mode enforce
	Stage      string `json:"stage"`  // of the subscriber, then
	Reason     string `json:"reason,omitempty"`
	Ended      bool   `json:"would_have_ended,omitempty"` // it ran when its subscriber was cut
}

// replayed is the line of a session.
func replayed(p *played, s *nfq.Summary) *ReplayedSession {
	return &ReplayedSession{
		Src: p.flow.Client.Addr().String(), SPort: p.flow.Client.Port(), Dst: p.flow.Server.Addr().String(), DPort: p.flow.Server.Port(),
		Start: s.Start.UTC(), End: s.End.UTC(),
		Messages: s.Messages, MessagesLo: s.MessagesLo, MessagesHi: s.MessagesHi, Recipients: s.Recipients,
		StartTLS: s.StartTLS.String(), TLS: s.TLS.String(), TLSVersion: s.TLSVersion, SNI: s.SNI, JA3: s.JA3, JA4: s.JA4,
		Handshake: s.Handshake.String(), BytesUp: s.BytesUp, BytesDown: s.BytesDown, HandshakeBytes: s.HandshakeBytes,
		EndReason: s.EndReason.String(),
		Rejected:  s.Rejected, Alert: s.Alert, Gaps: s.Gaps, Unknown: s.Unknown,
		Subscriber: p.id, Plan: p.plan, Action: p.action.String(), Acted: p.acted, Stage: p.stage.String(), Reason: p.reason, Ended: p.over,
	}
}

// ReplayRun is a capture under one configuration.
type ReplayRun struct {
	ConfigFile string
	Mode       string
	Sessions   ReplaySessions
	Decisions  ReplayDecisions
	Acted      int               // of these, carried out: mode enforce
	Packets    map[string]uint64 // those that told nothing, by reason, as of the queues
	Panics     uint64
	Uncounted  uint64 // sessions of more subscribers than are kept
	// Subscribers are in no order.
	Subscribers []ReplaySubscriber
	Unlisted    int // subscribers that are not in it, since there were too many
}

// ReplaySessions sums up sessions.
type ReplaySessions struct {
	Total, MidAir, Gaps                int
	Clear, StartTLS, Implicit, Unknown int
	Ends, Handshakes, TLSVersions, JA4 map[string]int
	Messages, Recipients               int // read in clear
	MessagesLo, MessagesHi             int // with what is estimated inside TLS; hi without those of the unbounded
	Unbounded                          int // sessions without an upper bound of messages: they are in MessagesHi with their lower one
	Rejected                           int
	BytesUp, BytesDown, HandshakeBytes int64
}

// ReplayDecisions counts what was decided.
type ReplayDecisions struct {
	Passed   int `json:"passed"`
	Paced    int `json:"paced"`
	Deferred int `json:"deferred"`
	Cut      int `json:"cut"`
}

// ReplaySubscriber is what became of one subscriber.
type ReplaySubscriber struct {
	ID, Plan               string
	Sessions               int
	MessagesLo, MessagesHi int  // as in ReplaySessions
	Unbounded              bool // a session of his has no upper bound of messages
	Encrypted              int  // sessions that turned to TLS
	Decisions              ReplayDecisions
	Touched                int // messages, at least, in sessions that were held, deferred or cut; of a what-if only, see trial.follow
	Highest                governor.Stage
	Why                    string                           // it came to be Highest
	In                     map[governor.Stage]time.Duration // how long, of the stages above observe
}

// Bounds of a tally.
const (
	maxAccounts = 1 << 17
	maxPrints   = 1 << 12
)

// tally sums up a rehearsal. Its size is bounded, whatever the capture holds.
type tally struct {
	sum      ReplaySessions
	accounts map[string]*account
	unlisted map[string]struct{} // some of those that are not in accounts
	spare    account
}

// account is a ReplaySubscriber in the making.
type account struct {
	ReplaySubscriber
	stage governor.Stage
	since time.Time
}

func newTally() *tally {
	return &tally{accounts: map[string]*account{}, unlisted: map[string]struct{}{},
		sum: ReplaySessions{Ends: map[string]int{}, Handshakes: map[string]int{}, TLSVersions: map[string]int{}, JA4: map[string]int{}}}
}

// account is that of a subscriber. Where there are too many it is one that nobody reads.
func (t *tally) account(id, plan string) *account {
	a := t.accounts[id]
	if a == nil {
		if len(t.accounts) >= maxAccounts {
			if len(t.unlisted) < maxAccounts {
				t.unlisted[id] = struct{}{}
			}
			return &t.spare
		}
		a = &account{ReplaySubscriber: ReplaySubscriber{ID: id, Plan: plan}}
		t.accounts[id] = a
	}
	return a
}

func (a *account) count(action governor.Action) {
	switch action {
	case governor.ActionPace:
		a.Decisions.Paced++
	case governor.ActionDefer:
		a.Decisions.Deferred++
	case governor.ActionCut:
		a.Decisions.Cut++
	default:
		a.Decisions.Passed++
	}
}

// change moves a subscriber to another stage.
func (t *tally) change(c governor.StageChange) {
	a := t.account(c.Subscriber, c.Plan)
	a.spent(c.At)
	a.stage, a.since = c.To, c.At
	if c.To > a.Highest {
		a.Highest, a.Why = c.To, c.Why
	}
}

// spent counts the time in the stage that ends at a time.
func (a *account) spent(at time.Time) {
	if d := at.Sub(a.since); a.stage != governor.StageObserve && d > 0 {
		if a.In == nil {
			a.In = map[governor.Stage]time.Duration{}
		}
		a.In[a.stage] += d
	}
}

// session sums up one that ended.
func (t *tally) session(p *played, s *nfq.Summary) {
	a := t.account(p.id, p.plan)
	a.Sessions++
	hi := max(s.MessagesHi, s.MessagesLo)
	a.MessagesLo += s.MessagesLo
	a.MessagesHi += hi
	sum := &t.sum
	sum.Total++
	if p.since.IsZero() {
		sum.MidAir++
	}
	if s.Gaps > 0 {
		sum.Gaps++
	}
	tls, unknown := s.TLS.String(), s.Unknown
	switch {
	case tls == "starttls":
		sum.StartTLS++
	case tls == "implicit":
		sum.Implicit++
	case unknown:
		sum.Unknown++
	default:
		sum.Clear++
	}
	if tls != "none" {
		a.Encrypted++
		sum.Handshakes[s.Handshake.String()]++
		sum.TLSVersions[s.TLSVersion]++
		if _, known := sum.JA4[s.JA4]; s.JA4 != "" && (known || len(sum.JA4) < maxPrints) {
			sum.JA4[s.JA4]++
		}
	}
	sum.Ends[s.EndReason.String()]++
	sum.Messages += s.Messages
	sum.MessagesLo += s.MessagesLo
	sum.MessagesHi += hi
	if s.MessagesHi < 0 {
		sum.Unbounded++
		a.Unbounded = true
	}
	sum.Recipients += s.Recipients
	sum.Rejected += s.Rejected
	sum.BytesUp += s.BytesUp
	sum.BytesDown += s.BytesDown
	sum.HandshakeBytes += s.HandshakeBytes
}

// run is what was summed up, at the end of r.
func (t *tally) run(r *rehearsal) ReplayRun {
	stats := r.replay.Stats()
	run := ReplayRun{ConfigFile: r.cfg.Path(), Mode: r.cfg.Mode, Sessions: t.sum, Packets: stats.Passed, Panics: stats.Panics, Unlisted: len(t.unlisted),
		Decisions: ReplayDecisions{int(r.passed.Load()), int(r.paced.Load()), int(r.deferred.Load()), int(r.judge.cut.Load())}, Acted: int(r.acted.Load())}
	if r.started {
		g := r.gov.Stats()
		run.Uncounted = g.Untracked
	}
	for _, a := range t.accounts {
		a.spent(r.time())
		run.Subscribers = append(run.Subscribers, a.ReplaySubscriber)
	}
	return run
}

// ReplayDifference is a subscriber with whom two configurations would have dealt differently.
type ReplayDifference struct {
	ID       string
	One, Two ReplaySubscriber
}

// Differences are the subscribers that would have been in other stages, or for another time, or of whose sessions
// something else would have become, in no order.
func Differences(one, two *ReplayRun) (all []ReplayDifference) {
	by := map[string]*ReplaySubscriber{}
	for i := range two.Subscribers {
		by[two.Subscribers[i].ID] = &two.Subscribers[i]
	}
	for _, s := range one.Subscribers {
		other := ReplaySubscriber{ID: s.ID}
		if o := by[s.ID]; o != nil {
			other = *o
			delete(by, s.ID)
		}
		if !s.like(&other) {
			all = append(all, ReplayDifference{s.ID, s, other})
		}
	}
	for id, o := range by { // other ports, or other prefixes
		if none := (ReplaySubscriber{ID: id}); !o.like(&none) {
			all = append(all, ReplayDifference{id, none, *o})
		}
	}
	return all
}

// like tells whether the same became of two.
func (s *ReplaySubscriber) like(o *ReplaySubscriber) bool {
	if s.Highest != o.Highest || s.Decisions.Paced != o.Decisions.Paced || s.Decisions.Deferred != o.Decisions.Deferred || s.Decisions.Cut != o.Decisions.Cut {
		return false
	}
	for stage := range governor.StageCut + 1 {
		if s.In[stage] != o.In[stage] {
			return false
		}
	}
	return true
}

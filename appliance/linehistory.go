package appliance

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	historyBack     = 14 * 24 * time.Hour // records that are older are not looked at
	historyCoarse   = 10 * time.Minute    // steps of which two weeks are kept
	historyFine     = time.Minute         // and of which the last hour is
	historySessions = 20                  // that are told one by one
	historyChanges  = 200                 // of stage
	historyHeld     = 256                 // decisions that a session may have met
	historyNetworks = 1024
	historyPrints   = 64
	shownNetworks   = 20
	shownPrints     = 10
)

// inStep is what began in a step.
type inStep struct{ sessions, handshakes, messages, held int }

func (t *inStep) add(o inStep) {
	t.sessions, t.handshakes, t.messages, t.held = t.sessions+o.sessions, t.handshakes+o.handshakes, t.messages+o.messages, t.held+o.held
}

// use is how often something was used, and when last.
type use struct {
	sessions int
	last     time.Time
	ja3      string
}

// flowEnds tells the session of a record from others of its time.
type flowEnds struct{ src, sport, dst, dport string }

type seenSession struct {
	flowEnds
	webadmin.LineSession
}

type heldSession struct {
	flowEnds
	at     time.Time
	action string
	acted  bool
}

// lineHistory is what the records of one subscriber say, as far as they were read. Records may be added in any order, each once. Its
// memory is bounded: 2,100 steps, 1,024 networks and what else is bounded above, 0.5 MB at most.
type lineHistory struct {
	made time.Time // what is in it is as old as this at most

	mu     sync.Mutex // guards all below; held while records are read, which is bounded in time
	begun  bool
	newest uint64    // records up to this number have been looked at
	below  uint64    // and from this one on; 0: none yet, or all
	back   time.Time // the time of what was looked at last
	done   bool      // there is nothing older
	lately time.Time // since when there are fine steps

	steps    map[int64]inStep // by begin, Unix seconds, of historyCoarse
	fine     map[int64]inStep // of historyFine
	changes  []webadmin.Change
	sessions []seenSession
	held     []heldSession
	networks map[netip.Prefix]use
	prints   map[string]use
}

func newLineHistory(now time.Time) *lineHistory {
	return &lineHistory{made: now, steps: map[int64]inStep{}, fine: map[int64]inStep{}, networks: map[netip.Prefix]use{}, prints: map[string]use{}}
}

// clear forgets everything that was read. The caller holds h.mu.
func (h *lineHistory) clear() {
	h.begun, h.newest, h.below, h.back, h.done = false, 0, 0, time.Time{}, false
	clear(h.steps)
	clear(h.fine)
	clear(h.networks)
	clear(h.prints)
	h.changes, h.sessions, h.held = nil, nil, nil
}

// add counts a record. The caller holds h.mu.
func (h *lineHistory) add(r *records.Record, networkOf func(netip.Addr) netip.Prefix) {
	h.newest = max(h.newest, r.Seq)
	switch r.Kind {
	case records.KindSession:
		h.session(r, networkOf)
	case records.KindStage:
		h.changes = insert(h.changes, historyChanges, webadmin.Change{At: webadmin.At(r.Time), From: r.Value("from"), To: r.Value("to"), Reason: r.Value("reason")},
			func(c webadmin.Change) time.Time { return c.At.Time })
	case records.KindDecision:
		action := r.Value("action")
		if action == "warn" || action == "pass" {
			return
		}
		h.count(r.Time, inStep{held: 1})
		h.held = insert(h.held, historyHeld, heldSession{endsOf(r), r.Time, action, r.Value("acted") == "1"}, func(d heldSession) time.Time { return d.at })
	}
}

func endsOf(r *records.Record) flowEnds {
	return flowEnds{r.Value("src"), r.Value("sport"), r.Value("dst"), r.Value("dport")}
}

// session counts a session. Nearly all are older than those that are told one by one, and of them little is looked at.
func (h *lineHistory) session(r *records.Record, networkOf func(netip.Addr) netip.Prefix) {
	start, err := time.Parse(time.RFC3339, r.Value("start"))
	if err != nil {
		start = r.Time // what was found in mid-air has no begin
	}
	handshake, server, messages := r.Value("handshake"), r.Value("dst"), max(whole(r.Value("messages"), 0), whole(r.Value("messages_lo"), 0))
	t := inStep{sessions: 1, messages: messages}
	if handshake != "" && handshake != "none" {
		t.handshakes = 1
	}
	h.count(start, t)
	if to, err := netip.ParseAddr(server); err == nil {
		used(h.networks, networkOf(to), start, "", historyNetworks)
	}
	if ja4 := r.Value("ja4"); ja4 != "" {
		used(h.prints, ja4, start, r.Value("ja3"), historyPrints)
	}
	if n := len(h.sessions); n == historySessions && !start.After(h.sessions[n-1].Start.Time) {
		return
	}
	number := func(name string, other int) int { return whole(r.Value(name), other) }
	s := webadmin.LineSession{
		Seq: r.Seq, Start: webadmin.At(start), Took: webadmin.Seconds(time.Duration(number("dur_ms", 0)) * time.Millisecond), Server: server, Port: number("dport", 0),
		StartTLS: r.Value("starttls"), TLS: r.Value("tls"), TLSVersion: r.Value("tls_version"), Handshake: handshake, Alert: r.Value("alert"),
		MessagesLo: messages, MessagesHi: number("messages_hi", -1), Rejected: number("rejected", 0), Bytes: bytesOf(r), EndReason: r.Value("end_reason"),
	}
	h.sessions = insert(h.sessions, historySessions, seenSession{endsOf(r), s}, func(s seenSession) time.Time { return s.Start.Time })
}

// bytesOf are those of a session, both ways, which an int has no room for everywhere.
func bytesOf(r *records.Record) (sum int64) {
	for _, name := range []string{"bytes_up", "bytes_down"} {
		if n, err := strconv.ParseInt(r.Value(name), 10, 64); err == nil {
			sum += n
		}
	}
	return sum
}

// whole reads a number; what is none is other.
func whole(text string, other int) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return other
}

func (h *lineHistory) count(at time.Time, t inStep) {
	into := func(steps map[int64]inStep, length time.Duration) {
		begin := at.Truncate(length).Unix()
		sum := steps[begin]
		sum.add(t)
		steps[begin] = sum
	}
	into(h.steps, historyCoarse)
	if !at.Before(h.lately) {
		into(h.fine, historyFine)
	}
}

// insert puts one among all, the newest first, of which most stay.
func insert[T any](all []T, most int, one T, at func(T) time.Time) []T {
	i, _ := slices.BinarySearchFunc(all, at(one), func(o T, t time.Time) int { return t.Compare(at(o)) })
	if i == most {
		return all
	}
	all = slices.Insert(all, i, one)
	return all[:min(len(all), most)]
}

// used counts a use of what; where there is no room for another it is left out.
func used[K comparable](all map[K]use, what K, at time.Time, ja3 string, most int) {
	u, known := all[what]
	if !known && len(all) == most {
		return
	}
	if u.sessions++; !at.Before(u.last) {
		u.last, u.ja3 = at, ja3
	}
	all[what] = u
}

// forgetBefore drops what is older than a time, and the fine steps that are no longer shown. The caller holds h.mu.
func (h *lineHistory) forgetBefore(oldest time.Time) {
	drop := func(steps map[int64]inStep, before time.Time) {
		for begin := range steps {
			if begin < before.Unix() {
				delete(steps, begin)
			}
		}
	}
	drop(h.steps, oldest.Truncate(historyCoarse))
	drop(h.fine, h.lately)
	h.sessions = slices.DeleteFunc(h.sessions, func(s seenSession) bool { return s.Start.Before(oldest) })
	h.changes = slices.DeleteFunc(h.changes, func(c webadmin.Change) bool { return c.At.Before(oldest) })
	h.held = slices.DeleteFunc(h.held, func(d heldSession) bool { return d.at.Before(oldest) })
}

// points are the steps since from. The caller holds h.mu.
func (h *lineHistory) points(step time.Duration, from time.Time) (all []webadmin.HistoryPoint) {
	steps := h.steps
	if step < historyCoarse {
		steps = h.fine
	}
	sums := map[int64]inStep{}
	for begin, t := range steps {
		at := time.Unix(begin, 0).Truncate(step).Unix()
		sum := sums[at]
		sum.add(t)
		sums[at] = sum
	}
	for begin, t := range sums {
		if at := time.Unix(begin, 0); !at.Before(from) {
			all = append(all, webadmin.HistoryPoint{Start: webadmin.At(at), Sessions: t.sessions, Handshakes: t.handshakes, MessagesLo: t.messages, Held: t.held})
		}
	}
	slices.SortFunc(all, func(a, b webadmin.HistoryPoint) int { return a.Start.Compare(b.Start.Time) })
	return all
}

// lastSessions are the last ones, each with what was decided at its begin. The caller holds h.mu.
func (h *lineHistory) lastSessions() (all []webadmin.LineSession) {
	for _, s := range h.sessions {
		one, end := s.LineSession, s.Start.Add(time.Duration(s.Took)+time.Second)
		for _, d := range h.held {
			if d.flowEnds == s.flowEnds && !d.at.Before(s.Start.Add(-time.Second)) && !d.at.After(end) {
				one.Action, one.Acted = d.action, d.acted
				break
			}
		}
		all = append(all, one)
	}
	return all
}

// mostUsed are what was used most, at most some of it; more is how many others there are.
func mostUsed[K comparable](all map[K]use, most int) (keys []K, more int) {
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int {
		return cmp.Or(cmp.Compare(all[b].sessions, all[a].sessions), all[b].last.Compare(all[a].last))
	})
	n := min(len(keys), most)
	return keys[:n], len(keys) - n
}

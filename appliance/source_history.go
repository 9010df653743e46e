package appliance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	historyTakes  = 40 * time.Millisecond // for which one page reads on, beyond the piece that it is at
	historyPiece  = 4 << 20               // bytes of the journal, or one file of it
	historyRows   = 2000                  // records of a piece
	historyWaits  = time.Second           // for a disk that does not answer, and for others who read
	historyLasts  = time.Hour             // then it is read anew: what was deleted meanwhile is in it no longer
	historiesKept = 8
)

// histories are those of the subscribers whose pages were asked for last, so that a page that asks for itself each second reads on where
// it stopped. The zero value has none.
type histories struct {
	mu   sync.Mutex
	kept []keptHistory // the one asked for last comes last
}

type keptHistory struct {
	id string
	of *lineHistory
}

// at gives the history of a subscriber, made if need be.
func (k *histories) at(id string, now time.Time) *lineHistory {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := keptHistory{id, newLineHistory(now)}
	var rest []keptHistory
	for _, o := range k.kept {
		switch age := now.Sub(o.of.made); {
		case age < 0 || age >= historyLasts:
		case o.id == id:
			one = o
		default:
			rest = append(rest, o)
		}
	}
	k.kept = append(rest[max(0, len(rest)-historiesKept+1):], one)
	return one.of
}

var historyKinds = []records.Kind{records.KindSession, records.KindStage, records.KindDecision}

// History is what a line did lately. Each call reads what is new, and goes further back for some time.
func (s *source) History(ctx context.Context, id string, step time.Duration) (v webadmin.History, ok bool, err error) {
	if _, ok := s.Subscriber(id); !ok {
		return v, false, nil
	}
	s.a.settle(ctx)
	now := s.a.now()
	h := s.histories.at(id, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := now.Add(-min(historyBack, s.a.cfg.Load().Retention.Sessions))
	h.lately = now.Add(-webadmin.HistoryReach[historyFine]).Truncate(historyFine)
	s.historyAhead(h, id)
	fault := s.historyBack(ctx, h, id, oldest)
	if err := ctx.Err(); err != nil {
		return v, true, err
	}
	h.forgetBefore(oldest)
	return s.historyView(h, id, step, oldest, fault), true, nil
}

// historyAhead counts what was recorded since it was last called, all of which is in memory; where it is not, the history begins anew.
func (s *source) historyAhead(h *lineHistory, id string) {
	keep := journal.Query{Kinds: historyKinds, Subscriber: id, Above: h.newest}.Filter()
	var newest, oldest uint64
	var back time.Time
	found := s.a.recent.Select(recentRecords, func(r *records.Record) bool {
		newest, oldest, back = max(newest, r.Seq), r.Seq, r.Time
		return keep(r)
	})
	if h.begun && (newest < h.newest || oldest > h.newest+1) {
		h.clear()
		s.historyAhead(h, id)
		return
	}
	for i := range found {
		h.add(&found[i], s.a.judge.rules.Load().destination)
	}
	if !h.begun {
		h.begun, h.below, h.back, h.done = true, oldest, back, oldest == 1
	}
	h.newest = max(h.newest, newest)
}

// historyBack reads on towards what is older. fault says why it could not.
func (s *source) historyBack(ctx context.Context, h *lineHistory, id string, oldest time.Time) (fault string) {
	if h.done {
		return ""
	}
	if s.a.journal == nil {
		return "there is no journal until the next start; the box has no more than the last records in memory"
	}
	until := time.Now().Add(historyTakes)
	ctx, end := context.WithTimeout(ctx, historyWaits)
	defer end()
	for !h.done && time.Now().Before(until) {
		f, err := s.readJournal(ctx, journal.Query{Kinds: historyKinds, Subscriber: id, Below: h.below, From: oldest}, historyRows, historyPiece)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return "the disk has not answered for " + historyWaits.String() + ", or others read the journal"
		case errors.Is(err, context.Canceled):
			return ""
		case err != nil:
			s.a.log.Error("read the journal", "err", err)
			return err.Error()
		}
		for i := range f.Items {
			h.add(&f.Items[i].Record, s.a.judge.rules.Load().destination)
		}
		if len(f.Bad) > 0 {
			fault = f.Bad[0]
		}
		if h.below, h.done = f.Below, f.Below == 0; !h.done {
			h.back = f.Back
		}
	}
	return fault
}

func (s *source) historyView(h *lineHistory, id string, step time.Duration, oldest time.Time, fault string) webadmin.History {
	now, o := s.a.now(), s.a.observer
	from := now.Add(step - webadmin.HistoryReach[step]).Truncate(step)
	v := webadmin.History{
		Subscriber: id, Step: webadmin.Seconds(step), From: webadmin.At(from), To: webadmin.At(now), More: !h.done && s.a.journal != nil, Fault: fault,
		Points: h.points(step, from), Stages: append([]webadmin.Change{}, h.changes...), Sessions: h.lastSessions(),
	}
	since := h.back
	if first := s.a.journal.Status().Since; h.done && !first.IsZero() && (since.IsZero() || first.Before(since)) {
		since = first
	}
	if !since.IsZero() && since.Before(oldest) {
		since = oldest
	}
	v.Since = webadmin.At(since)
	networks, more := mostUsed(h.networks, shownNetworks)
	v.OtherNetworks = more
	for _, n := range networks {
		owner, u := o.names.Of(n.Addr()), h.networks[n]
		v.Networks = append(v.Networks, webadmin.LineNetwork{Network: n.String(), AS: owner.AS, Owner: owner.Name, Sessions: u.sessions, Last: webadmin.At(u.last)})
	}
	prints, more := mostUsed(h.prints, shownPrints)
	v.OtherPrints = more
	for _, ja4 := range prints {
		u, c := h.prints[ja4], o.prints.Common(ja4)
		v.Prints = append(v.Prints, webadmin.LinePrint{JA4: ja4, JA3: u.ja3, Sessions: u.sessions, Last: webadmin.At(u.last), Users: c.Users, Of: c.Of, Cluster: c.Card})
	}
	return v
}

package appliance

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// source answers the web admin and the command line from what is in memory.
type source struct {
	a    *Appliance
	roll roll
}

var _ webadmin.Source = (*source)(nil)

func (s *source) Status() webadmin.Status {
	a, now := s.a, s.a.now()
	cfg := a.cfg.Load()
	q := a.queues.Stats()
	stages := a.gov.Stages(now)
	st := webadmin.Status{
		Version: a.opt.Version, Box: a.box, Mode: cfg.Mode, Since: webadmin.At(*a.since.Load()),
		Ready: a.ready.Load(), Uptime: webadmin.Seconds(now.Sub(a.start)),
		Lanes: webadmin.Lanes{
			Fast: webadmin.FastLane{Why: "not built yet in this version"},
			Queue: webadmin.QueueLane{
				Held: int64(q.Held), Form: string(a.kernel.QueueForm), Reader: cfg.Queue.Reader,
			},
		},
		Sessions:       webadmin.Sessions{Open: a.judge.open.Load(), Total: a.judge.total.Load()},
		Acted:          a.judge.acted.Load(),
		WouldHaveActed: a.judge.wouldHave.Load(),
		Actions: webadmin.Actions{
			Passed: a.judge.passed.Load(), Paced: a.judge.paced.Load(), Deferred: a.judge.deferred.Load(), Cut: a.judge.cut.Load(),
		},
		Stages: webadmin.Stages{
			Observe: stages[governor.StageObserve], Warn: stages[governor.StageWarn], Pace: stages[governor.StagePace],
			Defer: stages[governor.StageDefer], Cut: stages[governor.StageCut],
		},
		Problems: a.problems(),
	}
	for _, p := range cfg.Network.LimitedPorts {
		st.Ports = append(st.Ports, int(p))
	}
	for _, one := range q.Queues {
		st.Lanes.Queue.Depth += int64(max(one.Kernel.Depth-one.HeldNow, 0))
		st.Lanes.Queue.Dropped += int64(one.Kernel.QueueDropped)
		st.Lanes.Queue.UserDropped += int64(one.Kernel.UserDropped)
		st.Lanes.Queue.Packets += int64(one.Packets)
		st.Actions.FailedOpen += int64(failedOpen(one.Passed))
	}
	for _, t := range a.syslog.Status() {
		st.Syslog = append(st.Syslog, webadmin.Syslog{
			URL: t.URL, Up: t.Up, Since: webadmin.At(a.syslog.since(t.URL)), Behind: int64(t.Behind), Dropped: int64(t.Dropped), LastError: t.LastError,
		})
	}
	ok, why := a.saver.status()
	st.Store = webadmin.Store{OK: ok, Why: why, WrittenToday: a.saver.writtenToday()}
	return st
}

// failedOpen counts packets that passed although they should have been judged.
func failedOpen(passed map[string]uint64) uint64 {
	return passed["flow_table_full"] + passed["hold_bound"] + passed["panic"] + passed["stopping"]
}

func (s *source) Traffic() webadmin.Traffic { return s.a.traffic.view(s.a.now()) }

// Subscribers lists everybody who is configured or did something.
func (s *source) Subscribers(q webadmin.Query) ([]webadmin.Subscriber, string) {
	limit := cmp.Or(q.Limit, 100)
	var items []webadmin.Subscriber
	var last place
	for _, p := range after(s.roll.now(s.a.now, s.places), q.Cursor) {
		if len(q.Stages) > 0 && !slices.Contains(q.Stages, p.stage.String()) {
			continue
		}
		if p.stage == governor.StageObserve && !matches(s.named(p.id), webadmin.Query{Text: q.Text}) {
			continue // told by the list alone, without asking the governor about everybody
		}
		v, ok := s.Subscriber(p.id)
		if !ok || !matches(v, q) {
			continue // forgotten, or elsewhere since the roll was made
		}
		if len(items) == limit {
			return items, last.cursor()
		}
		items, last = append(items, v), p
	}
	return items, ""
}

// places is everybody, as the roll needs it.
func (s *source) places() []place {
	table := s.a.who.table().All()
	reports := s.a.gov.List(s.a.now())
	all := make([]place, 0, len(table)+len(reports))
	known := make(map[string]bool, len(reports))
	for _, r := range reports {
		known[r.Subscriber] = true
		most := 0.0
		for _, b := range r.Budgets {
			most = max(most, b.Ratio)
		}
		all = append(all, place{stage: r.Stage, full: most, id: r.Subscriber})
	}
	for _, sub := range table {
		if !known[sub.ID] {
			all = append(all, place{stage: governor.StageObserve, id: sub.ID})
		}
	}
	return all
}

// named is what a subscriber is called and where it is, without what it did.
func (s *source) named(id string) webadmin.Subscriber {
	v := webadmin.Subscriber{ID: id, Prefixes: []string{}, Bindings: []webadmin.Binding{}}
	sub, ok := s.a.who.table().ByID(id)
	if !ok {
		v.Unmapped, v.PlanSource, v.Plan = true, "unmapped", s.a.who.planOf(id)
		v.Prefixes = append(v.Prefixes, id)
		return v
	}
	v.Name, v.Plan, v.ListPlan, v.PlanSource = sub.Name, sub.Plan, sub.Plan, "list"
	for _, p := range sub.Prefixes {
		v.Prefixes = append(v.Prefixes, p.String())
		v.Bindings = append(v.Bindings, webadmin.Binding{Prefix: p.String(), Subscriber: id, Source: "csv"})
	}
	return v
}

func matches(v webadmin.Subscriber, q webadmin.Query) bool {
	if len(q.Stages) > 0 && !slices.Contains(q.Stages, v.Stage) {
		return false
	}
	text := strings.ToLower(strings.TrimSpace(q.Text))
	if text == "" {
		return true
	}
	for _, field := range append([]string{v.ID, v.Name, v.Plan, v.Case}, v.Prefixes...) {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(v.Prefixes, func(p string) bool {
		prefix, err := netip.ParsePrefix(p)
		return err == nil && prefix.Contains(addr)
	})
}

func (s *source) Subscriber(id string) (webadmin.Subscriber, bool) {
	if r, ok := s.a.gov.Explain(id, s.a.now()); ok {
		return s.view(r), true
	}
	if sub, ok := s.a.who.table().ByID(id); ok {
		return s.quiet(sub), true
	}
	return webadmin.Subscriber{}, false
}

// quiet is a configured subscriber that did nothing lately.
func (s *source) quiet(sub subscriber.Subscriber) webadmin.Subscriber {
	r := governor.Report{Subscriber: sub.ID, Plan: sub.Plan}
	for _, p := range s.a.cfg.Load().Plans {
		if p.Name != sub.Plan {
			continue
		}
		for _, b := range p.Budgets {
			of, _ := governor.ParseKind(b.Of) // the configuration knows no other words
			r.Budgets = append(r.Budgets, governor.BudgetReport{Of: of, Window: b.Per, Limit: b.Limit, Burst: b.Burst})
		}
	}
	return s.view(r)
}

// view makes of a report what pages and API show.
func (s *source) view(r governor.Report) webadmin.Subscriber {
	v := s.named(r.Subscriber)
	v.Plan, v.Stage, v.Since, v.Until = r.Plan, r.Stage.String(), webadmin.At(r.Since), webadmin.At(r.Until)
	v.Reason, v.Case, v.Open = r.Reason, r.Case, r.Open
	v.Budgets, v.Decisions = []webadmin.Budget{}, []webadmin.Decision{}
	for _, b := range r.Budgets {
		v.Budgets = append(v.Budgets, webadmin.Budget{
			Of: b.Of.String(), Window: webadmin.Seconds(b.Window), Limit: b.Limit, Burst: b.Burst, Value: b.Value, Ratio: b.Ratio,
			Pressure: b.Pressure, RefillsAt: webadmin.At(b.RefillsAt),
		})
	}
	for _, d := range slices.Backward(r.Decisions) {
		v.Decisions = append(v.Decisions, webadmin.Decision{
			At: webadmin.At(d.At), Action: d.Action.String(), Acted: d.Acted, Stage: d.Stage.String(), Before: d.Before.String(),
			Of: d.Of.String(), Window: webadmin.Seconds(d.Window), Limit: d.Limit, Burst: d.Burst, Value: d.Value, Ratio: d.Ratio,
			Reason: d.Reason(), Wait: webadmin.Seconds(d.Wait), Until: webadmin.At(d.Until), Case: d.Case,
		})
	}
	return v
}

// Records lists the last records, newest first. The cursor is the lowest number
// of the page before.
func (s *source) Records(q webadmin.RecordQuery) ([]webadmin.Record, string) {
	below, err := strconv.ParseUint(q.Cursor, 10, 64)
	if err != nil {
		below = 0
	}
	limit := cmp.Or(q.Limit, 100)
	found := s.a.recent.Select(limit+1, func(r *records.Record) bool {
		return (below == 0 || r.Seq < below) && r.Seq > q.After &&
			(q.Kind == "" || string(r.Kind) == q.Kind) &&
			(q.Subscriber == "" || r.Value("subscriber") == q.Subscriber) &&
			(q.From.IsZero() || !r.Time.Before(q.From)) && (q.To.IsZero() || r.Time.Before(q.To))
	})
	next := ""
	if len(found) > limit {
		found = found[:limit]
		next = strconv.FormatUint(found[limit-1].Seq, 10)
	}
	items := make([]webadmin.Record, len(found))
	for i, r := range found {
		items[i] = webadmin.Record{
			Seq: r.Seq, At: webadmin.At(r.Time), Kind: string(r.Kind), Subscriber: r.Value("subscriber"), Text: r.Text,
			Line: string(r.AppendLine(nil, facility(s.a.cfg.Load()))),
		}
		for _, p := range r.Params {
			items[i].Params = append(items[i].Params, webadmin.Param{Name: p.Name, Value: p.Value})
		}
	}
	return items, next
}

// Release forgives a subscriber everything, lets go of what is held and cut, and
// says who did it.
func (s *source) Release(id, who string) (webadmin.Subscriber, error) {
	a, now := s.a, s.a.now()
	before := "observe"
	change, known := a.gov.Release(id, now)
	if !known {
		v, ok := s.Subscriber(id)
		if !ok {
			return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
		}
		return v, nil // configured, and nothing to forgive
	}
	if change.From != governor.StageObserve {
		before = change.From.String()
		a.judge.changed(change, change.Mode)
	}
	a.cutter.release(id)
	held := a.queues.Unhold(ofSubscriber(id))
	after := "observe"
	if held > 0 {
		after = fmt.Sprintf("observe, %d held replies let go", held)
	}
	a.writer.Say(records.Audit(records.AuditFacts{Time: now, Who: who, What: "release", Object: id, Before: before, After: after}))
	v, _ := s.Subscriber(id)
	return v, nil
}

// errNotWired is what everything answers that this version does not do yet.
var errNotWired = errors.New("not wired yet")

func (s *source) Case(string) (webadmin.Case, bool) { return webadmin.Case{}, false }

func (s *source) Plans() []webadmin.Plan {
	cfg := s.a.cfg.Load()
	plans := make([]webadmin.Plan, len(cfg.Plans))
	for i, p := range cfg.Plans {
		plans[i] = planView(p)
	}
	return plans
}

func (s *source) Presets() []webadmin.Plan { return nil }

func (s *source) Lookup(addr netip.Addr, at time.Time) webadmin.Lookup {
	if at.IsZero() {
		at = s.a.now()
	}
	w := s.a.who.of(addr)
	l := webadmin.Lookup{Address: addr.String(), At: webadmin.At(at)}
	if w.binding == "" {
		l.Unmapped = w.id
		return l
	}
	l.Holders = []webadmin.Holder{{Subscriber: w.id, Name: w.name, Plan: w.plan, Source: w.binding}}
	return l
}

func (s *source) Unmapped(webadmin.Page) ([]webadmin.Unmapped, string) { return nil, "" }

func (s *source) Bindings(string, webadmin.Page) ([]webadmin.Binding, string) { return nil, "" }

func (s *source) Exempt(string, time.Time, string, string) (webadmin.Subscriber, error) {
	return webadmin.Subscriber{}, errNotWired
}

func (s *source) Unexempt(string, string) (webadmin.Subscriber, error) {
	return webadmin.Subscriber{}, errNotWired
}

func (s *source) SetPlan(string, string, string) (webadmin.Subscriber, error) {
	return webadmin.Subscriber{}, errNotWired
}

func (s *source) Bind(netip.Prefix, string, string) (webadmin.Binding, error) {
	return webadmin.Binding{}, errNotWired
}

func (s *source) Unbind(netip.Prefix, string) (webadmin.Binding, error) {
	return webadmin.Binding{}, errNotWired
}

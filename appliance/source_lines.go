package appliance

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Subscriber is one line: known to the governor, in the list, or bound by RADIUS.
func (s *source) Subscriber(id string) (webadmin.Subscriber, bool) {
	if r, ok := s.a.gov.Explain(id, s.a.now()); ok {
		return s.view(r), true
	}
	if _, listed := s.a.who.ByID(id); !listed && len(s.a.who.Of(id)) == 0 {
		return webadmin.Subscriber{}, false
	}
	return s.view(s.quiet(id)), true
}

// quiet is the report of a line that did nothing lately.
func (s *source) quiet(id string) governor.Report {
	r := governor.Report{Subscriber: id, Plan: s.a.who.planOf(id)}
	for _, p := range s.a.cfg.Load().Plans {
		if p.Name != r.Plan {
			continue
		}
		for _, b := range p.Budgets {
			of, _ := governor.ParseKind(b.Of) // the configuration knows no other words
			r.Budgets = append(r.Budgets, governor.BudgetReport{Of: of, Window: b.Per, Limit: b.Limit, Burst: b.Burst})
		}
	}
	return r
}

// named is what a line is called and where it is, without what it did.
func (s *source) named(id string) webadmin.Subscriber {
	w := s.a.who
	v := webadmin.Subscriber{ID: id, Plan: w.planOf(id), Prefixes: []string{}, Bindings: []webadmin.Binding{}, PlanSource: "list"}
	sub, listed := w.Table().ByID(id)
	v.Name, v.ListPlan = sub.Name, sub.Plan
	if !listed {
		v.PlanSource = "unmapped"
	}
	if w.Chosen(id) != "" {
		v.PlanSource = "operator"
	}
	for _, b := range w.Of(id) {
		v.Bindings = append(v.Bindings, bindingView(b))
		if p := b.Prefix.String(); len(v.Prefixes) == 0 || v.Prefixes[len(v.Prefixes)-1] != p { // two sources may say the same
			v.Prefixes = append(v.Prefixes, p)
		}
	}
	if _, err := netip.ParsePrefix(id); err == nil && !listed && len(v.Bindings) == 0 {
		v.Unmapped = true
		v.Prefixes = append(v.Prefixes, id)
	}
	return v
}

// view makes of a report what pages and API show.
func (s *source) view(r governor.Report) webadmin.Subscriber {
	v := s.named(r.Subscriber)
	v.Stage, v.Since, v.Until = r.Stage.String(), webadmin.At(r.Since), webadmin.At(r.Until)
	v.Reason, v.Case, v.Open = r.Reason, r.Case, r.Open
	v.Lane = s.a.nextSession(r.Subscriber)
	v.Budgets, v.Decisions = []webadmin.Budget{}, []webadmin.Decision{}
	if x := r.Exemption; x != nil {
		v.Exemption = &webadmin.Exemption{Since: webadmin.At(x.Since), Until: webadmin.At(x.Until), Reason: x.Reason, By: x.By}
	}
	if !r.Released.IsZero() {
		v.Released = &webadmin.Released{Since: webadmin.At(r.Released), Until: webadmin.At(r.Released.Add(governor.UndoFor))}
	}
	for _, b := range r.Budgets {
		v.Budgets = append(v.Budgets, webadmin.Budget{
			Of: b.Of.String(), Window: webadmin.Seconds(b.Window), Limit: b.Limit, Burst: b.Burst, Value: b.Value, Ratio: b.Ratio,
			Pressure: b.Pressure, RefillsAt: webadmin.At(b.RefillsAt),
		})
	}
	for _, d := range slices.Backward(r.Decisions) {
		v.Decisions = append(v.Decisions, decisionView(d))
	}
	return v
}

func decisionView(d governor.Decision) webadmin.Decision {
	return webadmin.Decision{
		At: webadmin.At(d.At), Action: d.Action.String(), Acted: d.Acted, Stage: d.Stage.String(), Before: d.Before.String(),
		Of: d.Of.String(), Window: webadmin.Seconds(d.Window), Limit: d.Limit, Burst: d.Burst, Value: d.Value, Ratio: d.Ratio,
		Reason: d.Reason(), Wait: webadmin.Seconds(d.Wait), Until: webadmin.At(d.Until), Case: d.Case,
		Retry: d.Retry, Exemption: d.Exemption,
	}
}

func bindingView(b subscriber.Binding) webadmin.Binding {
	return webadmin.Binding{
		Prefix: b.Prefix.String(), Subscriber: b.Subscriber, Source: b.Source.String(), From: webadmin.At(b.From), Until: webadmin.At(b.Until),
	}
}

// Lookup says who held addr, by the box's wall clock.
func (s *source) Lookup(addr netip.Addr, at time.Time) webadmin.Lookup {
	now := s.a.now()
	if at.IsZero() {
		at = now
	}
	l := webadmin.Lookup{Address: addr.String(), At: webadmin.At(at), Holders: []webadmin.Holder{}}
	for _, b := range s.a.who.At(addr, at, now) {
		sub, _ := s.a.who.Table().ByID(b.Subscriber)
		l.Holders = append(l.Holders, webadmin.Holder{
			Subscriber: b.Subscriber, Name: sub.Name, Plan: s.a.who.planOf(b.Subscriber), Prefix: b.Prefix.String(), Source: b.Source.String(),
			From: webadmin.At(b.From), Until: webadmin.At(b.Until),
		})
	}
	if len(l.Holders) == 0 {
		strangers := s.a.who.strangers.Load()
		l.Unmapped = subscriber.Unmapped(addr, strangers.v4bits, strangers.v6bits)
	}
	return l
}

// Unmapped lists the sources that are nobody's, the one seen last first.
func (s *source) Unmapped(p webadmin.Page) ([]webadmin.Unmapped, string) {
	now := s.a.now()
	found, next := s.a.book.Unmapped(cmp.Or(p.Limit, 100), p.Cursor, now, p.Tie)
	items := make([]webadmin.Unmapped, 0, len(found))
	for _, one := range found {
		if _, held := s.a.who.Lookup(one.Prefix.Addr()); held {
			continue // somebody's line since
		}
		stage := governor.StageObserve
		if r, ok := s.a.gov.Explain(one.Subscriber, now); ok {
			stage = r.Stage
		}
		items = append(items, webadmin.Unmapped{
			Address: address(one.Prefix), Subscriber: one.Subscriber, Stage: stage.String(), First: webadmin.At(one.First), Last: webadmin.At(one.Last),
			Sessions: int64(one.Sessions), Denied: int64(one.Denied), Messages: int64(one.Messages), Destinations: one.Destinations,
			Clients: one.Clients, Crowd: one.Crowd,
		})
	}
	return items, next
}

// address is a prefix as people write it: one address without its length.
func address(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Bindings lists what the API bound, by prefix; the cursor is the last prefix.
func (s *source) Bindings(id string, p webadmin.Page) ([]webadmin.Binding, string) {
	all := s.a.who.Session(subscriber.API, "")
	if after, err := netip.ParsePrefix(p.Cursor); err == nil { // a cursor that is none of ours begins anew
		all = slices.DeleteFunc(all, func(b subscriber.Binding) bool { return b.Prefix.Compare(after) <= 0 })
	}
	items, limit := []webadmin.Binding{}, cmp.Or(p.Limit, 100)
	for _, b := range all {
		switch {
		case id != "" && b.Subscriber != id:
		case len(items) == limit:
			return items, items[limit-1].Prefix
		default:
			items = append(items, bindingView(b))
		}
	}
	return items, ""
}

// Case is what is kept under a number, with those of the subscriber's last
// decisions that belong to it.
func (s *source) Case(id string) (webadmin.Case, bool) {
	f, ok := s.a.cases.file(id)
	if !ok {
		return webadmin.Case{}, false
	}
	v := webadmin.Case{
		ID: f.ID, Subscriber: f.Subscriber, Name: s.named(f.Subscriber).Name, Plan: f.Plan, Opened: webadmin.At(f.Opened), Closed: webadmin.At(f.Closed),
		Stage: f.Stage.String(), Highest: f.Highest.String(), Reason: f.Reason, Until: webadmin.At(f.Until),
		Changes: []webadmin.Change{}, Decisions: []webadmin.Decision{},
	}
	for _, c := range f.Changes {
		v.Changes = append(v.Changes, webadmin.Change{At: webadmin.At(c.At), From: c.From.String(), To: c.To.String(), Reason: c.Reason})
	}
	r, known := s.a.gov.Explain(f.Subscriber, s.a.now())
	if !known {
		return v, true
	}
	if f.Closed.IsZero() && r.Case == id { // the moment moves with every attempt
		v.Stage, v.Until = r.Stage.String(), webadmin.At(r.Until)
	}
	for _, d := range slices.Backward(r.Decisions) {
		if d.Case == id {
			v.Decisions = append(v.Decisions, decisionView(d))
		}
	}
	return v, true
}

// Plans are those of the configuration.
func (s *source) Plans() []webadmin.Plan {
	cfg := s.a.cfg.Load()
	plans := make([]webadmin.Plan, len(cfg.Plans))
	for i, p := range cfg.Plans {
		plans[i] = planView(p)
	}
	return plans
}

func (s *source) Presets() []webadmin.Plan { return Presets() }

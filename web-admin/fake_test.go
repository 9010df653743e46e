package webadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// noon is the time of every test: a Wednesday, in a zone that is not UTC.
var (
	vienna = time.FixedZone("CET", 3600)
	noon   = time.Date(2026, 11, 18, 12, 4, 40, 0, vienna)
)

// fakeBox is a Source with a box full of life. Its fields may be changed under mu while a server reads from it.
type fakeBox struct {
	mu        sync.Mutex
	status    Status
	traffic   Traffic
	subs      []Subscriber
	records   []Record // newest first
	by        []string // who did what: "admin 127.0.0.1 release S-1044"
	bound     []Binding
	sources   []Unmapped
	failing   error // of everything that changes something
	cluster   []Cluster
	dests     Destinations // of every window; its items by pages
	gone      []OfferGone
	histories map[string]History                          // of subscribers, but for their times
	fault     string                                      // of Records
	asked     []string                                    // of Destinations and Share
	broken    error                                       // of Share
	slow      chan struct{}                               // what Share waits for; nil: nothing
	config    string                                      // JSON; empty: fakeConfig
	report    string                                      // of WhatIf, where a configuration is fine,
	trial     func(context.Context, WhatIfQuestion) error // and what comes before; nil: nothing
	astray    bool                                        // a backup has records go elsewhere
	waiting   []string                                    // for a restart
	bare      bool                                        // neither list nor RADIUS nor leases
	foreign   bool                                        // it does not run the image: addresses and updates are not its own
	forgiven  map[string]Subscriber                       // as they were before their release
	tried     *NetworkSettings
	ports     *PortsTrial

	firmware Firmware // the zero value: aFirmware
	came     int      // bytes of updates
}

func (f *fakeBox) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeBox) TestSyslog(_ context.Context, who string) []SyslogResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = append(f.by, who+" syslog_test")
	return []SyslogResult{{URL: "relp://192.0.2.1", OK: true, Took: Seconds(20 * time.Millisecond)}, {URL: "tls://192.0.2.2", Error: "nobody listens"}}
}

func (f *fakeBox) TestNotices(_ context.Context, who string) []NoticeResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = append(f.by, who+" notices_test")
	return []NoticeResult{{Target: "desk", OK: true, Took: Seconds(20 * time.Millisecond)}, {Target: "mail", Error: "connection refused"}}
}

func (f *fakeBox) Evidence(id, who string) ([]byte, bool, error) {
	_, ok := f.Case(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok || f.failing != nil {
		return nil, ok, f.failing
	}
	f.by = append(f.by, who+" evidence "+id)
	return []byte("PK of " + id), true, nil
}

func (f *fakeBox) Traffic() Traffic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.traffic
}

func (f *fakeBox) Subscribers(q Query) ([]Subscriber, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	addr, addrErr := netip.ParseAddr(q.Text)
	var all []Subscriber
	for _, s := range f.subs {
		if q.Exempt && s.Exemption == nil {
			continue
		}
		if len(q.Stages) > 0 && !slices.Contains(q.Stages, s.Stage) {
			continue
		}
		hay := strings.ToLower(strings.Join(append([]string{s.ID, s.Name, s.Plan, s.Case}, s.Prefixes...), "\n"))
		match := strings.Contains(hay, strings.ToLower(q.Text))
		if addrErr == nil {
			match = slices.ContainsFunc(s.Prefixes, func(p string) bool { n, err := netip.ParsePrefix(p); return err == nil && n.Contains(addr) })
		}
		if match {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Subscriber) int {
		switch q.Sort {
		case SortName:
			return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		case SortID:
			return strings.Compare(a.ID, b.ID)
		}
		if q.Sort == SortNetworks {
			return networks(b) - networks(a)
		}
		return stageRank(b.Stage) - stageRank(a.Stage)
	})
	return pageOf(all, q.Cursor, q.Limit)
}

func networks(s Subscriber) (most int) {
	for _, b := range s.Budgets {
		if b.Of == "destinations" {
			most = max(most, b.Value)
		}
	}
	return most
}

func pageOf[T any](all []T, cursor string, limit int) ([]T, string) {
	from, _ := strconv.Atoi(cursor)
	from = min(from, len(all))
	to := min(len(all), from+limit)
	if to < len(all) {
		return slices.Clone(all[from:to]), strconv.Itoa(to)
	}
	return slices.Clone(all[from:to]), ""
}

func (f *fakeBox) Subscriber(id string) (Subscriber, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		if s.ID == id {
			return s, true
		}
	}
	return Subscriber{}, false
}

func (f *fakeBox) Records(ctx context.Context, q RecordQuery) (page RecordPage, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Record
	for _, r := range f.records {
		says := strings.ToLower(r.Text)
		for _, p := range r.Params {
			says += "\n" + strings.ToLower(p.Value)
		}
		if (q.Kind == "" || r.Kind == q.Kind) && (q.Subscriber == "" || r.Subscriber == q.Subscriber) && r.Seq > q.After && (q.Below == 0 || r.Seq < q.Below) &&
			(q.From.IsZero() || !r.At.Before(q.From)) && (q.To.IsZero() || r.At.Before(q.To)) && (q.Seq == 0 || r.Seq == q.Seq) && (q.Case == "" || r.value("case") == q.Case) &&
			(q.Event == "" || r.value("event") == q.Event) && (q.Severity == "" || slices.Index(severityNames, r.Severity) <= slices.Index(severityNames, q.Severity)) &&
			strings.Contains(says, strings.ToLower(q.Text)) {
			all = append(all, r)
		}
	}
	page.Items, page.Next = pageOf(all, q.Cursor, q.Limit)
	page.Fault = f.fault
	return page, ctx.Err()
}

// change does something to a line and writes down who did it.
func (f *fakeBox) change(id, who, what string, do func(*Subscriber) error) (Subscriber, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return Subscriber{}, f.failing
	}
	for i := range f.subs {
		if f.subs[i].ID == id {
			if err := do(&f.subs[i]); err != nil {
				return Subscriber{}, err
			}
			f.by = append(f.by, who+" "+what+" "+id)
			return f.subs[i], nil
		}
	}
	return Subscriber{}, fmt.Errorf("%w: %q", ErrUnknownSubscriber, id)
}

func (f *fakeBox) Release(id, who string) (Subscriber, error) {
	return f.change(id, who, "release", func(s *Subscriber) error {
		was := *s
		s.Stage, s.Case, s.Since, s.Until = "observe", "", At(noon), Time{}
		s.Released = &Released{Since: At(noon), Until: At(noon.Add(15 * time.Minute))}
		if f.forgiven == nil {
			f.forgiven = map[string]Subscriber{}
		}
		f.forgiven[id] = was
		return nil
	})
}

func (f *fakeBox) Unrelease(id, who string) (Subscriber, error) {
	return f.change(id, who, "unrelease", func(s *Subscriber) error {
		was, ok := f.forgiven[id]
		if !ok {
			return ErrNotReleased
		}
		delete(f.forgiven, id)
		*s = was
		return nil
	})
}

func (f *fakeBox) Exempt(id string, until time.Time, reason, who string) (Subscriber, error) {
	return f.change(id, who, "exempt", func(s *Subscriber) error {
		s.Exemption = &Exemption{Since: At(noon), Until: At(until), Reason: reason, By: who}
		return nil
	})
}

func (f *fakeBox) Hold(number, reason, who string) (Hold, error) {
	if _, ok := f.Case(number); !ok {
		return Hold{}, ErrNoCase
	}
	return Hold{Case: number, Reason: reason, By: who}, nil
}

func (f *fakeBox) Unhold(number, who string) (Hold, error) { return Hold{}, ErrNoCase }

func (f *fakeBox) Holds() Holds { return Holds{} }

func (f *fakeBox) WhatIf(ctx context.Context, q WhatIfQuestion) (json.RawMessage, error) {
	config, days, who := q.Config, q.Days, q.Who
	f.mu.Lock()
	trial := f.trial
	f.mu.Unlock()
	if trial != nil {
		if err := trial(ctx, q); err != nil {
			return nil, err
		}
	}
	switch {
	case string(config) == "busy: true":
		return nil, Busy{"olga 192.0.2.2", At(noon.Add(-12 * time.Second))}
	case string(config) == "bad":
		return nil, WrongConfig{{Key: "plans[0].name", Line: 7, Message: "is missing"}}
	case string(config) == "fails":
		return nil, errors.New("/var/lib/mailweir/admin.token:1: unknown column mwt_secret")
	case string(config) == "refused":
		return nil, Refused{Field: "days", Message: "take fewer days"}
	case string(config) == "no journal":
		return nil, ErrNoJournal
	}
	if f.report != "" {
		return json.RawMessage(f.report), nil
	}
	return json.Marshal(map[string]any{"config": string(config), "days": days, "who": who})
}

func (f *fakeBox) Unexempt(id, who string) (Subscriber, error) {
	return f.change(id, who, "unexempt", func(s *Subscriber) error {
		if s.Exemption == nil {
			return ErrNotExempt
		}
		s.Exemption = nil
		return nil
	})
}

func (f *fakeBox) SetPlan(id, plan, who string) (Subscriber, error) {
	return f.change(id, who, "plan", func(s *Subscriber) error {
		switch {
		case plan == "":
			s.Plan, s.PlanSource = s.ListPlan, "list"
		case !slices.ContainsFunc(f.Plans(), func(p Plan) bool { return p.Name == plan }):
			return Refused{"plan", "there is no plan " + strconv.Quote(plan)}
		default:
			s.Plan, s.PlanSource = plan, "operator"
		}
		return nil
	})
}

func (f *fakeBox) Plans() []Plan {
	var plans []Plan
	for _, name := range []string{"residential", "office", "mailserver", "unmapped"} {
		plans = append(plans, Plan{Name: name, Preset: name, For: "A line of kind " + name + ".", HighestStage: "cut",
			Budgets: []PlanBudget{{Of: "sessions", Limit: 20, Window: Seconds(time.Hour), Burst: 5}}, Ladder: Ladder{WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300}})
	}
	return plans
}

func (f *fakeBox) Presets() []Plan { return f.Plans()[:3] }

func (f *fakeBox) Case(id string) (Case, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		if s.Case == id && id != "" {
			return Case{ID: id, Subscriber: s.ID, Name: s.Name, Plan: s.Plan, Opened: s.Since, Stage: s.Stage, Highest: s.Stage, Reason: s.Reason, Until: s.Until, Decisions: s.Decisions,
				Changes: []Change{{At: At(s.Since.Add(-4 * time.Minute)), From: "observe", To: "defer", Reason: "sessions 6/5 at once, 20 per 1h (120%)"}, {At: s.Since, From: "defer", To: s.Stage, Reason: s.Reason}}}, true
		}
	}
	if id == "K7A1B" {
		return Case{ID: id, Subscriber: "S-2004", Name: "Orchard Park 5", Plan: "residential", Opened: ago(50 * time.Hour), Closed: ago(49 * time.Hour), Stage: "defer", Highest: "defer",
			Reason: "sessions 9/5 at once, 20 per 1h (180%)", Changes: []Change{{At: ago(50 * time.Hour), From: "observe", To: "defer", Reason: "sessions 9/5 at once, 20 per 1h (180%)"},
				{At: ago(49 * time.Hour), From: "defer", To: "observe", Reason: "released"}}}, true
	}
	return Case{}, false
}

func (f *fakeBox) Lookup(addr netip.Addr, at time.Time) Lookup {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.IsZero() {
		at = noon
	}
	l := Lookup{Address: addr.String(), At: At(at)}
	for _, s := range f.subs {
		for _, p := range s.Prefixes {
			n, err := netip.ParsePrefix(p)
			if err != nil || !n.Contains(addr) || s.Unmapped {
				continue
			}
			h := Holder{Subscriber: s.ID, Name: s.Name, Plan: s.Plan, Prefix: p, Source: "csv"}
			for _, b := range s.Bindings {
				if b.Prefix == p {
					h.Source, h.From, h.Until = b.Source, b.From, b.Until
				}
			}
			if h.From.IsZero() || !at.Before(h.From.Time) {
				l.Holders = append(l.Holders, h)
			}
		}
	}
	if len(l.Holders) == 0 {
		l.Unmapped = addr.String() + "/32"
	}
	return l
}

func (f *fakeBox) Unmapped(p Page) ([]Unmapped, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return pageOf(f.sources, p.Cursor, p.Limit)
}

func (f *fakeBox) Bindings(sub string, p Page) ([]Binding, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(f.bound), func(b Binding) bool { return sub != "" && b.Subscriber != sub })
	return pageOf(all, p.Cursor, p.Limit)
}

func (f *fakeBox) Bind(prefix netip.Prefix, sub, who string) (Binding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return Binding{}, f.failing
	}
	if !slices.ContainsFunc(f.subs, func(s Subscriber) bool { return s.ID == sub && !s.Unmapped }) {
		return Binding{}, Refused{"subscriber", "the list has no such line"}
	}
	b := Binding{Prefix: prefix.String(), Subscriber: sub, Source: "api", From: At(noon)}
	f.by = append(f.by, who+" bind "+b.Prefix+" to "+sub)
	f.bound = append(slices.DeleteFunc(f.bound, func(o Binding) bool { return o.Prefix == b.Prefix }), b)
	return b, nil
}

func (f *fakeBox) Unbind(prefix netip.Prefix, who string) (Binding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range f.bound {
		if b.Prefix == prefix.String() {
			f.bound = slices.Delete(f.bound, i, i+1)
			f.by = append(f.by, who+" unbind "+b.Prefix)
			b.Until = At(noon)
			return b, nil
		}
	}
	return Binding{}, ErrNotBound
}

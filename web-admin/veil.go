package webadmin

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// veil is a [Source] as a viewer sees it: what lines do and what becomes of them, and not whose they are. It declares each method by
// itself and lets through what it knows to tell nobody's name, so that what is new is masked until somebody thinks about it.
//
//   - A subscriber's id becomes a pseudonym, which stays the same and leads to the same page; its name, the beginning of that. Nothing is in the order
//     of ids.
//   - A customer's address keeps its first 16 bits, or the first 32 of IPv6. Networks of the internet that customers contact, /24 and
//     /48, stay as they are: they are servers of others, counted over all customers.
//   - Words that people or programs wrote (reasons, details, texts of records) are left out.
//   - A search finds case numbers and pseudonyms, so that nobody can ask whether a name or an address is there.
type veil struct {
	src Reader
	ids pseudonyms
}

func newVeil(src Reader, key []byte) *veil { return &veil{src, newPseudonyms(key)} }

// hidden stands for what is not shown.
const hidden = "hidden"

func (v *veil) Traffic() Traffic { return v.src.Traffic() } // numbers
func (v *veil) Plans() []Plan    { return v.src.Plans() }   // of the configuration
func (v *veil) Presets() []Plan  { return v.src.Presets() } // of the program

func (v *veil) Status() Status {
	st := v.src.Status()
	st.Lanes.Fast.Waiting = slices.Clone(st.Lanes.Fast.Waiting)
	for i := range st.Lanes.Fast.Waiting {
		w := &st.Lanes.Fast.Waiting[i]
		w.Subscriber, w.Why = v.ids.hide(w.Subscriber), strings.ReplaceAll(w.Reason, "_", " ")
	}
	slices.SortFunc(st.Lanes.Fast.Waiting, func(a, b Waiting) int { return strings.Compare(a.Subscriber, b.Subscriber) }) // equal ones are by id
	st.Syslog = slices.Clone(st.Syslog)
	for i := range st.Syslog {
		t := &st.Syslog[i]
		t.URL = CollectorMask(t.URL, i)
		if !t.untried() && t.LastError != "" {
			t.LastError = hidden
		}
	}
	st.Notices = slices.Clone(st.Notices)
	for i := range st.Notices {
		n := &st.Notices[i]
		n.Name, n.Where = fmt.Sprintf("target %d", i+1), hidden
		if n.LastError != "" {
			n.LastError = hidden
		}
	}
	if st.Clock.Server != "" {
		st.Clock.Server = "a time server"
	}
	for _, why := range []*string{&st.Clock.Why, &st.Store.Why, &st.Spool.Fault, &st.Journal.Fault, &st.Journal.HoldsUnknown} {
		if *why != "" {
			*why = hidden
		}
	}
	problems := st.Problems
	st.Problems = nil
	for _, lines := range []bool{false, true} { // what they say may name lines
		of := slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return p.Lines != lines })
		if len(of) == 0 {
			continue
		}
		what := count(len(of), "problem of the box", "problems of the box")
		if lines {
			what = count(len(of), "thing to look at among the subscribers", "things to look at among the subscribers")
		}
		first := slices.MinFunc(of, func(a, b Problem) int { return a.Since.Compare(b.Since.Time) })
		st.Problems = append(st.Problems, Problem{What: what, Meaning: "What it is names lines or addresses.", Do: "Tell an operator.", Since: first.Since, Lines: lines})
	}
	return st
}

// CollectorMask is what a viewer sees of the collector at place i of the list; the metrics call it the same.
func CollectorMask(url string, i int) string {
	scheme, _, _ := strings.Cut(url, ":")
	return fmt.Sprintf("%s collector %d", scheme, i+1)
}

func (v *veil) Subscribers(q Query) ([]Subscriber, string) {
	cursor, ok := v.ids.open(q.Cursor)
	if q.Cursor != "" && !ok {
		return nil, ""
	}
	q.Cursor = cursor
	if !slices.Contains(viewerOrders, q.Sort) { // the order of names tells some of them
		q.Sort = ""
	}
	if text := strings.TrimSpace(q.Text); text != "" {
		id, ok := v.ids.seek(text)
		if !ok {
			var c Case
			if c, ok = v.src.Case(caseNumber(text)); ok && !c.Closed.IsZero() {
				ok = false // the page of the case is where it leads
			}
			id = c.Subscriber
		}
		sub, there := v.src.Subscriber(id)
		if !ok || !there || len(q.Stages) > 0 && !slices.Contains(q.Stages, sub.Stage) || q.Exempt && sub.Exemption == nil {
			return nil, ""
		}
		return []Subscriber{v.subscriber(sub)}, ""
	}
	q.Tie, q.TieKey = v.ids.tie, v.ids.orderKey
	items, next := v.src.Subscribers(q)
	masked := make([]Subscriber, len(items))
	for i, sub := range items {
		masked[i] = v.subscriber(sub)
	}
	return masked, v.ids.hideCursor(next)
}

func (v *veil) Subscriber(id string) (Subscriber, bool) {
	real, ok := v.ids.open(id)
	if !ok {
		return Subscriber{}, false
	}
	sub, ok := v.src.Subscriber(real)
	return v.subscriber(sub), ok
}

func (v *veil) subscriber(sub Subscriber) Subscriber {
	m := Subscriber{
		ID: v.ids.hide(sub.ID), Name: v.ids.name(sub.ID), Plan: sub.Plan, PlanSource: sub.PlanSource, ListPlan: sub.ListPlan, Unmapped: sub.Unmapped,
		Stage: sub.Stage, Since: sub.Since, Until: sub.Until, Reason: sub.Reason, Case: sub.Case, Open: sub.Open, Budgets: sub.Budgets,
		Lane: Lane{Waits: sub.Lane.Waits, Reason: sub.Lane.Reason, Why: strings.ReplaceAll(sub.Lane.Reason, "_", " "), Sessions: sub.Lane.Sessions, Addresses: maskAll(sub.Lane.Addresses)},
	}
	m.Prefixes, m.Decisions = maskAll(sub.Prefixes), v.decisions(sub.Decisions)
	for _, b := range sub.Bindings {
		m.Bindings = append(m.Bindings, v.binding(b))
	}
	if x := sub.Exemption; x != nil {
		m.Exemption = &Exemption{Since: x.Since, Until: x.Until, Reason: hidden, By: hidden}
	}
	m.Released = sub.Released
	return m
}

// History keeps when and how much; whom the line talks to is shown as records show it.
func (v *veil) History(ctx context.Context, id string, step time.Duration) (History, bool, error) {
	real, ok := v.ids.open(id)
	if !ok {
		return History{}, false, nil
	}
	h, ok, err := v.src.History(ctx, real, step)
	m := History{Subscriber: v.ids.hide(real), Step: h.Step, From: h.From, To: h.To, Since: h.Since, More: h.More, Points: h.Points, OtherNetworks: h.OtherNetworks,
		Prints: h.Prints, OtherPrints: h.OtherPrints}
	if h.Fault != "" {
		m.Fault = hidden
	}
	for _, c := range h.Stages {
		m.Stages = append(m.Stages, Change{At: c.At, From: c.From, To: c.To, Reason: c.Reason})
	}
	for _, one := range h.Sessions {
		one.Server = maskAddress(one.Server)
		m.Sessions = append(m.Sessions, one)
	}
	for _, n := range h.Networks {
		m.Networks = append(m.Networks, LineNetwork{Network: maskAddress(n.Network), Sessions: n.Sessions, Last: n.Last})
	}
	return m, ok, err
}

func (v *veil) binding(b Binding) Binding {
	return Binding{Prefix: maskAddress(b.Prefix), Subscriber: v.ids.hide(b.Subscriber), Source: b.Source, From: b.From, Until: b.Until}
}

func (v *veil) decisions(all []Decision) []Decision {
	masked := slices.Clone(all)
	for i := range masked {
		if masked[i].Exemption != "" {
			masked[i].Exemption = hidden
		}
	}
	return masked
}

func (v *veil) Case(id string) (Case, bool) {
	c, ok := v.src.Case(id)
	if !ok {
		return Case{}, false
	}
	return Case{
		ID: c.ID, Subscriber: v.ids.hide(c.Subscriber), Name: v.ids.name(c.Subscriber), Plan: c.Plan, Opened: c.Opened, Closed: c.Closed, Stage: c.Stage,
		Highest: c.Highest, Reason: c.Reason, Until: c.Until, Changes: c.Changes, Decisions: v.decisions(c.Decisions),
	}, true
}

func (v *veil) Unmapped(p Page) ([]Unmapped, string) {
	cursor, ok := v.ids.open(p.Cursor)
	if p.Cursor != "" && !ok {
		return nil, ""
	}
	p.Cursor, p.Tie, p.TieKey = cursor, v.ids.tie, v.ids.orderKey
	items, next := v.src.Unmapped(p)
	masked := slices.Clone(items)
	for i, u := range items {
		masked[i].Address, masked[i].Subscriber = maskAddress(u.Address), v.ids.hide(u.Subscriber)
		if u.Crowd != "" {
			masked[i].Crowd = "looks like many"
		}
	}
	return masked, v.ids.hideCursor(next)
}

// Lookup answers nothing: who held an address is what a viewer is not told.
func (v *veil) Lookup(netip.Addr, time.Time) Lookup { return Lookup{} }

// Bindings lists nothing, for the same reason.
func (v *veil) Bindings(string, Page) ([]Binding, string) { return nil, "" }

// Holds lists nothing: what courts want to know.
func (v *veil) Holds() Holds { return Holds{} }

func (v *veil) Clusters(p Page) ([]Cluster, string) {
	items, next := v.src.Clusters(p)
	masked := slices.Clone(items)
	for i := range masked {
		masked[i] = v.cluster(masked[i])
	}
	return masked, next
}

func (v *veil) Destinations(window time.Duration, p Page) Destinations {
	return v.src.Destinations(window, p)
}

func (v *veil) Share(q ShareQuery) ([]SharePoint, time.Time, error) { return v.src.Share(q) }

// Cluster is one of Clusters, masked as they are.
func (v *veil) Cluster(id string) (Cluster, bool) {
	c, ok := v.src.Cluster(id)
	return v.cluster(c), ok
}

func (v *veil) cluster(c Cluster) Cluster {
	c.Members = slices.Clone(c.Members)
	for i := range c.Members {
		m := &c.Members[i]
		m.Subscriber, m.Name = v.ids.hide(m.Subscriber), v.ids.name(m.Subscriber)
	}
	return c
}

// OffersGone masks the servers as records do; their networks are those of Destinations.
func (v *veil) OffersGone(p Page) ([]OfferGone, string) {
	cursor, ok := v.ids.open(p.Cursor)
	if p.Cursor != "" && !ok {
		return nil, ""
	}
	p.Cursor = cursor
	items, next := v.src.OffersGone(p)
	masked := slices.Clone(items)
	for i := range masked {
		server, _ := netip.ParseAddrPort(masked[i].Server) // of what is none nothing is shown
		masked[i].Server = maskAddress(server.Addr().String())
	}
	return masked, v.ids.hideCursor(next)
}

// Records are masked one by one. A text finds case numbers and pseudonyms only, as on the list of subscribers.
func (v *veil) Records(ctx context.Context, q RecordQuery) (RecordPage, error) {
	if q.Subscriber != "" {
		id, ok := v.ids.open(q.Subscriber)
		if !ok {
			return RecordPage{}, nil
		}
		q.Subscriber = id
	}
	if q.Text != "" {
		switch id, ok := v.ids.seek(q.Text); {
		case !ok:
			q.Case = caseNumber(q.Text)
		case q.Subscriber != "" && q.Subscriber != id:
			return RecordPage{}, nil
		default:
			q.Subscriber = id
		}
		q.Text = ""
	}
	page, err := v.src.Records(ctx, q)
	masked := make([]Record, len(page.Items))
	for i, r := range page.Items {
		masked[i] = v.record(r)
	}
	page.Items = masked
	if page.Fault != "" {
		page.Fault = hidden
	}
	return page, err
}

// open parameters of records are numbers, times, and words that the box itself chooses from a list. The event's id is not among them: it is what keeps anybody from trying
// names and addresses against the hash of a record, which the one behind it carries.
var openParams = wordSet(`seq prev box mode policy plan sport dport start end dur_ms bytes_up bytes_down starttls tls tls_version ja3 ja4
	handshake alert handshake_bytes messages messages_lo messages_hi recipients rejected end_reason action acted stage from to reason budget
	window limit burst value ratio wait_ms until case retry what count first_seq last_seq cluster looks_like networks sessions subscribers bits weights`)

func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}

func (v *veil) record(r Record) Record {
	m := Record{Seq: r.Seq, At: r.At, Kind: r.Kind, Severity: r.Severity, Hash: r.Hash}
	if r.Subscriber != "" {
		m.Subscriber = v.ids.hide(r.Subscriber)
	}
	for _, p := range r.Params {
		switch {
		case p.Name == "subscriber":
			p.Value = v.ids.hide(p.Value)
		case p.Name == "src" || p.Name == "dst" || p.Name == "binding":
			p.Value = maskAddress(p.Value)
		case (p.Name == "from" || p.Name == "to") && r.Kind != "STAGE":
			p.Value = hidden // of a stage they are stages
		case p.Name == "reason" && r.Kind != "STAGE" && r.Kind != "DECISION":
			p.Value = hidden
		case !openParams[p.Name]:
			p.Value = hidden
		}
		m.Params = append(m.Params, p)
	}
	if m.Kind == "AUDIT" || m.Kind == "HEALTH" || m.Kind == "CONFIG" {
		for _, p := range m.Params {
			if p.Name == "what" {
				m.Text = p.Value
			}
		}
	}
	return m
}

func maskAll(addresses []string) []string {
	masked := make([]string, len(addresses))
	for i, a := range addresses {
		masked[i] = maskAddress(a)
	}
	return masked
}

// maskAddress is what a viewer sees of an address or a prefix.
func maskAddress(text string) string {
	host, _, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return hidden
	case a.Unmap().Is4():
		b := a.Unmap().As4()
		return fmt.Sprintf("%d.%d.x.x", b[0], b[1])
	}
	b := a.As16()
	return fmt.Sprintf("%x:%x:x", uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3]))
}

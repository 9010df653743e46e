package webadmin

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/web-admin/users"
)

const (
	subscribersPerPage = 50
	shownPrefixes      = 2
)

// lineView is a subscriber as one row of a table.
type lineView struct {
	ID, Name, Link, Plan string
	Prefixes             []string // the first ones
	MorePrefixes         string   // how many are not shown; empty: none
	Unmapped             bool
	Exempt               moment // until when; nothing when it is not
	Stage                string
	Since, Until         moment
	Case                 string
	Open                 string
	Top                  *budgetView // the budget that explains the stage
}

// budgetView is one budget as a bar with its text.
type budgetView struct {
	Of, Text, Percent string
	Fill              string // width of the bar in per cent of its place, in which the limit stands at limitAt
	Tone              string // good, near, over
	Beyond            bool   // fuller than the bar can show
	Pressure          string // attempts beyond it that count towards a cut; empty: none
	Refills           moment
}

// limitAt is where on a bar the limit stands, in per cent: bars show up to 150 % of a budget, all on one scale.
const limitAt = 100.0 / 1.5

func budgetOf(b Budget, z zone) budgetView {
	v := budgetView{Of: kindText(b.Of), Text: limitText(b), Percent: percent(b.Ratio), Refills: z.clock(b.RefillsAt.Time), Tone: "good"}
	ratio := b.Ratio
	if math.IsNaN(ratio) || ratio < 0 {
		ratio = 0
	}
	switch {
	case ratio > 1:
		v.Tone = "over"
	case ratio >= 0.8:
		v.Tone = "near"
	}
	fill := ratio * limitAt
	if fill > 100 {
		fill, v.Beyond = 100, true
	}
	if b.Pressure > 0 {
		v.Pressure = count(b.Pressure, "refused attempt", "refused attempts")
	}
	v.Fill = strconv.FormatFloat(fill, 'f', 1, 64)
	return v
}

func lineOf(sub Subscriber, z zone) lineView {
	v := lineView{ID: shortID(sub.ID), Name: inert(sub.Name), Link: subscriberLink(sub.ID), Plan: inert(sub.Plan), Unmapped: sub.Unmapped,
		Stage: inert(sub.Stage), Since: z.clock(sub.Since.Time), Until: z.clock(sub.Until.Time), Case: inert(sub.Case), Open: number(sub.Open)}
	if sub.Exemption != nil {
		v.Exempt = z.clock(sub.Exemption.Until.Time)
	}
	for i, p := range sub.Prefixes {
		if p == sub.ID {
			continue // an unmapped source is called by its prefix
		}
		if i == shownPrefixes {
			v.MorePrefixes = number(len(sub.Prefixes) - i)
			break
		}
		v.Prefixes = append(v.Prefixes, inert(p))
	}
	if v.Name == "" {
		v.Name = v.ID
	}
	if top := cause(sub); top != nil {
		b := budgetOf(*top, z)
		v.Top = &b
	}
	return v
}

// subscribersView answers: who is on this box, and in which stage?
type subscribersView struct {
	Text, Stage string
	Sort        string
	Exempt      bool
	Stages      []stageTab
	Orders      []orderLink
	Lines       []lineView
	Next, Start string // links to the following page, if there is one, and to the first
	First       bool   // this is the first page
	Filtered    bool
}

type stageTab struct {
	Stage, Text, Link string
	Count             string // empty where the number says nothing: nearly everybody is in observe
	Here              bool
}

// orderLink is an order of the list.
type orderLink struct {
	Text, Link string
	Here       bool
}

// subscriberOrders are the orders that somebody can ask for, and those that a viewer can: whose names are hidden cannot be put in order by them.
var (
	subscriberOrders = []string{SortName, SortID, SortBudget, SortSince, SortNetworks}
	viewerOrders     = []string{SortBudget, SortSince, SortNetworks}
)

var orderWords = map[string]string{"": "stage", SortName: "name", SortID: "id", SortBudget: "budget", SortSince: "since when", SortNetworks: "networks contacted"}

// shortID is an id as pages show it: the pseudonym of a line behind the veil is long, longer than any id that begins so, and its name is the beginning of it.
func shortID(id string) string {
	if strings.HasPrefix(id, pseudonymMark) && len(id) > idRoom {
		return inert(id[:len(pseudonymMark)+nameLetters])
	}
	return inert(id)
}

func (s *Server) subscribersPage(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := Query{Stages: in.stages("stage"), Text: in.text("q"), Exempt: in.yes("exempt"), Sort: in.order("sort"), Limit: subscribersPerPage, Cursor: in.cursor()}
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of subscribers.")
		return
	}
	if addr, at, ok := addressAt(q.Text, s.opt.Now(), s.opt.Location); ok {
		http.Redirect(w, r, lookupLink(addr.String(), at.In(s.opt.Location).Format("2006-01-02 15:04:05")), http.StatusSeeOther)
		return
	}
	orders := subscriberOrders
	if !actorOf(r).role.May(users.Operator) {
		if orders = viewerOrders; !slices.Contains(orders, q.Sort) {
			q.Sort = ""
		}
	}
	items, next := s.see(r).Subscribers(q)
	searched := q.Text != "" && q.Cursor == "" && next == "" && len(q.Stages) == 0 && !q.Exempt
	// A search that means one line opens it: that is what somebody with a caller on the line wants.
	if searched && len(items) == 1 {
		http.Redirect(w, r, subscriberLink(items[0].ID), http.StatusSeeOther)
		return
	}
	if searched && len(items) == 0 { // nobody has this case now, but somebody had
		if c, ok := s.see(r).Case(caseNumber(q.Text)); ok {
			http.Redirect(w, r, caseLink(c.ID), http.StatusSeeOther)
			return
		}
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v := subscribersView{Text: q.Text, Stage: strings.Join(q.Stages, ","), Sort: q.Sort, Exempt: q.Exempt, First: q.Cursor == "", Filtered: q.Text != "" || len(q.Stages) > 0 || q.Exempt}
	for _, sub := range items {
		v.Lines = append(v.Lines, lineOf(sub, z))
	}
	if next != "" {
		v.Next = v.link(v.Stage, v.Exempt, next)
	}
	st := s.see(r).Status()
	v.Stages = []stageTab{{"", "all", v.link("", false, ""), "", v.Stage == "" && !v.Exempt}}
	for _, t := range []struct {
		stage string
		n     int
	}{{"cut", st.Stages.Cut}, {"defer", st.Stages.Defer}, {"pace", st.Stages.Pace}, {"warn", st.Stages.Warn}} {
		v.Stages = append(v.Stages, stageTab{t.stage, t.stage, v.link(t.stage, false, ""), number(t.n), v.Stage == t.stage && !v.Exempt})
	}
	v.Stages = append(v.Stages, stageTab{"observe", "observe", v.link("observe", false, ""), "", v.Stage == "observe" && !v.Exempt},
		stageTab{"", "exempt", v.link("", true, ""), number(st.Exempt), v.Exempt})
	v.Start, v.Orders = v.link(v.Stage, v.Exempt, ""), v.orders(orders)
	s.render(w, r, http.StatusOK, "subscribers", frame{Title: "Subscribers", Here: "/subscribers", Live: v.First, Search: q.Text}, v)
}

// orders are the links to this page in each order.
func (v subscribersView) orders(names []string) (links []orderLink) {
	here := v.Sort
	for _, name := range append([]string{""}, names...) {
		if name == SortNetworks && name != here {
			continue // the table does not show them; the page of destinations does, and leads here
		}
		v.Sort = name
		links = append(links, orderLink{orderWords[name], v.link(v.Stage, v.Exempt, ""), name == here})
	}
	return links
}

// order reads the order of a list of subscribers.
func (in *input) order(name string) string {
	return in.oneOf(name, in.text(name), subscriberOrders)
}

// link is this page with another stage, with the exempt ones only, or from a cursor on.
func (v subscribersView) link(stage string, exempt bool, cursor string) string {
	q := url.Values{}
	if exempt {
		q.Set("exempt", "1")
	}
	for name, value := range map[string]string{"q": v.Text, "stage": stage, "sort": v.Sort, "cursor": cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return "/subscribers"
	}
	return "/subscribers?" + q.Encode()
}

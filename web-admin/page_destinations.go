package webadmin

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	destinationsPerPage = 50
	shownGone           = 20
	shownReach          = 20 // lines that contact many networks
	shownContacted      = 5  // networks on the overview
)

// destinationsView answers: where does mail go, and how sure is that?
type destinationsView struct {
	Windows   []kindTab
	Window    string // in words
	From      moment
	Sessions  string // to all networks
	Exact     bool   // every figure is
	Unlisted  string // what a network that is not listed had at most
	Rows      []destinationRow
	Owners    bool // somebody is named
	OwnersOf  moment
	NoOwners  bool // there is no database
	Next      string
	First     bool
	Gone      []goneRow
	MoreGone  bool
	GoneLink  string // records of it
	Reach     []reachRow
	ReachLink string // to more of them
}

// destinationRow is a network with what is known of how much it is contacted.
type destinationRow struct {
	Network, Owner, AS string
	Sessions           string // "412", or "405 to 412"
	Share              string // of all sessions, at least
	Bytes              string
}

type goneRow struct {
	Server, Owner string
	Since         moment
}

// reachRow is a line with how many networks it contacted within the window of its budget.
type reachRow struct {
	Name, ID, Link string
	Networks, Of   string
	Stage          string
	value          int
}

// windowWords are the windows as people say them.
var windowWords = map[string]string{"5m": "last 5 min", "1h": "last hour", "24h": "last day"}

func destinationsLink(window, cursor string) string {
	q := url.Values{}
	if window != "5m" {
		q.Set("window", window)
	}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if len(q) == 0 {
		return "/destinations"
	}
	return "/destinations?" + q.Encode()
}

func (s *Server) destinationsPage(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	name := cmp.Or(in.text("window"), "5m")
	window, p := in.length("window", "5m", windows), Page{Limit: destinationsPerPage, Cursor: in.cursor()}
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of destinations.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	d := s.see(r).Destinations(window, p)
	v := destinationsView{Window: windowWords[name], From: z.second(d.From.Time), Sessions: count(d.Sessions, "session", "sessions"), Exact: d.Error == 0, First: p.Cursor == "",
		OwnersOf: z.clock(d.Owners.Time), NoOwners: d.Owners.IsZero(), GoneLink: recordsAsk{Kind: "HEALTH", Q: "starttls_gone"}.link(nil)}
	if d.Error > 0 {
		v.Unlisted = count(d.Error, "session", "sessions")
	}
	for _, one := range windows {
		v.Windows = append(v.Windows, kindTab{windowWords[one], destinationsLink(one, ""), one == name})
	}
	v.Rows = destinationRows(d)
	v.Owners = slices.ContainsFunc(v.Rows, func(row destinationRow) bool { return row.Owner != "" || row.AS != "" })
	if d.Next != "" {
		v.Next = destinationsLink(name, d.Next)
	}
	if v.First {
		gone, next := s.see(r).OffersGone(Page{Limit: shownGone})
		for _, g := range gone {
			v.Gone = append(v.Gone, goneRow{inert(g.Server), ownerText(g.Owner, g.AS), z.clock(g.Since.Time)})
		}
		v.MoreGone = next != ""
		v.reach(s.see(r), z)
	}
	s.render(w, r, http.StatusOK, "destinations", frame{Title: "Destinations", Here: "/destinations", Live: v.First}, v)
}

func destinationRows(d Destinations) (rows []destinationRow) {
	for _, n := range d.Items {
		row := destinationRow{Network: inert(n.Network), Owner: inert(n.Owner), Sessions: number(n.Sessions), Bytes: size(int64(n.Bytes))}
		if n.AS > 0 {
			row.AS = fmt.Sprintf("AS%d", n.AS)
		}
		least := n.Sessions - min(n.Error, n.Sessions)
		if least < n.Sessions {
			row.Sessions = number(least) + " to " + number(n.Sessions)
		}
		if d.Sessions > 0 {
			row.Share = percent(float64(least) / float64(d.Sessions))
		}
		rows = append(rows, row)
	}
	return rows
}

func ownerText(name string, as uint64) string {
	if as == 0 {
		return inert(name)
	}
	return joined(inert(name), fmt.Sprintf("AS%d", as))
}

// reach shows the lines that contact most networks: a plan may have a budget of that, and only then is it counted.
func (v *destinationsView) reach(src Reader, z zone) {
	subs, _ := src.Subscribers(Query{Sort: SortNetworks, Limit: shownReach})
	for _, sub := range subs {
		var most *Budget
		for i := range sub.Budgets {
			if b := &sub.Budgets[i]; b.Of == "destinations" && b.Value > 0 && (most == nil || b.Value > most.Value) {
				most = b
			}
		}
		if most == nil {
			continue
		}
		line := lineOf(sub, z)
		v.Reach = append(v.Reach, reachRow{line.Name, line.ID, line.Link, number(most.Value), fmt.Sprintf("%s %s", number(most.Limit), perWindow(time.Duration(most.Window))), line.Stage, most.Value})
	}
	slices.SortStableFunc(v.Reach, func(a, b reachRow) int { return b.value - a.value })
	v.ReachLink = subscribersView{Sort: SortNetworks}.link("", false, "")
}

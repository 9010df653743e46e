package webadmin

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const unmappedPerPage = 50

// lookupView answers: who held this address then?
type lookupView struct {
	Address, At string   // as typed
	Wrong       []string // what is wrong with that
	Done        bool     // somebody was looked for
	When        moment
	Now         bool // the time is now
	Holders     []holderView
	Unmapped    string // the id that counts it; empty: somebody holds it
	Link        string // of that
	Others      bool   // more than one said that he held it
}

type holderView struct {
	Subscriber, Name, Link string
	Plan, Prefix, Source   string
	From, Until            moment
}

// lookupLink is the lookup page for an address at a time, both as a person types them.
func lookupLink(address, at string) string {
	return "/lookup?" + url.Values{"address": {address}, "at": {at}}.Encode()
}

func (s *Server) lookupPage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	z := zone{s.opt.Now(), s.opt.Location}
	v := lookupView{Address: inert(strings.TrimSpace(q.Get("address"))), At: inert(strings.TrimSpace(q.Get("at")))}
	status := http.StatusOK
	addr, err := netip.ParseAddr(v.Address)
	at, wrongTime := ParsePast(v.At, z.now, z.loc)
	if v.Address != "" && (err != nil || addr.Zone() != "") {
		v.Wrong = append(v.Wrong, "Address: an IPv4 or IPv6 address like 192.0.2.7 or 2001:db8::7.")
	}
	if wrongTime != nil {
		v.Wrong = append(v.Wrong, "At: "+wrongTime.Error()+".")
	}
	switch {
	case len(v.Wrong) > 0:
		status = http.StatusBadRequest
	case v.Address != "":
		v.Done, v.Now, v.When = true, v.At == "", z.second(at)
		l := s.see(r).Lookup(addr.Unmap(), at)
		for _, h := range l.Holders {
			v.Holders = append(v.Holders, holderOf(h, z))
		}
		v.Others = len(v.Holders) > 1
		if len(v.Holders) == 0 && l.Unmapped != "" {
			v.Unmapped, v.Link = inert(l.Unmapped), subscriberLink(l.Unmapped)
		}
	}
	s.render(w, r, status, "lookup", frame{Title: "Who held an address", Here: "/subscribers"}, v)
}

func holderOf(h Holder, z zone) holderView {
	v := holderView{Subscriber: inert(h.Subscriber), Name: inert(h.Name), Link: subscriberLink(h.Subscriber), Plan: inert(h.Plan), Prefix: inert(h.Prefix),
		Source: sourceName(h.Source), From: z.clock(h.From.Time), Until: z.clock(h.Until.Time)}
	if v.Name == "" {
		v.Name = v.Subscriber
	}
	return v
}

// unmappedView answers: who is on no list, and what did they do?
type unmappedView struct {
	Rows  []unmappedRow
	Next  string // link to the following page
	First bool
	Crowd bool // somebody of this page looks like many
}

type unmappedRow struct {
	Address, Link, CountedAs, Stage                   string
	Sessions, Denied, Messages, Destinations, Clients string
	First, Last                                       moment
	Crowd                                             string
}

func (s *Server) unmappedPage(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	p := Page{Limit: unmappedPerPage, Cursor: in.cursor()}
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of unmapped sources.")
		return
	}
	items, next := s.see(r).Unmapped(p)
	z := zone{s.opt.Now(), s.opt.Location}
	v := unmappedView{First: p.Cursor == ""}
	for _, u := range items {
		row := unmappedRow{Address: inert(u.Address), Link: subscriberLink(u.Subscriber), Stage: inert(u.Stage), Sessions: number(u.Sessions), Denied: number(u.Denied),
			Messages: number(u.Messages), Destinations: number(u.Destinations), Clients: number(u.Clients), First: z.clock(u.First.Time), Last: z.clock(u.Last.Time), Crowd: inert(u.Crowd)}
		if u.Subscriber != u.Address && u.Subscriber != u.Address+"/32" {
			row.CountedAs = shortID(u.Subscriber)
		}
		v.Crowd = v.Crowd || u.Crowd != ""
		v.Rows = append(v.Rows, row)
	}
	if next != "" {
		v.Next = "/unmapped?" + url.Values{"cursor": {next}}.Encode()
	}
	s.render(w, r, http.StatusOK, "unmapped", frame{Title: "Unmapped sources", Here: "/subscribers", Live: v.First}, v)
}

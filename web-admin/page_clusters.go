package webadmin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	clustersPerPage = 50
	membersPerPage  = 100
)

// clustersView answers: is one program on many lines?
type clustersView struct {
	Rows     []clusterRow
	Learning string // how long it has learnt, while none begins yet; empty: it has
	Prints   string
	Next     string
	First    bool
}

type clusterRow struct {
	ID, Link, Looks, Print string
	Botnet, On             bool
	Lines, Sessions, Bits  string
	Began, Last            moment
	State                  string
}

// looksWords are the words for what a cluster looks like.
var looksWords = map[string]string{"botnet": "probably one botnet", "software_update": "probably an update of a program"}

// endWords say why a cluster ended.
var endWords = map[string]string{"quiet": "ended: nobody uses it any more", "known_good": "ended: the client is known as good",
	"forgotten": "ended: it made room for a newer one"}

func clusterLink(id string) string { return "/clusters/" + url.PathEscape(id) }

func clusterOf(c Cluster, z zone) clusterRow {
	row := clusterRow{ID: inert(c.ID), Link: clusterLink(c.ID), Looks: looksWords[c.LooksLike], Print: inert(c.JA4), Botnet: c.LooksLike == "botnet", On: c.Ended.IsZero(),
		Lines: number(c.Count), Sessions: number(c.Sessions), Bits: strconv.FormatFloat(c.Bits, 'f', 1, 64), Began: z.clock(c.Began.Time), Last: z.clock(c.Last.Time), State: "goes on"}
	if row.Looks == "" {
		row.Looks = inert(c.LooksLike)
	}
	if !row.On {
		if row.State = endWords[c.EndReason]; row.State == "" {
			row.State = "ended: " + inert(c.EndReason)
		}
	}
	return row
}

func (s *Server) clustersPage(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	p := Page{Limit: clustersPerPage, Cursor: in.cursor()}
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of clusters.")
		return
	}
	items, next := s.see(r).Clusters(p)
	st := s.see(r).Status().Clusters
	z := zone{s.opt.Now(), s.opt.Location}
	v := clustersView{First: p.Cursor == "", Prints: count(st.Prints, "print is known", "prints are known")}
	if st.Learning {
		v.Learning = span(time.Duration(st.Learnt))
	}
	for _, c := range items {
		v.Rows = append(v.Rows, clusterOf(c, z))
	}
	if next != "" {
		v.Next = "/clusters?" + url.Values{"cursor": {next}}.Encode()
	}
	s.render(w, r, http.StatusOK, "clusters", frame{Title: "Clusters", Here: "/clusters", Live: v.First}, v)
}

// clusterView answers: what is it, who has it, and why may that be wrong?
type clusterView struct {
	clusterRow
	JA3        []string
	Shuffles   bool
	Why        string
	Ended      moment
	Messages   string
	Networks   string
	Weights    []weightRow
	MayBeWrong []string
	Members    []memberRow
	MoreLines  string // lines that are not known by name any more; empty: none
	Next       string
	First      bool
	Records    string // link
	// SessionsLink leads to the records of its sessions.
	SessionsLink string
	KnownGood    bool // the client is known as good, by this cluster's end
	Saved        bool
	Errors       []formError
}

type weightRow struct {
	Name, Bits, Text string
	Against          bool
}

type memberRow struct {
	Name, ID, Link               string
	First, Last                  moment
	Sessions, Messages, Networks string
	Former                       bool
}

func (s *Server) clusterPage(w http.ResponseWriter, r *http.Request) {
	s.showCluster(w, r, http.StatusOK, nil)
}

func (s *Server) showCluster(w http.ResponseWriter, r *http.Request, status int, wrong []formError) {
	c, ok := s.see(r).Cluster(r.PathValue("id"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such cluster", "None has this id, or it ended so long ago that the box has forgotten it. CLUSTER records tell of it.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v := clusterView{clusterRow: clusterOf(c, z), Shuffles: c.Shuffles, Why: visible(c.Why), Ended: z.clock(c.Ended.Time), Messages: number(c.MessagesLo), Networks: number(c.Networks),
		Records: recordsAsk{Kind: "CLUSTER", Q: quoted(c.ID)}.link(nil), SessionsLink: recordsAsk{Kind: "SESSION", Q: c.JA4}.link(nil), KnownGood: c.EndReason == "known_good",
		Saved: r.URL.Query().Get("saved") != "", Errors: wrong}
	for _, one := range c.JA3 {
		v.JA3 = append(v.JA3, inert(one))
	}
	for _, doubt := range c.MayBeWrong {
		v.MayBeWrong = append(v.MayBeWrong, visible(doubt))
	}
	for _, one := range c.Weights {
		v.Weights = append(v.Weights, weightRow{inert(one.Name), strconv.FormatFloat(one.Bits, 'f', 1, 64), inert(one.Text), one.Bits < 0})
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	from = min(max(from, 0), len(c.Members))
	to := min(from+membersPerPage, len(c.Members))
	for _, m := range c.Members[from:to] {
		row := memberRow{Name: inert(m.Name), ID: shortID(m.Subscriber), Link: subscriberLink(m.Subscriber), First: z.clock(m.First.Time), Last: z.clock(m.Last.Time),
			Sessions: number(m.Sessions), Messages: number(m.MessagesLo), Networks: number(m.Networks), Former: m.Former}
		if row.Name == "" {
			row.Name = row.ID
		}
		v.Members = append(v.Members, row)
	}
	if more := c.Count - len(c.Members); more > 0 {
		v.MoreLines = count(more, "line", "lines")
	}
	if v.First = from == 0; to < len(c.Members) {
		v.Next = fmt.Sprintf("%s?from=%d", clusterLink(c.ID), to)
	}
	s.render(w, r, status, "cluster", frame{Title: "Cluster " + v.ID, Here: "/clusters", Live: status == http.StatusOK && v.First && !v.Saved}, v)
}

// quoted is a text that a search takes as such.
func quoted(text string) string { return `"` + text + `"` }

// knowCluster puts the client of a cluster into clusters.known_good; forgetCluster takes it out again.
func (s *Server) knowCluster(w http.ResponseWriter, r *http.Request)   { s.setKnown(w, r, true) }
func (s *Server) forgetCluster(w http.ResponseWriter, r *http.Request) { s.setKnown(w, r, false) }

func (s *Server) setKnown(w http.ResponseWriter, r *http.Request, good bool) {
	c, ok := s.see(r).Cluster(r.PathValue("id"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such cluster", "Nothing was changed. None has this id, or the box has forgotten it.")
		return
	}
	config, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	at := slices.IndexFunc(now.Clusters.KnownGood, func(one string) bool { return strings.EqualFold(one, c.JA4) })
	var change ConfigKey
	switch {
	case good && at < 0:
		change = set(fmt.Sprintf("clusters.known_good[%d]", len(now.Clusters.KnownGood)), c.JA4)
	case !good && at >= 0:
		change = takeOut(fmt.Sprintf("clusters.known_good[%d]", at))
	default: // as it is already
		http.Redirect(w, r, clusterLink(c.ID), http.StatusSeeOther)
		return
	}
	_, err := s.opt.Source.SetConfig(ConfigChange{Revision: config.Revision, Keys: []ConfigKey{change}}, actorOf(r).who)
	if wrong, known := whatWasWrong(err, keyLabels{{"clusters", "", "Known as good"}}); known {
		s.showCluster(w, r, http.StatusConflict, wrong)
		return
	}
	if err != nil {
		s.broken(w, r, err, "Nothing was changed")
		return
	}
	http.Redirect(w, r, clusterLink(c.ID)+"?saved=1", http.StatusSeeOther)
}

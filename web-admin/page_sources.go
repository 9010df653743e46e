package webadmin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// sourcesView answers: who tells this box whose an address is, and does it still hear them?
type sourcesView struct {
	Revision string
	Waiting  []string
	Errors   []formError
	Open     string // the form that stays open: radius, leases
	List     listSourceView
	RADIUS   radiusView
	Leases   []leaseView
	Usual    []string // lease files that can be added
	Bound    string   // how many addresses are bound, by whom
}

type listSourceView struct {
	File, Count, Refused string
}

type radiusView struct {
	On                      bool
	Heard                   moment
	Listen, Clients, Counts string
	Ignored                 []string // "12 wrong secret"
	Unlisted                string
	HasSecret, Dated        bool
}

type leaseView struct {
	Index        int
	Path, Format string
	Read         moment
	Count        string
	Bad, Problem string
	Missing      bool // it was never read
}

func (s *Server) sourcesPage(w http.ResponseWriter, r *http.Request) {
	s.showSources(w, r, http.StatusOK, sourcesView{})
}

// showSources fills what v does not have: of a form that stays open, what was typed stays.
func (s *Server) showSources(w http.ResponseWriter, r *http.Request, status int, v sourcesView) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	st, z := s.opt.Source.Sources(), zone{s.opt.Now(), s.opt.Location}
	v.Revision, v.Waiting = c.Revision, c.Waiting
	v.List = listSourceView{inert(st.List.File), count(st.List.Subscribers, "subscriber", "subscribers"), inert(st.List.Refused)}
	b := st.Bindings
	v.Bound = fmt.Sprintf("%s by RADIUS, %s by leases, %s by the API", number(b.RADIUS), number(b.Leases), number(b.API))
	if b.Unknown > 0 {
		v.Bound += "; " + number(b.Unknown) + " of them of nobody's line"
	}
	was := now.Identity.RADIUS
	if v.Open != "radius" {
		v.RADIUS.Listen, v.RADIUS.Clients, v.RADIUS.Dated = inert(was.Listen), inertTo(strings.Join(was.Clients, ", "), 4000), was.Dated
	}
	v.RADIUS.HasSecret = was.SecretFile != ""
	if heard := st.RADIUS; heard != nil {
		v.RADIUS.fill(*heard, z)
	}
	standing := map[string]LeaseSource{}
	for _, f := range st.Leases {
		standing[f.Path] = f
	}
	taken := map[string]bool{}
	for i, f := range now.Identity.Leases {
		taken[f.Path] = true
		v.Leases = append(v.Leases, leaseOf(i, f, leaseAt(standing, f.Path), z))
	}
	for _, u := range st.UsualLeases {
		if !taken[u.Path] {
			v.Usual = append(v.Usual, u.Path)
		}
	}
	s.render(w, r, status, "sources", frame{Title: "Who has which address", Here: "/settings"}, v)
}

// leaseAt is how a file stands: the box names it by its whole path, and the configuration may name it from its own directory.
func leaseAt(standing map[string]LeaseSource, path string) LeaseSource {
	if f, ok := standing[path]; ok {
		return f
	}
	for whole, f := range standing {
		if strings.HasSuffix(whole, "/"+path) {
			return f
		}
	}
	return LeaseSource{}
}

func leaseOf(index int, file LeaseFile, st LeaseSource, z zone) leaseView {
	v := leaseView{Index: index, Path: inert(file.Path), Format: inert(file.Format), Read: z.second(st.Read.Time), Count: number(st.Leases), Problem: inert(st.Problem), Missing: st.Read.IsZero()}
	if st.BadLines > 0 {
		v.Bad = count(st.BadLines, "line is", "lines are") + " not understood"
		if st.FirstBad != "" {
			v.Bad += "; the first: " + inert(st.FirstBad)
		}
	}
	return v
}

func (v *radiusView) fill(st RADIUSSource, z zone) {
	v.On, v.Heard = true, z.second(st.Last.Time)
	v.Counts = fmt.Sprintf("%s taken, %s not wanted, %s failed, %s repeated, %s lost", number(st.Taken), number(st.NotWanted), number(st.Failed), number(st.Repeated), number(st.Lost))
	type one struct {
		reason string
		n      int64
	}
	var all []one
	for reason, n := range st.Ignored {
		all = append(all, one{reason, n})
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.reason, b.reason)) })
	for _, o := range all {
		v.Ignored = append(v.Ignored, number(o.n)+" "+strings.ReplaceAll(inert(o.reason), "_", " "))
	}
	if st.Unlisted > 0 {
		v.Unlisted = count(st.Unlisted, "line", "lines")
	}
}

func (s *Server) setRADIUS(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	f := radiusForm{Listen: strings.TrimSpace(r.PostFormValue("listen")), Secret: r.PostFormValue("secret"), Clients: splitWords(r.PostFormValue("clients")), Dated: r.PostFormValue("dated") != ""}
	v := sourcesView{Open: "radius", RADIUS: radiusView{Listen: inert(f.Listen), Clients: inertTo(strings.Join(f.Clients, ", "), 4000), Dated: f.Dated}}
	s.changeSources(w, r, v, f.change(now.Identity.RADIUS), radiusLabels)
}

var radiusLabels = keyLabels{{radiusKey + "listen", "listen", "Address"}, {radiusKey + "secret_file", "secret", "Secret"}, {radiusKey + "clients", "clients", "Access servers"},
	{"identity.radius", "listen", "RADIUS"}}

func (s *Server) addLeases(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v := sourcesView{Open: "leases"}
	c, known := leaseChange(r.PostFormValue("path"), s.opt.Source.Sources().UsualLeases, now.Identity.Leases)
	if !known {
		v.Errors = []formError{{"lease-path", "File", "choose one of the list; others are named in the configuration on the box"}}
	}
	s.changeSources(w, r, v, c, keyLabels{{"identity.lease_files", "lease-path", "File"}})
}

func (s *Server) dropLeases(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v, c := sourcesView{}, ConfigChange{}
	i, err := strconv.Atoi(r.PostFormValue("index"))
	if err != nil || i < 0 || i >= len(now.Identity.Leases) || now.Identity.Leases[i].Path != r.PostFormValue("path") {
		v.Errors = []formError{{"", "Lease file", "this one is not there any more"}}
	} else {
		c.Keys = []ConfigKey{takeOut(fmt.Sprintf("identity.lease_files[%d]", i))}
	}
	s.changeSources(w, r, v, c, nil)
}

// changeSources makes a change on this page and leads back to it, or shows what is wrong.
func (s *Server) changeSources(w http.ResponseWriter, r *http.Request, v sourcesView, c ConfigChange, of keyLabels) {
	if len(v.Errors) == 0 && len(c.Keys)+len(c.Files) > 0 {
		c.Revision = r.PostFormValue("revision")
		if _, err := s.opt.Source.SetConfig(c, actorOf(r).who); err != nil {
			wrong, known := whatWasWrong(err, of)
			if !known {
				s.broken(w, r, err, "Nothing was changed")
				return
			}
			v.Errors = wrong
		}
	}
	if len(v.Errors) > 0 {
		s.showSources(w, r, http.StatusBadRequest, v)
		return
	}
	http.Redirect(w, r, "/settings/sources", http.StatusSeeOther)
}

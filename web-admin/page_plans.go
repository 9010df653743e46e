package webadmin

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plansView answers: what may which kind of subscriber do?
type plansView struct {
	Plans   []planRow
	Presets []presetView // of a new plan
	Name    string
	Preset  string
	Open    bool
	Errors  []formError
}

type planRow struct {
	Name, Link, Preset, Highest string
	Unmapped                    bool
	Budgets                     []string
	Ladder                      string
}

func planLink(name string) string { return "/plans/" + url.PathEscape(name) }

func durationOf(s Seconds) time.Duration { return time.Duration(s) }

func (s *Server) plansPage(w http.ResponseWriter, r *http.Request) {
	s.showPlans(w, r, http.StatusOK, plansView{})
}

func (s *Server) showPlans(w http.ResponseWriter, r *http.Request, status int, v plansView) {
	for _, p := range s.see(r).Plans() {
		row := planRow{Name: inert(p.Name), Link: planLink(p.Name), Preset: p.Preset, Highest: p.HighestStage,
			Ladder: fmt.Sprintf("warn at %d %%, pace at %d %%, defer at %d %%, cut at %d %%", p.Ladder.WarnAt, p.Ladder.PaceAt, p.Ladder.DeferAt, p.Ladder.CutAt)}
		for _, b := range p.Budgets {
			row.Budgets = append(row.Budgets, kindText(b.Of)+" "+planBudgetText(b))
		}
		v.Plans = append(v.Plans, row)
	}
	for _, p := range s.see(r).Presets() {
		v.Presets = append(v.Presets, presetView{Name: p.Name, For: p.For, In: p.Name == v.Preset})
	}
	s.render(w, r, status, "plans", frame{Title: "Plans", Here: "/plans"}, v)
}

// addPlan makes a plan from a preset, to be changed then.
func (s *Server) addPlan(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v := plansView{Open: true, Name: strings.TrimSpace(r.PostFormValue("name")), Preset: r.PostFormValue("preset")}
	at := fmt.Sprintf("plans[%d]", len(now.Plans))
	_, err := s.opt.Source.SetConfig(ConfigChange{Keys: []ConfigKey{set(at, map[string]string{"name": v.Name, "preset": v.Preset})}}, actorOf(r).who)
	if wrong, known := whatWasWrong(err, keyLabels{{at + ".preset", "preset", "Begins as"}, {"plans", "name", "Name"}}); known {
		v.Errors, v.Name = wrong, inert(v.Name)
		s.showPlans(w, r, http.StatusBadRequest, v)
		return
	}
	if err != nil {
		s.broken(w, r, err, "The plan was not made")
		return
	}
	http.Redirect(w, r, planLink(v.Name), http.StatusSeeOther)
}

// planView is one plan as a form, with what became of it.
type planView struct {
	Name, Link, Revision string
	Edits                bool // the role may change it
	Stages               []stageChoice
	Kinds                []kindChoice
	Budgets              []budgetRow
	Ladder               ladderForm
	Errors               []formError
	Checked              bool // nothing is wrong with what was typed,
	Differs              bool // and it is not what is in force
	Changed              []difference
	MoreChanged          string // how many more there are; empty: none
	WhatIf               *whatIfView
	Seen                 string // what a what-if was seen of: this can be saved
	NoTrial              string // why there is no what-if
	Days                 int    // that it is tried on
	Saved                bool
	In                   string // the wizard, or nothing
}

// kindChoice is something that a budget can count.
type kindChoice struct{ Kind, Text string }

type stageChoice struct {
	Stage  string
	Chosen bool
}

// budgetRow is a budget as it is typed; a row without a limit is none.
type budgetRow struct {
	Index                 int
	Of, Limit, Per, Burst string
}

type ladderForm struct {
	WarnAt, PaceAt, PaceMax, DeferAt, CutAt, CutFor, ReleaseAfter string
}

const (
	maxBudgetRows = 32
	spareRows     = 2
)

// namedPlan is the configuration, and which of its plans the path names. Where there is none it answers, and returns false.
func (s *Server) namedPlan(w http.ResponseWriter, r *http.Request) (c Configuration, now values, at int, ok bool) {
	if c, now, ok = s.configured(w, r); !ok {
		return c, now, at, false
	}
	if at = now.planWithPreset(r.PathValue("name")); at < 0 {
		s.refuse(w, r, http.StatusNotFound, "No such plan", "The configuration has no plan of this name; the list of plans has those there are.")
		return c, now, at, false
	}
	return c, now, at, true
}

func (s *Server) planPage(w http.ResponseWriter, r *http.Request) {
	c, now, at, ok := s.namedPlan(w, r)
	if !ok {
		return
	}
	v := planFormOf(now.Plans[at])
	v.Saved = r.URL.Query().Get("saved") != ""
	s.showPlan(w, r, http.StatusOK, c.Revision, v)
}

func planFormOf(p planValues) planView {
	v := planView{Name: p.Name}
	v.stagesOf(p.Highest)
	for _, b := range p.Budgets {
		row := budgetRow{Of: b.Of, Limit: strconv.Itoa(b.Limit), Per: b.Per}
		if b.Burst != b.Limit && b.Burst != 0 {
			row.Burst = strconv.Itoa(b.Burst)
		}
		v.Budgets = append(v.Budgets, row)
	}
	l := p.Ladder
	v.Ladder = ladderForm{strconv.Itoa(l.WarnAt), strconv.Itoa(l.PaceAt), l.PaceMax, strconv.Itoa(l.DeferAt), strconv.Itoa(l.CutAt), l.CutFor, l.ReleaseAfter}
	return v
}

func (v *planView) stagesOf(highest string) {
	for _, stage := range stages {
		v.Stages = append(v.Stages, stageChoice{stage, stage == highest})
	}
}

func (s *Server) showPlan(w http.ResponseWriter, r *http.Request, status int, revision string, v planView) {
	v.Link, v.Edits, v.Revision, v.Days = planLink(v.Name), true, revision, planDays
	for _, kind := range budgetKinds {
		v.Kinds = append(v.Kinds, kindChoice{kind, kindText(kind)})
	}
	for i := range v.Errors {
		v.Errors[i].Message = reasonText(v.Errors[i].Message)
	}
	for range spareRows {
		if len(v.Budgets) < maxBudgetRows {
			v.Budgets = append(v.Budgets, budgetRow{})
		}
	}
	for i := range v.Budgets {
		v.Budgets[i].Index = i
	}
	v.Name = inert(v.Name)
	s.render(w, r, status, "plan", frame{Title: v.Name, Here: "/plans"}, v)
}

// planForm reads what was typed. keys are what differs from the plan of now, for the configuration's own checks to judge.
func planForm(r *http.Request, at int, now planValues) (v planView, keys []ConfigKey, of keyLabels) {
	v = planView{Name: now.Name}
	get := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	path := fmt.Sprintf("plans[%d].", at)
	v.stagesOf(get("highest"))
	if h := get("highest"); h != now.Highest {
		keys = append(keys, set(path+"highest_stage", h))
	}
	of = append(of, struct{ key, field, label string }{path + "highest_stage", "highest", "Highest stage"})
	wrong := func(field, label, message string) { v.Errors = append(v.Errors, formError{field, label, message}) }
	budgets := []map[string]any{}
	full := []budgetValues{}
	for i := range maxBudgetRows {
		field := func(name string) string { return fmt.Sprintf("%s-%d", name, i) }
		row := budgetRow{Of: get(field("of")), Limit: get(field("limit")), Per: get(field("per")), Burst: get(field("burst"))}
		if row.Limit == "" && row.Burst == "" {
			continue
		}
		label := fmt.Sprintf("Budget %d", len(v.Budgets)+1)
		of = append(of, struct{ key, field, label string }{fmt.Sprintf("%sbudgets[%d]", path, len(v.Budgets)), fmt.Sprintf("limit-%d", len(v.Budgets)), label})
		v.Budgets = append(v.Budgets, row)
		limit, err := strconv.Atoi(row.Limit)
		if err != nil {
			wrong(fmt.Sprintf("limit-%d", len(v.Budgets)-1), label, "the limit must be a whole number")
			continue
		}
		if row.Of == "" {
			wrong(fmt.Sprintf("of-%d", len(v.Budgets)-1), label, "choose what it counts")
			continue
		}
		b := map[string]any{"of": row.Of, "limit": limit}
		one := budgetValues{Of: row.Of, Limit: limit, Per: row.Per, Burst: limit}
		if row.Per != "" {
			b["per"] = row.Per
		}
		if row.Burst != "" {
			if one.Burst, err = strconv.Atoi(row.Burst); err != nil {
				wrong(fmt.Sprintf("burst-%d", len(v.Budgets)-1), label, "at once must be a whole number, or empty")
				continue
			}
			b["burst"] = one.Burst
		}
		if row.Of == "concurrent_sessions" && row.Burst == "" {
			one.Burst = 0
		}
		budgets, full = append(budgets, b), append(full, one)
	}
	if !slices.Equal(full, now.Budgets) {
		keys = append(keys, set(path+"budgets", budgets))
	}
	l, was := &v.Ladder, now.Ladder
	for _, one := range []struct {
		key, label string
		field      *string
		was        any
	}{
		{"warn_at", "Warn at", &l.WarnAt, was.WarnAt}, {"pace_at", "Pace at", &l.PaceAt, was.PaceAt}, {"pace_max", "Hold at most", &l.PaceMax, was.PaceMax}, {"defer_at", "Defer at", &l.DeferAt, was.DeferAt},
		{"cut_at", "Cut at", &l.CutAt, was.CutAt}, {"cut_for", "Cut for", &l.CutFor, was.CutFor}, {"release_after", "Release after", &l.ReleaseAfter, was.ReleaseAfter},
	} {
		*one.field = get(one.key)
		of = append(of, struct{ key, field, label string }{path + "ladder." + one.key, one.key, one.label})
		var value any = *one.field
		if _, number := one.was.(int); number {
			n, err := strconv.Atoi(*one.field)
			if err != nil {
				wrong(one.key, one.label, "a whole number of per cent")
				continue
			}
			value = n
		}
		if value != one.was {
			keys = append(keys, set(path+"ladder."+one.key, value))
		}
	}
	return v, keys, append(of, struct{ key, field, label string }{"plans", "highest", "Plan"})
}

// changePlan checks a plan as it was typed (do=check), tries it on the last days (do=try, type, watch), or saves it. It is saved once its what-if was seen.
func (s *Server) changePlan(w http.ResponseWriter, r *http.Request) {
	c, now, at, ok := s.namedPlan(w, r)
	if !ok {
		return
	}
	v, keys, of := planForm(r, at, now.Plans[at])
	change := ConfigChange{Revision: r.PostFormValue("revision"), Keys: keys}
	if len(v.Errors) > 0 {
		s.showPlan(w, r, http.StatusBadRequest, c.Revision, v)
		return
	}
	o, err := s.opt.Source.TryConfig(change)
	if wrong, known := whatWasWrong(err, of); known {
		v.Errors = wrong
		s.showPlan(w, r, http.StatusBadRequest, c.Revision, v)
		return
	}
	if err != nil {
		s.broken(w, r, err, "Nothing was changed")
		return
	}
	v.Checked = true
	v.Changed, v.MoreChanged = s.differences(o.Changed)
	v.Differs = len(keys) > 0
	switch do := r.PostFormValue("do"); {
	case !v.Differs && do == "save":
		http.Redirect(w, r, planLink(v.Name), http.StatusSeeOther)
	case do == "save" && r.PostFormValue("seen") == o.Revision:
		if _, err := s.opt.Source.SetConfig(change, actorOf(r).who); err != nil {
			if wrong, known := whatWasWrong(err, of); known {
				v.Errors = wrong
				s.showPlan(w, r, http.StatusBadRequest, c.Revision, v)
				return
			}
			s.broken(w, r, err, "Nothing was changed")
			return
		}
		http.Redirect(w, r, planLink(v.Name)+"?saved=1", http.StatusSeeOther)
	case do == "check" || !v.Differs:
		s.showPlan(w, r, http.StatusOK, c.Revision, v)
	default:
		s.showTrial(w, r, c.Revision, v, o, do)
	}
}

// showTrial shows a plan with its what-if. do=type is a page that asks as somebody types, and do=watch one whose button was pressed: they are told how far it is.
func (s *Server) showTrial(w http.ResponseWriter, r *http.Request, revision string, v planView, o ConfigOutcome, do string) {
	out, err := newLines(w)
	if err != nil {
		s.broken(w, r, err, "Nothing was tried")
		return
	}
	q := WhatIfQuestion{Typed: do == "type"}
	if do == "type" || do == "watch" {
		q.Progress = s.tellPlan(out)
		q.Waits = func(b Busy) { q.Progress(*b.progress()) }
	}
	switch {
	case !s.tryPlan(r, &v, o, q): // nobody waits any more
	case out.begun:
		page := &heldPage{header: http.Header{}}
		s.showPlan(page, r, http.StatusOK, revision, v)
		out.say(planLine{Page: page.String()})
	default:
		s.showPlan(w, r, http.StatusOK, revision, v)
	}
}

// heldPage is a page that is to be part of an answer.
type heldPage struct {
	header http.Header
	bytes.Buffer
}

func (p *heldPage) Header() http.Header { return p.header }
func (p *heldPage) WriteHeader(int)     {}

// removePlan takes a plan out; the configuration refuses when somebody has it.
func (s *Server) removePlan(w http.ResponseWriter, r *http.Request) {
	c, now, at, ok := s.namedPlan(w, r)
	if !ok {
		return
	}
	_, err := s.opt.Source.SetConfig(ConfigChange{Revision: r.PostFormValue("revision"), Keys: []ConfigKey{takeOut(fmt.Sprintf("plans[%d]", at))}}, actorOf(r).who)
	if wrong, known := whatWasWrong(err, nil); known {
		v := planFormOf(now.Plans[at])
		v.Errors = wrong
		s.showPlan(w, r, http.StatusConflict, c.Revision, v)
		return
	}
	if err != nil {
		s.broken(w, r, err, "The plan was not removed")
		return
	}
	http.Redirect(w, r, "/plans", http.StatusSeeOther)
}

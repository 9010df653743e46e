package webadmin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

const shownOnOverview = 12

// overviewView answers: is mail flowing, and who is not behaving?
type overviewView struct {
	Enforce  bool
	Traffic  trafficChart
	Open     string // sessions that run now
	Total    string // since the start
	Share    shareChart
	Now      []nowRow
	Exempt   string // how many are exempt; empty: none
	Unjudged string // packets that passed unjudged
	Problems []problemView
	Lines    []lineView
	More     string // how many more lines need a look; empty when all are shown
	Lanes    lanesView
	Networks []destinationRow // contacted most in the last 5 minutes
	Owners   bool             // somebody is named
	Syslog   []syslogView
	Spool    string
	Written  writtenView
	Clock    string // who keeps it; empty: not known, or a problem says so
	Setup    string // what the wizard still asks; empty: nothing
	Starting bool   // nothing was measured yet: its zeros are none
	Stopped  bool   // packets were judged, and are not now: its figures are of before
}

// writtenView is what the box has written to its disk, which on flash is what wears it out.
type writtenView struct {
	Text string
	Much bool // more in a day than the box is made for
}

// A day's writing: what the box is made for, with a thousand lines of ordinary traffic, and how long it has to run before a rate says something of a day.
const (
	writtenAtMost  = 200 * 1000 * 1000
	writtenKnownIn = time.Hour
)

// writtenOf says how much was written, and puts it beside the day before and beside what the box is made for.
func writtenOf(st Store, z zone) writtenView {
	if st.WrittenSince.IsZero() {
		return writtenView{Text: "not counted yet"}
	}
	lasts := z.now.Sub(st.WrittenSince.Time)
	text := size(st.WrittenToday) + " since " + z.clock(st.WrittenSince.Time).Text
	most := st.WrittenYesterday
	if lasts < writtenKnownIn {
		if most == 0 {
			text += "; what a day comes to is known after an hour"
		}
	} else {
		rate := int64(float64(st.WrittenToday) * float64(24*time.Hour) / float64(lasts))
		text += ", so about " + size(rate) + " in a day if it goes on like that"
		most = max(most, rate)
	}
	if st.WrittenYesterday > 0 {
		text += "; " + size(st.WrittenYesterday) + " the day before"
	}
	return writtenView{text + ". Made for at most " + size(writtenAtMost) + " a day with 1,000 ordinary lines", most > writtenAtMost}
}

type nowRow struct {
	Stage, Count, Text, Link string
	Some                     bool
}

type problemView struct {
	What, Meaning, Do string
	Since, By         moment
	Link              string // where it is looked at; empty: nowhere
	Shape             string // bad: the box is ill; warn: it is something to look at
}

type lanesView struct {
	Judged, Waiting, Held, Lost, Unjudged string
	HasLost                               bool
	Fast                                  string
	Next                                  string        // what the next sessions meet
	WhoWaits                              []waitingView // some of those whose next session waits
	Form                                  string        // how packets are steered and read
	Uptime                                string
}

type syslogView struct {
	URL             string
	Up              bool
	Untried         string // what to say instead of up or down; empty when it is one of these
	Waiting, Lost   string
	Since           moment
	Error           string
	HasLost, Behind bool
}

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request) {
	now := s.opt.Now()
	in, z := input{q: r.URL.Query()}, zone{now, s.opt.Location}
	over := in.oneOf("share", cmp.Or(in.text("share"), shareTimes[0]), shareTimes)
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the overview.")
		return
	}
	was := s.lookback.see(s.opt.Source, now) // of all lines together, which viewers see, too
	if was.fault != "" && !actorOf(r).role.May(users.Operator) {
		was.fault = hidden
	}
	st, traffic := s.see(r).Status(), s.see(r).Traffic()
	lines, _ := s.see(r).Subscribers(Query{Stages: []string{"pace", "defer", "cut"}, Limit: shownOnOverview})
	v := overviewOf(st, traffic, over, was, lines, z)
	if left := s.stepsLeft(); len(left) > 0 && actorOf(r).role.May(users.Admin) {
		v.Setup = count(len(left), "step is", "steps are") + " left"
	}
	if !actorOf(r).role.May(users.Admin) { // settings are theirs
		for i := range v.Problems {
			if strings.HasPrefix(v.Problems[i].Link, "/settings/") {
				v.Problems[i].Link = ""
			}
		}
	}
	v.Networks = destinationRows(s.see(r).Destinations(5*time.Minute, Page{Limit: shownContacted}))
	v.Owners = slices.ContainsFunc(v.Networks, func(row destinationRow) bool { return row.Owner != "" })
	s.render(w, r, http.StatusOK, "overview", frame{Title: "Overview", Here: "/", Live: true}, v)
}

// words say who keeps the clock; empty where nobody does, which is a problem of its own.
func (c Clock) words(z zone) string {
	switch {
	case !c.Known || !c.Synced:
		return ""
	case c.Server == "":
		return "synchronised"
	}
	return fmt.Sprintf("set by %s, asked %s, was off by %s", inert(c.Server), z.second(c.Heard.Time).Text, offset(time.Duration(c.Offset)))
}

// offset writes how far a clock is off.
func offset(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Millisecond:
		return "less than 1\u00a0ms"
	case d < time.Minute:
		return strings.Replace(d.Round(time.Millisecond).String(), "ms", "\u00a0ms", 1)
	}
	return span(d)
}

func overviewOf(st Status, traffic Traffic, over string, was series, lines []Subscriber, z zone) overviewView {
	v := overviewView{
		Enforce: st.Mode == "enforce", Traffic: chartTraffic(traffic, time.Duration(st.Uptime), z), Share: shareOver(over, traffic, time.Duration(st.Uptime), was, z),
		Open: number(st.Sessions.Open), Total: number(st.Sessions.Total), Unjudged: number(st.Actions.FailedOpen), Starting: st.unmeasured(), Stopped: !st.Ready && !st.unmeasured(),
	}
	v.Written = writtenOf(st.Store, z)
	if perSecond, ok := usualRate(was.hours, z.now); ok {
		v.Traffic.Usual = rate(perSecond)
	}
	for _, n := range []struct {
		stage string
		count int
	}{{"cut", st.Stages.Cut}, {"defer", st.Stages.Defer}, {"pace", st.Stages.Pace}} {
		text := past[n.stage]
		if !v.Enforce {
			text = "would be " + text
		}
		v.Now = append(v.Now, nowRow{n.stage, number(n.count), text, "/subscribers?stage=" + n.stage, n.count > 0})
	}
	for _, p := range problemsOf(st) {
		shape := "bad"
		if p.Lines {
			shape = "warn"
		}
		v.Problems = append(v.Problems, problemView{p.What, p.Meaning, p.Do, z.lasting(p.Since.Time), z.clock(p.By.Time), p.Link, shape})
	}
	for _, sub := range lines {
		if sub.Exemption == nil { // somebody has looked already
			v.Lines = append(v.Lines, lineOf(sub, z))
		}
	}
	if st.Exempt > 0 {
		v.Exempt = number(st.Exempt)
	}
	if all := st.Stages.Cut + st.Stages.Defer + st.Stages.Pace; all > len(lines) && len(lines) == shownOnOverview {
		v.More = number(all - len(lines))
	}
	q := st.Lanes.Queue
	v.Lanes = lanesView{Judged: number(q.Packets), Waiting: number(q.Depth), Held: number(q.Held), Lost: number(q.Dropped + q.UserDropped),
		Unjudged: number(st.Actions.FailedOpen), HasLost: q.Dropped+q.UserDropped > 0, Uptime: span(time.Duration(st.Uptime)), Fast: "on"}
	if f := st.Lanes.Fast; f.On && !v.Starting {
		v.Lanes.Fast = fmt.Sprintf("on: %s of %s sessions began without waiting", number(f.Sessions), number(st.Sessions.Total))
		if f.CopiesLost > 0 {
			v.Lanes.Fast += fmt.Sprintf("; %s copies lost", number(f.CopiesLost))
		}
		if why := inert(f.ShortCut.Why); why != "" {
			v.Lanes.Fast += "; short cut off: " + why
		}
	} else if !f.On {
		v.Lanes.Fast = "off"
		if why := inert(st.Lanes.Fast.Why); why != "" {
			v.Lanes.Fast += ": " + why
		}
	}
	v.Lanes.Next, v.Lanes.WhoWaits = nextSessions(st.Lanes.Fast.Next), waitingOf(st.Lanes.Fast.Waiting)
	if q.Form != "" || q.Reader != "" {
		v.Lanes.Form = inert(q.Form)
		if q.Reader != "" {
			if v.Lanes.Form != "" {
				v.Lanes.Form += ", "
			}
			v.Lanes.Form += inert(q.Reader) + " reader"
		}
	}
	for _, t := range st.Syslog {
		row := syslogView{URL: inert(t.URL), Up: t.Up, Waiting: number(t.Behind), Lost: number(t.Dropped),
			Since: z.lasting(t.Since.Time), Error: inert(t.LastError), HasLost: t.Dropped > 0, Behind: t.Behind > 0}
		if t.untried() {
			row.Untried, row.Error = notTried, ""
		}
		v.Syslog = append(v.Syslog, row)
	}
	v.Spool, v.Clock = st.Spool.words(), st.Clock.words(z)
	return v
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// apiSubscriber and apiStatus are what the lab reads of the API's answers.
type apiSubscriber struct {
	ID     string     `json:"id"`
	Stage  string     `json:"stage"`
	Since  *time.Time `json:"since"`
	Until  *time.Time `json:"until"`
	Reason string     `json:"reason"`
	Case   string     `json:"case"`
}

type apiStatus struct {
	Mode     string `json:"mode"`
	Sessions struct{ Open, Total int64 }
	Actions  struct{ Passed, Paced, Deferred, Cut int64 }
	Acted    int64 `json:"acted"`
}

// watch looks at the box once a second and remembers who was in which stage.
type watch struct {
	s     *scenario
	g     *Governor
	begin time.Time

	status    apiStatus
	now       map[string]apiSubscriber
	first     map[string]map[string]sighting // by subscriber, by stage
	delivered map[MessageID]int
}

// sighting is when a subscriber was first in a stage, and why.
type sighting struct {
	after time.Duration
	why   string
}

func newWatch(s *scenario, g *Governor) *watch {
	return &watch{s: s, g: g, begin: time.Now(), first: map[string]map[string]sighting{}}
}

// run shows a table again and again until the context ends, the time is up or
// mailweir is gone.
func (w *watch) run(ctx context.Context, lasts time.Duration, d *display) error {
	var end <-chan time.Time
	if lasts > 0 {
		end = time.After(lasts)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	if d.tty {
		d.printf("\x1b[2J")
	}
	for next := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-w.g.Done():
			return errors.New("mailweir ended while the lab ran")
		case <-tick.C:
		}
		if err := w.look(ctx); err != nil {
			return quiet(ctx, err)
		}
		if !time.Now().Before(next) {
			d.table(w.table(d.tty))
			next = next.Add(d.every())
		}
	}
}

// look asks the box and the mailboxes.
func (w *watch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var list struct{ Items []apiSubscriber }
	if err := errors.Join(w.g.Get(ctx, "/api/v1/status", &w.status), w.g.Get(ctx, "/api/v1/subscribers?limit=1000", &list)); err != nil {
		return fmt.Errorf("ask mailweir: %w", err)
	}
	w.now = map[string]apiSubscriber{}
	for _, sub := range list.Items {
		w.now[sub.ID] = sub
		if w.first[sub.ID] == nil {
			w.first[sub.ID] = map[string]sighting{}
		}
		if _, ok := w.first[sub.ID][sub.Stage]; !ok {
			at := time.Now()
			if sub.Since != nil && sub.Since.After(w.begin) {
				at = *sub.Since
			}
			w.first[sub.ID][sub.Stage] = sighting{at.Sub(w.begin), sub.Reason}
		}
	}
	var err error
	w.delivered, err = w.s.delivered()
	return err
}

// colours are those of the stages on a terminal.
var colours = map[string]string{"warn": "36", "pace": "33", "defer": "35", "cut": "31"}

func (w *watch) table(colour bool) string {
	var b strings.Builder
	st := w.status
	fmt.Fprintf(&b, "%s  mode %s, %d sessions open, %d so far; passed %d, paced %d, deferred %d, cut %d; acted %d\n",
		clock(time.Since(w.begin)), st.Mode, st.Sessions.Open, st.Sessions.Total,
		st.Actions.Passed, st.Actions.Paced, st.Actions.Deferred, st.Actions.Cut, st.Acted)
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "subscriber\twhat it is\tsessions\tsent\tdelivered\tslowest start\tstage\tsince\twhy")
	for _, m := range w.s.members {
		t := m.tally(w.delivered)
		sub := w.now[m.id]
		since := ""
		if sub.Since != nil && sub.Stage != "observe" {
			since = clock(sub.Since.Sub(w.begin))
		}
		why := sub.Reason
		if sub.Stage == "observe" {
			why = ""
		}
		sessions, slowest := m.figures()
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", m.id, m.what, sessions, t.sent, t.delivered, slowest, sub.Stage, since, why)
	}
	_ = tw.Flush()
	if !colour {
		return b.String()
	}
	// After the tabwriter has counted columns; the stage stands between blanks.
	lines := strings.SplitAfter(b.String(), "\n")
	for i, line := range lines {
		for stage, c := range colours {
			if i > 1 {
				line = strings.Replace(line, "  "+stage+" ", "  \x1b[1;"+c+"m"+stage+"\x1b[0m ", 1)
			}
		}
		lines[i] = line
	}
	return strings.Join(lines, "")
}

// figures are a light client's sessions and its slowest greeting. A mail
// server's stand in its log: its attempts, and how long the slowest one took
// for connection, greeting, EHLO and STARTTLS together.
func (m *member) figures() (sessions, slowest string) {
	if m.server != nil {
		attempts, err := m.server.Attempts()
		if err != nil {
			return "?", "?"
		}
		var most time.Duration
		for _, a := range attempts {
			most = max(most, a.Setup)
		}
		return fmt.Sprint(len(attempts)), millis(most)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.sessions), millis(m.slowest)
}

func millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// clock writes the time since the traffic began.
func clock(d time.Duration) string {
	s := int(max(0, d).Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// summary says how it went and returns what must not have happened. full says
// that the lab ran long enough for the bot to reach the top of the ladder.
func (w *watch) summary(d *display, full bool) error {
	var errs []error
	d.printf("\nsummary after %s\n", clock(time.Since(w.begin)))
	for _, m := range w.s.members {
		t := m.tally(w.delivered)
		sessions, slowest := m.figures()
		m.mu.Lock()
		results, bad := m.results, m.bad
		m.mu.Unlock()
		if m.bot {
			errs = append(errs, w.botSummary(d, m, t, full))
		} else {
			what := "greeting"
			if m.server != nil {
				what = "connection with STARTTLS"
			}
			d.printf("  %-8s %s: %s sessions, sent %d, delivered %d, twice %d; slowest %s %s\n", m.id, m.what, sessions, t.sent, t.delivered, t.twice, what, slowest)
			if bad != "" {
				errs = append(errs, fmt.Errorf("%s is within its budget, yet a session failed (%v): %s", m.id, results, bad))
			}
			for _, stage := range []string{"pace", "defer", "cut"} {
				if s, ok := w.first[m.id][stage]; ok {
					errs = append(errs, fmt.Errorf("%s is within its budget, yet reached %s after %s: %s", m.id, stage, clock(s.after), s.why))
				}
			}
		}
		if t.delivered != t.sent {
			errs = append(errs, fmt.Errorf("%s: %d messages were accepted, %d delivered", m.id, t.sent, t.delivered))
		}
		if t.twice > 0 {
			errs = append(errs, fmt.Errorf("%s: %d messages were delivered twice", m.id, t.twice))
		}
	}
	return errors.Join(errs...)
}

// botSummary tells the bot's way up the ladder, as the box said it and as the
// bot felt it.
func (w *watch) botSummary(d *display, m *member, t tally, full bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var results []string
	for r := range TimedOut + 1 {
		if n := m.results[r]; n > 0 {
			results = append(results, fmt.Sprintf("%d %s", n, r))
		}
	}
	d.printf("  %-8s %s: %d sessions: %s; %d messages accepted and %d delivered\n",
		m.id, m.what, m.sessions, strings.Join(results, ", "), t.sent, t.delivered)
	felt := map[string]string{}
	if !m.held.IsZero() {
		felt["pace"] = fmt.Sprintf("first greeting held at %s, the longest for %s", clock(m.held.Sub(w.begin)), millis(m.slowest))
	}
	if !m.deferred.IsZero() {
		felt["defer"] = fmt.Sprintf("first 421 at %s: %s", clock(m.deferred.Sub(w.begin)), m.text)
	}
	if !m.reset.IsZero() {
		felt["cut"] = fmt.Sprintf("first reset at %s", clock(m.reset.Sub(w.begin)))
	}
	var errs []error
	for _, stage := range []string{"warn", "pace", "defer", "cut"} {
		s, ok := w.first[m.id][stage]
		switch {
		case ok:
			d.printf("           %-5s from %s: %s", stage, clock(s.after), s.why)
			if felt[stage] != "" {
				d.printf("; %s", felt[stage])
			}
			d.printf("\n")
		case felt[stage] != "": // shorter than the lab looks
			d.printf("           %-5s %s\n", stage, felt[stage])
		}
		if stage != "warn" && full && felt[stage] == "" {
			errs = append(errs, fmt.Errorf("the bot was never stopped by stage %s", stage))
		}
	}
	return errors.Join(errs...)
}

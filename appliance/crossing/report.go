package crossing

import (
	"errors"
	"fmt"
	"io"
)

// The goals.
const (
	wantInside = 99.0 // per cent of sessions whose true number lies in lo..hi
	wantNarrow = 90.0 // per cent of sessions with hi - lo <= max(1, 5 %)
	wantBursts = 90.0 // per cent of the sessions with messages all at once whose true number lies in lo..hi
)

// Report is what a crossing came to.
type Report struct {
	Sessions []Estimated
	Runs     int
	Seed     uint64
}

// Goals says which of the goals are not reached. slack is by how many sessions the shares may miss them: of a few hundred
// sessions one or two are a matter of luck. That nothing is invented has no slack.
func (r *Report) Goals(slack int) error {
	var with, bursts Score
	var errs []error
	for i := range r.Sessions {
		e := &r.Sessions[i]
		w, x := e.best()
		switch e.class() {
		case brings:
			with.add(e, w)
		case burst:
			bursts.add(e, w)
			if x.Lo > e.Messages {
				errs = append(errs, fmt.Errorf("%d messages at once, but lo is %d: %s to %s, TLS %s, %v (%s)", e.Messages, x.Lo, e.Client, e.Host, e.TLS, e.Case, w))
			}
		case empty:
			if x.Lo > 0 {
				errs = append(errs, fmt.Errorf("no message, but lo is %d: %s to %s, TLS %s, %v (%s)", x.Lo, e.Client, e.Host, e.TLS, e.Case, w))
			}
		}
	}
	if p := percent(with.Inside, with.Sessions); percent(with.Inside+slack, with.Sessions) < wantInside {
		errs = append(errs, fmt.Errorf("the true number lies in lo..hi in %.1f %% of the sessions with messages, the goal is %.0f", p, wantInside))
	}
	if p := percent(with.Narrow, with.Sessions); percent(with.Narrow+slack, with.Sessions) < wantNarrow {
		errs = append(errs, fmt.Errorf("hi - lo is at most 1 or 5 %% in %.1f %% of the sessions with messages, the goal is %.0f", p, wantNarrow))
	}
	if p := percent(bursts.Inside, bursts.Sessions); percent(bursts.Inside+slack, bursts.Sessions) < wantBursts {
		errs = append(errs, fmt.Errorf("the true number lies in lo..hi in %.1f %% of the sessions with messages all at once, the goal is %.0f", p, wantBursts))
	}
	return errors.Join(errs...)
}

// Write prints the tables, in Markdown.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "%d sessions of %d cases. Narrow: hi - lo <= max(1, 5 %%). The worst: the true number, and what it was estimated as.\n\n", len(r.Sessions), r.Runs)
	fmt.Fprintf(w, "| client | server | TLS | sessions with messages | in lo..hi | narrow | worst | without messages | lo >= 1 |\n|---|---|---|---|---|---|---|---|---|\n")
	key := func(e *Estimated) string { return fmt.Sprintf("%s | %s | %s", e.Client, e.Server, e.TLS) }
	of := func(c class) (map[string]*Score, []string) {
		return scores(r.Sessions, func(e *Estimated) string {
			if e.class() != c {
				return ""
			}
			return key(e)
		})
	}
	with, _ := of(brings)
	without, _ := of(empty)
	_, names := scores(r.Sessions, key)
	for _, n := range names {
		m, z := with[n], without[n]
		if m == nil {
			m = &Score{}
		}
		if z == nil {
			z = &Score{}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d |\n", n, m.row(), m.worst(), z.Sessions, r.invented(n, key))
	}
	fmt.Fprintf(w, "\n| how it was estimated | sessions with messages | in lo..hi | narrow | without messages | lo >= 1 |\n|---|---|---|---|---|---|\n")
	for _, way := range ways {
		var m Score
		zero, invented := 0, 0
		for i := range r.Sessions {
			e := &r.Sessions[i]
			x, ok := e.By[way]
			if !ok {
				continue
			}
			switch e.class() {
			case brings:
				m.add(e, way)
			case empty:
				zero++
				if x.Lo > 0 {
					invented++
				}
			}
		}
		if m.Sessions+zero > 0 {
			fmt.Fprintf(w, "| %s | %s | %d | %d |\n", way, m.row(), zero, invented)
		}
	}
	r.writeGroups(w)
}

// writeGroups prints what else there is to tell apart.
func (r *Report) writeGroups(w io.Writer) {
	fmt.Fprintf(w, "\n| sessions | how many | in lo..hi | narrow | worst |\n|---|---|---|---|---|\n")
	groups := []struct {
		name string
		in   func(e *Estimated) bool
	}{
		{"1 message", func(e *Estimated) bool { return e.Messages == 1 }},
		{"2 to 5", func(e *Estimated) bool { return e.Messages >= 2 && e.Messages <= 5 }},
		{"6 to 20", func(e *Estimated) bool { return e.Messages > 5 && e.Messages <= 20 }},
		{"more than 20", func(e *Estimated) bool { return e.Messages > 20 }},
		{"port 465", func(e *Estimated) bool { return e.Dst.Port() == 465 }},
		{"resumed, if both ends do", func(e *Estimated) bool { return e.Case.Resume }},
		{"with AUTH", func(e *Estimated) bool { return e.Case.Login }},
		{"PIPELINING by our own client", func(e *Estimated) bool { return e.Case.Pipelining }},
		{"BDAT by our own client", func(e *Estimated) bool { return e.Case.Chunking > 0 }},
		{"50 recipients", func(e *Estimated) bool { return e.Case.Recipients == 50 }},
		{"refused recipients among others", func(e *Estimated) bool { return e.Case.Refused > 0 }},
		{"RSET after each message", func(e *Estimated) bool { return e.Case.Reset }},
		{"begun and given up, NOOP, VRFY", func(e *Estimated) bool { return e.Case.Broken || e.Case.Noise }},
	}
	line := func(name string, s *Score) {
		if s.Sessions > 0 {
			fmt.Fprintf(w, "| %s | %s | %s |\n", name, s.row(), s.worst())
		}
	}
	for _, g := range groups {
		var s Score
		for i := range r.Sessions {
			if e := &r.Sessions[i]; e.class() == brings && g.in(e) {
				way, _ := e.best()
				s.add(e, way)
			}
		}
		line(g.name, &s)
	}
	of := func(c class) *Score {
		var s Score
		for i := range r.Sessions {
			if e := &r.Sessions[i]; e.class() == c {
				way, _ := e.best()
				s.add(e, way)
			}
		}
		return &s
	}
	line("messages refused after their content (no part of the goals)", of(refusedC))
	line("whole messages at once (a goal of their own)", of(burst))
	r.writeOutside(w)
}

// writeOutside names sessions that were estimated wrongly, to be looked for in the captures.
func (r *Report) writeOutside(w io.Writer) {
	const most = 40
	n := 0
	for i := range r.Sessions {
		e := &r.Sessions[i]
		way, x := e.best()
		if e.class() == refusedC || x.holds(e.Messages) {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintf(w, "\n| outside lo..hi | true | estimated | how | begun | case |\n|---|---|---|---|---|---|\n")
		}
		if n <= most {
			fmt.Fprintf(w, "| %s %v to %s %v | %d | %v | %s | %s | `%v` |\n", e.Client, e.Src, e.Host, e.Dst, e.Messages, x, way, e.Start.Format("15:04:05.000000"), e.Case)
		}
	}
	if n > most {
		fmt.Fprintf(w, "\nand %d more.\n", n-most)
	}
}

func (s *Score) row() string {
	return fmt.Sprintf("%d | %.1f %% | %.1f %%", s.Sessions, percent(s.Inside, s.Sessions), percent(s.Narrow, s.Sessions))
}

// invented counts sessions of a group without messages that were given some.
func (r *Report) invented(group string, key func(*Estimated) string) (n int) {
	for i := range r.Sessions {
		e := &r.Sessions[i]
		if _, x := e.best(); e.class() == empty && x.Lo > 0 && key(e) == group {
			n++
		}
	}
	return n
}

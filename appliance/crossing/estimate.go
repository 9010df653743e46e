package crossing

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Way is how an estimate came about.
type Way string

// The ways: the tracker over a capture with every packet; over a capture with what reaches it in the box; and the box
// itself, each of its lanes.
const (
	Everything Way = "capture, every packet"
	Steered    Way = "capture, as the box sees it"
	FastLane   Way = "live, fast lane"
	QueueLane  Way = "live, queue lane"
)

var ways = []Way{Everything, Steered, FastLane, QueueLane}

// Estimate is how many messages there were, at least and at most; Hi is -1 where nothing is known.
type Estimate struct{ Lo, Hi int }

func (e Estimate) String() string {
	if e.Hi < 0 {
		return fmt.Sprintf("%d..", e.Lo)
	}
	return fmt.Sprintf("%d..%d", e.Lo, e.Hi)
}

// holds: the number lies in it.
func (e Estimate) holds(n int) bool { return e.Lo <= n && (n <= e.Hi || e.Hi < 0) }

// narrow: it is no wider than one message or a twentieth of them.
func (e Estimate) narrow(n int) bool {
	return e.Hi >= 0 && float64(e.Hi-e.Lo) <= max(1, 0.05*float64(n))
}

// off is how far the number lies outside.
func (e Estimate) off(n int) int {
	switch {
	case n < e.Lo:
		return e.Lo - n
	case e.Hi >= 0 && n > e.Hi:
		return n - e.Hi
	}
	return 0
}

// Estimated is a session with what was said about it.
type Estimated struct {
	Session
	By map[Way]Estimate `json:"estimates"`
}

// write writes what is true of a capture's sessions, and the estimates, beside it.
func write(path, capture string, all []Estimated) error {
	text, err := json.MarshalIndent(struct {
		Capture  string      `json:"capture"`
		Sessions []Estimated `json:"sessions"`
	}{capture, all}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// best is the estimate that counts: the box's own where it ran, else what it would have seen.
func (e Estimated) best() (Way, Estimate) {
	for _, w := range []Way{FastLane, QueueLane, Steered, Everything} {
		if x, ok := e.By[w]; ok {
			return w, x
		}
	}
	panic("crossing: a session without an estimate")
}

// class says which goal is meant for a session.
type class int

const (
	brings   class = iota // messages that were taken
	empty                 // none, nor any content
	refusedC              // content that the server refused: only inside TLS does it say so
	burst                 // whole messages at once
)

func (s Session) class() class {
	switch {
	case s.Case.Kind == NotWanted || s.Case.Unwanted > 0:
		return refusedC
	case s.Case.Kind == Burst:
		return burst
	case s.Messages > 0:
		return brings
	}
	return empty
}

// Score counts estimates.
type Score struct {
	Sessions, Inside, Narrow int
	Worst                    *Estimated // the one that is furthest off, or else the widest
	WorstWay                 Way
}

func (s *Score) add(e *Estimated, w Way) {
	x := e.By[w]
	s.Sessions++
	if x.holds(e.Messages) {
		s.Inside++
	}
	if x.narrow(e.Messages) {
		s.Narrow++
	}
	if s.Worst == nil || worse(x, e.Messages, s.Worst.By[s.WorstWay], s.Worst.Messages) {
		s.Worst, s.WorstWay = e, w
	}
}

func worse(a Estimate, n int, b Estimate, m int) bool {
	if a.off(n) != b.off(m) {
		return a.off(n) > b.off(m)
	}
	width := func(e Estimate) int {
		if e.Hi < 0 {
			return 1 << 30
		}
		return e.Hi - e.Lo
	}
	return width(a) > width(b)
}

func (s *Score) worst() string {
	if s.Worst == nil {
		return ""
	}
	x := s.Worst.By[s.WorstWay]
	if x.off(s.Worst.Messages) == 0 && x.narrow(s.Worst.Messages) {
		return "" // nothing to complain of
	}
	return fmt.Sprintf("%d as %v", s.Worst.Messages, x)
}

func percent(n, of int) float64 {
	if of == 0 {
		return 100
	}
	return 100 * float64(n) / float64(of)
}

// scores sorts sessions into groups.
func scores(all []Estimated, group func(*Estimated) string) (map[string]*Score, []string) {
	out := map[string]*Score{}
	for i := range all {
		g := group(&all[i])
		if g == "" {
			continue
		}
		if out[g] == nil {
			out[g] = &Score{}
		}
		w, _ := all[i].best()
		out[g].add(&all[i], w)
	}
	return out, slices.Sorted(maps.Keys(out))
}

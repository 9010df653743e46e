package webadmin

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

const (
	bandHigh    = 8 // of the stages below the chart, in SVG units
	shownStages = 6
	farAbove    = 4 // times the highest column: a budget above that would make all columns flat
)

// historyChart is what one line did, a column for each step, with the stages below.
type historyChart struct {
	Columns []historyColumn
	Rows    []historyRow // the columns as a table, the newest first
	Bands   []stageBand
	Unread  float64 // how wide the part is, from the left, of which nothing is known
	BudgetY float64 // the height of the budget's line; 0: none is drawn
	Budget  string  // what the budget comes to in a step; empty: there is none
	Total   string  // "412 sessions"
	Shaken  string  // "398 with a TLS handshake"
	Peak    string  // "41 in 10 min at most"
	Left    string  // what the left end is: "2 d ago"
	Stages  []stageSince
	Earlier string // how many more changes of stage there were
	Label   string // the chart in one sentence
}

type historyColumn struct{ X, Wide, Y, High, ShakenY, ShakenHigh float64 }

type historyRow struct {
	From                                 moment
	Sessions, Handshakes, Messages, Held string
	Stage                                string // as the step ended
}

type stageBand struct {
	X, Wide float64
	Stage   string
}

type stageSince struct {
	Stage string
	Since moment // nothing: all the time
}

// spanOf is a stage from one time to another.
type spanOf struct {
	from, to time.Time
	stage    string
}

// stageSpans are the stages from since to now, the newest first. Without a change it is what the line is in now.
func stageSpans(changes []Change, now string, since, until time.Time) (all []spanOf) {
	stage := now
	for _, c := range changes {
		if !c.At.After(since) {
			return append(all, spanOf{since, until, c.To})
		}
		all = append(all, spanOf{c.At.Time, until, c.To})
		until, stage = c.At.Time, c.From
	}
	return append(all, spanOf{since, until, stage})
}

// stageAt is the stage at a time among spans.
func stageAt(spans []spanOf, at time.Time) string {
	for _, s := range spans {
		if !at.Before(s.from) {
			return s.stage
		}
	}
	return ""
}

// slowest is the budget of sessions that allows the fewest in the long run; false: there is none with a window.
func slowest(budgets []Budget) (b Budget, ok bool) {
	rateOf := func(b Budget) float64 { return float64(b.Limit) / time.Duration(b.Window).Seconds() }
	for _, one := range budgets {
		if one.Of == "sessions" && one.Window > 0 && (!ok || rateOf(one) < rateOf(b)) {
			b, ok = one, true
		}
	}
	return b, ok
}

// chartHistory draws h for a line that is in a stage and has these budgets.
func chartHistory(h History, stage string, budgets []Budget, z zone) historyChart {
	step, from, to := time.Duration(h.Step), h.From.Time, h.To.Time
	reach := to.Sub(from)
	if step <= 0 || reach <= 0 {
		return historyChart{}
	}
	x := func(t time.Time) float64 { return chartWide * min(max(float64(t.Sub(from))/float64(reach), 0), 1) }
	last := span(cmp.Or(HistoryReach[step], reach))
	c := historyChart{Left: last + " ago"}
	known := from
	if h.Since.IsZero() || h.Since.After(from) {
		if known = h.Since.Time; h.Since.IsZero() {
			known = to
		}
		c.Unread = x(known)
	}
	spans := stageSpans(h.Stages, stage, known, to)
	c.stages(spans, x, z)

	peak, total, shaken := 0, 0, 0
	for _, p := range h.Points {
		peak, total, shaken = max(peak, p.Sessions), total+p.Sessions, shaken+p.Handshakes
	}
	high := float64(max(peak, 1)) * 1.1
	if b, ok := slowest(budgets); ok {
		each := float64(b.Limit) * step.Seconds() / time.Duration(b.Window).Seconds()
		c.Budget = fmt.Sprintf("%s %s come to %s in %s", count(b.Limit, "session", "sessions"), perWindow(time.Duration(b.Window)), rate(each), span(step))
		if peak > 0 && each <= farAbove*float64(peak) {
			high = max(high, each*1.1)
			c.BudgetY = chartHigh * (1 - each/high)
		}
	}
	wide := chartWide * float64(step) / float64(reach)
	for _, p := range h.Points {
		col := historyColumn{X: x(p.Start.Time), Wide: wide * 0.9}
		if first := p.Start.Add(step); first.After(to) { // the step that runs is as wide as what passed of it
			col.Wide = max(chartWide-col.X, 1)
		}
		part := func(n int) (y, tall float64) { tall = chartHigh * float64(n) / high; return chartHigh - tall, tall }
		col.Y, col.High = part(p.Sessions)
		col.ShakenY, col.ShakenHigh = part(min(p.Handshakes, p.Sessions))
		c.Columns = append(c.Columns, col)
		c.Rows = append([]historyRow{{z.clock(p.Start.Time), number(p.Sessions), number(p.Handshakes), number(p.MessagesLo), number(p.Held), stageAt(spans, p.Start.Add(step-1))}}, c.Rows...)
	}
	c.Total, c.Shaken = count(total, "session", "sessions"), number(shaken)+" with a TLS handshake"
	if peak > 0 {
		c.Peak = fmt.Sprintf("%s in %s at most", number(peak), span(step))
	}
	c.Label = fmt.Sprintf("Sessions of the last %s, in columns of %s: %s.", last, span(step), strings.Join(nonEmpty(c.Total, c.Shaken, c.Peak), ", "))
	return c
}

// stages draws the band of stages and says the last of them.
func (c *historyChart) stages(spans []spanOf, x func(time.Time) float64, z zone) {
	for i, s := range spans {
		from := x(s.from)
		if wide := x(s.to) - from; wide > 0 {
			c.Bands = append(c.Bands, stageBand{from, wide, cmp.Or(inert(s.stage), "observe")})
		}
		if i < shownStages {
			since := z.clock(s.from)
			if i == len(spans)-1 {
				since = moment{}
			}
			c.Stages = append([]stageSince{{cmp.Or(inert(s.stage), "observe"), since}}, c.Stages...)
		}
	}
	if more := len(spans) - shownStages; more > 0 {
		c.Earlier = count(more, "earlier stage", "earlier stages")
	}
}

func nonEmpty(words ...string) (some []string) {
	for _, w := range words {
		if w != "" {
			some = append(some, w)
		}
	}
	return some
}

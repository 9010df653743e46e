package webadmin

import (
	"fmt"
	"strings"
	"time"
)

const (
	chartMinutes = 60
	chartWide    = 600 // the SVG's own units; it stretches to its place
	chartHigh    = 100
	shareColumns = 12
)

// shareReach are the times that the columns of the share may cover: whole minutes a column.
var shareReach = [...]time.Duration{12 * time.Minute, 24 * time.Minute, 36 * time.Minute, chartMinutes * time.Minute}

// trafficChart is the line of sessions per second over the last hour.
type trafficChart struct {
	Empty           bool
	Line, Area      string  // SVG paths
	MeanY           float64 // the height of the mean, in SVG units
	Now, Mean, Peak string  // sessions per second
	Label           string  // the chart in one sentence, for those who do not see it
	Rows            []trafficRow
	Left            string // what the left end is: "60 min ago"
	Minutes         string // how much of the hour there is, when it is not all of it
}

type trafficRow struct {
	From  moment
	Count string
	Rate  string
}

// chartTraffic draws tr as of now for a box that has been up for so long: what was before its start is not drawn as silence, and a
// step of which less than a quarter has passed says nothing yet.
func chartTraffic(tr Traffic, up time.Duration, z zone) trafficChart {
	step := time.Duration(tr.Step)
	type at struct{ x, v float64 }
	var line []at
	var sum, peak, seconds float64
	var rows []trafficRow
	reach := min(up, chartMinutes*time.Minute)
	from, began := z.now.Add(-reach), z.now.Add(-up)
	for _, p := range tr.Points {
		start, end := p.Start.Time, p.Start.Add(step)
		if start.Before(began) {
			start = began
		}
		if end.After(z.now) {
			end = z.now
		}
		took := end.Sub(start)
		if step <= 0 || took < step/4 || p.Start.Before(from.Add(-step)) {
			continue
		}
		v := float64(p.Started) / took.Seconds()
		x := chartWide * float64(end.Sub(from)) / float64(reach)
		line = append(line, at{max(0, x), v})
		sum, seconds, peak = sum+float64(p.Started), seconds+took.Seconds(), max(peak, v)
		rows = append(rows, trafficRow{z.clock(p.Start.Time), number(p.Started), rate(v)})
	}
	if len(line) < 2 {
		return trafficChart{Empty: true}
	}
	line[0].x = 0 // a step is drawn at its end; the first one reaches back to the edge
	high := peak * 1.1
	if high == 0 {
		high = 1
	}
	y := func(v float64) float64 { return chartHigh * (1 - v/high) }
	var path strings.Builder
	for i, p := range line {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], p.x, y(p.v))
	}
	mean, last := sum/seconds, line[len(line)-1]
	c := trafficChart{
		Line: path.String(), Area: fmt.Sprintf("%sL%.1f %dL%.1f %dZ", path.String(), last.x, chartHigh, line[0].x, chartHigh),
		MeanY: y(mean), Now: rate(last.v), Mean: rate(mean), Peak: rate(peak), Rows: rows,
		Left: span(reach) + " ago",
	}
	if reach == chartMinutes*time.Minute {
		c.Left = "60 min ago"
	}
	if had := time.Duration(seconds) * time.Second; had < (chartMinutes-2)*time.Minute {
		c.Minutes = span(had)
	}
	c.Label = fmt.Sprintf("Sessions per second over the last hour: %s now, %s on average, %s at most.", c.Now, c.Mean, c.Peak)
	return c
}

// shareChart is how sessions were protected, in twelve columns of five minutes, or of fewer while the box is young.
type shareChart struct {
	Empty   bool
	Hour    string // per cent encrypted in the time that Over says
	Over    string // "in the last hour", "since the start"
	Left    string // what the left end is: "60 min ago"
	Recent  string // and in the last ten minutes; empty when nothing ended in them
	Columns []shareColumn
	Parts   []sharePart // the same in numbers, for the hour
	Unknown string      // sessions of which it cannot be said; empty when none
	Label   string
}

// shareColumn is one column; Y and High are in SVG units from the top.
type shareColumn struct {
	X, Wide                                          float64
	ImplicitY, ImplicitHigh, StartTLSY, StartTLSHigh float64
	ClearY, ClearHigh                                float64
	From                                             moment
	Clear, StartTLS, Implicit, Share                 string
}

type sharePart struct{ Name, Class, Count string }

// chartShare draws how sessions that ended in the last hour were protected, on a box that has been up for so long.
func chartShare(tr Traffic, up time.Duration, z zone) shareChart {
	type sums struct{ clear, start, implicit int }
	var hour, recent sums
	var columns [shareColumns]sums
	unknown := 0
	reach := shareReach[len(shareReach)-1]
	for _, r := range shareReach {
		if up < r {
			reach = r
			break
		}
	}
	wide := reach / shareColumns
	// The columns end with the step that runs now, so that no step is cut in two.
	from := z.now.Truncate(time.Minute).Add(time.Minute - reach)
	for _, p := range tr.Points {
		i := int(p.Start.Sub(from) / wide)
		if p.Start.Before(from) || i >= shareColumns {
			continue
		}
		for _, s := range []*sums{&hour, &columns[i]} {
			s.clear, s.start, s.implicit = s.clear+p.Clear, s.start+p.StartTLS, s.implicit+p.Implicit
		}
		if z.now.Sub(p.Start.Time) <= 10*time.Minute {
			recent.clear, recent.start, recent.implicit = recent.clear+p.Clear, recent.start+p.StartTLS, recent.implicit+p.Implicit
		}
		unknown += p.Other
	}
	all := func(s sums) int { return s.clear + s.start + s.implicit }
	share := func(s sums) string { return percent(float64(s.start+s.implicit) / float64(all(s))) }
	c := shareChart{Empty: all(hour) == 0}
	if unknown > 0 {
		c.Unknown = number(unknown)
	}
	if c.Empty {
		return c
	}
	c.Hour, c.Over, c.Left = share(hour), "in the last hour", fmt.Sprintf("%d min ago", reach/time.Minute)
	if up < chartMinutes*time.Minute {
		c.Over = "since the start"
	}
	if all(recent) > 0 && up > 10*time.Minute { // else the two are one
		c.Recent = share(recent)
	}
	c.Parts = []sharePart{{"STARTTLS", "starttls", number(hour.start)}, {"in clear", "clear", number(hour.clear)}}
	if hour.implicit > 0 {
		c.Parts = append(c.Parts, sharePart{"TLS from the first byte", "implicit", number(hour.implicit)})
	}
	const slot = chartWide / shareColumns
	for i, s := range columns {
		if all(s) == 0 {
			continue
		}
		part := func(n int) float64 { return chartHigh * float64(n) / float64(all(s)) }
		c.Columns = append(c.Columns, shareColumn{
			X: float64(i * slot), Wide: slot - 4,
			ImplicitY: 0, ImplicitHigh: part(s.implicit),
			StartTLSY: part(s.implicit), StartTLSHigh: part(s.start),
			ClearY: part(s.implicit) + part(s.start), ClearHigh: part(s.clear),
			From:  z.clock(from.Add(time.Duration(i) * wide)),
			Clear: number(s.clear), StartTLS: number(s.start), Implicit: number(s.implicit), Share: share(s),
		})
	}
	c.Label = fmt.Sprintf("Share of sessions that were encrypted, in columns of %d min: %s %s.", wide/time.Minute, c.Hour, c.Over)
	return c
}

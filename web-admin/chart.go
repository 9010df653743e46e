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
)

// trafficChart is the line of sessions per second over the last hour.
type trafficChart struct {
	Empty           bool
	Line, Area      string  // SVG paths
	MeanY           float64 // the height of the mean, in SVG units
	Now, Mean, Peak string  // sessions per second
	Usual           string  // at this hour of the day; empty: nobody knows yet
	Shaken          string  // SVG path of the handshakes; empty: there were none
	Handshakes      string  // per second, now
	Label           string  // the chart in one sentence, for those who do not see it
	Rows            []trafficRow
	Left            string // what the left end is: "60 min ago"
	Minutes         string // how much of the hour there is, when it is not all of it
}

type trafficRow struct {
	From       moment
	Count      string
	Rate       string
	Handshakes string // per second
}

// chartTraffic draws tr as of now for a box that has been up for so long: what was before its start is not drawn as silence, and a
// step of which less than a quarter has passed says nothing yet.
func chartTraffic(tr Traffic, up time.Duration, z zone) trafficChart {
	step := time.Duration(tr.Step)
	type at struct{ x, v, shaken float64 }
	var line []at
	handshakes := 0
	var sum, peak, high, seconds float64
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
		v, shaken := float64(p.Started)/took.Seconds(), float64(p.Handshakes)/took.Seconds()
		x := chartWide * float64(end.Sub(from)) / float64(reach)
		line = append(line, at{max(0, x), v, shaken})
		sum, seconds, peak, high = sum+float64(p.Started), seconds+took.Seconds(), max(peak, v), max(high, v*1.1, shaken*1.1)
		handshakes += p.Handshakes
		rows = append(rows, trafficRow{z.clock(p.Start.Time), number(p.Started), rate(v), rate(shaken)})
	}
	if len(line) < 2 {
		return trafficChart{Empty: true}
	}
	line[0].x = 0 // a step is drawn at its end; the first one reaches back to the edge
	if high == 0 {
		high = 1
	}
	y := func(v float64) float64 { return chartHigh * (1 - v/high) }
	var path, shaken strings.Builder
	for i, p := range line {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], p.x, y(p.v))
		fmt.Fprintf(&shaken, "%c%.1f %.1f", "ML"[min(i, 1)], p.x, y(p.shaken))
	}
	mean, last := sum/seconds, line[len(line)-1]
	c := trafficChart{
		Line: path.String(), Area: fmt.Sprintf("%sL%.1f %dL%.1f %dZ", path.String(), last.x, chartHigh, line[0].x, chartHigh),
		MeanY: y(mean), Now: rate(last.v), Mean: rate(mean), Peak: rate(peak), Rows: rows,
		Left: span(reach) + " ago",
	}
	c.Handshakes = rate(last.shaken)
	if handshakes > 0 {
		c.Shaken = shaken.String()
	}
	if reach == chartMinutes*time.Minute {
		c.Left = "60 min ago"
	}
	if had := time.Duration(seconds) * time.Second; had < (chartMinutes-2)*time.Minute {
		c.Minutes = span(had)
	}
	c.Label = fmt.Sprintf("Sessions per second over the last hour: %s now, %s on average, %s at most; TLS handshakes per second: %s now.", c.Now, c.Mean, c.Peak, c.Handshakes)
	return c
}

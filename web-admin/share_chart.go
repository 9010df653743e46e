package webadmin

import (
	"fmt"
	"slices"
	"time"
)

const (
	shareColumns = 12 // of the last hour
	shareHours   = 24 // columns of the last day
	shareDays    = 56 // columns of the last weeks
	weekDays     = 7
)

// shareReach are the times that the columns of the share may cover: whole minutes a column.
var shareReach = [...]time.Duration{12 * time.Minute, 24 * time.Minute, 36 * time.Minute, chartMinutes * time.Minute}

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
	Choice  []kindTab
	Before  string // what it was before, to compare: "74 % a week ago"; empty: the box has nothing to compare with
	Way     string // up, down: which way it went since; empty: it stayed, or nobody knows
	Fault   string // why the series is not there
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

// shareSums are sessions by how they were protected.
type shareSums struct{ clear, start, implicit int }

func (s *shareSums) add(clear, start, implicit int) {
	s.clear, s.start, s.implicit = s.clear+clear, s.start+start, s.implicit+implicit
}

func (s shareSums) all() int { return s.clear + s.start + s.implicit }

// encrypted is the share that was; only of some.
func (s shareSums) encrypted() float64 { return float64(s.start+s.implicit) / float64(s.all()) }

func (s shareSums) percent() string { return percent(s.encrypted()) }

// sumOf adds up the points from one time to another.
func sumOf(points []SharePoint, from, to time.Time) (s shareSums) {
	for _, p := range points {
		if !p.Start.Before(from) && p.Start.Before(to) {
			s.add(int(p.Clear.Sessions), int(p.StartTLS.Sessions), int(p.Implicit.Sessions))
		}
	}
	return s
}

// chartShare draws how sessions that ended in the last hour were protected, on a box that has been up for so long.
func chartShare(tr Traffic, up time.Duration, z zone) shareChart {
	var hour, recent shareSums
	columns := make([]shareSums, shareColumns)
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
		hour.add(p.Clear, p.StartTLS, p.Implicit)
		columns[i].add(p.Clear, p.StartTLS, p.Implicit)
		if z.now.Sub(p.Start.Time) <= 10*time.Minute {
			recent.add(p.Clear, p.StartTLS, p.Implicit)
		}
		unknown += p.Other
	}
	c := shareChart{Over: "in the last hour", Left: fmt.Sprintf("%d min ago", reach/time.Minute)}
	if up < chartMinutes*time.Minute {
		c.Over = "since the start"
	}
	c.draw(columns, hour, unknown, from, wide, z)
	if recent.all() > 0 && up > 10*time.Minute { // else the two are one
		c.Recent = recent.percent()
	}
	return c
}

// draw fills in the columns, which begin at from, and what they come to.
func (c *shareChart) draw(columns []shareSums, sum shareSums, unknown int, from time.Time, wide time.Duration, z zone) {
	if unknown > 0 {
		c.Unknown = number(unknown)
	}
	if c.Empty = sum.all() == 0; c.Empty {
		return
	}
	c.Hour = sum.percent()
	c.Parts = []sharePart{{"STARTTLS", "starttls", number(sum.start)}, {"in clear", "clear", number(sum.clear)}}
	if sum.implicit > 0 {
		c.Parts = append(c.Parts, sharePart{"TLS from the first byte", "implicit", number(sum.implicit)})
	}
	slot := chartWide / float64(len(columns))
	for i, s := range columns {
		if s.all() == 0 {
			continue
		}
		part := func(n int) float64 { return chartHigh * float64(n) / float64(s.all()) }
		c.Columns = append(c.Columns, shareColumn{
			X: float64(i) * slot, Wide: slot * 0.92,
			ImplicitY: 0, ImplicitHigh: part(s.implicit),
			StartTLSY: part(s.implicit), StartTLSHigh: part(s.start),
			ClearY: part(s.implicit) + part(s.start), ClearHigh: part(s.clear),
			From:  z.clock(from.Add(time.Duration(i) * wide)),
			Clear: number(s.clear), StartTLS: number(s.start), Implicit: number(s.implicit), Share: s.percent(),
		})
	}
	c.Label = fmt.Sprintf("Share of sessions that were encrypted, in columns of %s: %s %s.", span(wide), c.Hour, c.Over)
}

// chartSeries draws the last columns of a series of steps of that length.
func chartSeries(points []SharePoint, step time.Duration, columns int, z zone) shareChart {
	from := z.now.Truncate(step).Add(step - time.Duration(columns)*step)
	sums, unknown := make([]shareSums, columns), 0
	var all shareSums
	for _, p := range points {
		i := int(p.Start.Sub(from) / step)
		if p.Start.Before(from) || i >= columns {
			continue
		}
		sums[i].add(int(p.Clear.Sessions), int(p.StartTLS.Sessions), int(p.Implicit.Sessions))
		all.add(int(p.Clear.Sessions), int(p.StartTLS.Sessions), int(p.Implicit.Sessions))
		unknown += int(p.Unknown.Sessions)
	}
	c := shareChart{Over: "in the last day", Left: "24 h ago"}
	if step > time.Hour {
		c.Over, c.Left = "in the last 8 weeks", "8 weeks ago"
	}
	c.draw(sums, all, unknown, from, step, z)
	return c
}

// compare says what the share was before, where there was any, and which way it went by a whole point at least.
func (c *shareChart) compare(now, before shareSums, when string) {
	if now.all() == 0 || before.all() == 0 {
		return
	}
	c.Before = before.percent() + " " + when
	switch by := now.encrypted() - before.encrypted(); {
	case by >= 0.01:
		c.Way = "up"
	case by <= -0.01:
		c.Way = "down"
	}
}

// shareTimes are the times of the share that somebody can choose from.
var shareTimes = []string{"hour", "day", "weeks"}

// shareOver is the share over the time that was chosen, beside what it was before.
func shareOver(over string, tr Traffic, up time.Duration, was series, z zone) shareChart {
	var c shareChart
	hour, day := z.now.Truncate(time.Hour), z.now.Truncate(24*time.Hour)
	ago := func(t time.Time, days int) time.Time { return t.Add(-time.Duration(days) * 24 * time.Hour) }
	switch over {
	case "day":
		c = chartSeries(was.hours, time.Hour, shareHours, z)
		from := hour.Add(-(shareHours - 1) * time.Hour)
		c.compare(sumOf(was.hours, from, z.now), sumOf(was.hours, ago(from, weekDays), ago(hour.Add(time.Hour), weekDays)), "a week ago")
	case "weeks":
		c = chartSeries(was.days, 24*time.Hour, shareDays, z)
		last := sumOf(was.days, ago(day, weekDays-1), z.now)
		if last.all() > 0 {
			c.Hour, c.Over = last.percent(), "in the last 7 days"
		}
		c.compare(last, sumOf(was.days, ago(day, 2*weekDays-1), ago(day, weekDays-1)), "in the 7 before")
	default:
		c = chartShare(tr, up, z)
		var now shareSums
		for _, p := range tr.Points {
			now.add(p.Clear, p.StartTLS, p.Implicit)
		}
		at := ago(hour, weekDays)
		c.compare(now, sumOf(was.hours, at, at.Add(time.Hour)), "at this hour a week ago")
	}
	if over != shareTimes[0] {
		c.Fault = inert(was.fault)
	}
	for _, one := range shareTimes {
		link := "/"
		if one != shareTimes[0] {
			link = "/?share=" + one
		}
		c.Choice = append(c.Choice, kindTab{capital(one), link, one == over})
	}
	return c
}

// usualRate is how many sessions a second ended at this hour of the day in the last week, the middle one of the days; false where
// fewer than three days have any.
func usualRate(hours []SharePoint, now time.Time) (perSecond float64, ok bool) {
	var all []uint64
	for day := 1; day <= weekDays; day++ {
		at := now.Truncate(time.Hour).Add(-time.Duration(day) * 24 * time.Hour)
		for _, p := range hours {
			if p.Start.Equal(at) {
				all = append(all, p.Clear.Sessions+p.StartTLS.Sessions+p.Implicit.Sessions+p.Unknown.Sessions)
			}
		}
	}
	if len(all) < 3 {
		return 0, false
	}
	slices.Sort(all)
	return float64(all[len(all)/2]) / time.Hour.Seconds(), true
}

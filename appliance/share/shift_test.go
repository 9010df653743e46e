package share

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var rule = Rule{Points: 5, Sessions: 1000}

// year of days: so many sessions, of which a share is encrypted, that of each day as it comes.
type story struct {
	r        *rand.Rand
	perDay   float64
	share    func(day int) float64
	unrest   float64 // how much the share of a day differs by itself
	sundays  float64 // how much less there is on two days of the week
	campaign float64 // how often a day has a large mailing in clear
}

// tell lives for so many days and gives the days on which an alarm came.
func (s story) tell(t *testing.T, days int) (alarms []int, shifts []Shift) {
	t.Helper()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	series, _, err := Open(t.TempDir(), 400*24*time.Hour, now)
	check(t, err)
	defer series.Close()
	var a Alarm
	for day := range days {
		n := s.perDay * (0.8 + 0.4*s.r.Float64())
		if day%7 >= 5 {
			n *= 1 - s.sundays
		}
		p := min(max(s.share(day)+s.unrest*s.r.NormFloat64(), 0), 1)
		var c Count
		for range int(n) {
			if s.r.Float64() < p {
				c.Sessions[StartTLS]++
			} else {
				c.Sessions[Clear]++
			}
		}
		if s.r.Float64() < s.campaign {
			c.Sessions[Clear] += uint64(n)
		}
		check(t, series.write(Minute.begin(now), c))
		now = now.AddDate(0, 0, 1)
		shift, tell, err := a.Look(series, rule, now)
		check(t, err)
		if tell {
			alarms, shifts = append(alarms, day), append(shifts, shift)
		}
		if _, again, _ := a.Look(series, rule, now.Add(time.Minute)); again {
			t.Error("told twice in a day")
		}
	}
	return alarms, shifts
}

func steady(day int) float64 { return 0.7 }

// Years in which nothing happens, on lines of several sizes and with several kinds of unrest.
func TestNoiseIsNotTold(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"a large network":                   {perDay: 5000, unrest: 0.01, sundays: 0.6},
		"a small one":                       {perDay: 200, unrest: 0.03, sundays: 0.6},
		"one with fewer than needed":        {perDay: 100, unrest: 0.10},
		"days that differ much":             {perDay: 1000, unrest: 0.08, sundays: 0.5},
		"large mailings in clear, at times": {perDay: 500, unrest: 0.03, campaign: 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const years = 8
			told := 0
			for year := range uint64(years) {
				s := s
				s.r, s.share = rand.New(rand.NewPCG(year, 3)), steady
				alarms, _ := s.tell(t, 365)
				told += len(alarms)
			}
			t.Logf("%d alarms in %d years of 365 days", told, years)
			if told > 1 {
				t.Errorf("%d alarms where nothing happened", told)
			}
		})
	}
}

// A fifth that turns into three tenths within a week, as in 2010, is told in at most three days more; and the ways back.
func TestAShiftIsToldOnce(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		share func(day int) float64
		want  int // of the last of them: 1 up, -1 down
		times int
	}{
		"up within a week":   {func(d int) float64 { return 0.2 + 0.1*min(max(float64(d-30)/7, 0), 1) }, 1, 1},
		"up at once, by 40":  {func(d int) float64 { return 0.2 + 0.4*min(max(float64(d-30), 0), 1) }, 1, 1},
		"down":               {func(d int) float64 { return 0.9 - 0.2*min(max(float64(d-30), 0), 1) }, -1, 1},
		"up and down again":  {func(d int) float64 { return 0.2 + 0.2*math.Abs(math.Round(float64(d%60)/60)) }, -1, 4},
		"up, and up again":   {func(d int) float64 { return 0.2 + 0.2*float64(min(d/30, 1)+min(d/75, 1)) }, 1, 2},
		"slowly over a year": {func(d int) float64 { return 0.2 + 0.3*float64(d)/150 }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5) {
				s := story{r: rand.New(rand.NewPCG(seed, 4)), perDay: 1500, unrest: 0.015, sundays: 0.5, share: one.share}
				alarms, shifts := s.tell(t, 150)
				if len(alarms) != one.times {
					t.Errorf("world %d: told on days %v", seed, alarms)
					continue
				}
				if one.times == 0 {
					continue
				}
				last := shifts[len(shifts)-1]
				if way := math.Copysign(1, last.Points()); int(way) != one.want {
					t.Errorf("world %d: %.1f points", seed, last.Points())
				}
				if alarms[0] < 30 || alarms[0] > 40 {
					t.Errorf("world %d: told on day %d, it was on day 30", seed, alarms[0])
				}
				t.Logf("world %d: told on days %v, %.1f points, %.1f standard errors", seed, alarms, last.Points(), last.Errors)
			}
		})
	}
}

// What a shift needs beside the difference of the two sums: days enough, and most of them as far apart and the same way.
func TestWhatMakesAShift(t *testing.T) {
	t.Parallel()
	type of struct {
		days     int
		sessions uint64
		share    float64
	}
	usual := []of{{7, 1000, 0.5}}
	for _, row := range []struct {
		why             string
		earlier         []of // the week before the two
		before, after   []of
		enough, certain bool
	}{
		{"all days are higher", usual, usual, []of{{7, 1000, 0.6}}, true, true},
		{"all days are lower", usual, usual, []of{{7, 1000, 0.4}}, true, true},
		{"no day differs", usual, usual, usual, true, false},
		{"five days are enough", usual, usual, []of{{5, 1000, 0.6}}, true, true},
		{"four days are not", usual, usual, []of{{4, 1000, 0.6}}, false, false},
		{"nor with three more of too few sessions", usual, usual, []of{{4, 1000, 0.6}, {3, minDay - 1, 0.6}}, false, false},
		{"nor in the week before", usual, []of{{4, 1000, 0.5}}, []of{{7, 1000, 0.6}}, false, false},
		{"sessions are too few", usual, usual, []of{{7, 100, 0.6}}, false, false},
		{"an earlier week that is wild", []of{{4, 1000, 1}, {3, 1000, 0}}, usual, []of{{7, 1000, 0.6}}, true, false},
		{"one of too few days, which does not count", []of{{2, 1000, 1}, {2, 1000, 0}}, usual, []of{{7, 1000, 0.6}}, true, true},
		{"most days are higher, and one that is low makes the sum low", usual, usual, []of{{6, 200, 0.6}, {1, 5000, 0}}, true, false},
		{"most days are lower, and one that is high makes the sum high", usual, usual, []of{{6, 200, 0.4}, {1, 5000, 1}}, true, false},
		{"most days are higher by less than is told, three by more", usual, usual, []of{{4, 1000, 0.53}, {3, 5000, 0.7}}, true, false},
	} {
		var days [weeks * weekDays]Count
		for w := range weeks {
			week := usual
			switch w {
			case weeks - 3:
				week = row.earlier
			case weeks - 2:
				week = row.before
			case weeks - 1:
				week = row.after
			}
			at := w * weekDays
			for _, some := range week {
				for range some.days {
					tls := uint64(math.Round(float64(some.sessions) * some.share))
					days[at].Sessions[StartTLS], days[at].Sessions[Clear] = tls, some.sessions-tls
					at++
				}
			}
		}
		s, certain, enough := weekly(days, start, rule)
		if certain != row.certain || enough != row.enough {
			t.Errorf("%s: enough %v, certain %v: %+v", row.why, enough, certain, s)
		}
	}
}

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

package share

import (
	"math"
	"slices"
	"time"
)

// Rule says which shift is told.
type Rule struct {
	Points   float64 // of a hundred, the least shift
	Sessions uint64  // in each of the two weeks, the fewest
}

const (
	weekDays = 7
	weeks    = 8   // that tell how much days differ; two of them at least
	minDays  = 5   // with sessions, in a week that counts
	minDay   = 20  // sessions that make a day count
	surprise = 4.0 // standard errors, more when fewer weeks are known
)

// Shift is how the encrypted share of a week differs from that of the week before.
type Shift struct {
	Week          time.Time // when it began; the other one began seven days before
	Before, After float64   // shares, of 1
	Sessions      [2]uint64 // of the two weeks
	Errors        float64   // the difference in standard errors, as days differ among each other
}

// Points is the difference, in points of a hundred.
func (s Shift) Points() float64 { return 100 * (s.After - s.Before) }

// week is what seven days say.
type week struct {
	Count
	shares []float64 // of the days that count, sorted
}

func weekOf(days []Count) (w week) {
	for _, d := range days {
		w.add(d)
		if d.Known() >= minDay {
			w.shares = append(w.shares, d.Encrypted())
		}
	}
	slices.Sort(w.shares)
	return w
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

func mean(all []float64) (m float64) {
	for _, x := range all {
		m += x / float64(len(all))
	}
	return m
}

// weekly compares the last seven days with the seven before. enough is false when they have too little, and then there is
// nothing to be said; certain tells whether the difference is more than chance.
//
// It is held against how the days of the last weeks differ among each other, not against the number of sessions: sessions
// are not independent, one list or one broken server makes thousands of the same kind in a day. For the same reason the
// medians of the days are compared too: most days have to differ as much, not only one.
func weekly(days [weeks * weekDays]Count, last time.Time, r Rule) (s Shift, certain, enough bool) {
	s.Week = last.AddDate(0, 0, 1-weekDays)
	var all [weeks]week
	var apart []float64 // how far days are from the median of their week
	squares, free := 0.0, 0
	for w := range all {
		all[w] = weekOf(days[w*weekDays : (w+1)*weekDays])
		if len(all[w].shares) < minDays {
			continue
		}
		for _, x := range all[w].shares {
			apart = append(apart, math.Abs(x-median(all[w].shares)))
			squares += (x - mean(all[w].shares)) * (x - mean(all[w].shares))
		}
		free += len(all[w].shares) - 1
	}
	before, after := all[weeks-2], all[weeks-1]
	s.Sessions = [2]uint64{before.Known(), after.Known()}
	s.Before, s.After = before.Encrypted(), after.Encrypted()
	if min(before.Known(), after.Known()) < r.Sessions || min(len(before.shares), len(after.shares)) < minDays {
		return s, false, false
	}
	slices.Sort(apart)
	halves := 1/float64(len(before.shares)) + 1/float64(len(after.shares))
	few := 1 + 4/float64(free)
	// As if days were normal; and once more with what is not moved by a few odd days.
	usual := math.Sqrt(squares / float64(free) * halves)
	middle := 1.2533 * 1.4826 * median(apart) * math.Sqrt(halves)
	by := median(after.shares) - median(before.shares)
	s.Errors = min(math.Abs(s.After-s.Before)/max(usual, 0.001), math.Abs(by)/max(middle, 0.001))
	return s, s.Errors >= surprise*few && 100*math.Abs(by) >= r.Points && (by > 0) == (s.After > s.Before), true
}

// Alarm tells a shift once. Its fields are to be kept over a restart.
type Alarm struct {
	Day  int64 // Unix seconds of the last day that was looked at
	Told int   // 1 or -1 while a shift up or down has been told and goes on
}

// Look compares the week that ended with yesterday with the one before, once a day. tell is true for a shift that is large
// enough, certain enough and not yet told; it is told again when the share had been steady in between.
func (a *Alarm) Look(s *Series, r Rule, now time.Time) (shift Shift, tell bool, err error) {
	today := Day.begin(now)
	if today == a.Day {
		return Shift{}, false, nil
	}
	var days [weeks * weekDays]Count
	s.disk.Lock()
	err = s.there(now)
	for i := range days {
		if err != nil {
			break
		}
		if days[i], err = s.now(Day, today-int64(len(days)-i)*86400); err != nil {
			break
		}
	}
	s.disk.Unlock()
	if err != nil {
		return Shift{}, false, err
	}
	a.Day = today
	shift, certain, enough := weekly(days, time.Unix(today-86400, 0).UTC(), r)
	if !enough {
		return shift, false, nil
	}
	points := shift.Points()
	way := 1
	if points < 0 {
		way = -1
	}
	switch {
	case math.Abs(points) < r.Points/2:
		a.Told = 0
	case math.Abs(points) >= r.Points && certain && way != a.Told:
		a.Told = way
		return shift, true, nil
	}
	return shift, false, nil
}

package webadmin

import (
	"errors"
	"net/netip"
	"strings"
	"time"
)

// EndOfDay is when a day, written 2006-01-02, ends in loc: at midnight, or where clocks are changed then, at the first moment of the next day.
func EndOfDay(day string, loc *time.Location) (time.Time, error) {
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{}, err
	}
	// Noon is there on every day. From there on, since no arithmetic with dates says which of two midnights it means, nor which hour in place
	// of none; every zone's days begin at a quarter of an hour.
	t := time.Date(d.Year(), d.Month(), d.Day(), 12, 0, 0, 0, loc)
	for t.Day() == d.Day() {
		t = t.Add(15 * time.Minute)
	}
	return t, nil
}

// oldest is the first time of which anything can be known.
var oldest = time.Unix(0, 0)

// errWhen is what [ParsePast] says of a time that it does not understand.
var errWhen = errors.New("a time like 03:12, yesterday 03:12, 2026-01-31 03:12 or 2026-01-31T03:12:00Z")

// ParsePast reads a time that has been, as people say it: "03:12" (the last one), "yesterday 03:12", "2026-01-31 03:12", "31 Jan
// 03:12" (the last one), each with seconds or without, in loc; or RFC 3339. The empty text is now.
func ParsePast(text string, now time.Time, loc *time.Location) (time.Time, error) {
	text = strings.Join(strings.Fields(text), " ")
	now = now.In(loc)
	if text == "" {
		return now, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		if t, err = pastClock(text, now); err != nil {
			return time.Time{}, err
		}
	}
	switch {
	case t.After(now):
		return time.Time{}, errors.New("this time has not been yet")
	case t.Before(oldest):
		return time.Time{}, errors.New("nothing is known from before 1970")
	}
	return t, nil
}

func pastClock(text string, now time.Time) (time.Time, error) {
	word, clock, two := strings.Cut(strings.ToLower(text), " ")
	day := now
	switch {
	case !two:
		clock = word
	case word == "today":
	case word == "yesterday":
		day = now.AddDate(0, 0, -1)
	default:
		return pastDate(text, now)
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		c, err := time.Parse(layout, clock)
		if err != nil {
			continue
		}
		t := time.Date(day.Year(), day.Month(), day.Day(), c.Hour(), c.Minute(), c.Second(), 0, now.Location())
		if !two && t.After(now) {
			t = time.Date(day.Year(), day.Month(), day.Day()-1, c.Hour(), c.Minute(), c.Second(), 0, now.Location())
		}
		return t, nil
	}
	return time.Time{}, errWhen
}

func pastDate(text string, now time.Time) (time.Time, error) {
	for _, clock := range []string{"15:04", "15:04:05"} {
		if t, err := time.ParseInLocation(time.DateOnly+" "+clock, text, now.Location()); err == nil {
			return t, nil
		}
		// The year before text, not after the parse: 29 Feb is a day of some years only.
		for year := now.Year(); year > now.Year()-8; year-- {
			t, err := time.ParseInLocation("2006 2 Jan "+clock, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006 ")+text, now.Location())
			if err == nil && !t.After(now) {
				return t, nil
			}
		}
	}
	return time.Time{}, errWhen
}

// addressAt reads what the search box takes for an address at a time: "100.64.0.11 yesterday 03:12". Without a time it is false:
// that is a search for whoever is there now.
func addressAt(text string, now time.Time, loc *time.Location) (netip.Addr, time.Time, bool) {
	first, rest, ok := strings.Cut(strings.TrimSpace(text), " ")
	addr, err := netip.ParseAddr(first)
	if !ok || err != nil || addr.Zone() != "" {
		return netip.Addr{}, time.Time{}, false
	}
	at, err := ParsePast(rest, now, loc)
	return addr.Unmap(), at, err == nil
}

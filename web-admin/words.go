package webadmin

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// stages are the words of the ladder, mildest first; they are governor's.
var stages = []string{"observe", "warn", "pace", "defer", "cut"}

// stageRank is the place of a stage on the ladder; -1: not a stage.
func stageRank(word string) int { return slices.Index(stages, word) }

// past is what happens to mail at a stage, for sentences: "3 deferred".
var past = map[string]string{"observe": "observed", "warn": "warned", "pace": "paced", "defer": "deferred", "cut": "cut", "pass": "passed"}

// number writes n with thousands separated: 1,234,567.
func number[T int | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	if digits[0] == '-' {
		return "-" + separated(digits[1:])
	}
	return separated(digits)
}

// separated are digits with thousands separated.
func separated(digits string) string {
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// count is a number with its noun: "1 session", "2,314 sessions".
func count[T int | int64 | uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// rate writes a rate with about two figures: 0.83, 4.2, 41, 1,204.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 0.095:
		return strconv.FormatFloat(perSecond, 'f', 3, 64)
	case perSecond < 9.95:
		return strconv.FormatFloat(perSecond, 'f', 1+btoi(perSecond < 0.995), 64)
	}
	return number(int64(math.Round(perSecond)))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// percent writes a ratio (1 is 100 %) without decimals, rounded down as in a reason: 100 is never said of less.
func percent(ratio float64) string {
	p := math.Floor(ratio*100 + 1e-9) // 0.29*100 is a little less than 29
	if math.IsNaN(p) || math.IsInf(p, 0) {
		return "-"
	}
	return number(int64(p)) + "\u00a0%"
}

// window writes a budget's window as the configuration and the reasons do: 1h, 24h, 1h30m.
func window(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// perWindow writes a window for people: "in an hour", "in 24 hours", "in 10 minutes".
func perWindow(d time.Duration) string {
	unit := func(n time.Duration, one, many string) string {
		if n == 1 {
			return "in " + one
		}
		return fmt.Sprintf("in %d %s", n, many)
	}
	switch {
	case d == 24*time.Hour:
		return "in a day"
	case d%time.Hour == 0:
		return unit(d/time.Hour, "an hour", "hours")
	case d%time.Minute == 0:
		return unit(d/time.Minute, "a minute", "minutes")
	}
	return unit(d/time.Second, "a second", "seconds")
}

// span writes how long something took or takes, in its two largest units: "4 min", "1 h 20 min", "3 d".
func span(d time.Duration) string {
	const nb = "\u00a0"
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d"+nb+"ms", d.Milliseconds())
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + nb + "s"
	case d < time.Minute:
		return fmt.Sprintf("%d"+nb+"s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d"+nb+"min", d/time.Minute)
	case d < 24*time.Hour:
		if m := d % time.Hour / time.Minute; m > 0 {
			return fmt.Sprintf("%d"+nb+"h %d"+nb+"min", d/time.Hour, m)
		}
		return fmt.Sprintf("%d"+nb+"h", d/time.Hour)
	}
	return fmt.Sprintf("%d"+nb+"d", d/(24*time.Hour))
}

// size writes bytes: 812 B, 12 kB, 3.4 MB.
func size(n int64) string {
	f, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i > 0 && f < 9.95 {
		return fmt.Sprintf("%.1f\u00a0%s", f, units[i])
	}
	return fmt.Sprintf("%.0f\u00a0%s", f, units[i])
}

// moment is a time as a page shows it. The zero moment shows nothing.
type moment struct {
	Text    string // "02:16", "yesterday 02:16", "18 Nov 02:16"
	Full    string // with date, seconds and zone, on hover
	Machine string // for <time datetime>
}

// zone makes moments in one place at one time.
type zone struct {
	now time.Time
	loc *time.Location
}

// name is what the zone is called now, and how far it is from UTC.
func (z zone) name() string {
	local := z.now.In(z.loc)
	if name, offset := local.Zone(); offset == 0 && name == "UTC" {
		return name
	}
	return local.Format("MST, UTC-07:00")
}

// clock is the time of day, with the day where it is not today.
func (z zone) clock(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	local, now := t.In(z.loc), z.now.In(z.loc)
	text := local.Format("15:04")
	switch days := daysBetween(local, now); {
	case days == 0:
	case days == 1:
		text = "yesterday " + text
	case days == -1:
		text = "tomorrow " + text
	case local.Year() == now.Year():
		text = local.Format("2 Jan ") + text
	default:
		text = local.Format("2 Jan 2006 ") + text
	}
	return moment{text, local.Format("Monday, 2 January 2006, 15:04:05 MST"), local.Format(time.RFC3339)}
}

// second is clock with seconds, for lists of events.
func (z zone) second(t time.Time) moment {
	m := z.clock(t)
	if m.Text != "" {
		m.Text = strings.TrimSuffix(m.Text, t.In(z.loc).Format("15:04")) + t.In(z.loc).Format("15:04:05")
	}
	return m
}

// day is a moment with its date, today too: for who has to see whether that is right.
func (z zone) day(t time.Time) moment {
	m := z.clock(t)
	m.Text = t.In(z.loc).Format("2 Jan 2006 15:04:05")
	return m
}

// lasting says how long something has been so: "for 4 min" under an hour, "since 02:16" beyond.
func (z zone) lasting(t time.Time) moment {
	m := z.clock(t)
	if m.Text == "" {
		return m
	}
	if d := z.now.Sub(t); d >= 0 && d < time.Hour {
		m.Text = "for " + span(d.Truncate(time.Second))
	} else {
		m.Text = "since " + m.Text
	}
	return m
}

// daysBetween counts midnights from a to b, both in one zone.
func daysBetween(a, b time.Time) int {
	day := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
	return int(day(b).Sub(day(a)) / (24 * time.Hour))
}

const longestText = 160

// inert makes a string from elsewhere safe to look at: no control characters, nothing that turns the writing direction, bounded
// length. What markup it contains is html/template's business.
func inert(s string) string { return inertTo(s, longestText) }

// inertTo is inert with room for so many characters.
func inertTo(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		// Cf holds the direction overrides and isolates, zero-width characters and the byte order mark.
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			r = '\ufffd'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// capital is a text as a sentence begins.
func capital(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}

// subscriberLink is the page of a subscriber; ids of unmapped sources contain a slash.
func subscriberLink(id string) string { return "/subscribers/" + url.PathEscape(id) }

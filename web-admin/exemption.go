package webadmin

import "time"

// LongestExemption is how far ahead an exemption may end: longer ones are forgotten by those who granted them.
const LongestExemption = 366 * 24 * time.Hour

// untilWrong says why an exemption cannot end at until; empty: it can.
func untilWrong(until, now time.Time) string {
	switch {
	case !until.After(now):
		return "must be in the future"
	case until.Sub(now) > LongestExemption:
		return "at most 366 days ahead; prolong it when it is due"
	}
	return ""
}

package store

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// A record begins with a byte that tells what is in it, and another one that is the mode, and then the name. Numbers are
// varints, texts have their length before them, enums are stored as numbers, to which new ones may only be added at the
// end.
const (
	isGone      = 1 << iota // nothing follows the name
	isUnlisted              // a stranger
	hasTrouble              // stage, its times, case and cause
	hasExempt               // an exemption
	hasNetworks             // destinations, retries
	hasCalm                 // some budgets have pressure
	isEstimated             // budgets of messages hold an estimate
	hasSure                 // and some that is certain; this is the last bit
)

var errPayload = errors.New("a frame whose checksum is right cannot be read")

func appendState(b []byte, st governor.SavedState) []byte {
	b = binary.AppendVarint(b, st.Wall.UnixNano())
	b = binary.AppendVarint(b, int64(st.Clock))
	return binary.AppendUvarint(b, st.Cases)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendRecord writes s, whose plan is the shape of that number.
func appendRecord(b []byte, s *governor.Saved, shape int, clock time.Duration) []byte {
	at := len(b)
	b = appendText(append(b, 0, byte(s.Mode)), s.Subscriber)
	if s.Gone {
		b[at] = isGone
		return b
	}
	b = binary.AppendUvarint(b, uint64(shape))
	b = appendBudgetTimes(b, s.Budgets, clock, func(u *governor.SavedBudget) time.Duration { return u.WholeAt })
	for i := range s.Budgets {
		if s.Budgets[i].CalmAt != 0 {
			b[at] |= hasCalm
			b = appendBudgetTimes(b, s.Budgets, clock, func(u *governor.SavedBudget) time.Duration { return u.CalmAt })
			break
		}
	}
	if s.Unlisted {
		b[at] |= isUnlisted
	}
	if s.Estimated {
		b[at] |= isEstimated
		if slices.ContainsFunc(s.Budgets, func(u governor.SavedBudget) bool { return u.SureAt != 0 }) {
			b[at] |= hasSure
			b = appendBudgetTimes(b, s.Budgets, clock, func(u *governor.SavedBudget) time.Duration { return u.SureAt })
		}
	}
	if troubled(s) {
		b[at] |= hasTrouble
		b = append(b, byte(s.Stage), byte(s.Cause.Of))
		b = appendTimes(b, clock, s.Since, s.Until, s.Confirmed, s.Calm, s.Ended)
		for _, n := range [...]int64{int64(s.Cause.Value), int64(s.Cause.Limit), int64(s.Cause.Burst), int64(s.Cause.Window)} {
			b = binary.AppendVarint(b, n)
		}
		b = appendText(b, s.Case)
	}
	if x := s.Exemption; x != nil {
		b[at] |= hasExempt
		b = appendTimes(b, clock, x.Since, x.Until)
		b = appendText(appendText(b, x.Reason), x.By)
	}
	if len(s.Destinations)+len(s.Retries) > 0 {
		b[at] |= hasNetworks
		b = binary.AppendUvarint(b, uint64(len(s.Destinations)))
		for _, d := range s.Destinations {
			b = appendNetwork(b, d.Network, d.Budget)
			b = binary.AppendVarint(b, int64(d.At-clock))
		}
		b = binary.AppendUvarint(b, uint64(len(s.Retries)))
		for _, r := range s.Retries {
			b = appendNetwork(b, r.Network, 0)
			b = binary.AppendVarint(b, int64(r.Every))
			b = appendTimes(b, clock, r.WholeAt, r.UsedAt)
		}
	}
	return b
}

// troubled tells whether s has anything of what hasTrouble says.
func troubled(s *governor.Saved) bool {
	return s.Stage != 0 || s.Case != "" || s.Cause != governor.Cause{} ||
		s.Since != 0 || s.Until != 0 || s.Confirmed != 0 || s.Calm != 0 || s.Ended != 0
}

// appendTimes writes which of up to eight times are not 0, and those as distances from clock.
func appendTimes(b []byte, clock time.Duration, times ...time.Duration) []byte {
	at := len(b)
	b = append(b, 0)
	for i, t := range times {
		if t != 0 {
			b[at] |= 1 << i
			b = binary.AppendVarint(b, int64(t-clock))
		}
	}
	return b
}

// appendBudgetTimes writes one time of each budget, eight at a time like appendTimes.
func appendBudgetTimes(b []byte, of []governor.SavedBudget, clock time.Duration, which func(*governor.SavedBudget) time.Duration) []byte {
	var times [8]time.Duration
	for from := 0; from < len(of); from += len(times) {
		n := min(len(times), len(of)-from)
		for i := range n {
			times[i] = which(&of[from+i])
		}
		b = appendTimes(b, clock, times[:n]...)
	}
	return b
}

// appendNetwork writes a network, and in the same number which budget it belongs to.
func appendNetwork(b []byte, n governor.Network, budget int) []byte {
	what := uint64(budget) << 1
	if n.IPv6 {
		what |= 1
	}
	return binary.BigEndian.AppendUint32(binary.AppendUvarint(b, what), n.Bits)
}

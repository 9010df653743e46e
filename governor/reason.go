package governor

import (
	"fmt"
	"strings"
	"time"
)

// reason says a budget in one line. The per cent are rounded down, so that 100% is never said of less.
func reason(of Kind, value, limit, burst int, window time.Duration) string {
	switch {
	case of == Unknown || burst <= 0:
		return ""
	case window == 0:
		return fmt.Sprintf("%s %d/%d (%d%%)", of, value, burst, percent(value, burst))
	case burst != limit:
		return fmt.Sprintf("%s %d/%d at once, %d per %s (%d%%)", of, value, burst, limit, short(window), percent(value, burst))
	}
	return fmt.Sprintf("%s %d/%d per %s (%d%%)", of, value, limit, short(window), percent(value, burst))
}

func percent(value, burst int) int { return int(int64(value) * 100 / int64(burst)) }

// short writes a duration as the configuration does: 1h, not 1h0m0s, and 7d.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (c Cause) reason() string { return reason(c.Of, c.Value, c.Limit, c.Burst, c.Window) }

func (c Cause) ratio() float64 {
	if c.Burst <= 0 {
		return 0
	}
	return float64(c.Value) / float64(c.Burst)
}

func (o offer) cause() Cause {
	return Cause{Of: o.l.Of, Value: o.value, Limit: o.l.Limit, Burst: o.l.Burst, Window: o.l.Per}
}

func (d *Decision) blame(c Cause) {
	d.Of, d.Value, d.Limit, d.Burst, d.Window, d.Ratio = c.Of, c.Value, c.Limit, c.Burst, c.Window, c.ratio()
}

func (s *StageChange) blame(c Cause) {
	s.Of, s.Value, s.Limit, s.Burst, s.Window, s.Ratio = c.Of, c.Value, c.Limit, c.Burst, c.Window, c.ratio()
}

// take writes the offer that decided into the decision.
func (d *Decision) take(o offer, c *clock, now time.Time) {
	d.Action = o.action
	if o.l == nil {
		return
	}
	d.blame(o.cause())
	d.Wait = time.Duration(o.wait)
	d.Until = c.time(o.until, now)
}

// caseDigits are Crockford's base 32: no I, L, O or U to be misread over the telephone.
const caseDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// CaseNumber writes the number of a case: five caseDigits, and more after 33 million cases, so that none is ever given out twice.
func CaseNumber(n uint64) string {
	var b [13]byte
	i := len(b)
	for ; n > 0 || len(b)-i < leastDigits; n /= 32 {
		i--
		b[i] = caseDigits[n%32]
	}
	return string(b[i:])
}

const (
	leastDigits = 5
	mostDigits  = 12 // that ParseCase reads
)

// ParseCase reads the number of a case as people write it down: in small letters too, with O for 0 and I or L for 1; false for
// what is none.
func ParseCase(id string) (n uint64, ok bool) {
	if len(id) < leastDigits || len(id) > mostDigits {
		return 0, false
	}
	for i := range len(id) {
		c := id[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch c {
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		digit := strings.IndexByte(caseDigits, c)
		if digit < 0 {
			return 0, false
		}
		n = n*32 + uint64(digit)
	}
	return n, true
}

package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// Mask is a set of bits of a packet or conntrack mark.
type Mask uint32

// String is the form the configuration has it in: 0x0f000000.
func (m Mask) String() string { return fmt.Sprintf("%#08x", uint32(m)) }

const day = 24 * time.Hour

var (
	errNoUnit  = errors.New("has no unit")
	errBadUnit = errors.New("has no unit we know")
	errNumber  = errors.New("does not begin with a number")
	errTooBig  = errors.New("is too large")
)

// durationUnits go from long to short, as ParseDuration and FormatDuration want them.
var durationUnits = []struct {
	name string
	is   time.Duration
}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", time.Nanosecond}}

// ParseDuration reads a duration as the configuration writes it: Go's form with d (24 hours) besides, as in 90s, 15m,
// 1h30m, 7d. A number always carries its unit, zero included; negative durations do not exist.
func ParseDuration(s string) (time.Duration, error) {
	return parseParts(s, func(unit string) (time.Duration, bool) {
		for _, u := range durationUnits {
			if u.name == unit {
				return u.is, true
			}
		}
		return time.Microsecond, unit == "µs" || unit == "μs"
	})
}

// FormatDuration writes d so that ParseDuration reads the same back, with the longest units that fit: 7d, 1h30m, 0s.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	if d == 24*time.Hour { // a day's window reads better as hours beside 1h
		return "24h"
	}
	var b strings.Builder
	for _, u := range durationUnits {
		if n := d / u.is; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.is
		}
	}
	return b.String()
}

var sizeUnits = []struct {
	name string
	is   Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// ParseSize reads a size: a number and B, KiB, MiB, GiB (powers of 1024) or KB, MB, GB (powers of 1000).
func ParseSize(s string) (Size, error) {
	n, err := parseParts(s, func(unit string) (time.Duration, bool) {
		for _, u := range sizeUnits {
			if u.name == unit {
				return time.Duration(u.is), true
			}
		}
		return 0, false
	})
	return Size(n), err
}

// String writes the size so that ParseSize reads the same back: 64MiB.
func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if s > 0 && s%u.is == 0 {
			return fmt.Sprintf("%d%s", s/u.is, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// parsePrefix reads an address, which is a prefix of its own, or a prefix without bits beyond its length. why says what is
// wrong and what to write.
func parsePrefix(s string) (p netip.Prefix, why string) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil, p.Addr().Is4In6():
		return netip.Prefix{}, "is not an address or prefix; write 192.0.2.0/24 or 2001:db8::1"
	case p != p.Masked():
		return netip.Prefix{}, fmt.Sprintf("has bits beyond its length; write %v, or %v for the one address", p.Masked(), p.Addr())
	}
	return p, ""
}

// parseParts adds up "1h30m": numbers, decimals allowed, each followed by a unit whose worth the caller knows.
func parseParts(s string, worth func(unit string) (time.Duration, bool)) (time.Duration, error) {
	var total time.Duration
	if s == "" {
		return 0, errNumber
	}
	for s != "" {
		i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i < 0 {
			if _, err := strconv.ParseFloat(s, 64); err != nil {
				return 0, errNumber
			}
			return 0, errNoUnit
		}
		number := s[:i]
		j := strings.IndexFunc(s[i:], func(r rune) bool { return r >= '0' && r <= '9' })
		if j < 0 {
			j = len(s) - i
		}
		unit, ok := worth(s[i : i+j])
		n, err := strconv.ParseFloat(number, 64)
		switch {
		case err != nil:
			return 0, errNumber
		case !ok:
			return 0, errBadUnit
		case n*float64(unit) > math.MaxInt64/4 || total > math.MaxInt64/4:
			return 0, errTooBig
		}
		part := time.Duration(math.Round(n * float64(unit)))
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
			part = time.Duration(whole) * unit // exact, where a float64 has only 53 bits
		}
		total += part
		s = s[i+j:]
	}
	return total, nil
}

package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// spread is what one thing came to over the repetitions.
type spread []float64

func (s spread) sorted() spread { return slices.Sorted(slices.Values(s)) }

func (s spread) min() float64 { return s.at(0) }
func (s spread) max() float64 { return s.at(1) }

// median is the middle one, of an even number the mean of the two in the middle.
func (s spread) median() float64 {
	all := s.sorted()
	if n := len(all); n > 0 && n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return s.at(0.5)
}

func (s spread) at(part float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	all := s.sorted()
	return all[int(part*float64(len(all)-1))]
}

// apart is how far the repetitions lie apart, as a part of their median.
func (s spread) apart() float64 { return (s.max() - s.min()) / s.median() }

// String is "min / median / max".
func (s spread) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	return figure(s.min()) + " / " + figure(s.median()) + " / " + figure(s.max())
}

// figure writes a number with three digits that count, and whole where it has more before the point.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// quantile of sorted times, in microseconds.
func quantile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(part*float64(len(sorted)))) - 1
	return float64(sorted[max(i, 0)].Nanoseconds()) / 1e3
}

func megabytes(b float64) string { return fmt.Sprintf("%.0f", b/1e6) }

// Package figures writes what was measured more than once.
package figures

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Spread is what one thing came to over the repetitions.
type Spread []float64

func (s Spread) sorted() Spread { return slices.Sorted(slices.Values(s)) }

// Min is the smallest one; without any it is no number, and so are the others.
func (s Spread) Min() float64 { return s.at(0) }

// Max is the largest one.
func (s Spread) Max() float64 { return s.at(1) }

// Median is the middle one, of an even number the mean of the two in the middle.
func (s Spread) Median() float64 {
	all := s.sorted()
	if n := len(all); n > 0 && n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return s.at(0.5)
}

func (s Spread) at(part float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	all := s.sorted()
	return all[int(part*float64(len(all)-1))]
}

// Apart is how far the repetitions lie apart, as a part of their median.
func (s Spread) Apart() float64 { return (s.Max() - s.Min()) / s.Median() }

// String is "min / median / max".
func (s Spread) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	return Figure(s.Min()) + " / " + Figure(s.Median()) + " / " + Figure(s.Max())
}

// Figure writes a number with three digits that count, and whole where it has more before the point.
func Figure(v float64) string {
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

// Quantile of sorted times, in microseconds.
func Quantile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(part*float64(len(sorted)))) - 1
	return float64(sorted[max(i, 0)].Nanoseconds()) / 1e3
}

// Table begins a table of Markdown.
func Table(b *bytes.Buffer, heads ...string) {
	Row(b, heads...)
	b.WriteString(strings.Repeat("|---", len(heads)) + "|\n")
}

// Row is one more line of it.
func Row(b *bytes.Buffer, cells ...string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

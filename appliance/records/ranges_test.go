package records

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Numbers survive being written into records, in pieces that fit into a parameter each.
func TestRangesFitIntoRecordsAndComeBack(t *testing.T) {
	t.Parallel()
	var all, back Ranges
	for i := uint64(1); i < 5000; i++ {
		all.Add(1e15 + 3*i)
	}
	all.AddRange(2e15, 3e15)
	for _, piece := range all.Pieces() {
		text := piece.String()
		if len(text) > maxValue {
			t.Errorf("a piece of %d bytes", len(text))
		}
		back = append(back, ParseRanges(text)...)
	}
	if !slices.Equal(all, back) || all.Count() != 4999+1e15+1 {
		t.Errorf("%d numbers went in and %d came back", all.Count(), back.Count())
	}
	if got := ParseRanges("3-7,x,9,8-6,11-,12"); !slices.Equal(got, Ranges{3, 7, 9, 9, 12, 12}) || !got.Covers(4, 7) || got.Covers(7, 8) {
		t.Errorf("%v", got)
	}
	if got := all.Above(2e15 + 5); !slices.Equal(got, Ranges{2e15 + 6, 3e15}) {
		t.Errorf("%v", got)
	}
}

// Whatever two sets hold, With is one and the other, and Without one and not the other, in ascending order.
func TestRangesAsSets(t *testing.T) {
	t.Parallel()
	draw := func(rt *rapid.T, name string) (r Ranges, in [40]bool) {
		for i := range in {
			if in[i] = rapid.Bool().Draw(rt, name); in[i] {
				r.Add(uint64(i))
			}
		}
		return r, in
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, inA := draw(rt, "a")
		b, inB := draw(rt, "b")
		var both, left Ranges
		for i := range inA {
			if inA[i] || inB[i] {
				both.Add(uint64(i))
			}
			if inA[i] && !inB[i] {
				left.Add(uint64(i))
			}
		}
		if got := a.With(b); !slices.Equal(got, both) {
			rt.Errorf("%v with %v: %v", a, b, got)
		}
		if got := a.Without(b); got.String() != left.String() {
			rt.Errorf("%v without %v: %v", a, b, got)
		}
	})
}

package records

import (
	"slices"
	"testing"
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

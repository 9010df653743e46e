package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mailweir/mailweir/appliance/records"
)

// fewGaps is how many gaps that nothing explains are told one by one.
const fewGaps = 5

// Joined is the findings for reading: those of one kind, box and cause are one, which stands where the first stood, says what that says and how many more there are. Many gaps of a
// box that nothing explains are one that names each number.
func Joined(findings []Finding) []Finding {
	findings = unexplained(findings)
	type key struct{ kind, box, cause string }
	var joined []Finding
	at := map[key]int{}
	more, last := map[int]int{}, map[int]Finding{}
	records := map[int]uint64{}
	for _, f := range findings {
		k := key{f.Kind, f.Box, f.cause}
		i, known := at[k]
		if f.cause == "" || !known {
			i = len(joined)
			at[k] = i
			joined = append(joined, f)
		} else {
			more[i]++
			last[i] = f
		}
		if f.First > 0 {
			records[i] += f.Last - f.First + 1
		}
	}
	for i, n := range more {
		f := &joined[i]
		f.Text += fmt.Sprintf("; and %d more such, to %s", n, last[i].Where)
		if records[i] > 0 {
			f.Text += fmt.Sprintf(", of %d records between %d and %d in all", records[i], min(f.First, last[i].First), max(f.Last, last[i].Last))
			f.Last = max(f.Last, last[i].Last)
		}
		f.Text += " (--json has each)"
	}
	return joined
}

// unexplained joins the gaps of each box that no record explains, where they are more than a few.
func unexplained(findings []Finding) []Finding {
	gaps := map[string][]Finding{}
	of := func(f *Finding) bool { return f.Kind == Gap && f.cause == "" && f.First > 0 }
	for _, f := range findings {
		if of(&f) {
			gaps[f.Box] = append(gaps[f.Box], f)
		}
	}
	var left []Finding
	for _, f := range findings {
		all := gaps[f.Box]
		switch {
		case !of(&f) || len(all) > 0 && len(all) <= fewGaps:
			left = append(left, f)
		case len(all) > 0: // the first; the others are told here
			left = append(left, allOf(all))
			gaps[f.Box] = nil
		}
	}
	return left
}

// allOf is gaps as one.
func allOf(gaps []Finding) Finding {
	f, last := gaps[0], gaps[len(gaps)-1]
	slices.SortFunc(gaps, func(a, b Finding) int { return cmp.Compare(a.First, b.First) })
	var numbers records.Ranges
	for _, g := range gaps {
		numbers.AddRange(g.First, g.Last)
	}
	f.First, f.Last = numbers.First(), numbers.Last()
	f.Text = fmt.Sprintf("%d records are missing in %d places between here and %s, and nothing says why: %s", numbers.Count(), len(gaps), last.Where, numbers)
	return f
}

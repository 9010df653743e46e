package verify

import "fmt"

// Joined is the findings for reading: those of one kind, box and cause are one, which stands where the first stood, says what that says and how many more there are.
func Joined(findings []Finding) []Finding {
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

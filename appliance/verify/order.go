package verify

import (
	"cmp"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// beginning is what a file begins with: of each box in it the first number, and the time of the first record; zero where there is none.
type beginning struct {
	path  string
	at    time.Time
	first map[string]uint64
}

func beginningOf(path string, o Options) beginning {
	b := beginning{path: path, first: map[string]uint64{}}
	t, unread, err := openText(path)
	if err != nil || unread != "" {
		return b // which is told when it is read
	}
	defer t.close()
	own := logs{Options: o}
	for {
		line, _, _, _, err := t.next()
		if err != nil {
			return b
		}
		if rec, err := records.ParseLine(own.own(line)); err == nil {
			if len(b.first) == 0 {
				b.at = rec.Time
			}
			if box := rec.Value("box"); b.first[box] == 0 {
				b.first[box] = rec.Seq
			}
		}
	}
}

// inOrder sorts files so that the numbers of each box in them ascend. Where several boxes contradict each other, or files have none in common, the time of the first record decides.
func inOrder(paths []string, o Options) []string {
	var files []beginning
	boxes := map[string]bool{}
	for _, path := range paths {
		files = append(files, beginningOf(path, o))
		for box := range files[len(files)-1].first {
			boxes[box] = true
		}
	}
	slices.SortStableFunc(files, func(a, b beginning) int { return a.at.Compare(b.at) })
	after := make([]map[int]bool, len(files)) // which files come before each
	for i := range files {
		after[i] = map[int]bool{}
	}
	for box := range boxes {
		var with []int
		for i := range files {
			if files[i].first[box] > 0 {
				with = append(with, i)
			}
		}
		slices.SortStableFunc(with, func(a, b int) int { return cmp.Compare(files[a].first[box], files[b].first[box]) })
		for k := 1; k < len(with); k++ {
			if files[with[k-1]].first[box] < files[with[k]].first[box] {
				after[with[k]][with[k-1]] = true
			}
		}
	}
	var order []string
	left := make([]int, len(files))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		k := max(slices.IndexFunc(left, func(i int) bool { return len(after[i]) == 0 }), 0)
		next := left[k]
		order = append(order, files[next].path)
		left = slices.Delete(left, k, k+1)
		for i := range after {
			delete(after[i], next)
		}
	}
	return order
}

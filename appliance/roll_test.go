package appliance

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBestKeepsTheFirst(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		all := make([]int, n)
		for i := range all {
			all[i] = r.IntN(50)
		}
		for _, most := range []int{1, 2, 7, 51} {
			b := best[int]{most: most, compare: cmp.Compare[int]}
			for _, v := range all {
				b.add(v)
			}
			if got, want := b.sorted(), slices.Sorted(slices.Values(all)); !slices.Equal(got, want[:min(n, most)]) {
				t.Fatalf("the first %d of %v: %v", most, all, got)
			}
		}
	}
}

package ntp

import (
	"cmp"
	"errors"
	"slices"
)

var (
	errNobody   = errors.New("no server answered")
	errDisagree = errors.New("the servers do not agree about the time: more than half of them have to")
)

// agree finds the largest group of samples whose offsets, each with its error, have a moment in common (Marzullo's algorithm, as in RFC 5905
// section 11.2.1), and gives the best of them. That group has to be more than half.
func agree(samples []sample) (best sample, err error) {
	if len(samples) == 0 {
		return best, errNobody
	}
	var group []sample
	for _, s := range samples { // the moment in common may be taken to be where one of them begins
		at := s.offset - s.error
		var here []sample
		for _, other := range samples {
			if other.offset-other.error <= at && at <= other.offset+other.error {
				here = append(here, other)
			}
		}
		if len(here) > len(group) {
			group = here
		}
	}
	if 2*len(group) <= len(samples) {
		return best, errDisagree
	}
	return slices.MinFunc(group, func(a, b sample) int { return cmp.Compare(a.error, b.error) }), nil
}

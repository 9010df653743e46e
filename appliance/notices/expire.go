package notices

import (
	"fmt"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/store"
)

// expire gives up what happened before a time, on the disk as well, and tells which notices those were: by the numbers of
// their records, since their texts are what is to be forgotten.
func (s *Service) expire(before time.Time) {
	for kind, l := range s.limits {
		if n := l.held.N; n > 0 && l.held.First.Before(before) {
			l.held = digest{}
			s.apply([]store.Change{{Key: limitKey(kind), Delete: true}})
			s.opt.Lost("all targets", n, fmt.Sprintf("held back for a digest of %s since before %s, which is longer than notices may wait", kind, at(before)))
		}
	}
	for _, t := range s.setup.Load().Targets {
		q := s.queue(t.Name)
		old := q.giveUp(before)
		if len(old) == 0 {
			continue
		}
		var changes []store.Change
		for _, i := range old {
			changes = append(changes, store.Change{Key: i.key, Delete: true})
		}
		s.apply(changes)
		numbers, digests := numbersOf(old)
		why := fmt.Sprintf("waited since before %s, which is longer than notices may; ", at(before))
		if digests > 0 {
			s.opt.Lost(t.Name, digests, why+"digests")
		}
		if len(numbers) > 0 {
			for _, some := range numbers.Pieces() {
				s.opt.Lost(t.Name, int(some.Count()), why+"of the records "+some.String())
			}
		}
	}
}

// numbersOf are those of the records that notices were made of, and how many are digests, which have none.
func numbersOf(items []*item) (numbers records.Ranges, digests int) {
	var all []uint64
	for _, i := range items {
		if i.Notice.Seq == 0 {
			digests++
			continue
		}
		all = append(all, i.Notice.Seq)
	}
	slices.Sort(all)
	for _, n := range all {
		numbers.Add(n)
	}
	return numbers, digests
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

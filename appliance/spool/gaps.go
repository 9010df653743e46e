package spool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/records"
)

// stateGaps tells which numbers were missing when the spool was opened, of those that some reader has not got and that no record in the spool says are missing. It reads
// the spool only where there are gaps, and beside everything else.
func (s *Spool) stateGaps(ctx context.Context) {
	s.mu.Lock()
	from, to := s.acknowledged(), s.found
	lacks := len(s.positions) > 0 && s.lacks(from, to)
	s.looks = lacks
	s.unlock()
	if !lacks {
		return
	}
	var missing records.Ranges
	err := ErrRewritten
	for range rereads {
		if missing, err = unstated(ctx, s.opt.Dir, from, to); !errors.Is(err, ErrRewritten) {
			break
		}
	}
	s.mu.Lock()
	defer s.unlock()
	for _, said := range s.said {
		missing = missing.Without(said)
	}
	s.looks, s.said = false, nil
	if ctx.Err() != nil {
		return // the next life looks again
	}
	if err != nil {
		s.opt.Log.Error("look which numbers are missing in the spool", "err", err)
		return
	}
	s.lose(missing, Missing)
}

// rereads is how often a spool that is rewritten meanwhile is read.
const rereads = 5

// lacks tells whether numbers behind one, up to another, may be missing, without reading; mu is held.
func (s *Spool) lacks(from, to uint64) bool {
	next := from + 1
	for _, g := range s.segments {
		if g.count() == 0 || g.last < next {
			continue
		}
		if g.first > next || g.bad > 0 || uint64(g.count()) < g.last-g.first+1 {
			return true
		}
		next = g.last + 1
	}
	return next <= to
}

// ofOne tells whether a loss is one collector's alone, whose records the spool may have all the same.
func ofOne(detail string) bool {
	return strings.Contains(detail, Forgotten) || strings.Contains(detail, Absent)
}

// unstated reads a spool and gives which numbers behind one, up to another, are missing in it, but for those that a record there says are missing.
func unstated(ctx context.Context, dir string, from, to uint64) (missing records.Ranges, err error) {
	var stated [][2]uint64
	next := from + 1
	err = Each(dir, func(p Place) error {
		l := p.Record
		if l == nil {
			return nil
		}
		if l.Kind() == records.KindHealth {
			if l.Value("target") != "journal" && !ofOne(l.Value("detail")) {
				for lost := range slices.Chunk(records.Lost(l.Value), 2) {
					stated = append(stated, [2]uint64{lost[0], lost[1]})
				}
			}
		}
		if l.Seq > next && next <= to {
			missing.AddRange(next, min(l.Seq-1, to))
		}
		next = max(next, l.Seq+1)
		return ctx.Err()
	})
	if next <= to {
		missing.AddRange(next, to)
	}
	slices.SortFunc(stated, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	var all records.Ranges
	for _, lost := range stated {
		if n := len(all); n > 0 {
			if lost[1] <= all[n-1] {
				continue
			}
			lost[0] = max(lost[0], all[n-1]+1)
		}
		all.AddRange(lost[0], lost[1])
	}
	return missing.Without(all), err
}

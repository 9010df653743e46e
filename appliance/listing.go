package appliance

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"weak"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// listing is who a query asks for, without a list of them: a page of it is found by one look at what is in memory anyway.
type listing struct {
	order  string                 // webadmin.Query.Sort
	tie    func(id string) uint64 // webadmin.Query.Tie
	finder *finder
	roll   *roll
	rows   []int32 // the list's lines, in the order of who is equal otherwise
	calm   bool    // those in stage observe are asked for, too
	single []place
	apart  subscriber.Rows // lines of the list that are among single, or would be if they were asked for
	others map[string]bool // the same of who is not in the list
}

// listing finds who is above observe, or exempt, one by one: they are few. All others are in the roll.
func (s *source) listing(q webadmin.Query) *listing {
	l := &listing{order: q.Sort, tie: q.Tie, roll: s.a.rolls.take(s.a.rollMaker()), others: map[string]bool{}}
	if l.rows = l.roll.table.Order(); l.tie != nil {
		l.rows = s.untold.of(l.roll.table, l.tie)
	}
	l.finder = s.finder(q.Text, l.roll.table)
	l.apart = l.roll.table.NoRows()
	now := s.a.now()
	if q.Exempt {
		for i, id := range s.a.gov.Exempted() {
			letOthers(i)
			if b, known := s.a.gov.Brief(id, now); known {
				l.add(b, q.Stages)
			}
		}
		return l
	}
	for i, b := range s.a.gov.Above(now) {
		letOthers(i)
		l.add(b, q.Stages)
	}
	l.calm = len(q.Stages) == 0 || slices.Contains(q.Stages, governor.StageObserve.String())
	return l
}

func (l *listing) add(b governor.Brief, stages []string) {
	row, listed := l.roll.table.Row(b.Subscriber)
	if listed {
		l.apart.Add(row)
	} else {
		l.others[b.Subscriber] = true
	}
	if (len(stages) == 0 || slices.Contains(stages, b.Stage.String())) && l.finder.one(b, row, listed) {
		p := l.tied(standing(b))
		if l.order == webadmin.SortName {
			p.name = l.name(row, listed, p.id)
		}
		l.single = append(l.single, p)
	}
}

// longestKey is how much of a name its place in the order of names goes by: it is in cursors.
const longestKey = 48

func (l *listing) name(row int32, listed bool, id string) string {
	name := id
	if listed {
		name = cmp.Or(l.roll.table.Name(row), id)
	}
	return name[:min(len(name), longestKey)]
}

// tied is p with what orders it among equals.
func (l *listing) tied(p place) place {
	if l.tie != nil {
		p.tie = l.tie(p.id)
	}
	return p
}

// equals is the order of who is equal otherwise.
func equals(p, q place) int { return cmp.Or(cmp.Compare(p.tie, q.tie), strings.Compare(p.id, q.id)) }

// untold keeps the lines of a list in an order that does not tell their ids: 0.4 s for a million lines, and 4 MB, once for each list that
// somebody looks at who may not see them. Whoever searches holds its mutex.
type untold struct {
	table weak.Pointer[subscriber.Table] // which is large, and not to be kept for this
	rows  []int32
}

func (u *untold) of(table *subscriber.Table, tie func(id string) uint64) []int32 {
	if u.table == weak.Make(table) {
		return u.rows
	}
	type tied struct {
		tie uint64
		row int32
	}
	all := make([]tied, table.Len())
	for i, row := range table.Order() {
		letOthers(i)
		all[i] = tied{tie(table.ID(row)), row}
	}
	steps := 0
	slices.SortFunc(all, func(a, b tied) int {
		steps++
		letOthers(steps)
		if a.tie != b.tie {
			return cmp.Compare(a.tie, b.tie)
		}
		return strings.Compare(table.ID(a.row), table.ID(b.row))
	})
	u.table, u.rows = weak.Make(table), make([]int32, len(all))
	for i := range all {
		u.rows[i] = all[i].row
	}
	return u.rows
}

// compare is the order of the list.
func (l *listing) compare(p, q place) int {
	switch l.order {
	case webadmin.SortName:
		return cmp.Or(subscriber.CompareFold(p.name, q.name), equals(p, q))
	case webadmin.SortID:
		return equals(p, q)
	case webadmin.SortNetworks:
		return cmp.Or(cmp.Compare(q.networks, p.networks), equals(p, q))
	case webadmin.SortSince:
		if c := cmp.Compare(q.since, p.since); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(q.stage, p.stage); c != 0 && l.order != webadmin.SortBudget {
		return c
	}
	if c := cmp.Compare(q.full, p.full); c != 0 {
		return c
	}
	return equals(p, q)
}

// after is the first n that come behind from, whether or not somebody still stands there; nil: from the beginning.
func (l *listing) after(from *place, n int) []place {
	if from != nil {
		p := l.tied(*from)
		from = &p
	}
	all := best[place]{most: n, compare: l.compare}
	for i, p := range l.single {
		letOthers(i)
		if from == nil || l.compare(*from, p) < 0 {
			all.add(p)
		}
	}
	if !l.calm {
		return all.sorted()
	}
	for i, p := range l.roll.others {
		letOthers(i)
		if p = l.tied(p); l.order == webadmin.SortName {
			p.name = l.name(0, false, p.id)
		}
		if (from == nil || l.compare(*from, p) < 0) && !l.others[p.id] && l.finder.other(p.id) {
			all.add(p)
		}
	}
	lines := l.byKey
	if l.order == webadmin.SortName {
		lines = l.byName
	}
	for _, p := range lines(from, n) {
		all.add(p)
	}
	return all.sorted()
}

// asked tells whether a line of the list is to be looked for in the roll.
func (l *listing) asked(row int32) bool {
	return !l.apart.Has(row) && (l.finder.rows == nil || l.finder.rows.Has(row))
}

// calmly is the place of a line that is in stage observe.
func (l *listing) calmly(row int32) place {
	return l.tied(place{stage: governor.StageObserve, full: float64(l.roll.full[row]), networks: l.roll.networks[row], id: l.roll.table.ID(row)})
}

// weight is what comes before equals in the order of lines that are in stage observe.
func (l *listing) weight(full float32, networks uint16) uint64 {
	switch l.order {
	case webadmin.SortID:
		return 0
	case webadmin.SortNetworks:
		return uint64(networks)
	}
	return uint64(math.Float32bits(full))
}

// byKey is after for the list's lines in stage observe. Their place is a number, the greater the earlier: first the
// weight, and then the place among equals, from its end.
func (l *listing) byKey(from *place, n int) (found []place) {
	below := uint64(math.MaxUint64)
	mixed := l.order == webadmin.SortID || l.order == webadmin.SortBudget || l.order == webadmin.SortNetworks
	if from != nil && (mixed || from.stage <= governor.StageObserve) { // all the others come behind who is above it
		at, there := slices.BinarySearchFunc(l.rows, *from, func(row int32, from place) int { return equals(l.tied(place{id: l.roll.table.ID(row)}), from) })
		below = l.weight(float32(from.full), from.networks)<<32 + uint64(^uint32(at))
		if !there {
			below++
		}
	}
	kept := best[uint64]{most: n, compare: func(a, b uint64) int { return cmp.Compare(b, a) }}
	for at, row := range l.rows {
		letOthers(at)
		key := l.weight(l.roll.full[row], l.roll.networks[row])<<32 + uint64(^uint32(at))
		if key < below && (!kept.whole() || key > kept.heap[0]) && l.asked(row) {
			kept.add(key)
		}
	}
	for _, key := range kept.sorted() {
		found = append(found, l.calmly(l.rows[^uint32(key)]))
	}
	return found
}

// byName is after for the list's lines in stage observe, in the order of names.
func (l *listing) byName(from *place, n int) []place {
	kept := best[place]{most: n, compare: l.compare}
	for at, row := range l.rows {
		letOthers(at)
		if !l.asked(row) {
			continue
		}
		name := l.name(row, true, l.roll.table.ID(row))
		if kept.whole() && subscriber.CompareFold(name, kept.heap[0].name) >= 0 {
			continue // of equal names the first among equals has come already
		}
		p := l.calmly(row)
		if p.name = name; from == nil || l.compare(*from, p) < 0 {
			kept.add(p)
		}
	}
	return kept.sorted()
}

package appliance

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// finder knows who may be what a text looks for: everybody for whom matches would be true, and few others.
type finder struct {
	s     *source
	text  string          // in lower case; empty: everybody
	rows  subscriber.Rows // of the list
	plans map[string]bool
	where netip.Prefix    // not valid: the text is no part of an address
	bound map[string]bool // who is not in the list and has a prefix there
}

func (s *source) finder(text string, table *subscriber.Table) *finder {
	f := &finder{s: s, text: lowered(text), plans: map[string]bool{}, bound: map[string]bool{}}
	if f.text == "" {
		return f
	}
	for _, p := range s.a.cfg.Load().Plans {
		f.plans[p.Name] = subscriber.ContainsFold(p.Name, f.text)
	}
	f.rows = table.NoRows()
	table.Find(f.rows, f.text, f.plans)
	add := func(id string) {
		if row, listed := table.Row(id); listed {
			f.rows.Add(row)
		} else {
			f.bound[id] = true
		}
	}
	for id, plan := range s.a.who.Plans() {
		if f.plans[plan] {
			add(id)
		}
	}
	if f.where = whereOf(f.text); f.where.IsValid() {
		table.Within(f.rows, f.where)
		for id := range s.a.who.Within(f.where) {
			add(id)
		}
	}
	return f
}

// lowered is a text as it is looked for.
func lowered(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

// other is for who is not in the list.
func (f *finder) other(id string) bool {
	if f.text == "" || f.bound[id] || f.plans[f.plan(id)] || subscriber.ContainsFold(id, f.text) {
		return true
	}
	if !f.where.IsValid() {
		return false
	}
	own, err := netip.ParsePrefix(id)
	return err == nil && own.Overlaps(f.where)
}

// one is for who is looked at by itself: by the list's line, if listed, or as another.
func (f *finder) one(b governor.Brief, row int32, listed bool) bool {
	if f.text == "" || b.Case != "" && subscriber.ContainsFold(b.Case, f.text) {
		return true
	}
	if listed {
		return f.rows.Has(row)
	}
	return f.other(b.Subscriber)
}

// plan is the plan in force for one that is not in the list.
func (f *finder) plan(id string) string {
	if chosen := f.s.a.who.Chosen(id); chosen != "" || !subscriber.Unlisted(id) {
		return chosen
	}
	return f.s.a.who.strangers.Load().plan
}

// matches is what finder says, exactly.
func matches(v webadmin.Subscriber, q webadmin.Query) bool {
	if len(q.Stages) > 0 && !slices.Contains(q.Stages, v.Stage) || q.Exempt && v.Exemption == nil {
		return false
	}
	text := lowered(q.Text)
	if text == "" || slices.ContainsFunc([]string{v.ID, v.Name, v.Plan, v.Case}, func(field string) bool { return subscriber.ContainsFold(field, text) }) {
		return true
	}
	where := whereOf(text)
	return where.IsValid() && slices.ContainsFunc(v.Prefixes, func(p string) bool {
		prefix, err := netip.ParsePrefix(p)
		return err == nil && prefix.Overlaps(where)
	})
}

// whereOf is the prefix that a text in lower case means: an address, a prefix, or the beginning of an address in whole
// numbers, such as 192.0.2 or 2001:db8:34; not valid for any other text.
func whereOf(text string) netip.Prefix {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked()
	}
	if begins := strings.TrimRight(text, ":"); strings.Contains(text, ":") {
		return beginning(strings.Split(begins, ":"), 16, 2, make([]byte, 16))
	}
	if begins := strings.TrimSuffix(text, "."); strings.Contains(text, ".") {
		return beginning(strings.Split(begins, "."), 10, 1, make([]byte, 4))
	}
	return netip.Prefix{}
}

// beginning is the prefix of the first numbers of an address, each of so many of its bytes; bytes are where it is made.
func beginning(numbers []string, base, each int, bytes []byte) netip.Prefix {
	if len(numbers)*each >= len(bytes) {
		return netip.Prefix{}
	}
	for i, text := range numbers {
		n, err := strconv.ParseUint(text, base, 8*each)
		if err != nil {
			return netip.Prefix{}
		}
		for j := range each {
			bytes[i*each+j] = byte(n >> (8 * (each - 1 - j)))
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(addr, 8*each*len(numbers))
}

package appliance

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// among is where to look for what q asks, in the list's order: only those who are exempt, or everybody.
func (s *source) among(q webadmin.Query) []place {
	if !q.Exempt {
		return s.roll.now(s.a.now, s.places)
	}
	names := s.a.gov.Exempted()
	few := make([]place, 0, len(names))
	for i, id := range names {
		letOthers(i)
		if b, known := s.a.gov.Brief(id, s.a.now()); known {
			few = append(few, place{stage: b.Stage, full: b.Fullest, id: id})
		}
	}
	slices.SortFunc(few, place.compare)
	return few
}

// finder tells of one after the other in a long list whether it may be what a text looks for, by as little as that
// takes: mostly the list's own text. It leaves nothing behind for the garbage collector.
type finder struct {
	s      *source
	table  *subscriber.Table
	text   string // in lower case
	bytes  []byte // the same
	plans  map[string]bool
	prefix bool // text may be a part of a prefix
	number bool // text may be a part of a case number
	addr   netip.Addr
	held   []netip.Prefix
	shown  []byte
}

// longestNumber is more than a case number has, in bytes.
const longestNumber = 13

func (s *source) finder(text string) *finder {
	f := &finder{s: s, table: s.a.who.Table(), text: strings.ToLower(strings.TrimSpace(text)), plans: map[string]bool{}}
	if f.text == "" {
		return f
	}
	for _, p := range s.a.cfg.Load().Plans {
		f.plans[p.Name] = containsFold(p.Name, f.text)
	}
	f.bytes = []byte(f.text)
	f.prefix = strings.Trim(f.text, "0123456789abcdef.:/") == ""
	f.number = len(f.text) <= longestNumber && strings.Trim(f.text, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
	f.addr, _ = netip.ParseAddr(f.text)
	return f
}

// may is true for everybody for whom matches would be, and few others.
func (f *finder) may(p place) bool {
	if f.text == "" || containsFold(p.id, f.text) {
		return true
	}
	sub, listed := f.table.ByID(p.id)
	if containsFold(sub.Name, f.text) || f.plans[f.plan(p.id, sub.Plan)] {
		return true
	}
	if f.prefix {
		f.held = append(f.held[:0], sub.Prefixes...)
		if f.held = f.s.a.who.Bound(f.held, p.id); len(f.held) == 0 && !listed {
			if one, err := netip.ParsePrefix(p.id); err == nil {
				f.held = append(f.held, one)
			}
		}
		for _, one := range f.held {
			if f.shown = one.AppendTo(f.shown[:0]); bytes.Contains(f.shown, f.bytes) || f.addr.IsValid() && one.Contains(f.addr) {
				return true
			}
		}
	}
	if p.stage == governor.StageObserve || !f.number {
		return false
	}
	b, known := f.s.a.gov.Brief(p.id, f.s.a.now())
	return known && containsFold(b.Case, f.text)
}

// plan is the plan in force for a line that is under plan listed by the list, or under none.
func (f *finder) plan(id, listed string) string {
	if chosen := f.s.a.who.Chosen(id); chosen != "" {
		return chosen
	}
	if listed == "" && subscriber.Unlisted(id) {
		return f.s.a.who.strangers.Load().plan
	}
	return listed
}

// containsFold tells whether text, which is in lower case, is in s without regard to case.
func containsFold(s, text string) bool {
	if !isASCII(s) {
		return strings.Contains(strings.ToLower(s), text)
	}
	for i := 0; i+len(text) <= len(s); i++ {
		n := 0
		for n < len(text) && lower(s[i+n]) == text[n] {
			n++
		}
		if n == len(text) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func matches(v webadmin.Subscriber, q webadmin.Query) bool {
	if len(q.Stages) > 0 && !slices.Contains(q.Stages, v.Stage) || q.Exempt && v.Exemption == nil {
		return false
	}
	text := strings.ToLower(strings.TrimSpace(q.Text))
	if text == "" {
		return true
	}
	for _, field := range append([]string{v.ID, v.Name, v.Plan, v.Case}, v.Prefixes...) {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(v.Prefixes, func(p string) bool {
		prefix, err := netip.ParsePrefix(p)
		return err == nil && prefix.Contains(addr)
	})
}

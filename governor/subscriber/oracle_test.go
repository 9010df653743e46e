package subscriber

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// said is one binding as the oracle keeps it: in a list, found by looking at all of them.
type said struct {
	Binding
	bound time.Time
}

// slow is a directory that is obviously right.
type slow struct {
	table *Table
	said  []said
	plans map[string]string
}

func (o *slow) resolve(b Binding) string {
	names := b.Circuits
	if b.User != "" {
		names = append([]string{b.User}, names...)
	}
	if b.Source == API {
		names = nil
		if _, ok := o.table.ByID(b.Subscriber); ok {
			return b.Subscriber
		}
	}
	for i, n := range names {
		for _, s := range o.table.All() {
			for _, c := range s.Circuits {
				if plain := strings.NewReplacer(":", "", "-", ""); c == n || strings.Contains(c, ":") && strings.EqualFold(plain.Replace(c), plain.Replace(n)) {
					return s.ID
				}
			}
		}
		if _, ok := o.table.ByID(n); ok && i == 0 && b.User != "" && b.Source == RADIUS {
			return n
		}
		if i == 0 && b.User != "" && b.Source == RADIUS {
			alike := map[string]bool{}
			for _, s := range o.table.All() {
				for _, c := range append([]string{s.ID}, s.Circuits...) {
					if strings.EqualFold(c, strings.TrimSpace(n)) {
						alike[s.ID] = true
					}
				}
			}
			if len(alike) == 1 {
				return slices.Collect(maps.Keys(alike))[0]
			}
		}
	}
	if b.Source == RADIUS && b.User != "" {
		return "radius:" + strings.ToLower(strings.TrimSpace(b.User))
	}
	return ""
}

func (o *slow) who(a netip.Addr) (id string, source Source) {
	type candidate struct {
		bits   int
		source Source
		bound  time.Time
		id     string
	}
	var all []candidate
	for _, s := range o.table.All() {
		for _, p := range s.Prefixes {
			if p.Contains(a) {
				all = append(all, candidate{p.Bits(), CSV, time.Time{}, s.ID})
			}
		}
	}
	for _, b := range o.said {
		if id := o.resolve(b.Binding); id != "" && b.Prefix.Contains(a) {
			all = append(all, candidate{b.Prefix.Bits(), b.Source, b.bound, id})
		}
	}
	if len(all) == 0 {
		return "", None
	}
	best := slices.MaxFunc(all, func(a, b candidate) int {
		return cmp.Or(known(a.id)-known(b.id), a.bits-b.bits, int(a.source)-int(b.source), a.bound.Compare(b.bound))
	})
	return best.id, best.source
}

// known is 1 for a line of the list and 0 for one that was made up.
func known(id string) int {
	if strings.HasPrefix(id, "radius:") {
		return 0
	}
	return 1
}

// alone asks for every address of a /64 that can make a difference: the first and the last of each prefix inside.
func (o *slow) alone(a netip.Addr) bool {
	if a.Is4() {
		return true
	}
	own, _ := o.who(a)
	net64, _ := a.Prefix(64)
	edges := []netip.Prefix{net64}
	for _, s := range o.table.All() {
		edges = append(edges, s.Prefixes...)
	}
	for _, b := range o.said {
		edges = append(edges, b.Prefix)
	}
	for _, p := range edges {
		if !p.Addr().Is6() || !net64.Overlaps(p) || p.Bits() < 64 {
			continue
		}
		for _, one := range []netip.Addr{p.Addr(), last(p), p.Addr().Prev(), last(p).Next()} {
			if id, _ := o.who(one); net64.Contains(one) && id != own {
				return false
			}
		}
	}
	return true
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(b)
}

func (o *slow) end(which func(said) bool) { o.said = slices.DeleteFunc(o.said, which) }

func (o *slow) bind(b Binding, now time.Time) {
	had := slices.IndexFunc(o.said, func(s said) bool {
		return s.Prefix == b.Prefix && s.Source == b.Source && s.Session == b.Session
	})
	if had >= 0 && o.resolve(o.said[had].Binding) == o.resolve(b) {
		o.said[had].Binding = b
		return
	}
	o.end(func(s said) bool {
		return s.Prefix == b.Prefix && s.Source == b.Source && (s.Source != Lease || s.Session == b.Session)
	})
	o.said = append(o.said, said{b, now})
}

// What a directory says is what a slow loop over everything says; what it says of the past is what it said then; and
// neither changes by being saved and restored, or by a new list.
func TestDirectoryAgreesWithASlowLoop(t *testing.T) {
	t.Parallel()
	nets := []netip.Prefix{pfx("100.64.0.0/16"), pfx("100.64.0.0/24"), pfx("100.64.0.1/32"), pfx("100.64.0.2/32"), pfx("100.64.1.1/32"),
		pfx("2001:db8::/48"), pfx("2001:db8:0:1::/64"), pfx("2001:db8:0:1::7/128"), pfx("2001:db8:1::/56")}
	addrs := []netip.Addr{addr("100.64.0.1"), addr("100.64.0.2"), addr("100.64.0.3"), addr("100.64.1.1"), addr("100.64.9.9"),
		addr("2001:db8::1"), addr("2001:db8:0:1::7"), addr("2001:db8:0:1::8"), addr("2001:db8:1::1"), addr("10.0.0.1")}
	names := []string{"S-0", "S-1", "S-2", "c-0", "c-1", "c-2", "02-00-5E-00-53-01", "nobody", " s-1", "C-0", "NOBODY"}
	rapid.Check(t, func(t *rapid.T) {
		var tables []*Table
		for range 3 {
			text := "subscriber,plan,prefixes,circuits\n"
			free := slices.Clone(nets)
			circuits := []string{"c-0", "c-1", "c-2", "02:00:5e:00:53:01"}
			for i := range 3 {
				if rapid.IntRange(0, 5).Draw(t, "leave out") == 0 {
					continue
				}
				text += fmt.Sprintf("S-%d,plan-%d,", i, i)
				for range rapid.IntRange(0, 3).Draw(t, "nets") {
					if k := rapid.IntRange(0, len(free)-1).Draw(t, "net"); true {
						text += free[k].String() + " "
						free = slices.Delete(free, k, k+1)
					}
					if len(free) == 0 {
						break
					}
				}
				text += ","
				if k := rapid.IntRange(-2, len(circuits)-1).Draw(t, "circuit"); k >= 0 {
					text += circuits[k]
					circuits = slices.Delete(circuits, k, k+1)
				}
				text += "\n"
				if len(free) == 0 {
					break
				}
			}
			tab, err := Parse("x", strings.NewReader(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			tables = append(tables, tab)
		}
		d, o := NewDirectory(tables[0]), &slow{table: tables[0], plans: map[string]string{}}
		disk := map[string][]byte{}
		now := t0
		type answer struct {
			at  time.Time
			who map[netip.Addr]string
		}
		var past []answer
		session := 0
		draw := func(s Source) Binding {
			b := Binding{Prefix: rapid.SampledFrom(nets).Draw(t, "prefix"), Source: s}
			name := rapid.SampledFrom(names).Draw(t, "name")
			switch s {
			case API:
				b.Subscriber = name
			case RADIUS:
				if rapid.Bool().Draw(t, "user") {
					b.User = name
				} else {
					b.Circuits = []string{"x", name}
				}
				if session++; rapid.Bool().Draw(t, "same session") {
					session--
				}
				b.Session = fmt.Sprintf("nas|%d", session)
			case Lease:
				b.Circuits = []string{name}
				b.Session = rapid.SampledFrom([]string{"/a", "/b"}).Draw(t, "file")
			}
			return b
		}
		save := func() {
			for _, s := range d.Pending(1000) {
				if s.Value == nil {
					delete(disk, string(s.Key))
				} else {
					disk[string(s.Key)] = s.Value
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(10 * time.Second)
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0, 1, 2:
				b := draw(RADIUS)
				b.Dated = true
				_, err := d.Bind(b, now, now)
				if err != nil && !errors.Is(err, ErrUnknownLine) || (o.resolve(b) == "") != (err != nil) {
					t.Fatalf("%+v: %v", b, err)
				}
				o.bind(b, now)
			case 3:
				b := draw(API)
				if _, err := d.Bind(b, now, now); (err != nil) != (o.resolve(b) == "") {
					t.Fatalf("%+v: %v", b, err)
				} else if err == nil {
					o.bind(b, now)
				}
			case 4:
				name := fmt.Sprintf("nas|%d", rapid.IntRange(0, session+1).Draw(t, "end"))
				d.End(RADIUS, name, now, now)
				o.end(func(s said) bool { return s.Source == RADIUS && s.Session == name })
			case 5:
				s, p := rapid.SampledFrom([]Source{API, RADIUS, Lease}).Draw(t, "source"), rapid.SampledFrom(nets).Draw(t, "prefix")
				d.Unbind(s, p, now, now)
				o.end(func(b said) bool { return b.Source == s && b.Prefix == p })
			case 6, 7:
				var all []Binding
				file := ""
				for range rapid.IntRange(0, 5).Draw(t, "leases") {
					b := draw(Lease)
					if file == "" {
						file = b.Session
					}
					b.Session = file
					if !slices.ContainsFunc(all, func(o Binding) bool { return o.Prefix == b.Prefix }) {
						all = append(all, b)
					}
				}
				_, unknown := d.Replace(Lease, file, all, now)
				if file == "" {
					break
				}
				o.end(func(s said) bool {
					return s.Source == Lease && s.Session == file && !slices.ContainsFunc(all, func(b Binding) bool { return b.Prefix == s.Prefix })
				})
				for _, b := range all {
					o.bind(b, now)
					if o.resolve(b) == "" {
						unknown--
					}
				}
				if unknown != 0 {
					t.Fatalf("%d unknown too many", unknown)
				}
			case 8:
				o.table = rapid.SampledFrom(tables).Draw(t, "table")
				d.SetTable(o.table, now)
				id := rapid.SampledFrom(names[:3]).Draw(t, "plan of")
				plan := rapid.SampledFrom([]string{"", "special"}).Draw(t, "plan")
				if err := d.SetPlan(id, plan); err == nil {
					if o.plans[id] = plan; plan == "" {
						delete(o.plans, id)
					}
				}
			case 9:
				save()
				d = NewDirectory(o.table)
				skipped, err := d.Restore(func(take func(k, v []byte) error) error {
					for _, k := range slices.Sorted(maps.Keys(disk)) {
						if err := take([]byte(k), disk[k]); err != nil {
							return err
						}
					}
					return nil
				}, now)
				if skipped != 0 || err != nil {
					t.Fatal(skipped, err)
				}
				if n := len(d.Pending(1000)); n != 0 {
					t.Fatalf("%d to be saved again", n)
				}
			}
			this := answer{now, map[netip.Addr]string{}}
			for _, a := range addrs {
				id, source := o.who(a)
				h, ok := d.Lookup(a)
				if h.ID != id || h.Source != source || ok != (id != "") {
					t.Fatalf("%s is %q by %v, want %q by %v", a, h.ID, h.Source, id, source)
				}
				plan := "plan-" + strings.TrimPrefix(id, "S-")
				if s, ok := o.plans[id]; ok {
					plan = s
				} else if _, listed := o.table.ByID(id); !listed {
					plan = ""
				}
				if h.Plan != plan || id != "" && d.PlanOf(id) != plan || !maps.Equal(d.Plans(), o.plans) {
					t.Fatalf("plan of %q is %q, want %q", id, h.Plan, plan)
				}
				this.who[a] = id
				if alone := o.alone(a); d.Alone(a) != alone {
					t.Fatalf("%s alone: %v", a, !alone)
				}
				if id != "" && !slices.ContainsFunc(d.Of(id), func(b Binding) bool { return b.Prefix == h.Prefix && b.Source == h.Source }) {
					t.Fatalf("%s of %q is not among %v", h.Prefix, id, d.Of(id))
				}
			}
			past = append(past, this)
			strangers := map[string]bool{}
			for _, b := range o.said {
				if id := o.resolve(b.Binding); id != "" && known(id) == 0 {
					strangers[id] = true
				}
			}
			var bySource [sources]int
			for _, b := range o.said {
				bySource[b.Source]++
			}
			if s := d.Stats(); s.BySource != bySource {
				t.Fatalf("%v bindings by source, want %v", s.BySource, bySource)
			}
			if s := d.Stats(); s.Bindings != len(o.said) || s.MadeUp != len(strangers) {
				t.Fatalf("%d bindings, want %d; %d lines made up, want %d", s.Bindings, len(o.said), s.MadeUp, len(strangers))
			}
		}
		for _, p := range past {
			for a, want := range p.who {
				got := ""
				if all := d.at(a, p.at); len(all) > 0 {
					got = all[0].Subscriber
				}
				if got != want {
					t.Fatalf("%s at %v was %q, and was said to be %q\n%+v", a, p.at.Sub(t0), want, got, d.at(a, p.at))
				}
			}
		}
	})
}

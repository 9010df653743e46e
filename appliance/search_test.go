package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A search finds who a look at all of everybody finds, whatever it is that is found.
func TestASearchFindsWhatALookAtEverybodyFinds(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, "subscriber,plan,prefixes,circuits,name\n"+
		"home,small,100.64.0.1 2001:db8:1::/56,acct-1,Elm Street 12\n"+
		"other,large,100.64.0.2,acct-2,ÖDE Straße\n"+
		"third,small,,acct-3,Oak\n")
	s := &source{a: d.Appliance}
	for i, b := range []subscriber.Binding{
		{Prefix: netip.MustParsePrefix("100.64.9.7/32"), User: "acct-3"},
		{Prefix: netip.MustParsePrefix("2001:db8:9:100::/56"), User: "acct-2"},
		{Prefix: netip.MustParsePrefix("100.64.9.8/32"), User: "nobody@isp"},
	} {
		b.Source, b.Session = subscriber.RADIUS, fmt.Sprint("nas|", i)
		if _, err := d.who.BindSession([]subscriber.Binding{b}, d.time(), d.time()); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		d.session("home", "small")
		d.session("100.64.77.1/32", "strangers")
		d.session("radius:nobody@isp", "strangers")
	}
	if _, err := s.SetPlan("third", "large", "me"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"other", "100.64.77.1/32"} {
		if _, err := s.Exempt(id, d.time().Add(time.Hour), "asked", "me"); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := d.gov.Explain("home", d.time())
	texts := []string{"", "  ", "HOME", "elm street", "öde", "STRASSE", "straße", "oak", "small", "large", "strangers", "100.64", "100.64.9.7", "100.64.9",
		"2001:db8:1::5", "2001:DB8:9:1ff::1", "/56", "nobody", "radius:", "77.1", "100.64.77.1", r.Case, strings.ToLower(r.Case), "00", "x", "th", "ird", "third and more"}
	found := 0
	for _, text := range texts {
		for _, stages := range [][]string{nil, {"observe"}, {"defer", "pace"}} {
			for _, exempt := range []bool{false, true} {
				q := webadmin.Query{Text: text, Stages: stages, Exempt: exempt}
				var want, got []string
				for _, p := range s.roll.now(d.Appliance.now, s.places) {
					if v, ok := s.Subscriber(p.id); ok && matches(v, q) {
						want = append(want, v.ID)
					}
				}
				q.Limit = 1
				for {
					items, next := s.Subscribers(q)
					for _, v := range items {
						got = append(got, v.ID)
					}
					if q.Cursor = next; next == "" {
						break
					}
				}
				if found += len(got); !slices.Equal(got, want) {
					t.Errorf("%q in %v, exempt %v: found %q, and there are %q", text, stages, exempt, got, want)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d were found in all", found)
	}
}

// A search through many leaves nothing behind for each of them.
func TestASearchThroughManyCostsLittle(t *testing.T) {
	var list strings.Builder
	list.WriteString("subscriber,plan,prefixes,name\n")
	const n = 20_000
	for i := range n {
		fmt.Fprintf(&list, "line-%05d,small,10.1.%d.%d,Name of %d\n", i, i>>8, i&255, i)
	}
	d := newDeaf(t, homePlans, list.String())
	s := &source{a: d.Appliance}
	for _, q := range []webadmin.Query{{Text: "nobody's"}, {Text: "name of 19999"}, {Text: "10.1.78.31"}, {Text: "fe80::1"}, {Exempt: true}} {
		s.Subscribers(q) // makes the roll
		if allocs := testing.AllocsPerRun(1, func() { s.Subscribers(q) }); allocs > n/10 {
			t.Errorf("%+v: %.0f allocations for %d lines", q, allocs, n)
		}
	}
}

// BenchmarkSearch is a search that finds nobody among a million.
func BenchmarkSearch(b *testing.B) {
	var list strings.Builder
	list.WriteString("subscriber,plan,prefixes,name\n")
	for i := range million {
		fmt.Fprintf(&list, "%s,small,10.%d.%d.%d 2001:db8:%x:%x00::/56,Name of %d\n", lineName(i), i>>16, i>>8&255, i&255, i>>8, i&255, i)
	}
	d := newDeaf(b, homePlans, list.String())
	s := &source{a: d.Appliance}
	s.Subscribers(webadmin.Query{})
	for _, q := range []webadmin.Query{{Text: "nobody's"}, {Text: "fe80::1"}, {Exempt: true}} {
		b.Run(fmt.Sprintf("%s,exempt=%v", q.Text, q.Exempt), func(b *testing.B) {
			for b.Loop() {
				s.Subscribers(q)
			}
		})
	}
}

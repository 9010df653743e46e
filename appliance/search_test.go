package appliance

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
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
	texts := []string{"", "  ", "HOME", "elm street", "öde", "STRASSE", "straße", "oak", "small", "large", "strangers", "100.64", "100.64.9.7", "100.64.9", "100.", "100.64.0.0/24",
		"2001:db8:1::5", "2001:DB8:9:1ff::1", "2001:db8:", "2001:db8:9:100::/64", "nobody", "radius:", "77.1", "100.64.77.1", "100.64.77", r.Case, strings.ToLower(r.Case), "00", "x", "th", "ird", "third and more"}
	found := 0
	for _, text := range texts {
		for _, stages := range [][]string{nil, {"observe"}, {"defer", "pace"}} {
			for _, exempt := range []bool{false, true} {
				for _, sort := range orders {
					q := webadmin.Query{Text: text, Stages: stages, Exempt: exempt, Sort: sort}
					want, got := allOf(s, q), pages(s, q, 1)
					if found += len(got); !slices.Equal(got, want) {
						t.Errorf("%q in %v, exempt %v, by %q: found %q, and there are %q", text, stages, exempt, sort, got, want)
					}
				}
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d were found in all", found)
	}
}

// orders are all that a list can be in.
var orders = []string{"", webadmin.SortName, webadmin.SortID, webadmin.SortBudget, webadmin.SortSince, webadmin.SortNetworks}

// allOf is who a look at everybody finds, by ids, and sorts.
func allOf(s *source, q webadmin.Query) (ids []string) {
	var found []webadmin.Subscriber
	seen := map[string]bool{}
	look := func(id string) {
		if v, ok := s.Subscriber(id); ok && !seen[id] && matches(v, q) {
			found = append(found, v)
		}
		seen[id] = true
	}
	for _, sub := range s.a.who.Table().All() {
		look(sub.ID)
	}
	s.a.gov.Each(s.a.now(), func(b governor.Brief) bool { look(b.Subscriber); return true })
	fullest := func(v webadmin.Subscriber) (full float32) {
		for _, b := range v.Budgets {
			full = max(full, float32(b.Ratio))
		}
		return full
	}
	networks := func(v webadmin.Subscriber) (most int) {
		for _, b := range v.Budgets {
			if b.Of == "destinations" {
				most = max(most, b.Value)
			}
		}
		return most
	}
	name := func(v webadmin.Subscriber) string { return strings.ToLower(cmp.Or(v.Name, v.ID)) }
	rank := []string{"cut", "defer", "pace", "warn", "observe"}
	slices.SortFunc(found, func(a, b webadmin.Subscriber) int {
		stage, full, id := cmp.Compare(slices.Index(rank, a.Stage), slices.Index(rank, b.Stage)), cmp.Compare(fullest(b), fullest(a)), cmp.Compare(a.ID, b.ID)
		if q.Tie != nil {
			id = cmp.Or(cmp.Compare(q.Tie(a.ID), q.Tie(b.ID)), id)
		}
		switch q.Sort {
		case webadmin.SortName:
			return cmp.Or(cmp.Compare(name(a), name(b)), id)
		case webadmin.SortID:
			return id
		case webadmin.SortBudget:
			return cmp.Or(full, id)
		case webadmin.SortNetworks:
			return cmp.Or(cmp.Compare(networks(b), networks(a)), id)
		case webadmin.SortSince:
			return cmp.Or(b.Since.Compare(a.Since.Time), stage, full, id)
		}
		return cmp.Or(stage, full, id)
	})
	for _, v := range found {
		ids = append(ids, v.ID)
	}
	return ids
}

// pages is the same from the list, page by page.
func pages(s *source, q webadmin.Query, limit int) (ids []string) {
	for q.Limit = limit; ; {
		items, next := s.Subscribers(q)
		for _, v := range items {
			ids = append(ids, v.ID)
		}
		if q.Cursor = next; next == "" {
			return ids
		}
	}
}

// A crowd in every stage, some of it in no list and some of it quiet, comes whole and in order on pages of every size, in every order.
func TestPagesOfTheListShowEverybodyOnce(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	list.WriteString("subscriber,plan,name\n")
	const n = 700
	for i := range n {
		name := ""
		if i%5 != 0 {
			name = fmt.Sprintf("%c%c lane %d", 'A'+i*7%26+i%2*32, 'a'+i%3, i%11)
		}
		fmt.Fprintf(&list, "line-%03d,%s,%s\n", (i*263)%n, []string{"small", "large"}[i%2], name)
	}
	d := newDeaf(t, strings.Replace(homePlans, "{of: sessions, limit: 6, per: 24h}", "{of: sessions, limit: 6, per: 24h}, {of: destinations, limit: 9, per: 24h}", 1), list.String())
	s := &source{a: d.Appliance}
	for i := range 60 {
		for j := range i % 7 {
			d.gov.Open(governor.Attempt{Subscriber: fmt.Sprintf("line-%03d", i*11), Plan: "large", Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(j), 0}), 24)}, d.time())
		}
	}
	for i := range 300 {
		for range i % 9 {
			d.session(fmt.Sprintf("line-%03d", i*2), "small")
		}
		d.pass(time.Second / 8)
	}
	for i := range 150 {
		for range 1 + i%5 {
			d.session(fmt.Sprintf("100.64.7.%d/32", i), "strangers")
		}
	}
	d.pass(2 * time.Second) // the roll is made anew
	above := 0
	for _, stage := range []string{"warn", "pace", "defer", "cut"} {
		above += len(allOf(s, webadmin.Query{Stages: []string{stage}}))
	}
	for _, sort := range orders {
		for _, q := range []webadmin.Query{{Sort: sort}, {Sort: sort, Text: "lane"}, {Sort: sort, Text: "100.64.7.1"}, {Sort: sort, Stages: []string{"observe"}},
			{Sort: sort, Tie: someTie}, {Sort: sort, Text: "lane", Tie: someTie}, {Sort: sort, Stages: []string{"observe"}, Tie: someTie}} {
			want := allOf(s, q)
			for _, limit := range []int{1, 7, 137, 1000} {
				if got := pages(s, q, limit); !slices.Equal(got, want) {
					t.Errorf("%+v in pages of %d: %d are found, and %d are there", q, limit, len(got), len(want))
				}
			}
		}
	}
	if all := len(pages(s, webadmin.Query{}, 100)); all != n+150 || above < 20 {
		t.Errorf("%d are there, %d of them above observe", all, above)
	}
}

// someTie puts ids in another order than theirs, some of them on one place.
func someTie(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64() % 5000
}

// Who is equal otherwise comes in the order of the tie that is asked for, and not of the ids, also in a new list.
func TestEqualsComeInTheOrderOfTheirTies(t *testing.T) {
	t.Parallel()
	list := "subscriber,plan\n"
	for i := range 300 {
		list += fmt.Sprintf("line-%03d,small\n", i)
	}
	d := newDeaf(t, homePlans, list)
	s := &source{a: d.Appliance}
	for range 2 {
		plain, tied := pages(s, webadmin.Query{}, 7), pages(s, webadmin.Query{Tie: someTie}, 7)
		if slices.Equal(plain, tied) || !slices.IsSorted(plain) || !slices.IsSortedFunc(tied, func(a, b string) int { return cmp.Compare(someTie(a), someTie(b)) }) {
			t.Errorf("by id %q\nby tie %q", plain[:20], tied[:20])
		}
		if got := slices.Sorted(slices.Values(tied)); !slices.Equal(got, plain) {
			t.Errorf("%d of %d", len(got), len(plain))
		}
		// A place of somebody who has gone is still one.
		at := place{stage: governor.StageObserve, id: "line-of-nobody"}
		after, _ := s.Subscribers(webadmin.Query{Tie: someTie, Cursor: at.cursor(), Limit: 1000})
		if want := len(tied) - sort.Search(len(tied), func(i int) bool {
			return someTie(tied[i]) > someTie(at.id) || someTie(tied[i]) == someTie(at.id) && tied[i] > at.id
		}); len(after) != want {
			t.Errorf("%d come after a place that nobody has, want %d", len(after), want)
		}
		d.write("subscribers.csv", list+"another,small\nline-x,small\n")
		d.looks()
		d.pass(2 * time.Second)
	}
	if n := len(pages(s, webadmin.Query{Tie: someTie}, 100)); n != 302 {
		t.Errorf("%d of a new list", n)
	}
}

// Who is above observe is seen at once, however old the roll is.
func TestAStageIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, "subscriber,plan\nhome,small\nother,small\n")
	s := &source{a: d.Appliance}
	before := pages(s, webadmin.Query{Stages: []string{"observe"}}, 10)
	for range 4 {
		d.session("other", "small")
		d.session("100.64.77.1/32", "strangers")
	}
	calm, held, all := pages(s, webadmin.Query{Stages: []string{"observe"}}, 10), pages(s, webadmin.Query{Stages: []string{"warn", "pace", "defer", "cut"}}, 10), pages(s, webadmin.Query{}, 10)
	if len(before) != 2 || !slices.Equal(calm, []string{"home"}) || len(held) != 2 || len(all) != 3 || !slices.Contains(held, "other") {
		t.Errorf("before %q; now calm %q, held %q, all %q", before, calm, held, all)
	}
}

// A cursor that is none of ours begins anew, and one of somebody who has gone goes on behind his place.
func TestACursorOfNobodyBeginsAnew(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, "subscriber,plan\na,small\nb,small\nd,small\n")
	s := &source{a: d.Appliance}
	calm := governor.StageObserve
	for cursor, want := range map[string]int{"": 3, "12": 3, "%%%": 3, "b2JzZXJ2ZSAw": 3, "Y3V0IE5hTiBh": 3, place{stage: governor.StageCut, id: "a"}.cursor(): 3, place{stage: calm, id: "a"}.cursor(): 2,
		place{stage: calm, id: "c"}.cursor(): 1, place{stage: calm, id: "d"}.cursor(): 0, place{stage: calm, full: 0.5, id: "d"}.cursor(): 3, place{stage: calm, id: "0"}.cursor(): 3} {
		if items, _ := s.Subscribers(webadmin.Query{Cursor: cursor}); len(items) != want {
			t.Errorf("after %q come %d, want %d", cursor, len(items), want)
		}
	}
	for _, p := range []place{{stage: governor.StageCut, full: 1.5, since: 1234567890123456789, name: "Elm Street 12 % ü", id: "S 1 2"}, {stage: calm, id: ""}} {
		if got, ok := placeOf(p.cursor()); !ok || got != p {
			t.Errorf("%+v is read back as %+v, %v", p, got, ok)
		}
	}
}

func TestWhereATextIs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8::7": "2001:db8::7/128", "fe80::1%eth0": "fe80::1/128", "192.0.2.9/24": "192.0.2.0/24",
		"2001:db8:34::/56": "2001:db8:34::/56", "192.0.2": "192.0.2.0/24", "192.0.": "192.0.0.0/16", "10.": "10.0.0.0/8", "2001:db8:34": "2001:db8:34::/48", "2001:": "2001::/16", "2001:db8::": "2001:db8::/128",
		"": "", "10": "", ".": "", ":": "", "10..2": "", "10.256": "", "10.0.0.0.": "", "10.0.0.0.1": "", "2001:db8:g": "", "s-1044": "", "a:b:c:d:e:f:1:2:3": "", "-1.2": "", "+1.2": "", "12345:": ""} {
		got := ""
		if p := whereOf(text); p.IsValid() {
			got = p.String()
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
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

// BenchmarkSubscribers is the list of a million, asked for in every way.
func BenchmarkSubscribers(b *testing.B) {
	var list strings.Builder
	list.WriteString("subscriber,plan,prefixes,name\n")
	for i := range million {
		fmt.Fprintf(&list, "%s,small,10.%d.%d.%d 2001:db8:%x:%x00::/56,Name of %d\n", lineName(i), i>>16, i>>8&255, i&255, i>>8, i&255, i)
	}
	d := newDeaf(b, homePlans, list.String())
	s := &source{a: d.Appliance}
	s.Subscribers(webadmin.Query{})
	deep := place{stage: governor.StageObserve, id: lineName(million - 20)}
	byName := deep
	byName.name = "Name of 999980"
	for _, one := range []struct {
		what string
		q    webadmin.Query
	}{
		{"all", webadmin.Query{}}, {"name", webadmin.Query{Sort: webadmin.SortName}}, {"id", webadmin.Query{Sort: webadmin.SortID}}, {"budget", webadmin.Query{Sort: webadmin.SortBudget}}, {"since", webadmin.Query{Sort: webadmin.SortSince}},
		{"last", webadmin.Query{Cursor: deep.cursor()}}, {"last-by-name", webadmin.Query{Sort: webadmin.SortName, Cursor: byName.cursor()}},
		{"nobody", webadmin.Query{Text: "nobody's"}}, {"everybody", webadmin.Query{Text: "name of"}}, {"everybody-by-name", webadmin.Query{Text: "name of", Sort: webadmin.SortName}}, {"address", webadmin.Query{Text: "fe80::1"}},
		{"prefix", webadmin.Query{Text: "10.0.7"}}, {"prefix-of-all", webadmin.Query{Text: "10."}}, {"exempt", webadmin.Query{Exempt: true}},
		{"tied", webadmin.Query{Tie: someTie}}, {"tied-budget", webadmin.Query{Tie: someTie, Sort: webadmin.SortBudget}}, {"tied-last", webadmin.Query{Tie: someTie, Cursor: deep.cursor()}},
	} {
		b.Run(one.what, func(b *testing.B) {
			s.Subscribers(one.q) // puts the list in order, where that is needed
			for b.Loop() {
				s.Subscribers(one.q)
			}
		})
	}
	b.Run("roll", func(b *testing.B) { // nobody waits for it
		for b.Loop() {
			d.Appliance.makeRoll(b.Context(), d.time())
		}
	})
}

package subscriber

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever there is, a look without an index finds what the words of the library find.
func TestContainsFold(t *testing.T) {
	t.Parallel()
	some := rapid.StringOfN(rapid.SampledFrom([]rune("aAbBzZ-ßÖöİıK\u212aé \x00")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		s, text := some.Draw(t, "s"), strings.ToLower(some.Draw(t, "text"))
		if got, want := ContainsFold(s, text), strings.Contains(strings.ToLower(s), text); got != want {
			t.Fatalf("%q in %q: %v", text, s, got)
		}
	})
}

func TestCompareFold(t *testing.T) {
	t.Parallel()
	names := []string{"zoe", "Anna", "anna b", "", "ANNA", "Ärzte", "bob"}
	slices.SortFunc(names, CompareFold)
	if want := []string{"", "Anna", "ANNA", "anna b", "bob", "zoe", "Ärzte"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}

func TestLinesAreFoundByTextAndPlan(t *testing.T) {
	t.Parallel()
	tab := parse(t, "subscriber,plan,name,note\nS-2,home,Elm Street,secret\nS-1,office,2 Oak,elm\nx,home,S,\n")
	for text, want := range map[string]string{"s-": "S-2 S-1", "elm": "S-2", "2": "S-2 S-1", "2e": "", "s": "S-2 S-1 x", "1 ": "", "12": "", "secret": "", "oak": "S-1", "office": "S-1", "nothing": ""} {
		found := tab.NoRows()
		tab.Find(found, text, map[string]bool{text: true})
		if got := ids(tab, found); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if order := tab.Order(); len(order) != 3 || tab.ID(order[0]) != "S-1" || tab.Name(order[2]) != "S" {
		t.Errorf("order %v", order)
	}
}

func ids(tab *Table, found Rows) string {
	var all []string
	for row := range int32(tab.Len()) {
		if found.Has(row) {
			all = append(all, tab.ID(row))
		}
	}
	return strings.Join(all, " ")
}

func TestLinesAreFoundByWhereTheyAre(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	tab := parse(t, "subscriber,plan,prefixes,circuits\na,home,10.0.1.0/24,acct-a\nb,home,10.0.1.7 2001:db8:1::/56,\nc,home,10.0.2.9,\n")
	d := NewDirectory(tab)
	bind := func(prefix, user string) {
		t.Helper()
		b := Binding{Prefix: netip.MustParsePrefix(prefix), Source: RADIUS, Session: "nas|" + prefix, User: user}
		if _, err := d.BindSession([]Binding{b}, now, now); err != nil {
			t.Fatal(err)
		}
	}
	bind("10.0.3.1/32", "acct-a")
	bind("10.0.3.2/32", "nobody")
	for i := range 200 {
		bind(fmt.Sprintf("10.9.%d.0/32", i), "acct-a")
	}
	for where, want := range map[string][2]string{"10.0.1.7/32": {"a b", ""}, "10.0.1.8/32": {"a", ""}, "10.0.0.0/16": {"a b c", "a radius:nobody"}, "10.0.3.0/24": {"", "a radius:nobody"}, "10.0.3.2/32": {"", "radius:nobody"},
		"2001:db8:1:3::1/128": {"b", ""}, "2001:db8::/32": {"b", ""}, "192.0.2.0/24": {"", ""}, "10.9.0.0/16": {"", "a"}} {
		p := netip.MustParsePrefix(where)
		found := tab.NoRows()
		tab.Within(found, p)
		bound := slices.Compact(slices.Sorted(d.Within(p)))
		if got := [2]string{ids(tab, found), strings.Join(bound, " ")}; got != want {
			t.Errorf("%s: by the list %q, bound %q", where, got[0], got[1])
		}
	}
	n := 0
	for range d.Within(netip.MustParsePrefix("10.9.0.0/16")) {
		if n++; n == 70 {
			break
		}
	}
	if n != 70 {
		t.Errorf("%d", n)
	}
}

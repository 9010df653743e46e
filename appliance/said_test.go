package appliance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// The records of a change have each of its keys with both sides in the same record, none is longer than it may be, and of a change without an end they say how much is missing.
func TestARecordOfAChangeLeavesNothingOut(t *testing.T) {
	t.Parallel()
	var changed []webadmin.ConfigDifference
	for i := range 500 {
		changed = append(changed, webadmin.ConfigDifference{Key: fmt.Sprintf("plans[%d]", i), Before: strings.Repeat("b", i%40), After: strings.Repeat("ä", i%100)})
	}
	changed = append(changed, webadmin.ConfigDifference{Key: "long", Before: strings.Repeat("x", 5000), After: "y"})
	said := saidOf(changed)
	for _, d := range changed {
		n := 0
		for _, one := range said {
			for _, side := range []string{one.before, one.after} {
				if strings.HasPrefix(side, d.Key+": ") || strings.Contains(side, "; "+d.Key+": ") {
					n++
				}
			}
			if strings.Contains("; "+one.before, "; "+d.Key+": ") != strings.Contains("; "+one.after, "; "+d.Key+": ") {
				t.Errorf("%s: its sides are in different records", d.Key)
			}
		}
		if n != 2 {
			t.Errorf("%s is there %d times", d.Key, n)
		}
	}
	for _, one := range said {
		if len(one.before) > saidAtOnce || len(one.after) > saidAtOnce {
			t.Errorf("%d and %d bytes", len(one.before), len(one.after))
		}
	}
	if last := said[len(said)-1].before; !strings.Contains(last, "… (5000 bytes, SHA-256 ") {
		t.Errorf("a long value: %q", last)
	}
	if got := saidOf(nil); len(got) != 1 || got[0] != (sides{"the same values", "the same values"}) {
		t.Errorf("nothing: %+v", got)
	}

	changed = nil
	for i := range 5000 {
		changed = append(changed, webadmin.ConfigDifference{Key: fmt.Sprintf("plans[%d]", i), Before: "a", After: strings.Repeat("b", 200)})
	}
	said = saidOf(changed)
	told := 0
	for _, one := range said {
		told += strings.Count(one.before, "plans[")
	}
	if last := said[len(said)-1]; len(said) != saidMost || !strings.HasSuffix(last.before, fmt.Sprintf("; and %d more keys", len(changed)-told)) || !strings.HasSuffix(last.after, fmt.Sprintf("; and %d more keys", len(changed)-told)) {
		t.Errorf("%d records, %d keys, the last says %+v", len(said), told, last)
	}
}

// A collector that somebody adds among many other keys is in the first record of the change, and first of what the change is said to be.
func TestWhoHearsOfCustomersComesFirst(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	is, err := s.Config()
	if err != nil {
		t.Fatal(err)
	}
	var more strings.Builder
	for i := range 60 {
		fmt.Fprintf(&more, "  - {name: more%d, highest_stage: defer, budgets: [{of: sessions, limit: %d, per: 24h}]}\n", i, i+1)
	}
	text := strings.Replace(is.Text, "plans:\n", "plans:\n"+more.String(), 1) + "syslog: {targets: [{url: \"udp://203.0.113.9:514\"}]}\n"
	o, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(text), Revision: is.Revision, Sure: true}, "anna")
	if wrong, is := errors.AsType[webadmin.WrongConfig](err); is {
		t.Fatal(wrong[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Changed) < 60 || !strings.HasPrefix(o.Changed[0].Key, "syslog.targets") {
		t.Errorf("%d keys changed, the first is %+v", len(o.Changed), o.Changed[0])
	}
	said := d.told(records.KindAudit)
	if len(said) < 3 || !strings.Contains(said[0], "203.0.113.9") || !strings.Contains(said[0], "part 1 of ") {
		t.Errorf("%d records, the first is %q", len(said), said[0])
	}
	all := strings.Join(said, "\n")
	for i := range 60 {
		if !strings.Contains(all, fmt.Sprintf("more%d", i)) {
			t.Errorf("no record names plan more%d", i)
		}
	}
}

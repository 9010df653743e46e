package appliance

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// Whoever passes uncounted, and what could not be kept, is told: by a HEALTH record a minute, and as a problem as long as it
// goes on.
func TestWhatIsNotCountedIsTold(t *testing.T) {
	d := newDeaf(t, homePlans, homeList)
	watch := func() { d.health.watchRooms(rooms{d.gov.Stats(), d.cases.missed()}) }
	watch()
	if got := d.health.short(); got != nil {
		t.Errorf("%v", got)
	}
	session := func(a governor.Attempt) { d.gov.Close(a.Subscriber, d.time()); d.gov.Open(a, d.time()) }
	session(governor.Attempt{Subscriber: "odd", Plan: "no such plan"})
	watch()
	for i := range governor.MaxUnlisted + 7 {
		d.gov.Open(governor.Attempt{Subscriber: fmt.Sprint(i, "/32"), Plan: "strangers", Unlisted: true}, d.time())
	}
	watch()
	got := strings.Join(d.told(records.KindHealth), "\n")
	for _, want := range []string{"unknown_plan", "too_many_strangers"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	if !strings.Contains(got, "too_many_strangers: 7:") {
		t.Errorf("not how many: %q", got)
	}
	if strings.Contains(got, "table_full") || strings.Contains(got, "case_changes_lost") {
		t.Errorf("what did not happen: %q", got)
	}
	if got := d.health.short(); len(got) != 2 || !strings.Contains(got[0].What, "no list") {
		t.Errorf("%v", got)
	}
	d.pass(goesOn + time.Second)
	watch()
	if got := d.health.short(); got != nil {
		t.Errorf("it is over: %v", got)
	}
}

// Where more bindings end than are kept, that is told, and since when who held an address is known.
func TestAFullHistoryIsTold(t *testing.T) {
	d := newDeaf(t, homePlans, homeList)
	d.health.watchHistory(d.who.Stats())
	for i := range subscriber.MaxHistory + 3 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(65 + i>>16), byte(i >> 8), byte(i)}), 32)
		at := d.time()
		b := subscriber.Binding{Prefix: p, Source: subscriber.RADIUS, Session: fmt.Sprint("nas|", i), User: "home", Dated: true}
		if _, err := d.who.Bind(b, at, at); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Second)
		d.who.End(subscriber.RADIUS, b.Session, d.time(), d.time())
	}
	for range 2 {
		d.health.watchHistory(d.who.Stats())
	}
	since := d.time().Add(-(subscriber.MaxHistory - 1) * time.Second)
	got := d.told(records.KindHealth)
	if len(got) != 1 || !strings.Contains(got[0], "bindings_history_full") || !strings.Contains(got[0], since.Format(time.RFC3339)) {
		t.Errorf("since %v: %q", since, got)
	}
	if p := shortHistory(d.who.Stats(), d.time()); len(p) != 1 || !p[0].Since.Equal(since) {
		t.Errorf("%v", p)
	}
	d.pass(7 * 24 * time.Hour)
	if p := shortHistory(d.who.Stats(), d.time()); p != nil {
		t.Errorf("%v", p)
	}
}

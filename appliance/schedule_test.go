package appliance

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// What is over its time leaves the raw files by the box's own timers, without anybody's doing, within what the manual promises: a quarter of an hour, and a day for the log of the budgets. The
// clock is one of testing/synctest, so that each timer is the box's own.
func TestTheTimersTakeWhatIsOverItsTimeOutOfTheFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const old, held, young = "198.51.100.66", "198.51.100.77", "203.0.113.88"
		const keep = 2 * time.Hour
		d := &deaf{t: t, dir: t.TempDir()}
		d.write("mailweir.yaml", strings.ReplaceAll(homePlans, "24h", "30m")+"notices: {webhooks: [{name: desk, url: 'http://127.0.0.1:9', secret_file: s}], max_age: 2h}\n"+
			"syslog: {targets: [{url: 'tcp://127.0.0.1:9'}]}\nretention: {sessions: 1h, records: 2h}\n")
		d.write("s", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
		d.write("subscribers.csv", homeList)
		d.start()
		defer d.cut()
		seconds := func(ctx context.Context) error {
			each := time.NewTicker(time.Second)
			defer each.Stop()
			for n := 1; ; n++ {
				select {
				case <-ctx.Done():
					return nil
				case <-each.C:
					d.second(n)
				}
			}
		}
		begin := func(tasks ...func(context.Context) error) (end func()) {
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			for _, run := range tasks {
				all.Go(func() {
					if err := run(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			return func() { cancel(); all.Wait() }
		}
		endGovernor := begin(d.saver.Run, seconds)
		rest := []func(context.Context) error{d.writer.Run, d.journal.Run, d.notices.Run, d.keeper.Run, d.eraser.Run, d.observer.Run, d.observer.Keep, d.lines.Run, d.checkpoints}
		endRest := begin(rest...)

		comes := func(addr string) {
			t.Helper()
			src := netip.MustParseAddr(addr)
			for range 8 {
				d.session(addr+"/32", "strangers")
				d.writer.Say(records.Session(records.SessionFacts{Subscriber: addr + "/32", Src: netip.AddrPortFrom(src, 40000), Dst: netip.MustParseAddrPort("192.0.2.25:25"), Start: d.time(), End: d.time()}))
			}
		}
		binds := func(addr string) {
			t.Helper()
			b := subscriber.Binding{Prefix: netip.MustParsePrefix(addr + "/32"), Source: subscriber.API, Subscriber: "home"}
			if _, err := d.who.Bind(b, d.time(), d.time()); err != nil {
				t.Fatal(err)
			}
		}
		comes(old)
		binds(held)
		time.Sleep(time.Minute)
		if _, ok := d.who.Unbind(subscriber.API, netip.MustParsePrefix(held+"/32"), d.time(), d.time()); !ok {
			t.Fatal("nobody held it")
		}
		there := strings.Join(d.whereIs(old), " ")
		for _, file := range []string{"mailweir.db", "journal/records-", "spool/", "budgets/"} {
			if !strings.Contains(there, file) {
				t.Errorf("after a minute %s does not have %s: %s", file, old, there)
			}
		}
		if len(d.whereIs(held)) == 0 {
			t.Error("who held an address stands nowhere")
		}
		time.Sleep(keep - 10*time.Minute)
		if len(d.whereIs(held)) == 0 {
			t.Error("who held an address stands nowhere, before its time")
		}
		// The case of old is open until its stage has ended; from then on its time counts.
		ended := func() bool {
			d.cases.mu.Lock()
			defer d.cases.mu.Unlock()
			for _, f := range d.cases.cases {
				if f.Closed.IsZero() {
					return false
				}
			}
			return true
		}
		for began := time.Now(); !ended(); time.Sleep(time.Minute) {
			if time.Since(began) > 24*time.Hour {
				t.Fatal("the case does not end")
			}
		}
		time.Sleep(keep + 15*time.Minute)
		comes(young)
		time.Sleep(time.Minute)
		for _, addr := range []string{old, held} {
			for _, file := range d.whereIs(addr) { // the governor remembers what it decided for longer: its log and the checkpoints have that
				if !strings.HasPrefix(file, "budgets/") && !strings.HasPrefix(file, "journal/inputs-") {
					t.Errorf("%s is still in %s", addr, file)
				}
			}
		}
		if there := strings.Join(d.whereIs(old), " "); !strings.Contains(there, "budgets/") {
			t.Errorf("the governor has forgotten it already: it is in %q", there)
		}
		endRest()
		time.Sleep(2 * 24 * time.Hour) // until it has forgotten, and a day; a box in which nothing else happens
		endRest = begin(rest...)
		comes(young)
		time.Sleep(16 * time.Minute)
		if left := append(d.whereIs(old), d.whereIs(held)...); len(left) > 0 {
			t.Errorf("two days later they are in %v", left)
		}
		if there := strings.Join(d.whereIs(young), " "); !strings.Contains(there, "mailweir.db") || !strings.Contains(there, "journal/") || !strings.Contains(there, "budgets/") {
			t.Errorf("who came now is in %s", there)
		}
		endRest()
		endGovernor()
	})
}

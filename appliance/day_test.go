package appliance

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
)

var (
	simulated = flag.Duration("day", 10*time.Minute, "how much time TestADayOfAThousandLines lets pass")
	away      = flag.String("collector", "tcp://127.0.0.1:1", "which collector it has; empty: none")
)

// A thousand lines of an ordinary day: homes whose mail program sends now and then, offices, and some mail servers of their own.
const (
	aHome    = 4.0 // sessions a day, which is what homes do
	anOffice = 60.0
	aServer  = 1500.0
)

// senders are the lines, and how many sessions a day each has.
func senders() (csv string, rates []float64) {
	var b strings.Builder
	b.WriteString("subscriber,plan,prefixes\n")
	for i := range 1000 {
		plan, rate := "residential", aHome
		switch {
		case i < 5:
			plan, rate = "mailserver", aServer
		case i < 30:
			plan, rate = "office", anOffice
		}
		fmt.Fprintf(&b, "S-%04d,%s,100.64.%d.%d\n", i, plan, i/250, i%250+1)
		rates = append(rates, rate)
	}
	return b.String(), rates
}

// written is what the kernel counts of what this process has to be written to a disk: pages, each time one is made dirty.
func written(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("%s", text)
	return 0
}

// TestADayOfAThousandLines lets time pass, as fast as it goes, for everything of a box that writes by the clock or by traffic, with the stores, the files and the
// kernel's own count being real: budgets, journal, series, cases, the state of the records, and, with -collector, a spool whose collector is away. With
// -day 24h it is the figure of appliance/doc/PERFORMANCE.md; the short form only sees to it that it can be measured. Where the file system is memory the
// kernel counts nothing.
func TestADayOfAThousandLines(t *testing.T) { // not beside others, which write, too
	csv, rates := senders()
	dir := t.TempDir()
	before := written(t)
	var store, journal, series int64 // what was handed to the kernel
	sessions, seconds := 0, 0
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{t: t, dir: dir}
		targets := "[]"
		if *away != "" {
			targets = fmt.Sprintf("[{url: %q}]", *away)
		}
		d.write("mailweir.yaml", "mode: enforce\nnetwork: {subscriber_interfaces: [lan0]}\nsyslog: {targets: "+targets+"}\n")
		d.write("subscribers.csv", csv)
		d.start()
		d.judge.answers = noAnswers{}
		d.judge.end = func(string, time.Duration) {}
		ctx, end := context.WithCancel(context.Background())
		var stop []func() error
		for _, run := range []func(context.Context) error{d.journal.Run, d.writer.Run, d.saver.Run, d.keeper.Run, d.eraser.Run, d.observer.Run, d.observer.Keep, d.checkpoints} {
			stop = append(stop, background(ctx, run))
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		for began := time.Now(); time.Since(began) < *simulated; time.Sleep(time.Second) {
			d.settled(d.gov.Tick(time.Now()))
			if seconds++; seconds%60 == 0 {
				d.forgetOld()
			}
			for i, rate := range rates {
				if rnd.Float64() >= rate/86400 {
					continue
				}
				sessions++
				f := nfq.Flow{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(i / 250), byte(i%250 + 1)}), uint16(10000+sessions%50000)),
					Server: netip.MustParseAddrPort(fmt.Sprintf("198.18.%d.25:25", rnd.IntN(250)))}
				if rate == aHome {
					f.Server = netip.MustParseAddrPort(fmt.Sprintf("198.18.%d.25:25", i%3))
				}
				o := d.judge.Open(f, time.Now())
				if o.Action != nfq.Pass && o.Action != nfq.Hold {
					continue
				}
				d.judge.Event(f, o.Handle, session.Event{Kind: session.ClientHello}, time.Now())
				began := time.Now()
				time.AfterFunc(900*time.Millisecond, func() { // a session takes its time, and each second of it is saved
					d.judge.Event(f, o.Handle, session.Event{Kind: session.Message, Estimated: true}, time.Now())
				})
				time.AfterFunc(1800*time.Millisecond, func() {
					var s nfq.Summary
					s.Start, s.End, s.BytesUp, s.BytesDown, s.EndReason = began, time.Now(), 40_000, 6_000, session.EndFIN
					s.JA4, s.MessagesLo, s.MessagesHi, s.HandshakeBytes = "t13d1516h2_8daaf6152771_e5627efa2ab1", 1, 1, 5_000
					d.judge.Close(f, o.Handle, s)
				})
			}
		}
		time.Sleep(3 * time.Second)
		store, journal, series = d.store.WrittenBytes(), d.journal.Status().Written, int64(d.observer.series.Written())
		end()
		for _, s := range stop {
			if err := s(); err != nil {
				t.Error(err)
			}
		}
		d.cut()
	})
	kernel := written(t) - before
	days := simulated.Hours() / 24
	t.Logf("%v, %d sessions: the kernel counted %.1f MB, %.0f MB a day; handed to it were %.1f MB of budgets and tables, %.1f MB of journal, %.1f MB of series",
		*simulated, sessions, float64(kernel)/1e6, float64(kernel)/1e6/days, float64(store)/1e6, float64(journal)/1e6, float64(series)/1e6)
	if perDay := float64(kernel) / days; perDay > 200e6 && *simulated >= time.Hour {
		t.Errorf("%.0f MB a day", perDay/1e6)
	}
	if sessions == 0 || store == 0 || journal == 0 {
		t.Errorf("nothing happened: %d sessions, %d and %d bytes", sessions, store, journal)
	}
}

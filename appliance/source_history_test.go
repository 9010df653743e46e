package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// ended says that a session of a subscriber, which began just now, has ended after some seconds; with a JA4 if it is not empty.
func (d *deaf) ended(id, server, ja4 string, port int) records.SessionFacts {
	d.t.Helper()
	f := records.SessionFacts{Subscriber: id, Plan: "small", Src: netip.AddrPortFrom(netip.MustParseAddr("100.64.0.1"), uint16(port)), Dst: netip.MustParseAddrPort(server),
		Start: d.time(), End: d.time().Add(3 * time.Second), BytesUp: 700, BytesDown: 300, TLS: "none", Handshake: "none", Messages: 1, MessagesLo: 2, MessagesHi: 4, EndReason: "fin"}
	if ja4 != "" {
		f.TLS, f.TLSVersion, f.Handshake, f.JA4, f.JA3 = "starttls", "TLS1.3", "complete", ja4, "3"+ja4
	}
	d.writer.Say(records.Session(f))
	return f
}

func (d *deaf) history(s *source, id string, step time.Duration) webadmin.History {
	d.t.Helper()
	h, ok, err := s.History(d.t.Context(), id, step)
	if !ok || err != nil {
		d.t.Fatal(ok, err)
	}
	return h
}

// whole is the history once all of it was read, in how many calls it takes.
func (d *deaf) wholeHistory(s *source, id string, step time.Duration) (h webadmin.History) {
	d.t.Helper()
	for range 1000 {
		if h = d.history(s, id, step); h.Fault != "" || !h.More {
			return h
		}
	}
	d.t.Fatal("the history has no end")
	return h
}

func sumOf(h webadmin.History) (all webadmin.HistoryPoint) {
	for _, p := range h.Points {
		all.Sessions, all.Handshakes, all.MessagesLo, all.Held = all.Sessions+p.Sessions, all.Handshakes+p.Handshakes, all.MessagesLo+p.MessagesLo, all.Held+p.Held
	}
	return all
}

// TestALinesHistory: what is in memory and what is in the journal, each once, however often it is asked for, and nothing of others.
func TestALinesHistory(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	if _, ok, err := d.api().History(t.Context(), "nobody", time.Minute); ok || err != nil {
		t.Error("nobody has a history", err)
	}
	if h := d.wholeHistory(d.api(), "home", 10*time.Minute); len(h.Points)+len(h.Sessions)+len(h.Stages) > 0 || h.Fault != "" {
		t.Errorf("of a line that did nothing: %+v", h)
	}
	began := d.time()
	for i := range 30 { // an hour apart
		d.ended("home", fmt.Sprintf("192.0.%d.25:25", i%3), rarePrint, 1000+i)
		d.ended("other", "198.51.100.25:25", usualPrint, 2000+i)
		d.pass(time.Hour)
	}
	d.writer.Say(records.Stage(governor.StageChange{Subscriber: "home", Plan: "small", From: governor.StageObserve, To: governor.StageDefer, At: d.time(), Why: "sessions 3/2 per 24h (150%)"}))
	d.journaled()
	d.cut()
	d.start()
	for i := range 5 {
		d.ended("home", "[2001:db8:1:2::25]:465", "", 3000+i)
		d.pass(time.Minute)
	}
	last := d.ended("home", "203.0.113.25:25", "", 4000)
	d.writer.Say(records.Decision(records.DecisionFacts{Decision: governor.Decision{Subscriber: "home", Action: governor.ActionDefer, Acted: true, Stage: governor.StageDefer, At: last.Start}, Src: last.Src, Dst: last.Dst}))
	d.journaled()

	s := d.api()
	for range 3 { // the third time nothing is read twice
		h := d.wholeHistory(s, "home", time.Hour)
		if sum := sumOf(h); sum.Sessions != 36 || sum.Handshakes != 30 || sum.MessagesLo != 72 || sum.Held != 1 {
			t.Fatalf("%+v", sum)
		}
		if len(h.Stages) != 1 || h.Stages[0].From != "observe" || h.Stages[0].To != "defer" || h.Stages[0].Reason == "" {
			t.Errorf("stages %+v", h.Stages)
		}
		if len(h.Sessions) != historySessions {
			t.Fatalf("%d sessions", len(h.Sessions))
		}
		one, two := h.Sessions[0], h.Sessions[1]
		if one.Server != "203.0.113.25" || one.Port != 25 || one.Action != "defer" || !one.Acted || one.MessagesLo != 2 || one.MessagesHi != 4 || one.Bytes != 1000 || one.EndReason != "fin" || time.Duration(one.Took) != 3*time.Second ||
			!one.Start.Equal(last.Start) || two.Server != "2001:db8:1:2::25" || two.Port != 465 || two.Action != "" || h.Sessions[6].TLSVersion != "TLS1.3" {
			t.Errorf("%+v\n%+v\n%+v", one, two, h.Sessions[6])
		}
		var networks []string
		for _, n := range h.Networks {
			networks = append(networks, fmt.Sprint(n.Network, " ", n.Sessions))
		}
		if want := []string{"192.0.2.0/24 10", "192.0.1.0/24 10", "192.0.0.0/24 10", "2001:db8:1::/48 5", "203.0.113.0/24 1"}; !slices.Equal(networks, want) || h.OtherNetworks != 0 {
			t.Errorf("%q", networks)
		}
		if len(h.Prints) != 1 || h.Prints[0].JA4 != rarePrint || h.Prints[0].JA3 != "3"+rarePrint || h.Prints[0].Sessions != 30 {
			t.Errorf("%+v", h.Prints)
		}
		if h.Since.After(began.Add(time.Minute)) || h.More || h.Fault != "" {
			t.Errorf("since %v, begun %v, more %v, %q", h.Since, began, h.More, h.Fault)
		}
	}
	// Steps of another length tell the same of the time that they reach.
	if sum := sumOf(d.wholeHistory(s, "home", 10*time.Minute)); sum.Sessions != 36 {
		t.Errorf("by ten minutes: %+v", sum)
	}
	if h := d.wholeHistory(s, "home", time.Minute); len(h.Points) != 6 || sumOf(h).Sessions != 6 {
		t.Errorf("the last hour by minutes: %+v", h.Points)
	}
	// What comes is there with the next call, and what is new to memory alone is read from there.
	d.ended("home", "203.0.113.25:25", usualPrint, 5000)
	d.told(records.KindSession)
	if sum := sumOf(d.history(s, "home", time.Hour)); sum.Sessions != 37 || sum.Handshakes != 31 {
		t.Errorf("one more: %+v", sum)
	}
	// More than memory holds came from others meanwhile.
	for range recentRecords + 10 {
		d.ended("other", "198.51.100.25:25", "", 6000)
	}
	d.journaled()
	if sum := sumOf(d.wholeHistory(s, "home", time.Hour)); sum.Sessions != 37 || sum.Handshakes != 31 {
		t.Errorf("after a storm of others: %+v", sum)
	}
	// Two weeks on nothing of it is told any more, although the journal has it for thirty days.
	d.pass(historyBack + time.Hour)
	if h := d.wholeHistory(s, "home", time.Hour); len(h.Points)+len(h.Sessions)+len(h.Stages)+len(h.Networks) > 0 {
		t.Errorf("two weeks later: %+v", h)
	}
}

// A journal that cannot be read costs what is in it; a disk that does not answer costs a second, and who waits no more is let go.
func TestAHistoryOnAFaultyDisk(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.ended("home", "192.0.2.25:25", "", 1000)
	d.journaled()
	d.cut()
	d.start()
	d.ended("home", "192.0.2.25:25", "", 1001)
	d.journaled()
	synctest.Test(t, func(t *testing.T) {
		s := d.api()
		if err := s.reading.take(t.Context()); err != nil { // somebody's disk hangs
			t.Fatal(err)
		}
		began := time.Now()
		h, _, err := s.History(t.Context(), "home", time.Minute)
		if took := time.Since(began); err != nil || took != historyWaits || !strings.Contains(h.Fault, "has not answered") || !h.More || sumOf(h).Sessions != 1 {
			t.Errorf("after %v: %+v, %v", took, h, err)
		}
		s.reading.leave()
		if h := d.wholeHistory(s, "home", time.Minute); sumOf(h).Sessions != 2 || h.Fault != "" {
			t.Errorf("when it answers again: %+v", h)
		}
	})
	files, err := filepath.Glob(filepath.Join(journal.Dir(filepath.Join(d.dir, "data")), "records-*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		if err := errors.Join(os.Rename(path, path+".away"), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	if h := d.history(d.api(), "home", time.Minute); sumOf(h).Sessions != 1 || !strings.Contains(h.Fault, "records-") {
		t.Errorf("a directory in place of a file: %+v", h)
	}
	for _, path := range files { // for who closes the journal
		if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
			t.Fatal(err)
		}
	}
}

// What is kept is bounded: lines, sessions, networks and prints; and the newest of them stay.
func TestHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	var k histories
	first := k.at("S-0", opened)
	if k.at("S-0", opened.Add(time.Minute)) != first || k.at("S-0", opened.Add(historyLasts)) == first {
		t.Error("a history is kept for an hour")
	}
	for i := range 3 * historiesKept {
		k.at(fmt.Sprint("S-", i), opened)
		k.at("S-0", opened)
	}
	if len(k.kept) != historiesKept || k.kept[historiesKept-1].id != "S-0" || k.kept[historiesKept-2].id != fmt.Sprint("S-", 3*historiesKept-1) {
		t.Errorf("%d kept", len(k.kept))
	}
	var times []time.Time
	for _, minute := range []int{5, 1, 9, 7, 3, 8, 2} {
		times = insert(times, 4, opened.Add(time.Duration(minute)*time.Minute), func(t time.Time) time.Time { return t })
	}
	for i, minute := range []int{9, 8, 7, 5} {
		if len(times) != 4 || !times[i].Equal(opened.Add(time.Duration(minute)*time.Minute)) {
			t.Fatalf("%v", times)
		}
	}
	all := map[int]use{}
	for i := range 10 {
		for range i + 1 {
			used(all, i, opened.Add(time.Duration(i)*time.Minute), fmt.Sprint(i), 7)
		}
	}
	if keys, more := mostUsed(all, 3); !slices.Equal(keys, []int{6, 5, 4}) || more != 4 || all[6].sessions != 7 {
		t.Errorf("%v and %d more of %v", keys, more, all)
	}
	used(all, 6, opened, "older", 7)
	if u := all[6]; u.ja3 != "6" || u.sessions != 8 {
		t.Errorf("an older use says which was the last: %+v", u)
	}
}

// muchHistory is a box with so many sessions of so many lines in its journal, of which home is one.
func muchHistory(t testing.TB, sessions, lines int) *deaf {
	d := newDeaf(t, homePlans, homeList)
	for i := range sessions {
		id := "home"
		if i%lines > 0 {
			id = fmt.Sprint("L-", i%lines)
		}
		d.ended(id, fmt.Sprintf("192.0.%d.25:25", i%200), usualPrint, 1000)
		if d.pass(9 * time.Second); i%4000 == 3999 || i == sessions-1 {
			d.journaled()
		}
	}
	return d
}

// TestAHistoryOfMuch: piece by piece all of it is read, and nothing twice.
func TestAHistoryOfMuch(t *testing.T) {
	t.Parallel()
	for lines, sessions := range map[int]int{1: 3*historyRows + recentRecords, 100: 2 * recentRecords} {
		d := muchHistory(t, sessions, lines)
		if h := d.wholeHistory(d.api(), "home", time.Hour); sumOf(h).Sessions != (sessions+lines-1)/lines || len(h.Sessions) != historySessions || h.Fault != "" {
			t.Errorf("%d sessions of %d lines: %d are told, %q", sessions, lines, sumOf(h).Sessions, h.Fault)
		}
	}
}

// BenchmarkHistory is what the page of a line costs with 100,000 sessions in the journal: the processor's time of the call that takes longest and
// of all calls until everything is read, and how many calls these are.
func BenchmarkHistory(b *testing.B) {
	for why, lines := range map[string]int{"a home among a thousand": 1000, "all of one line": 1} {
		b.Run(why, func(b *testing.B) {
			const sessions = 100_000
			d := muchHistory(b, sessions, lines)
			var longest, all time.Duration
			calls := 0
			b.ResetTimer()
			for range b.N {
				s, h := d.api(), webadmin.History{More: true}
				for h.More {
					began := processorTime(b)
					h = d.history(s, "home", time.Hour)
					took := processorTime(b) - began
					longest, all, calls = max(longest, took), all+took, calls+1
				}
				if sumOf(h).Sessions != sessions/lines {
					b.Fatalf("%d sessions", sumOf(h).Sessions)
				}
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
			b.ReportMetric(float64(all.Microseconds())/1000/float64(b.N), "ms-all")
			b.ReportMetric(float64(calls)/float64(b.N), "calls")
		})
	}
}

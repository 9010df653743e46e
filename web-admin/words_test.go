package webadmin

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

func TestStagesAreGovernorsWords(t *testing.T) {
	t.Parallel()
	for rank, word := range stages {
		if got := governor.Stage(rank + int(governor.StageObserve)).String(); got != word {
			t.Errorf("stage %d is %q here and %q in governor", rank, word, got)
		}
	}
}

func TestNumbersAndTimesReadWell(t *testing.T) {
	t.Parallel()
	z := zone{noon, vienna}
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	for _, c := range []struct{ why, got, want string }{
		{"thousands", number(1234567), "1,234,567"},
		{"three digits", number(999), "999"},
		{"negative", number(-1234), "-1,234"},
		{"one", count(1, "packet", "packets"), "1 packet"},
		{"many", count(2314, "packet", "packets"), "2,314 packets"},
		{"nothing a second", rate(0), "0"},
		{"a session a minute", rate(1.0 / 60), "0.017"},
		{"below one", rate(0.834), "0.83"},
		{"a few", rate(4.21), "4.2"},
		{"many a second", rate(1204.4), "1,204"},
		{"full is full", percent(1), "100\u00a0%"},
		{"less is never full", percent(0.999), "99\u00a0%"},
		{"floats do not lose one", percent(0.29), "29\u00a0%"},
		{"far over", percent(20.6), "2,060\u00a0%"},
		{"an hour", window(time.Hour), "1h"},
		{"a day", window(24 * time.Hour), "24h"},
		{"an hour and a half", window(90 * time.Minute), "1h30m"},
		{"ten minutes", window(10 * time.Minute), "10m"},
		{"millisecond", span(12 * time.Millisecond), "12\u00a0ms"},
		{"a pace", span(2100 * time.Millisecond), "2.1\u00a0s"},
		{"minutes", span(4*time.Minute + 12*time.Second), "4\u00a0min"},
		{"hours", span(80 * time.Minute), "1\u00a0h 20\u00a0min"},
		{"days", span(76 * time.Hour), "3\u00a0d"},
		{"bytes", size(812), "812\u00a0B"},
		{"kilobytes", size(23331), "23\u00a0kB"},
		{"megabytes", size(3_400_000), "3.4\u00a0MB"},
		{"today", z.clock(at(-time.Hour)).Text, "11:04"},
		{"a minute past midnight in the zone of the page", z.clock(time.Date(2026, 11, 17, 23, 1, 0, 0, time.UTC)).Text, "00:01"},
		{"yesterday", z.clock(at(-13 * time.Hour)).Text, "yesterday 23:04"},
		{"tomorrow", z.clock(at(14 * time.Hour)).Text, "tomorrow 02:04"},
		{"this year", z.clock(at(-76 * time.Hour)).Text, "15 Nov 08:04"},
		{"another year", z.clock(at(-400 * 24 * time.Hour)).Text, "14 Oct 2025 12:04"},
		{"the zone is said on hover", z.clock(noon).Full, "Wednesday, 18 November 2026, 12:04:40 CET"},
		{"no time, no text", z.clock(time.Time{}).Text, ""},
		{"relative under an hour", z.lasting(at(-4 * time.Minute)).Text, "for 4\u00a0min"},
		{"a clock beyond", z.lasting(at(-2 * time.Hour)).Text, "since 10:04"},
		{"a clock that stepped back", z.lasting(at(time.Hour)).Text, "since 13:04"},
		{"with seconds", z.second(at(-13 * time.Hour)).Text, "yesterday 23:04:40"},
		{"controls", inert("a\r\n\x00b\x1b"), "a\ufffd\ufffd\ufffdb\ufffd"},
		{"direction overrides", inert("\u202egnp.exe"), "\ufffdgnp.exe"},
		{"not UTF-8", inert("\xff\xfe"), "\ufffd\ufffd"},
		{"long", inert(strings.Repeat("ä", 1000)), strings.Repeat("ä", longestText) + "…"},
		{"a line of a record keeps its length", visible(strings.Repeat("ä", 1000)), strings.Repeat("ä", 1000)},
		{"an id with a slash", subscriberLink("100.64.9.9/32"), "/subscribers/100.64.9.9%2F32"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.why, c.got, c.want)
		}
	}
}

func TestReasonsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, d := range []governor.Decision{
		{Of: governor.Sessions, Value: 21, Limit: 20, Burst: 20, Window: time.Hour},
		{Of: governor.Sessions, Value: 6, Limit: 20, Burst: 5, Window: 90 * time.Minute},
		{Of: governor.TLSHandshakes, Value: 412, Limit: 20, Burst: 20, Window: 24 * time.Hour},
		{Of: governor.ConcurrentSessions, Value: 4, Limit: 3, Burst: 3},
	} {
		b, ok := budgetIn(d.Reason())
		if !ok || b.Of != d.Of.String() || b.Value != d.Value || b.Limit != d.Limit || b.Burst != d.Burst || time.Duration(b.Window) != d.Window {
			t.Errorf("%q is read as %+v, %v", d.Reason(), b, ok)
		}
	}
	for _, other := range []string{"", "released by admin", "sessions 1/0 (0%)", "sessions 99999999999999999999/1 (1%)", "the cut of 20s is over", "sessions 2/1 per soon (200%)"} {
		if b, ok := budgetIn(other); ok {
			t.Errorf("%q is read as %+v", other, b)
		}
	}
}

func TestTheCauseOutlivesTheBudgets(t *testing.T) {
	t.Parallel()
	drained := []Budget{{Of: "sessions", Window: Seconds(time.Hour), Limit: 20, Burst: 20, Value: 1, Ratio: 0.05}}
	cut := Subscriber{Stage: "cut", Since: ago(time.Hour), Until: At(noon.Add(time.Minute)), Budgets: drained, Reason: "tls_handshakes 61/20 per 1h (305%)"}
	if b := cause(cut); b.Of != "tls_handshakes" || b.Value != 61 {
		t.Errorf("cut for %+v", b)
	}
	if got := sentence(english, cut, Status{Mode: "enforce"}, noon, vienna); !strings.Contains(got, "61 encrypted mail connections counted, 20 allowed in an hour") {
		t.Error(got)
	}
	cut.Decisions = []Decision{{At: ago(time.Minute), Of: "tls_handshakes", Limit: 20, Burst: 20, Value: 412, Ratio: 20.6}, {At: ago(2 * time.Hour), Of: "sessions", Limit: 20, Burst: 20, Value: 999, Ratio: 49}}
	if b := cause(cut); b.Value != 412 {
		t.Errorf("what happened since the stage was entered, and nothing before: %+v", b)
	}
	cut.Stage = "observe"
	if b := cause(cut); b.Value != 1 {
		t.Errorf("back in observe: %+v", b)
	}
	if cause(Subscriber{Stage: "pace"}) != nil {
		t.Error("a cause out of nothing")
	}
}

func TestTheSentenceSaysOnlyWhatIsSo(t *testing.T) {
	t.Parallel()
	enforce := Status{Mode: "enforce", Ports: []int{25}}
	hour := Seconds(time.Hour)
	over := []Budget{{Of: "sessions", Window: hour, Limit: 20, Burst: 5, Value: 9, Ratio: 1.8}, {Of: "tls_handshakes", Window: hour, Limit: 20, Burst: 20, Value: 412, Ratio: 20.6}}
	for _, c := range []struct {
		why      string
		sub      Subscriber
		st       Status
		has, not []string
	}{
		{"within budget", Subscriber{Stage: "warn", Budgets: over}, enforce, []string{"Nothing is being held back"}, []string{"case", "infected"}},
		{"within budget again: what the caller may have noticed", Subscriber{Stage: "warn", Decisions: []Decision{{At: ago(time.Minute), Action: "pace", Reason: "not acted"},
			{At: ago(time.Hour), Action: "defer", Acted: true, Reason: "sessions 21/20 per 1h (105%)", Case: "K7Q2X"}}}, enforce,
			[]string{"Nothing is being held back", "deferred was at 11:04, after 21 mail connections; 20 allowed in an hour.", "K7Q2X"}, []string{"not acted"}},
		{"paced, near its limit", Subscriber{Stage: "pace", Since: ago(time.Hour), Budgets: []Budget{{Of: "messages", Window: hour, Limit: 60, Burst: 60, Value: 54, Ratio: 0.9}}}, enforce,
			[]string{"come close", "54 messages counted, 60 allowed in an hour", "since 11:04", "more slowly"}, []string{"over what", "case number"}},
		{"deferred: the fullest budget, when it ends, and the case", Subscriber{Stage: "defer", Since: ago(time.Hour), Until: At(noon.Add(time.Hour)), Case: "K7Q2X", Budgets: over}, enforce,
			[]string{"412 encrypted mail connections counted, 20 allowed in an hour", "wait and try again", "at about 13:04", "587", "K7Q2X"}, nil},
		{"a burst smaller than the limit", Subscriber{Stage: "defer", Budgets: over[:1]}, enforce, []string{"9 mail connections counted, 5 allowed at once and 20 in an hour"}, nil},
		{"at the same time: no window", Subscriber{Stage: "defer", Budgets: []Budget{{Of: "concurrent_sessions", Limit: 3, Burst: 3, Value: 4, Ratio: 4.0 / 3}}}, enforce, []string{"4 mail connections at the same time counted, 3 allowed."}, nil},
		{"cut ends at its time, whatever happens", Subscriber{Stage: "cut", Until: At(noon.Add(time.Hour)), Budgets: over}, enforce, []string{"That ends at 13:04"}, []string{"If it stops"}},
		{"only watching", Subscriber{Stage: "cut", Until: At(noon.Add(time.Hour)), Budgets: over}, Status{Mode: "observe", Ports: []int{25}}, []string{"neither slowed nor stopped by us"}, []string{"refuse", "ends at"}},
		{"only watching by now: what was done before", Subscriber{Stage: "cut", Since: ago(3 * time.Hour), Budgets: over, Case: "K7Q2X", Decisions: []Decision{{At: ago(time.Minute), Action: "cut"},
			{At: ago(2 * time.Hour), Action: "cut", Acted: true, Reason: "sessions 61/20 per 1h (305%)"}}}, Status{Mode: "observe", Since: ago(time.Hour)},
			[]string{"only watches since 11:04", "mail was cut was at 10:04, after 61 mail connections; 20 allowed in an hour", "K7Q2X"}, []string{"neither", "refuse"}},
		{"only watching by now: the decisions of then are forgotten", Subscriber{Stage: "defer", Since: ago(2 * time.Hour), Budgets: over}, Status{Mode: "observe", Since: ago(time.Hour)},
			[]string{"only watches since 11:04", "before that", "records"}, []string{"neither", "wait and try"}},
		{"only watching since before the stage", Subscriber{Stage: "defer", Since: ago(time.Hour), Budgets: over}, Status{Mode: "observe", Since: ago(2 * time.Hour)}, []string{"neither slowed nor stopped by us"}, nil},
		{"587 is limited too: nothing is said of it", Subscriber{Stage: "defer", Budgets: over}, Status{Mode: "enforce", Ports: []int{25, 587}}, nil, []string{"587"}},
		{"no time in the past is promised", Subscriber{Stage: "defer", Until: ago(time.Minute), Budgets: over}, enforce, nil, []string{"ends at"}},
		{"no budgets at all", Subscriber{Stage: "pace"}, enforce, []string{"near or over"}, nil},
	} {
		got := sentence(english, c.sub, c.st, noon, vienna)
		for _, want := range c.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: lacks %q:\n%s", c.why, want, got)
			}
		}
		for _, bad := range c.not {
			if strings.Contains(got, bad) {
				t.Errorf("%s: has %q:\n%s", c.why, bad, got)
			}
		}
	}
}

func TestProblemsStandStill(t *testing.T) {
	t.Parallel()
	st := busyBox().status
	a, b := Problem{What: "b", Since: ago(time.Hour)}, Problem{What: "a", Since: ago(time.Hour)}
	c := Problem{What: "c", Since: ago(2 * time.Hour)}
	st.Problems = []Problem{a, b, c}
	first := problemsOf(st)
	st.Problems = []Problem{c, b, a}
	if second := problemsOf(st); !reflect.DeepEqual(first, second) || len(first) != 4 {
		t.Errorf("another order gives another list:\n%v\n%v", first, second)
	}
	for _, change := range []struct {
		why  string
		make func(*Status)
		want string
	}{
		{"not judging", func(s *Status) { s.Ready = false }, "No packets are being judged Mail passes unjudged. Look at the log of the service;"},
		{"not judging, and mail has to wait", func(s *Status) { s.Ready, s.FailClosed, s.Steered = false, true, true }, "Mail does not pass: network.on_failure is closed, so it is dropped until it is judged, and its senders try again. Look at"},
		{"not judging, and without rules nothing stops mail", func(s *Status) { s.Ready, s.FailClosed = false, true }, "Mail passes unjudged, although network.on_failure is closed"},
		{"not judging, on the image, which has no service", func(s *Status) { s.Ready, s.Image = false, true }, "Look at the log: item 6 of the menu at the box's console; it says what mailweir waits for. Item 7 starts the box again."},
		{"the store", func(s *Status) { s.Store = Store{Why: "no space left on device"} }, "Budgets cannot be saved"},
		{"the clock", func(s *Status) { s.Clock = Clock{Known: true} }, "The clock is not synchronised"},
		{"the clock that the box keeps itself", func(s *Status) { s.Clock = Clock{Known: true, Kept: true, Why: "no server answered"} }, "Name an NTP server (Set-up, Time; in the configuration ntp.servers), or have your DHCP server name one (option 42), and let the box reach its UDP port 123. Last: no server answered."},
		{"a clock that was never set", func(s *Status) { s.Clock = Clock{Known: true, Kept: true} }, "The clock was not set since the box came up"},
		{"one that was, and is not kept any more", func(s *Status) { s.Clock = Clock{Known: true, Kept: true, Heard: At(noon)} }, "The clock is not synchronised"},
		{"records lost", func(s *Status) { s.Syslog[1].Dropped = 12 }, "12 lost to this collector"},
		{"lost packets stay in the lanes' line", func(s *Status) { s.Lanes.Queue.Dropped = 12 }, ""},
		{"a collector that was never tried is not down", func(s *Status) {
			s.Syslog = append(s.Syslog, Syslog{URL: "udp://192.0.2.9:514", LastError: "not tried yet"})
		}, ""},
		{"one that nothing is sent to", func(s *Status) {
			s.Syslog = append(s.Syslog, Syslog{URL: "tls://c.example", LastError: "tls:// is not active yet"})
		}, "tls:// is not active yet"},
		{"nobody asked about the clock", func(s *Status) { s.Clock = Clock{} }, ""},
	} {
		st := busyBox().status
		change.make(&st)
		got := fmt.Sprint(problemsOf(st))
		if change.want != "" && !strings.Contains(got, change.want) {
			t.Errorf("%s: %s", change.why, got)
		}
		if change.want == "" && len(problemsOf(st)) != 1 {
			t.Errorf("%s: %s", change.why, got)
		}
	}
}

// A botnet among the subscribers is something to look at. The box is well meanwhile.
func TestTheLightIsOfTheBoxItself(t *testing.T) {
	t.Parallel()
	st := Status{Mode: "observe", Ready: true, Store: Store{OK: true}, Problems: []Problem{{What: "Cluster C-1: one rare TLS client on 23 subscribers", Link: "/clusters/C-1", Lines: true}}}
	if h := healthOf(problemsOf(st)); !h.OK || h.Text != "healthy" {
		t.Errorf("with a cluster: %+v", h)
	}
	v := overviewOf(st, Traffic{}, "", series{}, nil, zone{noon, vienna})
	if len(v.Problems) != 1 || v.Problems[0].Shape != "warn" || v.Problems[0].Link != "/clusters/C-1" {
		t.Errorf("to be looked at: %+v", v.Problems)
	}
	if h := healthOf(problemsOf(newVeil(&fakeBox{status: st}, make([]byte, 32)).Status())); !h.OK {
		t.Errorf("a viewer sees with a cluster: %+v", h)
	}
	st.Ready = false
	if h := healthOf(problemsOf(st)); h.OK || h.Text != "1 problem" {
		t.Errorf("with a fault of the box beside it: %+v", h)
	}
	if v := overviewOf(st, Traffic{}, "", series{}, nil, zone{noon, vienna}); len(v.Problems) != 2 || v.Problems[0].Shape != "bad" {
		t.Errorf("to be looked at: %+v", v.Problems)
	}
}

func TestChartsSayWhatHappened(t *testing.T) {
	t.Parallel()
	z := zone{noon, vienna}
	start := noon.Truncate(time.Minute)
	const day = 24 * time.Hour
	tr := Traffic{Step: Seconds(time.Minute)}
	for i := range 60 {
		p := TrafficPoint{Start: At(start.Add(time.Duration(i-59) * time.Minute)), Started: 60, Clear: 1, StartTLS: 3}
		if i == 59 {
			p.Started = 40 // in 40 s
		}
		tr.Points = append(tr.Points, p)
	}
	if c := chartTraffic(tr, day, z); c.Now != "1.0" || c.Mean != "1.0" || c.Peak != "1.0" || c.Minutes != "" {
		t.Errorf("one session a second: now %s, mean %s, peak %s, of %q", c.Now, c.Mean, c.Peak, c.Minutes)
	}
	if c := chartShare(tr, day, z); c.Hour != "75\u00a0%" || c.Recent != "75\u00a0%" || len(c.Columns) != 12 || c.Unknown != "" {
		t.Errorf("three of four: %s, %s, %d columns", c.Hour, c.Recent, len(c.Columns))
	}
	// The step that has just begun says nothing.
	if c := chartTraffic(tr, day, zone{start.Add(3 * time.Second), vienna}); c.Now != "1.0" {
		t.Errorf("3 s into a minute: %s now", c.Now)
	}
	// A box that has just started, and one whose clock was set since.
	if c := chartTraffic(Traffic{Step: Seconds(time.Minute), Points: tr.Points[50:]}, day, z); c.Minutes != "9\u00a0min" {
		t.Errorf("ten steps are %q", c.Minutes)
	}
	if c := chartTraffic(tr, 5*time.Minute+10*time.Second, z); c.Minutes != "5\u00a0min" || len(c.Rows) != 6 {
		t.Errorf("up for 5 min 10 s: %d steps, %q", len(c.Rows), c.Minutes)
	}
	if c := chartShare(Traffic{Step: Seconds(time.Minute), Points: tr.Points[50:]}, 10*time.Minute, z); len(c.Columns) != 10 || c.Over != "since the start" || c.Left != "12 min ago" {
		t.Errorf("up for ten minutes: %d columns %s, from %s", len(c.Columns), c.Over, c.Left)
	}
	if c := chartTraffic(tr, 30*time.Second, z); !c.Empty {
		t.Error("up for half a minute, and there is a line already")
	}
	for _, odd := range []Traffic{{}, {Points: tr.Points}, {Step: Seconds(time.Minute), Points: tr.Points[:1]}} {
		if c := chartTraffic(odd, day, z); !c.Empty {
			t.Error("drawn from nothing")
		}
	}
	for _, step := range []time.Duration{-365 * 24 * time.Hour, 365 * 24 * time.Hour} {
		chartTraffic(tr, day, zone{noon.Add(step), vienna})
		if c := chartShare(tr, day, zone{noon.Add(step), vienna}); !c.Empty {
			t.Errorf("a clock step of %v: a share of %s", step, c.Hour)
		}
	}
}

func TestWhatNextSessionsMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		next map[string]int64
		want string
	}{
		{nil, ""},
		{map[string]int64{"off": 12}, ""},
		{map[string]int64{"lease": 1, "off": 0}, "1 subscriber does not wait"},
		{map[string]int64{"lease": 1134, "stage": 16, "asks_first": 48}, "1,134 subscribers do not wait; 64 wait: 16 watched, 48 not known yet"},
		{map[string]int64{"not_attached": 1}, "0 subscribers do not wait; 1 waits: 1 on no interface"},
	} {
		if got := nextSessions(c.next); got != c.want {
			t.Errorf("%v: %q, want %q", c.next, got, c.want)
		}
	}
	for lane, want := range map[string]Lane{
		"": {},
		"Next session does not wait · 37 sessions may begin so":  {Reason: "lease", Why: "37 sessions may begin so"},
		"Next session waits for a verdict · watched: stage pace": {Waits: true, Reason: "stage", Why: "watched: stage pace"},
	} {
		if got := nextSession(want); got != lane {
			t.Errorf("%+v: %q, want %q", want, got, lane)
		}
	}
}

func TestWhoKeepsTheClockIsSaid(t *testing.T) {
	t.Parallel()
	z := zone{noon, time.UTC}
	for want, c := range map[string]Clock{
		"":             {},
		"synchronised": {Known: true, Synced: true},
		"set by ntp.isp.example, asked " + z.second(noon).Text + ", was off by less than 1\u00a0ms": {Known: true, Synced: true, Kept: true, Server: "ntp.isp.example", Heard: At(noon), Offset: Seconds(-200 * time.Microsecond)},
		"set by 192.0.2.1, asked " + z.second(noon).Text + ", was off by 12\u00a0ms":                {Known: true, Synced: true, Kept: true, Server: "192.0.2.1", Heard: At(noon), Offset: Seconds(12 * time.Millisecond)},
		"set by 192.0.2.2, asked " + z.second(noon).Text + ", was off by 3\u00a0h":                  {Known: true, Synced: true, Kept: true, Server: "192.0.2.2", Heard: At(noon), Offset: Seconds(3 * time.Hour)},
	} {
		if got := c.words(z); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
	if got := (Clock{Known: true, Kept: true, Server: "192.0.2.1"}).words(z); got != "" {
		t.Errorf("a clock that nobody keeps any more: %q", got)
	}
}

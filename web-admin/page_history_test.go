package webadmin

import (
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// TestASubscribersHistoryIsShown: what it did, when, to where and with what, on its page; the choice of time leads to the others.
func TestASubscribersHistoryIsShown(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/subscribers/S-1044", "Cookie", cookie))
	for _, want := range []string{`<a href="/subscribers/S-1044" aria-current="true">Last 2 days</a>`, `href="/subscribers/S-1044?step=1m"`, `href="/subscribers/S-1044?step=1h"`,
		"with a TLS handshake", "come to 0.69 in 10", `class="band cut"`, `class="band observe"`, "203.0.113.25", "2001:db8:ffff::19, port 465", "TLS1.2 handshake failed", "TLS alert: unknown ca", "deferred · ended in order",
		"2 refusals of the server", "2 or more", "1 to 4", "Cloud Mail Protection GmbH &amp; Co. KG · AS64497", "And 37 more networks", "about 25 of 1,181 lines", `<a href="/clusters/K7">cluster K7</a>`, "not remembered",
		"cd08e31494f9531f560d64c695473da9", `href="/records/182400"`, `href="/records?kind=SESSION&amp;subscriber=S-1044"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for step, want := range map[string]string{"1m": "Last hour", "1h": "Last 2 weeks"} {
		page := body(t, get(t, s, "/subscribers/S-1044?step="+step, "Cookie", cookie))
		if !strings.Contains(page, `<a href="/subscribers/S-1044?step=`+step+`" aria-current="true">`+want) {
			t.Errorf("step %s is not the %s", step, want)
		}
	}
	if a := get(t, s, "/subscribers/S-1044?step=2m", "Cookie", cookie); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a step that there is not: %s", a.Status)
	}
	quiet := body(t, get(t, s, "/subscribers/S-2004", "Cookie", cookie))
	for _, want := range []string{"No session in the last 2 days.", "A session appears here when it has ended.", "The networks that this line sends to", "Clients that begin TLS"} {
		if !strings.Contains(quiet, want) {
			t.Errorf("the page of a quiet line lacks %q", want)
		}
	}
	box.mu.Lock()
	box.fault = `read records-1.seg: "><script>`
	box.mu.Unlock()
	broken := body(t, get(t, s, "/subscribers/S-2004", "Cookie", cookie))
	if !strings.Contains(broken, "Nothing could be read") || !strings.Contains(broken, "read records-1.seg: &#34;&gt;&lt;script&gt;") || !strings.Contains(broken, "Look on") {
		t.Error("the page does not say that the journal cannot be read")
	}
}

func TestTheHistoryOverTheAPI(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	for path, steps := range map[string]struct {
		step time.Duration
		n    int
	}{"": {10 * time.Minute, 288}, "?step=1m": {time.Minute, 60}, "?step=1h": {time.Hour, 336}} {
		h := read[History](t, s, "/api/v1/subscribers/S-1044/history"+path)
		if time.Duration(h.Step) != steps.step || h.Subscriber != "S-1044" || len(h.Points) == 0 || len(h.Points) > steps.n || len(h.Sessions) != 20 || len(h.Prints) != 3 {
			t.Errorf("%q: step %v, %d points, %d sessions", path, time.Duration(h.Step), len(h.Points), len(h.Sessions))
		}
	}
	none := read[map[string]any](t, s, "/api/v1/subscribers/S-2004/history")
	for _, key := range []string{"points", "stages", "sessions", "networks", "prints"} {
		if list, ok := none[key].([]any); !ok || len(list) != 0 {
			t.Errorf("%s of a quiet line is %v", key, none[key])
		}
	}
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for path, want := range map[string]int{"/api/v1/subscribers/nobody/history": 404, "/api/v1/subscribers/S-1044/history?step=24h": 400} {
		if a := get(t, s, path, auth...); a.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, a.Status, want)
		}
	}
}

// A viewer sees how much and when, and of servers and networks what they see of them in records.
func TestAViewersHistory(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	id := s.veil.ids.hide("S-1044")
	page := body(t, get(t, s, "/subscribers/"+id, "Cookie", enterAs(t, s, "vera", users.Viewer)))
	for _, want := range []string{"203.0.x.x", "2001:db8:x", "about 25 of 1,181 lines", "TLS alert: unknown ca", `href="/subscribers/` + id + `?step=1h"`} {
		if !strings.Contains(page, want) {
			t.Errorf("a viewer's page lacks %s", want)
		}
	}
	for _, secret := range []string{"203.0.113", "ffff", "Cloud Mail", "64497"} {
		if strings.Contains(page, secret) {
			t.Errorf("a viewer is told %s", secret)
		}
	}
}

func TestStageSpans(t *testing.T) {
	t.Parallel()
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	changes := []Change{{At: At(at(-10)), From: "pace", To: "defer"}, {At: At(at(-30)), From: "observe", To: "pace"}}
	for _, row := range []struct {
		why     string
		changes []Change
		since   time.Time
		want    []spanOf
	}{
		{"no change: what it is in now", nil, at(-60), []spanOf{{at(-60), noon, "warn"}}},
		{"all changes", changes, at(-60), []spanOf{{at(-10), noon, "defer"}, {at(-30), at(-10), "pace"}, {at(-60), at(-30), "observe"}}},
		{"one of them before", changes, at(-20), []spanOf{{at(-10), noon, "defer"}, {at(-20), at(-10), "pace"}}},
		{"both of them before", changes, at(-5), []spanOf{{at(-5), noon, "defer"}}},
		{"one of them just then", changes, at(-10), []spanOf{{at(-10), noon, "defer"}}},
	} {
		got := stageSpans(row.changes, "warn", row.since, noon)
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %v, want %v", row.why, got, row.want)
		}
	}
	spans := stageSpans(changes, "warn", at(-60), noon)
	for minutes, want := range map[int]string{0: "defer", -10: "defer", -11: "pace", -31: "observe", -61: ""} {
		if got := stageAt(spans, at(minutes)); got != want {
			t.Errorf("%d minutes: %q, want %q", minutes, got, want)
		}
	}
}

// TestTheHistorysColumns: each where its time is and as high as it says, beside the budget; what is not known is no silence.
func TestTheHistorysColumns(t *testing.T) {
	t.Parallel()
	z := zone{noon, vienna}
	from := noon.Add(time.Minute - time.Hour).Truncate(time.Minute)
	h := History{Step: Seconds(time.Minute), From: At(from), To: At(from.Add(time.Hour)), Since: At(from.Add(15 * time.Minute)), Points: []HistoryPoint{{Start: At(from.Add(30 * time.Minute)), Sessions: 10, Handshakes: 5}}}
	hourly := []Budget{{Of: "sessions", Window: Seconds(time.Hour), Limit: 1200}, {Of: "sessions", Window: Seconds(time.Minute), Limit: 100}, {Of: "messages", Window: Seconds(time.Hour), Limit: 1}, {Of: "sessions", Limit: 1}}
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.01 }
	c := chartHistory(h, "observe", hourly, z)
	if len(c.Columns) != 1 || !near(c.Columns[0].X, 300) || !near(c.Columns[0].Wide, 9) || !near(c.Unread, 150) || c.Budget != "1,200 sessions in an hour come to 20 in 1\u00a0min" {
		t.Fatalf("%+v", c)
	}
	if !near(c.BudgetY, 100*(1-1/1.1)) || !near(c.Columns[0].High, 10/22.*100) || !near(c.Columns[0].Y+c.Columns[0].High, 100) || !near(c.Columns[0].ShakenHigh, c.Columns[0].High/2) {
		t.Errorf("heights: %+v", c)
	}
	if c.Rows[0].Stage != "observe" || c.Total != "10 sessions" || c.Shaken != "5 with a TLS handshake" || c.Peak != "10 in 1\u00a0min at most" || c.Left != "1\u00a0h ago" {
		t.Errorf("words: %+v", c)
	}
	hourly[0].Limit = 60 * 41 // more than four times what there is: said, and not drawn
	if c := chartHistory(h, "observe", hourly, z); c.BudgetY != 0 || !near(c.Columns[0].High, 100/1.1) || !strings.Contains(c.Budget, "41 in 1") {
		t.Errorf("a budget far above: %+v", c)
	}
	h.Points = append(h.Points, HistoryPoint{Start: At(from.Add(59*time.Minute + 30*time.Second)), Sessions: 1, Handshakes: 3})
	if c := chartHistory(h, "observe", nil, z); !near(c.Columns[1].X+c.Columns[1].Wide, 600) || c.Columns[1].ShakenHigh > c.Columns[1].High || c.Budget != "" {
		t.Errorf("the step that runs: %+v", c.Columns[1])
	}
	for why, odd := range map[string]History{"nothing": {}, "no time": {Step: Seconds(time.Minute), From: At(noon), To: At(noon)}} {
		if c := chartHistory(odd, "observe", hourly, z); len(c.Columns) != 0 || len(c.Bands) != 0 {
			t.Errorf("%s: %+v", why, c)
		}
	}
	h.Since = Time{}
	if c := chartHistory(h, "observe", nil, z); !near(c.Unread, 600) {
		t.Errorf("nothing is known, and %v is drawn as that", c.Unread)
	}
}

func TestWordsOfASession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		s                            LineSession
		encrypted, messages, outcome string
	}{
		{LineSession{TLS: "none", MessagesLo: 1, MessagesHi: 1, EndReason: "fin"}, "in clear", "1", "ended in order"},
		{LineSession{TLS: "starttls", Handshake: "complete", MessagesHi: -1, EndReason: "rst"}, "TLS", "not known", "broken off"},
		{LineSession{TLS: "implicit", TLSVersion: "TLS1.3", Handshake: "abandoned", MessagesLo: 3, MessagesHi: -1, EndReason: "timeout"}, "TLS1.3 handshake abandoned", "3 or more", "timed out"},
		{LineSession{StartTLS: "refused", MessagesLo: 1, MessagesHi: 4, Rejected: 1, EndReason: "cut"}, "STARTTLS refused, in clear", "1 to 4", "1 refusal of the server · ended by the box"},
		{LineSession{Action: "defer", EndReason: "shutdown"}, "in clear", "0", "would be deferred · the box stopped looking"},
		{LineSession{Action: "cut", Acted: true, EndReason: "new word"}, "in clear", "0", "cut"},
		{LineSession{Action: "warn", EndReason: "fin"}, "in clear", "0", "ended in order"},
	} {
		got := sessionRowOf(row.s, zone{noon, vienna})
		if got.Encrypted != row.encrypted || got.Messages != row.messages || got.Outcome != row.outcome {
			t.Errorf("%+v: %+v", row.s, got)
		}
	}
	for want, p := range map[string]LinePrint{"not remembered": {}, "this line alone, of about 1,181": {Users: 1, Of: 1181}, "about 23 of 1,181 lines": {Users: 23, Of: 1181}} {
		if got := commonText(p); got != want {
			t.Errorf("%+v: %q", p, got)
		}
	}
}

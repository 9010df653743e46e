package webadmin

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Zeros of a box that has only begun to judge are not shown as if somebody had counted; once there is something, or packets are judged, they are.
// What is written is put beside what the box is made for, and a rate says that it is one.
func TestWhatIsWrittenHasAComparison(t *testing.T) {
	t.Parallel()
	const made = ". Made for at most 200\u00a0MB a day with 1,000 ordinary lines"
	for _, row := range []struct {
		st   Store
		want writtenView
	}{
		{Store{}, writtenView{"not counted yet", false}},
		{Store{WrittenToday: 1_200_000, WrittenSince: ago(4 * time.Minute)}, writtenView{"1.2\u00a0MB since 12:00; what a day comes to is known after an hour" + made, false}},
		{Store{WrittenToday: 900_000_000, WrittenSince: ago(4 * time.Minute)}, writtenView{"900\u00a0MB since 12:00; what a day comes to is known after an hour" + made, false}},
		{Store{WrittenToday: 12_000_000, WrittenSince: ago(6 * time.Hour)}, writtenView{"12\u00a0MB since 06:04, so about 48\u00a0MB in a day if it goes on like that" + made, false}},
		{Store{WrittenToday: 120_000_000, WrittenSince: ago(6 * time.Hour), WrittenYesterday: 31_000_000}, writtenView{"120\u00a0MB since 06:04, so about 480\u00a0MB in a day if it goes on like that; 31\u00a0MB the day before" + made, true}},
		{Store{WrittenToday: 1_000_000, WrittenSince: ago(4 * time.Minute), WrittenYesterday: 310_000_000}, writtenView{"1.0\u00a0MB since 12:00; 310\u00a0MB the day before" + made, true}},
	} {
		if got := writtenOf(row.st, zone{noon, vienna}); got != row.want {
			t.Errorf("%+v, want %+v", got, row.want)
		}
	}
}

func TestNothingIsMeasuredWhileTheBoxBegins(t *testing.T) {
	t.Parallel()
	box := quietBox()
	box.status.Mode, box.status.Ready = "enforce", false
	box.status.Stages.Cut = 2
	box.status.Lanes.Fast = FastLane{On: true}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	asMeasured := []string{"0 open now", "0 since the start", "acted on 0 of 0 decisions", "0 packets judged", "0 packets since the start", "on: 0 of 0 sessions", "None in the last 5 minutes", "Nobody. Subscribers"}
	page := body(t, get(t, s, "/", "Cookie", cookie))
	for _, wrong := range asMeasured {
		if strings.Contains(page, wrong) {
			t.Errorf("while it begins the overview says %q", wrong)
		}
	}
	for _, want := range []string{`id="starting"`, "Nothing is measured yet", "nothing is judged yet", "<b>2</b>", "as saved; nobody is judged yet", "not counted yet"} {
		if !strings.Contains(page, want) {
			t.Errorf("while it begins the overview lacks %q", want)
		}
	}
	if page := body(t, get(t, s, "/subscribers", "Cookie", cookie)); strings.Contains(page, "of 0 decisions") || !strings.Contains(page, "nothing is judged yet") {
		t.Error("the banner of other pages")
	}
	for _, c := range []struct {
		why     string
		change  func()
		stopped bool
	}{
		{"it judges", func() { box.status.Ready = true }, false},
		{"it did, and does not now", func() { box.status.Ready, box.status.Sessions.Total, box.status.Lanes.Queue.Packets = false, 12, 300 }, true},
	} {
		box.mu.Lock()
		c.change()
		box.mu.Unlock()
		page := body(t, get(t, s, "/", "Cookie", cookie))
		if strings.Contains(page, `id="starting"`) || strings.Contains(page, "<dd>not counted yet</dd>") || !strings.Contains(page, "12 since the start") && c.stopped {
			t.Errorf("%s: nothing is said to be measured", c.why)
		}
		for _, of := range []string{`id="stopped"`, "nobody is judged now"} {
			if strings.Contains(page, of) != c.stopped {
				t.Errorf("%s: the overview has %q: %v", c.why, of, !c.stopped)
			}
		}
		if strings.Contains(page, "open now") == c.stopped {
			t.Errorf("%s: what is open is said to be of now", c.why)
		}
	}
}

// A problem has its times in the zone of the page, as everything on it, and none in its words.
func TestProblemsHaveTimesOfThePage(t *testing.T) {
	t.Parallel()
	box := quietBox()
	box.status.Problems = []Problem{{What: "Cluster K7: one rare TLS client on 25 subscribers.", Since: At(time.Date(2026, 11, 18, 0, 30, 0, 0, time.UTC)), By: At(time.Date(2026, 11, 19, 23, 30, 0, 0, time.UTC)), Link: "/clusters/K7", Lines: true}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }, Location: vienna})
	page := body(t, get(t, s, "/", "Cookie", enter(t, s)))
	if !strings.Contains(page, ">since 01:30</time>") || !strings.Contains(page, ">20 Nov 00:30</time>") {
		t.Errorf("%s", page[strings.Index(page, `id="problems"`):][:600])
	}
}

// A certificate that ends is a problem 30 days before, and a worse one 7 days before, and when it has; who may not change it gets no link.
func TestACertificateThatEndsIsAProblem(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ends := noon.Add(90 * day)
	cert, key := ownPair(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = noon.Add(-time.Hour), ends })
	now := noon
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return now }})
	s.keeper.own = parsedPair(t, cert, key)
	for _, c := range []struct {
		why       string
		at        time.Time
		state     CertificateState
		says      string
		since, by time.Time
	}{
		{"long before", noon, CertificateHolds, "", time.Time{}, time.Time{}},
		{"31 days", ends.Add(-31 * day), CertificateHolds, "", time.Time{}, time.Time{}},
		{"30 days", ends.Add(-30 * day), CertificateSoon, "ends within 30 days", ends.Add(-30 * day), ends},
		{"8 days", ends.Add(-8 * day), CertificateSoon, "ends within 30 days", ends.Add(-30 * day), ends},
		{"7 days", ends.Add(-7 * day), CertificateUrgent, "ends within 7 days", ends.Add(-7 * day), ends},
		{"a minute", ends.Add(-time.Minute), CertificateUrgent, "ends within 7 days", ends.Add(-7 * day), ends},
		{"over", ends.Add(time.Minute), CertificateEnded, "has ended", ends, time.Time{}},
		{"a clock that is behind", noon.Add(-2 * time.Hour), CertificateEarly, "does not hold yet", time.Time{}, noon.Add(-time.Hour)},
	} {
		now = c.at
		state, p := s.CertificateEnd()
		if state != c.state || (p == nil) != (c.says == "") {
			t.Errorf("%s: %v, %+v", c.why, state, p)
			continue
		}
		if p != nil && (!strings.Contains(p.What, c.says) || !p.Since.Equal(c.since) || !p.By.Equal(c.by) || !strings.Contains(p.Do, "Settings, Certificate")) {
			t.Errorf("%s: %+v", c.why, p)
		}
	}
	// The box's own is made anew in its last month, and is no problem.
	s.keeper.own = nil
	first := s.Fingerprint()
	now = noon.Add(selfSignedFor - 20*day)
	if state, p := s.CertificateEnd(); state != CertificateHolds || p != nil || s.Fingerprint() == first {
		t.Errorf("the box's own: %v, %+v", state, p)
	}

	box := quietBox()
	box.status.Problems = []Problem{{What: "The web admin's certificate ends within 7 days.", Link: "/settings/certificate"}}
	other := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	for who, link := range map[string]bool{enter(t, other): true, enterAs(t, other, "olga", users.Operator): false} {
		a := get(t, other, "/", "Cookie", who)
		if page := body(t, a); a.StatusCode != http.StatusOK || !strings.Contains(page, "ends within 7 days") || strings.Contains(page, `<a href="/settings/certificate">Look</a>`) != link {
			t.Errorf("%s: a link %v is wanted", a.Status, link)
		}
	}
}

// A line with many prefixes keeps what to say on the telephone near the top: all but three are folded.
func TestManyPrefixesAreFolded(t *testing.T) {
	t.Parallel()
	box := largeBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	page := body(t, get(t, s, subscriberLink(largest), "Cookie", cookie))
	above, rest, ok := strings.Cut(page, `<details class="twin folded" id="more-prefixes">`)
	if n := strings.Count(above, `class="prefix"`); !ok || n != shownAddresses {
		t.Errorf("%d stand above, folded %v", n, ok)
	}
	folded, _, _ := strings.Cut(rest, "</details>")
	if n := strings.Count(folded, `class="prefix"`); n != 37 || !strings.Contains(folded, "37 more prefixes") || !strings.Contains(folded, "RADIUS") {
		t.Errorf("%d are folded", n)
	}
	if page := body(t, get(t, s, "/subscribers/S-1044", "Cookie", cookie)); strings.Contains(page, "more-prefixes") {
		t.Error("two prefixes are folded")
	}
}

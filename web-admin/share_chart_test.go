package webadmin

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// seriesOf is a series whose steps have 100 sessions each, of which encrypted says how many are.
func seriesOf(step time.Duration, steps int, encrypted func(i int) uint64) (points []SharePoint) {
	for i := range steps {
		n := encrypted(i)
		points = append(points, SharePoint{Start: At(noon.Truncate(step).Add(-time.Duration(i) * step)), StartTLS: Counted{Sessions: n}, Clear: Counted{Sessions: 100 - n}})
	}
	return points
}

// TestTheShareBesideWhatItWas: over an hour, a day and weeks, each beside the same time before; silence where the box has nothing of then.
func TestTheShareBesideWhatItWas(t *testing.T) {
	t.Parallel()
	z := zone{noon, vienna}
	const up = 90 * 24 * time.Hour
	tr := Traffic{Step: Seconds(time.Minute), Points: []TrafficPoint{{Start: At(noon.Add(-5 * time.Minute)), Clear: 20, StartTLS: 70, Implicit: 10}}}
	rising := series{hours: seriesOf(time.Hour, 8*24, func(i int) uint64 { return 78 - 4*uint64(btoi(i >= 24)) }), days: seriesOf(24*time.Hour, 56, func(i int) uint64 { return 60 + 10*uint64(btoi(i < 7)) })}
	falling := series{hours: seriesOf(time.Hour, 8*24, func(i int) uint64 { return 90 }), days: seriesOf(24*time.Hour, 56, func(i int) uint64 { return 90 - 10*uint64(btoi(i < 7)) })}
	young := series{hours: rising.hours[:6*24], days: rising.days[:7]}
	for _, row := range []struct {
		why, over              string
		past                   series
		share, before, way, of string
		columns                int
	}{
		{"an hour, more than then", "hour", rising, "80\u00a0%", "74\u00a0% at this hour a week ago", "up", "in the last hour", 1},
		{"an hour, less than then", "hour", falling, "80\u00a0%", "90\u00a0% at this hour a week ago", "down", "in the last hour", 1},
		{"a day, more than then", "day", rising, "78\u00a0%", "74\u00a0% a week ago", "up", "in the last day", 24},
		{"a day, the same", "day", falling, "90\u00a0%", "90\u00a0% a week ago", "", "in the last day", 24},
		{"weeks, more than before", "weeks", rising, "70\u00a0%", "60\u00a0% in the 7 before", "up", "in the last 7 days", 56},
		{"weeks, less than before", "weeks", falling, "80\u00a0%", "90\u00a0% in the 7 before", "down", "in the last 7 days", 56},
		{"an hour of a young box", "hour", young, "80\u00a0%", "", "", "in the last hour", 1},
		{"a day of a young box", "day", young, "78\u00a0%", "", "", "in the last day", 24},
		{"weeks of a young box", "weeks", young, "70\u00a0%", "", "", "in the last 7 days", 7},
	} {
		c := shareOver(row.over, tr, up, row.past, z)
		if c.Hour != row.share || c.Before != row.before || c.Way != row.way || c.Over != row.of || len(c.Columns) != row.columns || c.Empty {
			t.Fatalf("%s: %s %s, before %q, way %q, %d columns", row.why, c.Hour, c.Over, c.Before, c.Way, len(c.Columns))
		}
		if last := c.Columns[row.columns-1]; row.over != "hour" && (math.Abs(last.X+last.Wide/0.92-chartWide) > 0.01 || math.Abs(last.StartTLSHigh+last.ClearHigh-chartHigh) > 0.01) {
			t.Errorf("%s: the last column is %+v", row.why, last)
		}
	}
	for over, left := range map[string]string{"day": "24 h ago", "weeks": "8 weeks ago"} {
		if c := shareOver(over, tr, up, series{fault: "input/output\u202eerror"}, z); !c.Empty || c.Fault != "input/output\ufffderror" || c.Left != left || len(c.Choice) != 3 {
			t.Errorf("%s of nothing: %+v", over, c)
		}
	}
	if c := shareOver("hour", tr, up, series{fault: "x"}, z); c.Fault != "" || c.Empty {
		t.Errorf("the hour is in memory: %+v", c)
	}
}

// TestTheUsualRate: the middle one of the same hours of a week; nothing of fewer than three.
func TestTheUsualRate(t *testing.T) {
	t.Parallel()
	hour := noon.Truncate(time.Hour)
	var hours []SharePoint
	for day, n := range []uint64{999_999, 36_000, 3_600, 7_200} { // today's does not count
		hours = append(hours, SharePoint{Start: At(hour.Add(-time.Duration(day) * 24 * time.Hour)), Clear: Counted{Sessions: n / 2}, Unknown: Counted{Sessions: n - n/2}},
			SharePoint{Start: At(hour.Add(-time.Duration(day)*24*time.Hour - time.Hour)), Clear: Counted{Sessions: 1}})
	}
	if v, ok := usualRate(hours, noon); !ok || v != 2 {
		t.Errorf("%v, %v", v, ok)
	}
	if v, ok := usualRate(hours[:6], noon); ok {
		t.Errorf("of two days: %v", v)
	}
}

func TestTheOverviewsShare(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for path, wants := range map[string][]string{
		"/":             {`<a href="/" aria-current="true">Hour</a>`, `href="/?share=day"`, "at this hour a week ago", "usual at this hour", "TLS handshakes/s", `class="second"`},
		"/?share=day":   {`<a href="/?share=day" aria-current="true">Day</a>`, "in the last day", "75\u00a0% a week ago"},
		"/?share=weeks": {`<a href="/?share=weeks" aria-current="true">Weeks</a>`, "in the last 7 days", "75\u00a0% in the 7 before", "8 weeks ago"},
	} {
		page := body(t, get(t, s, path, "Cookie", cookie))
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
	}
	if a := get(t, s, "/?share=year", "Cookie", cookie); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a time that there is not: %s", a.Status)
	}
	fresh := startServer(t, Options{Source: quietBox(), Now: func() time.Time { return noon }})
	page := body(t, get(t, fresh, "/?share=weeks", "Cookie", enter(t, fresh)))
	for _, not := range []string{"week ago", "usual at this hour", "7 before", "cannot be read"} {
		if strings.Contains(page, not) {
			t.Errorf("a box that was just flashed says %q", not)
		}
	}
	if tr := read[Traffic](t, s, "/api/v1/traffic"); len(tr.Points) != 60 || tr.Points[0].Handshakes == 0 || tr.Points[0].Started <= tr.Points[0].Handshakes {
		t.Errorf("%d points, the first %+v", len(tr.Points), tr.Points[0])
	}
}

// A disk that does not answer holds up no page for long, and is asked once; what it says in the end is shown. What went wrong is said to who may know it.
func TestTheOverviewOnAFaultyDisk(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.slow = make(chan struct{})
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for range 2 {
		if page := body(t, get(t, s, "/?share=day", "Cookie", cookie)); !strings.Contains(page, "the disk has not answered yet") || !strings.Contains(page, "Needs a look") {
			t.Fatal("the page does not say that the disk has not answered")
		}
	}
	close(box.slow)
	for end := time.Now().Add(30 * time.Second); ; {
		page := body(t, get(t, s, "/?share=day", "Cookie", cookie)) // which waits for it
		if strings.Contains(page, "75\u00a0% a week ago") && !strings.Contains(page, "not answered") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what the disk said in the end is not shown")
		}
	}
	box.mu.Lock()
	asked := 0
	for _, what := range box.asked {
		if strings.HasPrefix(what, "share 1h") {
			asked++
		}
	}
	box.mu.Unlock()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}

	broken := busyBox()
	broken.broken = errors.New("read share.hours: input/output error")
	s = startServer(t, Options{Source: broken, Now: func() time.Time { return noon }})
	if page := body(t, get(t, s, "/?share=weeks", "Cookie", enter(t, s))); !strings.Contains(page, "read share.hours: input/output error") {
		t.Error("the page does not say why there is no series")
	}
	if page := body(t, get(t, s, "/?share=weeks", "Cookie", enterAs(t, s, "vera", users.Viewer))); strings.Contains(page, "share.hours") || !strings.Contains(page, "cannot be read: hidden") {
		t.Error("a viewer is told why")
	}
}

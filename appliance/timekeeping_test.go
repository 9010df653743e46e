package appliance

import (
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/ntp"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

func TestWhatBecomesOfTheClockIsARecord(t *testing.T) {
	now := time.Now()
	right := clockOf(true, &ntp.State{Synced: true, Server: "t.example", Stratum: 2, Offset: 1500 * time.Microsecond}, nil)
	lost := clockOf(true, &ntp.State{Why: "no server answered"}, nil) // the kernel has not noticed yet
	for _, row := range []struct {
		why  string
		each []webadmin.Clock // so many seconds
		want []string
	}{
		{"another Linux whose clock nobody ever kept is its own business", times(200, clockOf(false, nil, nil)), nil},
		{"nothing is known of it", times(200, webadmin.Clock{}), nil},
		{"the network comes up first", append(times(30, lost), right), nil},
		{"the image with no server", times(200, lost), []string{"clock_lost: no server answered"}},
		{"it is lost and found", append(append([]webadmin.Clock{right}, times(200, lost)...), right, right),
			[]string{"clock_lost: no server answered", "clock_lost: t.example (stratum 2) keeps it; it was off by 1.5ms"}},
		{"another Linux's time service ends and comes back", append(append([]webadmin.Clock{clockOf(true, nil, nil)}, times(200, clockOf(false, nil, nil))...), clockOf(true, nil, nil)),
			[]string{"clock_lost", "clock_lost"}},
	} {
		var said []records.Entry
		at := now
		h := &health{now: func() time.Time { return at }, say: func(e records.Entry) bool { said = append(said, e); return true }}
		var w clockWatch
		for _, c := range row.each {
			at = at.Add(time.Second)
			w.look(at, c, h)
		}
		var texts []string
		for i, e := range said {
			texts = append(texts, e.Text)
			if bad := i%2 == 0; bad != (e.Severity == records.Warning) {
				t.Errorf("%s: %q has severity %v", row.why, e.Text, e.Severity)
			}
		}
		if strings.Join(texts, "\n") != strings.Join(row.want, "\n") {
			t.Errorf("%s: %q", row.why, texts)
		}
	}
}

func times(n int, c webadmin.Clock) (all []webadmin.Clock) {
	for range n {
		all = append(all, c)
	}
	return all
}

func TestAStepOfTheClockIsARecord(t *testing.T) {
	var said []records.Entry
	now := time.Now()
	h := &health{now: func() time.Time { return now }, say: func(e records.Entry) bool { said = append(said, e); return true }}
	var w clockWatch
	for i, by := range []int{0, 0, 7200, 7200, -60} { // seconds by which the wall clock is ahead of the time that passed
		w.look(set(t, now.Add(time.Duration(i)*time.Second), by), webadmin.Clock{}, h)
	}
	if len(said) != 2 || !strings.HasPrefix(said[0].Text, "clock_step: the clock was set from ") {
		t.Errorf("%+v", said)
	}
}

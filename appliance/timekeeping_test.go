package appliance

import (
	"fmt"
	"path/filepath"
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

// The keeper of the clock set it while nobody governed. One life tells that, and the next ones do not.
func TestAStepFromBeforeGoverningIsARecordOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	start := time.Now()
	first := ntp.Step{From: start.Add(1000 * time.Hour), To: start.Add(-time.Second)}
	life := func(seconds int, step func(second int) (s ntp.Step, ahead int)) (said []string) {
		h := &health{now: time.Now, say: func(e records.Entry) bool { said = append(said, e.Text); return true }}
		var w clockWatch
		for i := range seconds {
			s, ahead := step(i)
			w.look(set(t, start.Add(time.Duration(i)*time.Second), ahead), webadmin.Clock{}, h)
			if err := w.keeperSet(s, file, h); err != nil {
				t.Fatal(err)
			}
		}
		return said
	}
	as := func(s ntp.Step) func(int) (ntp.Step, int) { return func(int) (ntp.Step, int) { return s, 0 } }
	want := clockSet(first.From, first.To)
	if said := life(3, as(first)); len(said) != 1 || said[0] != "clock_step: "+want.Detail {
		t.Errorf("the first life says %q", said)
	}
	if said := life(3, as(first)); said != nil {
		t.Errorf("the second life says %q", said)
	}
	// In this one it is set before our eyes; the keeper says so before we look, or after.
	for _, late := range []int{0, 1} {
		to := start.Add(time.Duration(7200*(1+late)) * time.Second)
		said := life(5, func(i int) (ntp.Step, int) {
			s, ahead := first, 0
			if i >= 2 {
				ahead = int(to.Sub(start) / time.Second)
			}
			if i >= 2+late {
				s = ntp.Step{From: start, To: to.Add(2 * time.Second)}
			}
			return s, ahead
		})
		if len(said) != 1 {
			t.Errorf("set while we look, and told %d s later: %q", late, said)
		}
		first = ntp.Step{From: start, To: to.Add(2 * time.Second)}
	}
	if err := new(clockWatch).keeperSet(first, t.TempDir(), &health{now: time.Now, say: func(records.Entry) bool { return true }}); err == nil {
		t.Error("a file that cannot be read is no error")
	}
}

// On the image nobody else keeps the clock: before its keeper has said anything the time is not known, whatever the kernel makes of it. Problems name the
// console there, and no shell.
func TestTheImageKnowsThatItsClockIsNotSet(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	if c := s.Clock(); c.Kept || c.Unset() {
		t.Errorf("another Linux: %+v", c)
	}
	d.opt.Image = &Image{}
	if c := s.Clock(); !c.Unset() || c.Why == "" {
		t.Errorf("before anybody was asked: %+v", c)
	}
	d.opt.ClockFile = filepath.Join(d.dir, "clock")
	if err := (ntp.State{Why: "no answer", Heard: opened}).Save(d.opt.ClockFile); err != nil {
		t.Fatal(err)
	}
	if c := s.Clock(); c.Unset() || c.Synced || c.Why != "no answer" {
		t.Errorf("after it was set once: %+v", c)
	}
	why := "line 7: unknown plan"
	d.listRefused.Store(&why)
	for image, want := range map[*Image]string{{}: "Bring one that is right (Set-up, Subscribers): it is looked at line by line.", nil: "or mend the file, of which mailweir check names what is wrong."} {
		d.opt.Image = image
		said := fmt.Sprint(d.problems())
		if !strings.Contains(said, want) || image != nil && strings.Contains(said, "mailweir check") {
			t.Errorf("image %v: %s", image != nil, said)
		}
	}
}

package appliance

import (
	"testing"
	"time"
	"unsafe"

	"github.com/mailweir/mailweir/governor"
)

// set is t as it reads after somebody has set the wall clock on by so many seconds:
// other than Add it leaves the time that passes alone. Package time has no way to it.
func set(t *testing.T, now time.Time, by int) time.Time {
	t.Helper()
	later := now
	// as in struct Time: wall has the seconds above 30 bits of nanoseconds where there is a monotonic reading
	*(*uint64)(unsafe.Pointer(&later)) += uint64(by) << 30
	if d := time.Duration(by) * time.Second; later.Sub(now) != 0 || later.Round(0).Sub(now.Round(0)) != d {
		t.Fatal("package time keeps its times in another way now")
	}
	return later
}

// The clock of a quiet box is set, and then the power goes: what the clock was set on
// by is not time that has passed.
func TestAStepOfTheClockIsNoCreditAfterAPowerCut(t *testing.T) {
	t.Parallel()
	for _, step := range []int{3600, 30, -3600} {
		d := newDeaf(t, cutPlans, homeList)
		d.wall = time.Now() // with both readings
		d.settled(d.gov.Tick(d.time()))
		for i := 0; d.attempt(i).Action != governor.ActionCut; i++ {
		}
		before, _ := d.gov.Explain("home", d.time())
		d.save()
		for i := range 120 { // nobody is heard of: the kernel resets what home tries
			d.pass(time.Second)
			if i == 60 {
				d.wall = set(t, d.wall, step)
			}
			d.save()
		}
		d.cut()
		d.pass(10 * time.Second)
		d.wall = d.wall.Round(0) // a new life knows only what the wall clock shows
		d.start()
		after, _ := d.gov.Explain("home", d.time())
		lasts := before.Until.Sub(before.Since) - after.Until.Sub(d.time())
		if after.Stage != governor.StageCut || lasts < 129*time.Second || lasts > 132*time.Second {
			t.Errorf("set on by %d s: %v, and %v of the cut have gone by in 130 s", step, after.Stage, lasts)
		}
		d.cut()
	}
}

func TestStepped(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		why    string
		before time.Time
		now    time.Time
		want   bool
	}{
		{"nothing", now, now, false},
		{"an hour passes", now, now.Add(time.Hour), false},
		{"NTP slews for an hour", now, set(t, now.Add(time.Hour), 1), false},
		{"set on", now, set(t, now.Add(time.Second), 2), true},
		{"set back", set(t, now, 2), now.Add(time.Second), true},
		{"times of a capture have one reading only", now.Round(0), now.Round(0).Add(time.Hour), false},
	} {
		if got := stepped(c.before, c.now); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}

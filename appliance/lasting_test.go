package appliance

import (
	"context"
	"testing"
	"time"
)

func TestItIsNotMadeForEverybodyWhoAsks(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	made, fits := 0, true
	var k lasting[int]
	m := maker[int]{now: func() time.Time { return now }, fits: func(int) bool { return fits }, part: 10, least: time.Second, most: time.Hour,
		find: func(context.Context, time.Time) int { made++; now = now.Add(400 * time.Millisecond); return made }}
	for _, row := range []struct {
		why  string
		wait time.Duration
		fits bool
		want int
	}{
		{"the first", 0, true, 1},
		{"at once again", 0, true, 1},
		{"three seconds on: it took 0.4 s, so it stands for four", 3 * time.Second, true, 1},
		{"five seconds on", 2 * time.Second, true, 2},
		{"it fits no more", 0, false, 3},
		{"the clock went back an hour", -time.Hour, true, 4},
	} {
		now, fits = now.Add(row.wait), row.fits
		if got := k.take(m); made != row.want || got != made {
			t.Errorf("%s: made %d times, want %d; given the one of time %d", row.why, made, row.want, got)
		}
	}
}

// Where it takes long nobody waits for it but who comes when none fits.
func TestWhoAsksDoesNotWait(t *testing.T) {
	t.Parallel()
	now, made, list := time.Unix(1000, 0), 0, 1
	var k lasting[[2]int]
	m := maker[[2]int]{now: func() time.Time { return now }, fits: func(v [2]int) bool { return v[1] == list }, part: 10, least: time.Second, most: time.Minute,
		find: func(context.Context, time.Time) [2]int {
			made++
			now = now.Add(time.Second / 2)
			return [2]int{made, list}
		}}
	k.attended.Store(true)
	for _, row := range []struct {
		why         string
		wait        time.Duration
		list        int
		due, askDue bool // that it is made anew, before and after somebody asks
		want, made  int  // what who asks is given, and how many there are then
	}{
		{"there is none", 0, 1, true, false, 1, 1},
		{"it is new", 3 * time.Second, 1, false, false, 1, 1},
		{"it is old, and given all the same", 7 * time.Second, 1, false, true, 1, 1},
		{"it was made anew since", time.Second, 1, false, false, 2, 2},
		{"nobody asked for a minute", time.Minute, 1, true, true, 2, 2},
		{"and then there is another list", 0, 2, true, false, 4, 4},
	} {
		now, list = now.Add(row.wait), row.list
		due := k.due(m)
		got := k.take(m)
		after := k.due(m)
		if due != row.due || after != row.askDue || got[0] != row.want || got[1] != list || made != row.made {
			t.Errorf("%s: due %v and %v, given number %d of list %d, made %d", row.why, due, after, got[0], got[1], made)
		}
		if after {
			k.make(t.Context(), m)
		}
	}
	over, end := context.WithCancel(t.Context())
	end()
	now = now.Add(time.Hour)
	if k.make(over, m); k.take(m)[0] != 4 {
		t.Error("what was cut short is kept")
	}
}

// Run makes the first one although nobody asked, and ends.
func TestTheFirstIsMadeBeforeAnybodyAsks(t *testing.T) {
	t.Parallel()
	var k lasting[int]
	made := make(chan struct{})
	m := maker[int]{now: time.Now, fits: func(int) bool { return true }, part: 10, least: time.Hour, most: time.Hour,
		find: func(context.Context, time.Time) int { close(made); return 1 }}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx, m) }()
	<-made
	if k.take(m) != 1 {
		t.Error("another one")
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

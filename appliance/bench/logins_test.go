package bench

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// 200 people log in at once, over and over, while connections wait for their verdicts in the kernel's queue: it takes the box less than 64 MB, since
// one password is hashed at a time, and every connection is answered. How long they wait is told and not judged: this machine is others', too.
func TestLoginsTakeLittleMemory(t *testing.T) {
	o := small(t)
	o.Loads = []string{"logins"}
	o.Rate, o.Sample, o.Warm, o.Calm = 300, 4*time.Second, 500*time.Millisecond, time.Second
	o.More = "queue: {fast_lane: off}\n" // so that each connection waits for a verdict
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, err := measureLatency(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &l.all[len(l.all)-1]
	if s.name != "logins" || len(s.samples) != 1 || len(s.controls) != 1 {
		t.Fatalf("%s: %d samples, %d controls", s.name, len(s.samples), len(s.controls))
	}
	for _, one := range slices.Concat(s.samples, s.controls) {
		if one.failed > 0 || one.judged < int64(one.answered) {
			t.Errorf("%d connections were answered and %d not; %d packets waited for a verdict", one.answered, one.failed, one.judged)
		}
	}
	most := -1.0
	for _, c := range s.samples[0].work {
		if c.what == loginMemory {
			most = c.n
		}
	}
	if most <= 0 || most >= 64 {
		t.Errorf("%s %s", figures.Figure(most), loginMemory)
	}
	t.Logf("p50 %s us, with as much processor time used by others %s, alone %s; p99 %s, %s, %s; %s", s.of(p50), s.control(p50), l.all[1].of(p50), s.of(p99), s.control(p99), l.all[1].of(p99), strings.Join(s.worked(), ", "))
}

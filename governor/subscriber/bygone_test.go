package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// others ends n bindings of other sessions, a millisecond apart.
func others(d *Directory, n int, from time.Time) {
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(96 + i>>16), byte(i >> 8), byte(i)}), 32)
		at := stamp(from.Add(time.Duration(i) * time.Millisecond))
		d.keep(ended{prefix: p, source: RADIUS, session: fmt.Sprint("nas|other", i), id: "S-2", from: at, until: at + 1, told: at, said: true})
	}
}

// However many sessions end within a day, none comes back because somebody repeats what it once said.
func TestASessionThatEndedStaysEndedForADay(t *testing.T) {
	t.Parallel()
	start := func(d *Directory, dated bool, session string, at, now time.Time) error {
		b := radius("100.64.9.1/32", session, "acct-1")
		b.Dated = dated
		_, err := d.Bind(b, at, now)
		return err
	}
	k := disk{}
	d := directory(t, lines)
	start(d, true, "nas|1", t0, t0)
	d.End(RADIUS, "nas|1", after(100), after(100))
	start(d, true, "nas|2", after(200), after(200)) // it lost the address and never said that it ended
	start(d, true, "nas|3", after(300), after(300))
	d.End(RADIUS, "nas|3", after(310), after(310))
	const hour = 3600
	k.save(d)
	others(d, MaxHistory+10, after(hour))
	if s := d.Stats(); s.History != MaxHistory || s.Gone != 13 || s.Lost != 13 || !s.Since.Equal(after(hour).Add(10*time.Millisecond+1)) {
		t.Errorf("%+v", s)
	}
	k.save(d)
	for why, d := range map[string]*Directory{"": d, "after a restart": nil} {
		if d == nil {
			d = directory(t, lines)
			if skipped, err := d.Restore(k.each, after(20*hour)); skipped > 0 || err != nil {
				t.Fatal(skipped, err)
			}
			if s := d.Stats(); s.History != MaxHistory || s.Gone != 13 {
				t.Errorf("%s: %+v", why, s)
			}
		}
		for _, c := range []struct {
			why     string
			session string
			dated   bool
			at      int
		}{{"the first word", "nas|1", true, 0}, {"the Stop's time", "nas|1", true, 100}, {"without a time", "nas|1", false, 20 * hour}, {"of who was replaced", "nas|2", true, 200}} {
			if err := start(d, c.dated, c.session, after(c.at), after(20*hour)); !errors.Is(err, ErrEnded) {
				t.Errorf("%s %s: %v", why, c.why, err)
			}
		}
		if got := d.who("100.64.9.1"); got != "" {
			t.Errorf("%s: it is with %s", why, got)
		}
		if err := start(d, true, "nas|1", after(101), after(20*hour)); err != nil {
			t.Errorf("%s: a word that is new: %v", why, err)
		}
		d.End(RADIUS, "nas|1", after(20*hour), after(20*hour))
		d.Expire(after(26 * hour))
		if s := d.Stats(); s.Gone != 0 && why == "" || s.Forgot != 0 {
			t.Errorf("%s: a day later: %+v", why, s)
		}
	}
	d.Expire(after(26 * hour))
	k.save(d)
	if len(k) != MaxHistory+1 { // and the state
		t.Errorf("%d on disk", len(k))
	}
}

// There is a bound, and what goes beyond it is counted.
func TestBygonesAreBounded(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.readings.top = stamp(after(10))
	for i := range MaxBygone + 5 {
		e := ended{prefix: pfx("100.64.9.1/32"), source: RADIUS, session: fmt.Sprint(i), id: "S-1", until: stamp(after(10))}
		d.outlive(uint64(i+1), &e)
	}
	g := &d.history.gone
	if len(g.list) != MaxBygone || g.lost != 5 || g.at(5) != nil || g.at(6) == nil || len(g.newest) != MaxBygone {
		t.Errorf("%d, %d lost", len(g.list), g.lost)
	}
	d.outlive(1<<40, &ended{prefix: pfx("100.64.9.1/32"), source: Lease, session: "x", until: stamp(after(10))})
	if g.at(1<<40) != nil {
		t.Error("a lease is played back by nobody")
	}
}

// What was said twice of one session counts as long as the last of it.
func TestBygonesOfOneSession(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	g := &d.history.gone
	e := func(told int, said bool) *ended {
		return &ended{prefix: pfx("100.64.9.1/32"), source: RADIUS, session: "nas|1", id: "S-1", until: stamp(after(told)), told: stamp(after(told)), said: said}
	}
	d.outlive(1, e(20, true))
	d.outlive(2, e(10, false))
	b := radius("100.64.9.1/32", "nas|1", "acct-1")
	repeats := func() bool { return g.repeats(&b, "S-1", stamp(after(20)), stamp(after(30))) }
	if !repeats() {
		t.Error("the second one forgot the first")
	}
	if g.drop() != 1 || !repeats() {
		t.Error("the first one took the second with it")
	}
	if g.drop() != 2 || repeats() || len(g.newest) != 0 {
		t.Error("it is known for ever")
	}
}

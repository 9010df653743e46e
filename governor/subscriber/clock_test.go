package subscriber

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const circuit1, circuit2 = "02:00:5e:00:53:01", "olt1/3/7:12"

func lease(p, circuit string) []Binding {
	return []Binding{{Prefix: pfx(p), Circuits: []string{circuit}}}
}

const hour, day, year = 3600, 24 * 3600, 365 * 24 * 3600

// The clock of the box is set back: what it stamped with times to come is put right.
func TestAClockAheadIsPutRight(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Bind(radius("100.64.9.2/32", "nas|1", "acct-1"), after(-day), after(-day))
	d.Expire(after(-1))
	d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit1), after(hour)) // in truth at 0
	d.Expire(after(hour + 60))
	d.Bind(radius("100.64.9.2/32", "nas|2", "acct-2"), after(hour+100), after(hour+100)) // at 100
	d.Expire(after(hour + 150))
	d.SetTable(parse(t, "subscriber,plan,prefixes,circuits\nS-1,home,100.64.0.12,acct-1 "+circuit1+"\nS-2,office,,acct-2\n"), after(hour+200)) // at 200
	for i := range 10 {
		d.Expire(after(hour + 200 + 60*i))
	}
	d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit1), after(740)) // the clock was right at once
	for _, c := range []struct {
		addr string
		at   int
		want string
	}{
		{"100.64.9.1", -1, ""}, {"100.64.9.1", 1, "S-1 lease 0.."}, {"100.64.9.1", 740, "S-1 lease 0.."},
		{"100.64.9.2", 99, "S-1 radius -86400..100"}, {"100.64.9.2", 100, "S-2 radius 100.."},
		{"100.64.0.12", 199, "S-2 csv ?..200"}, {"100.64.0.12", 200, "S-1 csv 200.."},
	} {
		if got := d.had(c.addr, c.at); got != c.want {
			t.Errorf("%s at %d: %q, want %q", c.addr, c.at, got, c.want)
		}
	}
	k := disk{}
	k.save(d)
	again := NewDirectory(d.Table())
	again.Restore(k.each, after(741))
	if got := again.had("100.64.9.2", 150); got != "S-2 radius 100.." {
		t.Errorf("after a restart: %q", got)
	}
}

// Who read the clock first and comes last, because others held him up, does not set it back.
func TestReadingsThatCross(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	first := time.Now()
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), first.Add(5*time.Second), first.Add(5*time.Second))
	d.Bind(radius("100.64.9.2/32", "nas|2", "acct-1"), first, first)
	for _, a := range []string{"100.64.9.1", "100.64.9.2"} {
		if got := d.At(addr(a), first.Add(10*time.Second), first.Add(10*time.Second)); len(got) != 1 || !got[0].From.Equal(first.Add(map[string]time.Duration{"100.64.9.1": 5 * time.Second}[a])) {
			t.Errorf("%+v", got)
		}
	}
	back := first.Round(0).Add(-time.Hour) // now it was set
	d.Bind(radius("100.64.9.3/32", "nas|3", "acct-1"), back, back)
	if got := d.At(addr("100.64.9.1"), back, back); len(got) != 1 || got[0].From.After(back) {
		t.Errorf("%+v", got)
	}
}

// The same when the box was off meanwhile: then the exact times are not known any more.
func TestAClockAheadSurvivesNoRestart(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]int{"an hour": hour, "ten years": 10 * year} {
		d := directory(t, lines)
		d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit1), after(ahead))
		d.Bind(radius("100.64.9.2/32", "nas|1", "acct-1"), after(ahead), after(ahead))
		d.End(RADIUS, "nas|1", after(ahead+10), after(ahead+10))
		k := disk{}
		k.save(d)
		d = directory(t, lines)
		d.Restore(k.each, t0)
		d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit1), after(60))
		if got := d.had("100.64.9.1", 30); got != "S-1 lease ?.." {
			t.Errorf("%s: %q", name, got)
		}
		for i := range 400 {
			d.Expire(after(60 + i*day))
		}
		for _, at := range []int{1, 60, 200 * day, 399 * day} {
			if got := d.had("100.64.9.1", at); got != "S-1 lease ?.." {
				t.Errorf("%s: at %d: %q", name, at, got)
			}
		}
		if got := d.had("100.64.9.1", -1); got != "" {
			t.Errorf("%s: before: %q", name, got)
		}
		d.Replace(Lease, "/l", nil, after(400*day))
		if got := d.had("100.64.9.1", 300*day); got != fmt.Sprintf("S-1 lease ?..%d", 400*day) {
			t.Errorf("%s: when it is over: %q", name, got)
		}
		if n := d.Stats().History; n != 1 {
			t.Errorf("%s: %d ended bindings are kept, want the last one", name, n)
		}
	}
}

// A box without a clock of its own begins in 1970, or when its system was built.
func TestAClockThatIsNotSetYet(t *testing.T) {
	t.Parallel()
	k := disk{}
	d := directory(t, lines)
	d.Bind(radius("100.64.9.2/32", "nas|1", "acct-1"), after(-day), after(-day))
	d.Replace(Lease, "/l", lease("100.64.9.3/32", circuit2), after(-hour))
	k.save(d)
	for name, boot := range map[string]time.Time{"1970": time.Unix(12, 0), "2024": time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, fresh := range []bool{true, false} {
			if fresh && name == "2024" {
				continue // nothing tells it from a clock that is right
			}
			d := directory(t, lines)
			if !fresh {
				d.Restore(k.each, boot)
			}
			both := append(lease("100.64.9.1/32", circuit1), lease("100.64.9.3/32", circuit2)...)
			d.Replace(Lease, "/l", both, boot)
			d.Bind(Binding{Prefix: pfx("100.64.9.4/32"), Source: API, Subscriber: "S-1"}, boot, boot)
			d.Unbind(API, pfx("100.64.9.4/32"), boot.Add(20*time.Second), boot.Add(20*time.Second))
			d.Expire(boot.Add(60 * time.Second))
			for i := range 3 {
				d.Expire(after(60 * i))
			}
			for _, c := range []struct {
				addr string
				at   int
				want string
			}{
				{"100.64.9.1", -year, ""}, {"100.64.9.1", -61, ""}, {"100.64.9.1", -60, "S-1 lease ?.."}, {"100.64.9.1", 100, "S-1 lease ?.."},
				{"100.64.9.4", -50, "S-1 api ?..-40"}, {"100.64.9.4", -39, ""},
				{"100.64.9.2", -hour, map[bool]string{false: fmt.Sprintf("S-1 radius %d..", -day)}[fresh]},
				{"100.64.9.3", -100, map[bool]string{false: fmt.Sprintf("S-3 lease %d..", -hour)}[fresh]},
			} {
				if got := d.had(c.addr, c.at); got != c.want {
					t.Errorf("%s, fresh %v: %s at %d: %q, want %q", name, fresh, c.addr, c.at, got, c.want)
				}
			}
		}
	}
}

// One ended binding from a wrong clock does not keep all that ended after it.
func TestRetentionIsNotHeldUp(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for i := range 100 {
		at := after(i)
		if i == 0 {
			at = after(10 * year)
		}
		b := radius(fmt.Sprintf("100.64.9.%d/32", i), fmt.Sprintf("nas|%d", i), "acct-1")
		d.Bind(b, at, at)
		d.End(RADIUS, b.Session, at.Add(time.Minute), at.Add(time.Minute))
	}
	for i := range 400 {
		d.Expire(after(i * day))
	}
	if n := d.Stats().History; n != 0 {
		t.Errorf("%d ended bindings are still kept", n)
	}
}

// How long is for the operator to say.
func TestRetain(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Retain(10 * 24 * time.Hour)
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, t0)
	d.End(RADIUS, "nas|1", after(60), after(60))
	for i := range 12 {
		d.Expire(after(i * day))
		if n, want := d.Stats().History, 1; i == 10 && n != want {
			t.Errorf("%d bindings after ten days", n)
		}
	}
	if n := d.Stats().History; n != 0 {
		t.Errorf("%d bindings after eleven days", n)
	}
}

func TestTimesThatCannotBe(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Bind(Binding{Prefix: pfx("100.64.9.1/32"), Source: API, Subscriber: "S-1"}, t0, t0)
	for y := 1; y < 3000; y += 7 {
		at := time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC)
		if got := d.At(addr("100.64.9.1"), at, after(60)); (len(got) > 0) != (y > 2026 && y <= 2200) {
			t.Errorf("in the year %d: %v", y, got)
		}
	}
}

// Wherever the clock is set to, the history says of the present what lookups say, also after a restart.
func TestThePresentIsWhatLookupsSay(t *testing.T) {
	t.Parallel()
	nets := []netip.Prefix{pfx("100.64.0.0/24"), pfx("100.64.0.11/32"), pfx("100.64.9.1/32"), pfx("100.64.9.0/24")}
	other := "subscriber,plan,prefixes,circuits\nS-1,home,100.64.9.1,acct-2\nS-2,office,100.64.0.0/24,acct-1\n"
	a, b := parse(t, lines), parse(t, other)
	rapid.Check(t, func(t *rapid.T) {
		d, k, now := NewDirectory(a), disk{}, t0
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(t, "clock"); step {
			case 0:
				now = time.Unix(int64(rapid.IntRange(1, 1000).Draw(t, "1970")), 0)
			case 1:
				now = t0.Add(time.Duration(rapid.IntRange(-20000, 20000).Draw(t, "to")) * time.Hour)
			case 2:
				if now = now.Add(-time.Duration(rapid.IntRange(1, 5000).Draw(t, "back")) * time.Second); now.Unix() < 1 {
					now = time.Unix(1, 0)
				}
			default:
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "on")) * time.Second)
			}
			p := rapid.SampledFrom(nets).Draw(t, "net")
			user := rapid.SampledFrom([]string{"acct-1", "acct-2", "who"}).Draw(t, "user")
			session := rapid.SampledFrom([]string{"nas|1", "nas|2"}).Draw(t, "session")
			switch rapid.IntRange(0, 8).Draw(t, "do") {
			case 0, 1:
				d.BindSession([]Binding{{Prefix: p, Source: RADIUS, Session: session, User: user, Dated: user == "who"}}, now, now)
			case 2:
				d.End(RADIUS, session, now, now)
			case 3:
				d.Replace(Lease, session, lease(p.String(), user), now)
			case 4:
				d.SetTable(rapid.SampledFrom([]*Table{a, b}).Draw(t, "list"), now)
			case 5:
				d.Bind(Binding{Prefix: p, Source: API, Subscriber: "S-2"}, now, now)
			case 6:
				d.Unbind(API, p, now, now)
			case 7:
				d.Expire(now)
			case 8:
				k.save(d)
				d = NewDirectory(d.Table())
				d.Restore(k.each, now)
			}
			for _, one := range []string{"100.64.0.11", "100.64.0.12", "100.64.9.1", "100.64.9.2"} {
				got, h := "", Holder{}
				if all := d.At(addr(one), now, now); len(all) > 0 {
					got = all[0].Subscriber
				}
				if h, _ = d.Lookup(addr(one)); h.ID != got {
					t.Fatalf("%s at %v: the history says %q, the packet path %q", one, now, got, h.ID)
				}
			}
		}
	})
}

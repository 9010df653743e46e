package governor

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// contract is the policy of the contract's configuration: residential and mailserver.
func contract() Policy {
	p := residential()
	p.Plans = append(p.Plans, Plan{Name: "mailserver", HighestStage: StagePace, Budgets: []Budget{
		{Of: Sessions, Limit: 1500, Per: time.Hour, Burst: 120}, {Of: ConcurrentSessions, Limit: 60}}})
	return p
}

// world plays sessions in their order: what happens later is put on a list and done when its time comes.
type world struct {
	g    *Governor
	now  time.Duration // since t0
	todo agenda
	seen map[Action]int
	// first is when each action was first taken, by the budget that decided.
	first map[Action]event
}

type event struct {
	at time.Duration
	do func()
	n  int
	of Kind
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func newWorld(p Policy) *world {
	return &world{g: New(p, t0), seen: map[Action]int{}, first: map[Action]event{}}
}

func (w *world) after(d time.Duration, do func()) {
	heap.Push(&w.todo, event{at: w.now + d, do: do, n: len(w.todo) + int(w.now)})
}

func (w *world) play(until time.Duration) {
	for len(w.todo) > 0 && w.todo[0].at <= until {
		e := heap.Pop(&w.todo).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

func (w *world) time() time.Time { return t0.Add(w.now) }

func host(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(18 + n>>8), byte(n), 0}), 24)
}

// session begins one over TLS with one message in it, which takes lasts from the greeting on; done tells whether the
// message went.
func (w *world) session(sub, plan string, to netip.Prefix, lasts time.Duration, done func(bool)) {
	d := w.g.Open(Attempt{Subscriber: sub, Plan: plan, Destination: to}, w.time())
	w.seen[d.Action]++
	if _, ok := w.first[d.Action]; !ok {
		w.first[d.Action] = event{at: w.now, of: d.Of}
	}
	if !d.LetThrough() {
		done(false)
		return
	}
	w.after(d.Wait+lasts/4, func() { w.g.Spend(sub, plan, TLSHandshakes, 1, w.time()) })
	w.after(d.Wait+lasts/2, func() { w.g.Spend(sub, plan, Messages, 1, w.time()) })
	w.after(d.Wait+lasts, func() {
		w.g.Close(sub, w.time())
		done(true)
	})
}

func (w *world) every(gap func() time.Duration, until time.Duration, do func(n int)) {
	n := 0
	var next func()
	next = func() {
		do(n)
		n++
		if d := gap(); w.now+d <= until {
			w.after(d, next)
		}
	}
	w.after(0, next)
}

func steady(gap time.Duration) func() time.Duration { return func() time.Duration { return gap } }

func TestBots(t *testing.T) {
	t.Parallel()
	none := func(bool) {}
	for _, c := range []struct {
		why           string
		gap           time.Duration
		hosts         int
		deferred, cut time.Duration // at the latest; 0: not asked
		by            Kind
	}{
		{"96 a minute to one host", time.Minute / 96, 1, 15 * time.Second, time.Minute, Unknown},
		{"96 a minute to ten hosts", time.Minute / 96, 10, 15 * time.Second, time.Minute, Unknown},
		{"96 a minute, each to another host", time.Minute / 96, 250, 15 * time.Second, time.Minute, Unknown},
		{"one a minute to one host", time.Minute, 1, 25 * time.Minute, 0, Sessions},
		{"one a minute to three hosts", time.Minute, 3, 25 * time.Minute, 0, Sessions},
		{"15 an hour to 30 destinations", 4 * time.Minute, 30, time.Hour, 0, Destinations},
	} {
		w := newWorld(contract())
		w.every(steady(c.gap), 2*time.Hour, func(n int) {
			w.session("S", "home", host(n%c.hosts), 2*time.Second, none)
		})
		w.play(2 * time.Hour)
		d, deferred := w.first[ActionDefer]
		cut, wasCut := w.first[ActionCut]
		t.Logf("%s: deferred after %v by %v; cut after %v (%v) by %v", c.why, d.at, d.of, cut.at, wasCut, cut.of)
		if !deferred || d.at > c.deferred || c.by != Unknown && d.of != c.by {
			t.Errorf("%s: deferred %v after %v by %v, should be within %v", c.why, deferred, d.at, d.of, c.deferred)
		}
		if c.cut > 0 && (!wasCut || cut.at > c.cut) {
			t.Errorf("%s: cut %v after %v, should be within %v", c.why, wasCut, cut.at, c.cut)
		}
	}
}

func TestMailServerWithinItsPlanIsNotTouched(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(15, 0))
	poisson := func(perHour float64) func() time.Duration {
		return func() time.Duration { return time.Duration(rnd.ExpFloat64() / perHour * float64(time.Hour)) }
	}
	for _, c := range []struct {
		why     string
		gap     func() time.Duration
		untouch bool // not even asked to wait
	}{
		{"1500 an hour, evenly", steady(time.Hour / 1500), true},
		{"1350 an hour, as they come", poisson(1350), true},
		{"1500 an hour, as they come", poisson(1500), false}, // as much as is allowed, all day: some have to wait, none is refused
	} {
		w := newWorld(contract())
		all, longest := 0, time.Duration(0)
		w.every(c.gap, 24*time.Hour, func(n int) {
			w.session("M", "mailserver", host(n%200), time.Duration(5+rnd.IntN(15))*time.Second, func(bool) {})
			all++
			if r, ok := w.g.Explain("M", w.time()); ok && len(r.Decisions) > 0 {
				longest = max(longest, r.Decisions[len(r.Decisions)-1].Wait)
			}
		})
		w.play(24 * time.Hour)
		t.Logf("%s: %d sessions, %v, the longest wait %v", c.why, all, w.seen, longest)
		if w.seen[ActionDefer]+w.seen[ActionCut] > 0 || c.untouch && w.seen[ActionPace] > 0 {
			t.Errorf("%s: %v", c.why, w.seen)
		}
	}
}

// queue is a mail server's: every run it tries again what is left, slots sessions at once for each destination. A slot
// takes the next message when one went, and stops for this run when it was told to come later, as Postfix does.
func (w *world) queue(sub string, messages, destinations, slots int, run, lasts time.Duration, rnd *rand.Rand) *int {
	left := make([]int, destinations)
	for i := range messages {
		left[i%destinations]++
	}
	all := messages
	var slot func(d int)
	slot = func(d int) {
		if left[d] == 0 {
			return
		}
		left[d]-- // under way
		w.session(sub, "home", host(d), lasts, func(went bool) {
			if went {
				all--
				slot(d)
			} else {
				left[d]++
			}
		})
	}
	w.every(func() time.Duration { return run + time.Duration(rnd.IntN(20)-10)*time.Second }, 100*24*time.Hour, func(int) {
		for d := range left {
			for range slots {
				slot(d)
			}
		}
	})
	return &all
}

func TestDeferredQueueIsNeverCutAndDrains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		destinations, slots int
		lasts               time.Duration
	}{{1, 5, time.Second}, {1, 20, time.Second}, {1, 20, time.Minute}, {3, 5, time.Second}, {3, 20, time.Second}, {3, 20, 30 * time.Second}} {
		w := newWorld(contract())
		left := w.queue("S", 200, c.destinations, c.slots, 5*time.Minute, c.lasts, rand.New(rand.NewPCG(5, uint64(c.slots))))
		var empty time.Duration
		for h := range 80 {
			w.play(time.Duration(h) * time.Hour)
			if *left == 0 {
				empty = w.now
				break
			}
		}
		r, _ := w.g.Explain("S", w.time())
		t.Logf("%d destinations, %d at once of %v: empty after %v; %v, %d retries", c.destinations, c.slots, c.lasts, empty, w.seen, r.Retries)
		if *left != 0 || w.seen[ActionCut] > 0 || w.seen[ActionDefer] == 0 {
			t.Errorf("%d destinations, %d at once: %d left, %v", c.destinations, c.slots, *left, w.seen)
		}
	}
}

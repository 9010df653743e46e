package governor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// hosting is the preset of that name.
func hosting() Policy {
	return home(StageCut,
		Budget{Of: Sessions, Limit: 300, Per: time.Hour, Burst: 60}, Budget{Of: Sessions, Limit: 3000, Per: 24 * time.Hour},
		Budget{Of: TLSFailures, Limit: 60, Per: time.Hour}, Budget{Of: ConcurrentSessions, Limit: 20},
		Budget{Of: Destinations, Limit: 150, Per: time.Hour}, Budget{Of: Recipients, Limit: 1000, Per: time.Hour, Burst: 500},
		Budget{Of: Rejected, Limit: 50, Per: time.Hour})
}

// mailing is what fills a mail server's queue.
type mailing struct {
	networks, each int           // messages for each network
	spread         time.Duration // over which they come
	lasts          time.Duration // a session with one of them
	spent          bool          // the sessions that fit at once were used up just before
}

const (
	runs      = 5 * time.Minute // of the queue
	processes = 100             // that deliver, all together; 20 of them to one network
)

// postfix sends m as Postfix does, and gives how many of its attempts were cut and when the queue was empty: each
// message has its own time to be tried again, five minutes or as long as it has waited up to 4000 s; a network that
// said no is left alone for a run.
func (w *world) postfix(m mailing, seed uint64) (cut int, empty time.Duration) {
	rnd := rand.New(rand.NewPCG(seed, uint64(m.networks)))
	if m.spent {
		for range 400 {
			w.session("S", "home", host(0), 0, func(bool) {})
			if w.play(w.now + time.Millisecond); w.seen[ActionDefer] > 0 {
				break
			}
		}
		w.play(w.now + time.Minute)
		for range 2 {
			w.session("S", "home", host(0), 0, func(bool) {})
		}
	}
	type message struct {
		to         int
		came, next time.Duration
		waits      bool
	}
	messages := make([]message, m.networks*m.each)
	quiet, busy := make([]time.Duration, m.networks), make([]int, m.networks)
	left, all := len(messages), 0
	var run func()
	run = func() {
		for i := range messages {
			one := &messages[i]
			again := func() { one.next = w.now + min(max(runs, w.now-one.came), 4000*time.Second) }
			switch {
			case !one.waits || one.next > w.now:
				continue
			case quiet[one.to] > w.now:
				again()
				continue
			case all == processes || busy[one.to] == 20:
				continue
			}
			one.waits = false
			all++
			busy[one.to]++
			w.session("S", "home", host(one.to), m.lasts, func(went bool) {
				all--
				if busy[one.to]--; went {
					left--
					w.after(0, run)
					return
				}
				one.waits, quiet[one.to] = true, w.now+runs
				again()
			})
		}
	}
	for i := range messages {
		at := w.now
		if m.spread > 0 {
			at += time.Duration(rnd.Int64N(int64(m.spread))).Truncate(time.Second)
		}
		messages[i] = message{to: i % m.networks, came: at, next: at, waits: true}
		w.after(at-w.now, run)
	}
	w.every(steady(runs), w.now+20*24*time.Hour, func(int) { run() })
	for left > 0 && w.now < 480*time.Hour {
		w.play(w.now + time.Hour)
	}
	return w.seen[ActionCut], w.now
}

// A queue for up to so many networks never brings its sender a cut, however it comes and whatever was before. For one
// more it may. README and doc.go say so.
func TestAQueueForSoManyNetworksIsNeverCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		plan string
		p    Policy
		most int
	}{{"residential", residential(), 9}, {"hosting", hosting(), 103}} {
		t.Run(c.plan, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int{c.most, c.most + 1} {
				all, cut, slowest := 0, "", time.Duration(0)
				for _, m := range []mailing{{each: 1}, {each: 5}, {each: 20}} {
					for _, m.spread = range []time.Duration{0, 30 * time.Second, 2 * time.Minute, 10 * time.Minute} {
						for _, m.lasts = range []time.Duration{time.Second / 4, 20 * time.Second} {
							for _, m.spent = range []bool{false, true} {
								if m.networks = n; n*m.each > 1000 {
									continue
								}
								w := newWorld(c.p)
								attempts, empty := w.postfix(m, 1)
								if all++; attempts > 0 {
									cut = fmt.Sprintf("%+v after %v by %v", m, w.first[ActionCut].at, w.first[ActionCut].of)
								}
								slowest = max(slowest, empty)
							}
						}
					}
				}
				t.Logf("%d networks, %d mailings: cut: %s; the slowest queue was empty after %v", n, all, cut, slowest)
				if slowest >= 480*time.Hour {
					t.Errorf("%d networks: a queue did not drain", n)
				}
				if wrong := n == c.most && cut != "" || n > c.most && cut == ""; wrong {
					t.Errorf("%d networks: cut: %s", n, cut)
				}
			}
		})
	}
}

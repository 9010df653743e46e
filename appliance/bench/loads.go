package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/helper"
	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// condition is what goes on while connections are measured.
type condition struct {
	name, title string
	data, list  string // what the box begins with; no data: no box
	sources     func(w *world) int
	collector   collector
	load        func(ctx context.Context, r *rig, b *box) (load, error) // nil: nothing but the connections
}

// load is work that is put on the box.
type load interface {
	// pids are the processes that make it, apart from this one.
	pids() []int
	// work is what came of it so far. It may end the load.
	work() (work, error)
	// stop ends it.
	stop() error
}

// work is what was done of two or three things.
type work []count

type count struct {
	what string
	n    float64
}

// rate is so many a second since began.
func rate(what string, n float64, began time.Time) count {
	return count{what + "/s", n / time.Since(began).Seconds()}
}

func everybody(w *world) int { return w.subscribers }
func theFew(w *world) int    { return w.few }

// flood is how many packets of RADIUS accounting come in a second.
const flood = 10_000

func conditions() []condition {
	return []condition{
		{name: "plain", title: "plain forwarding, no mailweir", sources: everybody},
		{name: "alone", title: "mailweir, nothing else", data: settled, list: longList, sources: everybody},
		{name: "collector", title: "a collector that gets the records (TCP)", data: settled, list: longList, sources: everybody, collector: there},
		{name: "away", title: "the same collector away", data: settled, list: longList, sources: everybody, collector: away},
		{name: "saves", title: "budgets being saved", data: behind, list: shortList, sources: theFew, load: saves},
		{name: "radius", title: "RADIUS, addresses moving", data: settled, list: longList, sources: everybody, load: floodOf(secret)},
		{name: "forged", title: "RADIUS, forged", data: settled, list: longList, sources: everybody, load: floodOf("not-" + secret)},
		{name: "list", title: "the list of all being read again", data: settled, list: longList, sources: everybody, load: rereads},
		{name: "pages", title: "pages of subscribers being rendered", data: settled, list: longList, sources: everybody, load: reading(readPages)},
		{name: "search", title: "searches through all subscribers, and for who is exempt", data: settled, list: longList, sources: everybody, load: reading(readSearches)},
		{name: "api", title: "the API's list of all being read", data: settled, list: longList, sources: everybody, load: reading(readList)},
		{name: "logins", title: fmt.Sprintf("%d people logging in at once", people), data: settled, list: longList, sources: everybody, load: logins},
	}
}

// lists puts another list in place as soon as the box has taken the last one.
type lists struct {
	b      *box
	began  time.Time
	cancel context.CancelFunc
	done   chan error
	taken  chan int // how many the box has taken so far; the first one is waited for
}

func newLists(ctx context.Context, b *box) *lists {
	ctx, cancel := context.WithCancel(ctx)
	l := &lists{b: b, began: time.Now(), cancel: cancel, done: make(chan error, 1), taken: make(chan int)}
	go func() { l.done <- l.run(ctx) }()
	return l
}

func (l *lists) run(ctx context.Context) error {
	if err := l.b.nextList(); err != nil {
		return err
	}
	seen, taken := l.said(), 0
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	var tell chan int
	for {
		select {
		case <-ctx.Done():
			return nil
		case tell <- taken:
		case <-look.C:
			now := l.said()
			if now == seen {
				continue
			}
			seen, tell = now, l.taken
			taken++
			if err := l.b.nextList(); err != nil {
				return err
			}
		}
	}
}

// said is the last line in which the box says that it has read the list; each has a time of its own.
func (l *lists) said() string {
	last := ""
	for line := range strings.Lines(l.b.LastLines()) {
		if strings.Contains(line, "subscribers read again") {
			last = line
		}
	}
	return last
}

func (l *lists) count() (int, error) {
	select {
	case n := <-l.taken:
		return n, nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("a new list is not taken within a minute: %s", l.b.LastLines())
	case err := <-l.done:
		l.done <- err
		return 0, fmt.Errorf("replace the list: %w", errors.Join(err, context.Canceled))
	}
}

func (l *lists) pids() []int { return nil }

func (l *lists) stop() error {
	l.cancel()
	err := <-l.done
	l.done <- err
	return err
}

// rereading is the long list over and over.
type rereading struct{ *lists }

func rereads(ctx context.Context, _ *rig, b *box) (load, error) {
	return rereading{newLists(ctx, b)}, nil
}

func (l rereading) work() (work, error) {
	n, err := l.count()
	return work{rate("lines read again", float64(n*l.b.world.subscribers), l.began)}, err
}

// saving is a short list in which everybody's plan changes each time, so that all of them have to be saved, beside all
// those that were restored. The box begins with a snapshot of all, too.
type saving struct {
	*lists
	ctx      context.Context
	from     int64
	looks    int
	snapshot int // of the looks, how many found one being written
	end      context.CancelFunc
	ended    chan struct{}
}

func saves(ctx context.Context, _ *rig, b *box) (load, error) {
	s := &saving{lists: newLists(ctx, b), ctx: ctx, ended: make(chan struct{})}
	from, err := s.written()
	if err != nil {
		return nil, errors.Join(err, s.lists.stop())
	}
	s.from = from
	ctx, s.end = context.WithCancel(ctx)
	go s.watch(ctx)
	return s, nil
}

func (s *saving) watch(ctx context.Context) {
	defer close(s.ended)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			unfinished, _ := filepath.Glob(filepath.Join(s.b.Data, "budgets", "snapshot-*.new")) // the pattern is good
			s.looks++
			if len(unfinished) > 0 {
				s.snapshot++
			}
		}
	}
}

func (s *saving) written() (int64, error) {
	var st webadmin.Status
	err := s.b.Get(s.ctx, "/api/v1/status", &st)
	return st.Store.WrittenToday, err
}

func (s *saving) work() (work, error) {
	n, err := s.count()
	written := s.from
	for tries := 0; err == nil && written == s.from && tries < 50; tries++ { // what was changed last is saved within a second
		time.Sleep(100 * time.Millisecond)
		written, err = s.written()
	}
	s.end()
	<-s.ended
	return work{rate("subscribers changed and saved", float64(n*s.b.world.few), s.began), rate("bytes written", float64(written-s.from), s.began),
		{"% of the time a snapshot of all being written", 100 * float64(s.snapshot) / float64(max(1, s.looks))}}, err
}

func (s *saving) stop() error {
	s.end()
	return s.lists.stop()
}

// helped is load that a process of its own makes. What it did is known when it has ended.
type helped[R any] struct {
	*helper.Helper
	began time.Time
	tell  func(r R, began time.Time) work
}

func (h helped[R]) pids() []int { return []int{h.PID()} }

func (h helped[R]) work() (work, error) {
	var r R
	err := h.Helper.Stop(&r)
	return h.tell(r, h.began), err
}

func (h helped[R]) stop() error { return h.End() }

func floodOf(with string) func(context.Context, *rig, *box) (load, error) {
	return func(ctx context.Context, r *rig, b *box) (load, error) {
		lines := min(1<<16, b.world.subscribers)
		h, err := helper.Start(ctx, r.nas.Namespace, helper.Low, "nas", accountingTask{
			To: r.RADIUS(false), NAS: r.nas.IPv4, Secret: with, Rate: flood, Lines: lines, First: firstMoving})
		return helped[accountingResult]{h, time.Now(), func(a accountingResult, began time.Time) work {
			return work{rate("packets sent", float64(a.Sent), began), rate("answered", float64(a.Answered), began)}
		}}, err
	}
}

func (b *box) readerOf(what string) (readerTask, error) {
	token, err := b.Token()
	task := readerTask{Base: "https://127.0.0.1:8443", Token: token, What: what}
	for n := 0; n < b.world.subscribers; n += max(1, b.world.subscribers/16) {
		task.Words = append(task.Words, fmt.Sprintf("Line %07d", n))
	}
	return task, err
}

func reading(what string) func(context.Context, *rig, *box) (load, error) {
	return func(ctx context.Context, r *rig, b *box) (load, error) {
		task, err := b.readerOf(what)
		if err != nil {
			return nil, err
		}
		h, err := helper.Start(ctx, r.Box, helper.Low, "reader", task)
		return helped[readerResult]{h, time.Now(), func(a readerResult, began time.Time) work {
			return work{rate("answers", float64(a.Answers), began), rate("bytes", float64(a.Bytes), began), {"ms for the slowest", float64(a.Slowest.Milliseconds())}}
		}}, err
	}
}

// control is what uses the processors as a load did, and shares nothing else with the box: as much as the box used more
// than alone at everybody's priority, and as much as whoever made the load at a low one.
func control(ctx context.Context, ns *lab.Namespace, box, makers float64) (stop func() error, pids []int, err error) {
	var all []*helper.Helper
	stop = func() error {
		var errs []error
		for _, h := range all {
			var r burnResult
			errs = append(errs, h.Stop(&r))
		}
		return errors.Join(errs...)
	}
	for nice, use := range map[int]float64{0: box, helper.Low: makers} {
		if use < 0.005 {
			continue
		}
		h, err := helper.Start(ctx, ns, nice, "burner", burnTask{Processors: use})
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		all = append(all, h)
		pids = append(pids, h.PID())
	}
	return stop, pids, nil
}

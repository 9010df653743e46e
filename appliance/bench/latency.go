package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// sample is one measurement: some thousands of connections under one condition.
type sample struct {
	p50, p99, worst float64 // microseconds
	answered        int
	failed          int
	judged          int64 // packets that waited for a verdict meanwhile
	realtime        bool
	box, makers     float64 // processors used by mailweir, and by whoever makes the load
	others          float64 // by whatever else is on the machine, the kernel's own threads included
	memory, peak    float64 // of mailweir, bytes
	grown           float64 // by so many bytes its memory grew meanwhile
	ready           float64 // seconds from its start until it judged packets
	work            work
}

// series is what one condition came to over the repetitions, and its control.
type series struct {
	condition
	samples, controls []sample
}

func (s *series) of(f func(sample) float64) figures.Spread { return each(s.samples, f) }
func (s *series) control(f func(sample) float64) figures.Spread {
	return each(s.controls, f)
}

func each(all []sample, f func(sample) float64) figures.Spread {
	out := make(figures.Spread, len(all))
	for i, s := range all {
		out[i] = f(s)
	}
	return out
}

func p50(s sample) float64   { return s.p50 }
func p99(s sample) float64   { return s.p99 }
func worst(s sample) float64 { return s.worst }

// latency measures every condition once a repetition, each time in another order.
type latency struct {
	opt   Options
	rig   *rig
	world *world
	all   []series
}

func measureLatency(ctx context.Context, o Options) (_ *latency, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := newRig(ctx, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("build the network: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	l := &latency{opt: o, rig: r}
	if l.world, err = newWorld(r, o); err != nil {
		return nil, err
	}
	for i, c := range conditions() {
		if i < 2 || len(o.Loads) == 0 || slices.Contains(o.Loads, c.name) {
			l.all = append(l.all, series{condition: c})
		}
	}
	for i := range o.Repetitions {
		// The bare box comes first: what a load uses is what it uses more.
		order := []int{0, 1}
		if i%2 == 1 {
			order = []int{1, 0}
		}
		for k := range len(l.all) - 2 {
			order = append(order, 2+(k+i)%(len(l.all)-2))
		}
		for _, k := range order {
			if err := l.measure(ctx, i, &l.all[k]); err != nil {
				return nil, fmt.Errorf("%s: %w", l.all[k].name, err)
			}
		}
	}
	return l, nil
}

// measure takes one sample of a condition, and one of its control.
func (l *latency) measure(ctx context.Context, repetition int, s *series) (err error) {
	if s.data == "" {
		one, err := l.sample(ctx, s, nil, nil, nil)
		s.samples = append(s.samples, one)
		l.opt.progress("%d/%d %-7s %s", repetition+1, l.opt.Repetitions, s.name, one)
		return err
	}
	collected, err := s.collector.collect(l.rig)
	if err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	defer collected()
	b, err := l.rig.startBox(ctx, l.world, l.opt.Mailweir, s.data, s.list, s.collector.settings(l.rig)+l.opt.More)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if s.data == settled { // the other one begins with a snapshot, which is to be measured
		if err := b.quiet(ctx, l.opt.Calm); err != nil { // what a start leaves behind is collected once
			return err
		}
	}
	var made load
	if s.load != nil {
		if made, err = s.load(ctx, l.rig, b); err != nil {
			return err
		}
	}
	select { // until everything is under way
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(l.opt.Warm):
	}
	one, err := l.sample(ctx, s, b, made, nil)
	if made != nil {
		err = errors.Join(err, made.stop())
	}
	if err != nil {
		return err
	}
	s.samples = append(s.samples, one)
	l.opt.progress("%d/%d %-7s %s", repetition+1, l.opt.Repetitions, s.name, one)
	if s.collector == there && collected() == 0 {
		return errors.New("the collector got no records")
	}
	if made == nil {
		return nil
	}
	if err := b.quiet(ctx, l.opt.Calm); err != nil {
		return err
	}
	alone := l.all[1].of(func(s sample) float64 { return s.box })
	stop, pids, err := control(ctx, l.rig.Box, one.box-alone[len(alone)-1], one.makers)
	if err != nil {
		return err
	}
	two, err := l.sample(ctx, s, b, nil, pids)
	if err = errors.Join(err, stop()); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	s.controls = append(s.controls, two)
	if l, ok := made.(interface{ control(two sample) count }); ok {
		last := &s.samples[len(s.samples)-1]
		last.work = append(last.work, l.control(two))
	}
	l.opt.progress("%d/%d %-7s %s", repetition+1, l.opt.Repetitions, "", two)
	return nil
}

// quiet waits until the box has done what was asked of it: until it has used little for so long, for at most a minute.
func (b *box) quiet(ctx context.Context, long time.Duration) error {
	const look = 100 * time.Millisecond
	since := time.Now()
	for deadline := since.Add(time.Minute); time.Now().Before(deadline); {
		before := helper.CPUTime(b.PID())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		if helper.CPUTime(b.PID())-before > look/4 {
			since = time.Now()
		}
		if time.Since(since) >= long {
			return nil
		}
	}
	return errors.New("the box does not come to rest")
}

// sample measures. b is nil without a box, made without a load; burners are the processes of a control.
func (l *latency) sample(ctx context.Context, s *series, b *box, made load, burners []int) (sample, error) {
	task := probeTask{From: firstAddress, Sources: s.sources(l.world), To: l.rig.to, Rate: l.opt.Rate,
		Samples: int(l.opt.Rate * l.opt.Sample.Seconds()), Seed: uint64(time.Now().UnixNano())}
	makers := burners
	if made != nil {
		makers = made.pids()
	}
	before, err := b.judged(ctx)
	if err != nil {
		return sample{}, err
	}
	var held float64
	if b != nil {
		if held, _, err = b.memory(); err != nil {
			return sample{}, err
		}
	}
	m := newMeter(b, makers)
	h, err := helper.Start(ctx, l.rig.clients.Namespace, 0, "probe", task)
	if err != nil {
		return sample{}, err
	}
	var r probeResult
	if err := h.Result(&r); err != nil {
		return sample{}, err
	}
	if len(r.Took) == 0 {
		return sample{}, fmt.Errorf("none of %d connections was answered", task.Samples)
	}
	slices.Sort(r.Took)
	one := sample{answered: len(r.Took), failed: r.Failed, realtime: r.Realtime,
		p50: figures.Quantile(r.Took, 0.5), p99: figures.Quantile(r.Took, 0.99), worst: figures.Quantile(r.Took, 1)}
	m.read(&one, h)
	if one.judged, err = b.judged(ctx); err != nil {
		return sample{}, err
	}
	one.judged -= before
	if b != nil {
		one.ready = b.took.Seconds()
		if one.memory, one.peak, err = b.memory(); err != nil {
			return sample{}, err
		}
		one.grown = one.memory - held
	}
	if made != nil {
		if one.work, err = made.work(); err != nil {
			return sample{}, err
		}
	}
	return one, nil
}

func (s sample) String() string {
	text := fmt.Sprintf("p50 %s us, p99 %s us, worst %s us; mailweir %.2f, others %.2f processors", figures.Figure(s.p50), figures.Figure(s.p99), figures.Figure(s.worst), s.box, s.others)
	if s.failed > 0 {
		text += fmt.Sprintf("; %d of %d NOT ANSWERED", s.failed, s.failed+s.answered)
	}
	for _, c := range s.work {
		text += "; " + figures.Figure(c.n) + " " + c.what
	}
	return text
}

// meter tells who used the processors for a while.
type meter struct {
	from   time.Time
	box    []int // its processes; nil: none
	makers []int
	before map[int]time.Duration
	busy   time.Duration
}

func newMeter(b *box, makers []int) *meter {
	m := &meter{makers: makers, before: map[int]time.Duration{}}
	if b != nil {
		m.box = b.pids()
	}
	for _, pid := range slices.Concat(m.box, []int{os.Getpid()}, makers) {
		m.before[pid] = helper.CPUTime(pid)
	}
	m.from, m.busy = time.Now(), busy()
	return m
}

// read fills in s; the probe has ended.
func (m *meter) read(s *sample, probe *helper.Helper) {
	passed, all := time.Since(m.from), busy()-m.busy
	part := func(d time.Duration) float64 { return d.Seconds() / passed.Seconds() }
	used := func(pids ...int) (sum float64) {
		for _, pid := range pids {
			sum += part(helper.CPUTime(pid) - m.before[pid])
		}
		return sum
	}
	s.box, s.makers = used(m.box...), used(m.makers...)
	ours := used(os.Getpid()) + part(probe.Used())
	s.others = max(0, part(all)-ours-s.box-s.makers)
}

// busy is how long the machine's processors were not idle, in all, since it was started. It comes in ticks of 10 ms.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	sum := 0
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal; guests are in user already
		if n, err := strconv.Atoi(f); err == nil && i != 4 && i != 5 && i < 9 {
			sum += n
		}
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

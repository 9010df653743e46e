package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
	"github.com/mailweir/mailweir/appliance/bench/peers"
)

// report is everything that was measured.
type report struct {
	Options
	began    time.Time
	machine  machine
	governor measures
	store    measures
	records  measures
	pages    measures
	latency  *latency
	peers    *peers.Result
}

// markdown is the report; errs is what could not be measured.
func (r *report) markdown(errs []error) []byte {
	var b bytes.Buffer
	quick := ""
	if r.Quick {
		quick = " Quick: fewer repetitions, shorter samples and fewer subscribers than for figures to be published."
	}
	fmt.Fprintf(&b, "# make bench\n\n%s\n", r.head())
	fmt.Fprintf(&b, "Every figure is min / median / max over repetitions: %d of Go's benchmarks, %d of the packet path.%s\n", r.Benchmarks, r.Repetitions, quick)
	if r.governor != nil {
		b.WriteString("\n## The governor: a million subscribers\n\n")
		r.goals(&b, r.governor, governorGoals)
	}
	if r.store != nil {
		b.WriteString("\n## The store: a million subscribers on disk\n\n")
		r.goals(&b, r.store, slices.Concat(storeGoals, startGoals, whatIfGoals))
	}
	if r.records != nil {
		b.WriteString("\n## The records: made, on the disk and at a collector\n\n")
		r.goals(&b, r.records, recordsGoals)
	}
	if r.pages != nil {
		fmt.Fprintf(&b, "\n## The web admin: %d subscribers\n\n", r.Subscribers)
		fmt.Fprintf(&b, "The page of subscribers, of 50 lines, asked for in every way in turn, %d times each; here every figure is of the single answers.\n\n", r.Pages*r.Benchmarks)
		r.goals(&b, r.pages, pagesGoals())
	}
	if r.latency != nil {
		r.latency.markdown(&b)
	}
	if r.peers != nil {
		b.WriteString("\n")
		b.Write(r.peers.Markdown("", 2))
	}
	for _, err := range errs {
		if err != nil {
			fmt.Fprintf(&b, "\nNOT MEASURED: %v\n", err)
		}
	}
	return b.Bytes()
}

// head says when this was, of what, and where.
func (r *report) head() string {
	return fmt.Sprintf("%s, revision %s, %s.\n%s, %s of memory, Linux %s, %s.", r.began.UTC().Format("2006-01-02 15:04 UTC"), r.machine.revision,
		r.machine.goVersion, r.machine.processor, r.machine.memory, r.machine.kernel, r.machine.disk)
}

func (r *report) goals(b *bytes.Buffer, m measures, goals []goal) {
	figures.Table(b, "measure", "min / median / max", "goal", "met")
	for _, g := range goals {
		var v figures.Spread
		for _, x := range m[g.from] {
			v = append(v, x-g.less)
		}
		should, met := g.judge(v)
		figures.Row(b, g.what, strings.TrimSpace(v.String()+" "+g.unit), should, met)
	}
}

// judge says what v should be and whether it is.
func (g *goal) judge(v figures.Spread) (should, met string) {
	if g.told && g.most == 0 {
		return "", ""
	}
	should = "at most " + strings.TrimSpace(figures.Figure(g.most)+" "+g.unit)
	if g.roughly {
		should = "about " + figures.Figure(g.most) + " " + g.unit
	}
	switch {
	case len(v) == 0:
		met = "not measured"
	case v.Max() <= g.most:
		met = "yes"
	case g.always:
		met = "no, not in the worst"
	case v.Median() <= g.most:
		met = "yes, in the median"
	case v.Min() <= g.most:
		met = "no, only in the best"
	default:
		met = "no"
	}
	if g.told {
		return "the goal is judged by the row above", "by this comparison it would be: " + met
	}
	return should, met
}

func (l *latency) markdown(b *bytes.Buffer) {
	o := l.opt
	fmt.Fprintf(b, "\n## The packet path: does a connection wait for anything?\n\n")
	fmt.Fprintf(b, "Time from SYN to SYN-ACK through the box (both wait for a verdict), microseconds. %s connections a second at random moments from random ones of %d subscribers, "+
		"%s s a sample, in another order each time. ", figures.Figure(o.Rate), o.Subscribers, figures.Figure(o.Sample.Seconds()))
	fmt.Fprintf(b, "Each load has its control below it: the same box without the load, while other processes burn as much processor time as the load used in mailweir (at mailweir's priority) and outside (at the lowest).\n\n")
	figures.Table(b, "condition", "p50", "p99", "worst", "p50 / mailweir alone", "processors: mailweir + whoever makes the load", "memory now, most (MB)")
	base := l.all[1].of(p50)
	for i := range l.all {
		s := &l.all[i]
		l.row(b, s.title, s.samples, base, s.data != "")
		if len(s.controls) > 0 {
			l.row(b, "- control: as much processor time burnt", s.controls, base, true)
		}
	}
	b.WriteString("\n")
	for i := range l.all {
		if s := &l.all[i]; s.load != nil {
			fmt.Fprintf(b, "- %s: %s. %s\n", s.title, strings.Join(s.worked(), ", "), s.verdict())
		}
	}
	l.away(b)
	fmt.Fprintf(b, "\n%s\n", l.conclusion())
	l.readiness(b)
	l.noise(b)
}

func (l *latency) row(b *bytes.Buffer, title string, all []sample, base figures.Spread, box bool) {
	used, memory := "-", "-"
	if box {
		use := each(all, func(s sample) float64 { return s.box })
		makers := each(all, func(s sample) float64 { return s.makers })
		used = figures.Figure(use.Median()) + " + " + figures.Figure(makers.Median())
		now, most := each(all, func(s sample) float64 { return s.memory }), each(all, func(s sample) float64 { return s.peak })
		memory = megabytes(now.Median()) + ", " + megabytes(most.Max())
	}
	figures.Row(b, title, each(all, p50).String(), each(all, p99).String(), figures.Figure(each(all, worst).Max()),
		figures.Figure(each(all, p50).Median()/base.Median()), used, memory)
}

// worked is what was done under a load, the median of the repetitions.
func (s *series) worked() []string {
	var out []string
	if len(s.samples) == 0 {
		return nil
	}
	for i, c := range s.samples[0].work {
		n := s.of(func(one sample) float64 { return one.work[i].n })
		out = append(out, figures.Figure(n.Median())+" "+c.what)
	}
	return out
}

// percentiles are what a load is judged by.
var percentiles = []struct {
	name string
	of   func(sample) float64
}{{"p50", p50}, {"p99", p99}}

// waits tells whether connections took longer under the load than under its control in every repetition, by the best of
// the one and the worst of the other: what is not beyond that is not beyond the noise.
func (s *series) waits(what func(sample) float64) bool {
	return s.of(what).Min() > s.control(what).Max()
}

func (s *series) waitsAtAll() bool { return s.waits(p50) || s.waits(p99) }

// hidden is how many times as long as under its control connections could take without being told from the noise.
func (s *series) hidden(what func(sample) float64) float64 {
	c := s.control(what)
	return c.Max() / c.Median()
}

// tooNoisy is where a repetition of a control that took so many times the usual says that others had the machine.
const tooNoisy = 4

func (s *series) verdict() string {
	var times, found, hidden []string
	for _, p := range percentiles {
		ratio := p.name + " " + figures.Figure(s.of(p.of).Median()/s.control(p.of).Median()) + "x"
		times = append(times, ratio)
		if s.waits(p.of) {
			found = append(found, ratio)
		}
		hidden = append(hidden, p.name+" "+figures.Figure(s.hidden(p.of))+"x")
	}
	if len(found) > 0 {
		return "WAITS: " + strings.Join(found, ", ") + " its control's, beyond the noise."
	}
	return "No wait beyond the noise: " + strings.Join(times, ", ") + " its control's, which by itself came to " + strings.Join(hidden, ", ") + " of its median."
}

func (l *latency) conclusion() string {
	var without, waits, noisy []string
	for i := range l.all {
		s := &l.all[i]
		if s.load == nil {
			continue
		}
		without = append(without, s.title)
		switch {
		case s.waitsAtAll():
			waits = append(waits, s.title)
		case s.hidden(p50) > tooNoisy || s.hidden(p99) > tooNoisy:
			noisy = append(noisy, s.title)
		}
	}
	if without == nil {
		return "No load that has a control was measured."
	}
	text := "**No wait of the packet path was seen for any of: " + strings.Join(without, "; ") + "**: " +
		"at p50 and p99 no connection took longer than those for which somebody else used as much of the processors. " +
		"What happens less often than once in a hundred connections is in the column of the worst, which one stall of the machine decides."
	if len(waits) > 0 {
		text = "**Connections wait, beyond what sharing the processors costs, for: " + strings.Join(waits, "; ") + ".**"
	}
	if len(noisy) > 0 {
		text += " **Too noisy to tell, to be measured again on a quiet machine: " + strings.Join(noisy, "; ") + ".**"
	}
	return text
}

func (l *latency) readiness(b *bytes.Buffer) {
	by := map[string]figures.Spread{}
	for _, s := range l.all {
		for _, one := range s.samples {
			by[s.list] = append(by[s.list], one.ready)
		}
	}
	var took []string
	for _, list := range []struct {
		kind string
		of   string
	}{{shortList, fmt.Sprintf("a list of %d", l.world.few)}, {longList, "a list of all of them"}} {
		if s := by[list.kind]; len(s) > 0 {
			took = append(took, s.String()+" s with "+list.of)
		}
	}
	fmt.Fprintf(b, "\nReady after its start, %d subscribers restored: %s.\n", l.opt.Subscribers, strings.Join(took, "; "))
}

// noise says how much the figures can be relied on.
func (l *latency) noise(b *bytes.Buffer) {
	var others figures.Spread
	failed, answered, realtime := 0, 0, true
	for _, s := range l.all {
		for _, one := range append(s.samples[:len(s.samples):len(s.samples)], s.controls...) {
			others = append(others, one.others)
			failed, answered, realtime = failed+one.failed, answered+one.answered, realtime && one.realtime
		}
	}
	plain, alone := l.all[0].of(p50), l.all[1].of(p50)
	fmt.Fprintf(b, "\nNoise: p50 lay %.0f %% of its median apart between repetitions of plain forwarding, and %.0f %% of mailweir alone; p99 %.0f %% and %.0f %%. "+
		"Whatever else ran on this machine, the kernel's own threads included, used %s processors during a sample. %d connections were answered, %d were not.",
		100*plain.Apart(), 100*alone.Apart(), 100*l.all[0].of(p99).Apart(), 100*l.all[1].of(p99).Apart(), others, answered, failed)
	if !realtime {
		b.WriteString(" The probe could not run before all others here, so its own waiting for a processor is in all figures.")
	}
	b.WriteString("\n")
}

func megabytes(b float64) string { return fmt.Sprintf("%.0f", b/1e6) }

package peers

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// of is what a quantity of a measure came to for a variant, one figure for each repetition.
func (res *Result) of(m, v, quantity string) (s figures.Spread) {
	row := res.rows[key{m, v}]
	if row == nil {
		return nil
	}
	for _, one := range row.samples {
		if value, ok := one.values[quantity]; ok {
			s = append(s, value)
		}
	}
	return s
}

// ratio holds one variant against another.
type ratio struct {
	medians float64        // of the one's median to the other's
	paired  figures.Spread // within each repetition
}

func ratioOf(a, b figures.Spread) ratio {
	r := ratio{medians: a.Median() / b.Median()}
	for i := range min(len(a), len(b)) {
		if len(a) == len(b) { // else some failed, and it is not known which belong together
			r.paired = append(r.paired, a[i]/b[i])
		}
	}
	return r
}

func (r ratio) String() string {
	if math.IsNaN(r.medians) {
		return "-"
	}
	if len(r.paired) == 0 {
		return figures.Figure(r.medians)
	}
	return fmt.Sprintf("%s (%s)", figures.Figure(r.medians), figures.Figure(r.paired.Median()))
}

// Markdown is the result as a section of a report; head says when and on which machine, err is what Measure said. In a
// text of its own it has a heading of the first level.
func (res *Result) Markdown(head string, level int) []byte {
	var b bytes.Buffer
	mark := strings.Repeat("#", level)
	o := res.options
	fmt.Fprintf(&b, "%s mailweir against its peers\n\n", mark)
	if head != "" {
		fmt.Fprintf(&b, "%s\n", head)
	}
	fmt.Fprintf(&b, "%d repetitions, in each of them every variant once a measure and in another order, %s s a sample. Figures are min / median / max. "+
		"Ratios are of the medians, and in brackets the median of the ratios within each repetition. "+
		"Clients, server, box and governor share the processors, so ratios are of the whole system. mailweir parses everything and sends its records to a collector over TCP.\n",
		o.Repetitions, figures.Figure(o.Sample.Seconds()))
	if o.Quick {
		fmt.Fprintf(&b, "\n**Quick: short samples, few repetitions, and not every variant and measure. Good for a look, not for figures to be published.**\n")
	}
	res.goals(&b, mark)
	for _, m := range res.measures {
		res.measure(&b, mark, m)
	}
	res.noise(&b, mark)
	return b.Bytes()
}

// measure writes the tables of one.
func (res *Result) measure(b *bytes.Buffer, mark string, m measure) {
	fmt.Fprintf(b, "\n%s# %s\n\n%s\n\n", mark, m.title, m.how)
	var bases []variant
	for _, v := range res.variants {
		if slices.Contains([]string{plain, meter, suricata}, v.name) && res.rows[key{m.name, v.name}] != nil {
			bases = append(bases, v)
		}
	}
	var beside []quantity // medians in the first table
	for _, q := range m.quantities {
		if !q.ratios {
			beside = append(beside, q)
		}
	}
	for i, q := range m.quantities {
		if !q.ratios {
			continue
		}
		if i > 0 {
			b.WriteString("\n")
			beside = nil
		}
		heads := []string{"variant", q.title}
		for _, base := range bases {
			heads = append(heads, "/ "+short(base.name))
		}
		for _, q := range beside {
			heads = append(heads, q.title)
		}
		figures.Table(b, heads...)
		for _, v := range res.variants {
			if m.only != nil && !slices.Contains(m.only, v.name) {
				continue
			}
			if err := res.missing[v.name]; err != nil {
				figures.Row(b, append([]string{v.title, "not available"}, slices.Repeat([]string{"-"}, len(heads)-2)...)...)
				continue
			}
			all := res.of(m.name, v.name, q.name)
			cells := []string{v.title, all.String()}
			for _, base := range bases {
				cells = append(cells, ratioOf(all, res.of(m.name, base.name, q.name)).String())
			}
			for _, q := range beside {
				cells = append(cells, figures.Figure(res.of(m.name, v.name, q.name).Median()))
			}
			figures.Row(b, cells...)
		}
	}
	for _, v := range res.variants {
		row := res.rows[key{m.name, v.name}]
		if row == nil {
			continue
		}
		var notes []string
		lost := 0.0
		for _, s := range row.samples {
			lost += s.lost
			if s.note != "" && !slices.Contains(notes, s.note) {
				notes = append(notes, s.note)
			}
		}
		if lost > 0 {
			notes = append(notes, figures.Figure(lost)+" packets had no room in the queue")
		}
		for _, err := range row.failed {
			if text := "FAILED: " + err.Error(); !slices.Contains(notes, text) {
				notes = append(notes, text)
			}
		}
		if len(notes) > 0 {
			fmt.Fprintf(b, "\n- %s: %s.", v.title, strings.ReplaceAll(strings.Join(notes, "; "), "\n", " "))
		}
	}
	b.WriteString("\n")
}

// short is a variant in the head of a column.
func short(name string) string {
	switch name {
	case meter:
		return "nft meter"
	case suricata:
		return "Suricata"
	}
	return name
}

// noise says how much the figures can be relied on.
func (res *Result) noise(b *bytes.Buffer, mark string) {
	fmt.Fprintf(b, "\n%s# Noise\n\n", mark)
	var apart []string
	for _, m := range res.measures {
		if s := res.of(m.name, plain, m.quantities[0].name); len(s) > 0 {
			apart = append(apart, fmt.Sprintf("%s %.0f %%", m.name, 100*s.Apart()))
		}
	}
	if len(apart) > 0 {
		fmt.Fprintf(b, "Plain forwarding lay apart between repetitions, as a part of its median: %s. Differences smaller than that mean little.\n", strings.Join(apart, ", "))
	}
	var loaded, foreign, stolen figures.Spread
	repeated, still := 0, 0
	for _, row := range res.rows {
		for _, s := range row.samples {
			loaded, foreign, stolen = append(loaded, s.loaded), append(foreign, s.foreign), append(stolen, s.stolen)
			if s.repeated {
				repeated++
				if s.foreign > tooMuch {
					still++
				}
			}
		}
	}
	fmt.Fprintf(b, "Busy processors just before a sample, with nothing of this running: %s. Processors that programs of others used during a sample: %s; that the machine below took away: %s. ",
		loaded, foreign, stolen)
	fmt.Fprintf(b, "Of %d samples, %d were taken a second time because others used more than %s processors, and %d of those were no better. All of it took %s.\n",
		len(loaded), repeated, figures.Figure(tooMuch), still, res.took.Round(1e9))
	for _, v := range res.variants {
		if err := res.missing[v.name]; err != nil {
			fmt.Fprintf(b, "\n%s is not available here: %s\n", v.title, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
}

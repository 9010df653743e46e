package peers

import (
	"bytes"
	"fmt"
	"math"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// goal is what a ratio should be at least, or at most.
type goal struct {
	what              string
	measure, quantity string
	of, to            string // variants
	least, most       float64
	added             bool // both less what plain forwarding takes
}

// goals are what is held against the peers or, where another mailweir ran beside, against that.
func goals(beside bool) []goal {
	if beside {
		return []goal{
			{what: "sessions/s, fast lane / the other mailweir", measure: "sessions", quantity: "rate", of: fast, to: fastBeside, least: 0.97},
			{what: "sessions/s, queue lane / the other mailweir", measure: "sessions", quantity: "rate", of: queue, to: queueBeside, least: 0.97},
			{what: "STARTTLS sessions/s, fast lane / the other mailweir", measure: "starttls", quantity: "rate", of: fast, to: fastBeside, least: 0.97},
			{what: "STARTTLS sessions/s, queue lane / the other mailweir", measure: "starttls", quantity: "rate", of: queue, to: queueBeside, least: 0.97},
			{what: "one long message inside STARTTLS, fast lane / the other mailweir", measure: "bulk-tls", quantity: "rate", of: fast, to: fastBeside, least: 0.97},
			{what: "one long message inside STARTTLS, queue lane / the other mailweir", measure: "bulk-tls", quantity: "rate", of: queue, to: queueBeside, least: 0.97},
		}
	}
	return []goal{
		{what: "sessions/s, fast lane / plain forwarding", measure: "sessions", quantity: "rate", of: fast, to: plain, least: 0.90},
		{what: "sessions/s, fast lane / nft meter", measure: "sessions", quantity: "rate", of: fast, to: meter, least: 1},
		{what: "sessions/s, fast lane / Suricata in line", measure: "sessions", quantity: "rate", of: fast, to: suricata, least: 1.7},
		{what: "sessions/s, queue lane / accept-all in C", measure: "sessions", quantity: "rate", of: queue, to: inC, least: 0.95},
		{what: "CPU of the machine for a session, fast lane / nft meter", measure: "sessions", quantity: "machine", of: fast, to: meter, most: 1.10},
		{what: "one long message, fast lane / plain forwarding", measure: "bulk", quantity: "rate", of: fast, to: plain, least: 0.97},
		{what: "one long message, queue lane / plain forwarding", measure: "bulk", quantity: "rate", of: queue, to: plain, least: 0.97},
		{what: "STARTTLS sessions/s, fast lane / plain forwarding", measure: "starttls", quantity: "rate", of: fast, to: plain, least: 0.98},
		{what: "STARTTLS sessions/s, queue lane / plain forwarding", measure: "starttls", quantity: "rate", of: queue, to: plain, least: 0.98},
		{what: "p50 of a session beyond plain forwarding's, fast lane / nft meter", measure: "latency", quantity: "p50", of: fast, to: meter, most: 1.1, added: true},
		{what: "lawful connections/s under a flood, fast lane / plain forwarding", measure: "attack", quantity: "rate", of: fast, to: plain, least: 0.74},
		{what: "SYN flood, dropped from cut sources, fast lane / forwarded plainly", measure: "flood", quantity: "rate", of: fast, to: plain, least: 1.5},
	}
}

// less takes what plain forwarding took in the same repetition from each figure.
func less(s, plain figures.Spread) (out figures.Spread) {
	for i := range s {
		if len(s) == len(plain) {
			out = append(out, s[i]-plain[i])
		}
	}
	return out
}

// met tells how a ratio does.
func (g goal) met(r ratio) string {
	if math.IsNaN(r.medians) {
		return "not measured"
	}
	holds := func(v float64) bool {
		if g.most != 0 {
			return v <= g.most
		}
		return v >= g.least
	}
	every, one := true, false
	for _, v := range r.paired {
		every, one = every && holds(v), one || holds(v)
	}
	switch {
	case holds(r.medians) && len(r.paired) > 0 && !holds(r.paired.Median()):
		return "not clear: the medians hold it, the median of the repetitions' ratios does not"
	case holds(r.medians) && every:
		return "yes"
	case holds(r.medians):
		return "yes, in the medians"
	case one:
		return "no, but in some repetitions"
	}
	return "no"
}

// goals writes which of them hold.
func (res *Result) goals(b *bytes.Buffer, mark string) {
	fmt.Fprintf(b, "\n%s# What should hold\n\n", mark)
	figures.Table(b, "ratio", "goal", "here (median of the repetitions')", "repetitions, min / median / max", "holds")
	for _, g := range goals(res.options.Beside != "") {
		a, c := res.of(g.measure, g.of, g.quantity), res.of(g.measure, g.to, g.quantity)
		if g.added {
			base := res.of(g.measure, plain, g.quantity)
			a, c = less(a, base), less(c, base)
		}
		r := ratioOf(a, c)
		should := fmt.Sprintf("at least %.2f", g.least)
		if g.most != 0 {
			should = fmt.Sprintf("at most %.2f", g.most)
		}
		holds := g.met(r)
		if g.added && !math.IsNaN(r.medians) && (c.Min() <= 0 || a.Min() <= 0) {
			holds += " (what is added is within the noise of plain forwarding)"
		}
		figures.Row(b, g.what, should, r.String(), r.paired.String(), holds)
	}
}

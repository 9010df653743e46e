package clusters

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

var start = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

var cfg = Config{Subscribers: 10, Learn: 24 * time.Hour}

// usual is what the configuration has by default.
var usual = Config{Subscribers: 10, Learn: 7 * 24 * time.Hour}

// program is a TLS client that somebody runs, with how many of a hundred homes have it and how it behaves.
type program struct {
	ja4      string
	share    float64 // of homes
	perDay   float64 // sessions
	mta      bool    // sends to the networks of whom it writes to, not to its provider's
	shuffles bool    // its extensions
	office   bool    // from 8 to 18 only, on weekdays
}

// Those that stories are told of.
const (
	phone   = "t13d1516h2_8daaf6152771_02713d6af862"
	postfix = "t13i871000_c66346c74e42_24695f2957a7"
)

// common are programs as homes and small offices may have them, a few of them many and most of them few. Nearly all JA4s are
// of real programs, seen between the mail servers of the end-to-end tests or in other people's captures; how many have them
// and how much they send is made up.
var common = []program{
	{ja4: phone, share: 0.45, perDay: 30},
	{ja4: "t13d1615h2_46e7e9700bed_45f260be83e2", share: 0.30, perDay: 24},
	{ja4: "t13d1715h2_5b57614c22b0_3d5424432f57", share: 0.12, perDay: 12, shuffles: true},
	{ja4: postfix, share: 0.06, perDay: 20, mta: true},                                               // Postfix, OpenSSL 3
	{ja4: "t13i310900_e8f1e7e78f70_1f22a2ca17c4", share: 0.03, perDay: 40, mta: true, office: true},  // a server with OpenSSL's defaults
	{ja4: "t13i291200_723694b0fccc_2cc26d266019", share: 0.025, perDay: 30, mta: true},               // Exim, GnuTLS
	{ja4: "t13d591100_5b7a3f4d3f2d_1ba2b1c4e6f0", share: 0.01, perDay: 30, mta: true},                // a later one
	{ja4: "t12i280600_d943125447b4_e7e480e5a997", share: 0.02, perDay: 6, office: true},              // a scanner
	{ja4: "t12i720500_1b75dbf8ecb1_a44c6288192a", share: 0.01, perDay: 48},                           // a camera
	{ja4: "t13i311000_e8f1e7e78f70_d41ae481755e", share: 0.015, perDay: 5, mta: true},                // swaks
	{ja4: "t13i131000_f57a46bbacb6_ab7e3b40a677", share: 0.006, perDay: 20, mta: true},               // a script in Go
	{ja4: "t10d230100_6a57a6f57151_000000000000", share: 0.004, perDay: 10},                          // old
	{ja4: "t12d4605h2_85626a9a5f7f_aaf95bb78ec9", share: 0.05, perDay: 18},                           // a mail program
	{ja4: "t13d751100_479067518aa3_0a1b2c3d4e5f", share: 0.008, perDay: 15, mta: true, office: true}, // a gateway
}

// runs is a program of one home.
type runs struct {
	program
	home      string
	providers []int         // networks that it sends to, of a mail server those of whom it writes to most
	from      time.Duration // when it begins and ends
	until     time.Duration
	bot       bool
}

// world is an access network in which time is not waited for.
type world struct {
	r        *rand.Rand
	c        *Clusters
	all      []runs
	at       time.Duration
	from     time.Duration // how far the clock is set ahead
	changes  []Change
	when     []time.Duration
	sessions int
}

const ever = 1 << 60

func newWorld(seed uint64, homes int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), c: New(usual)}
	w.c.key = seed + 1     // every run is the same
	w.c.Listed(50 * homes) // most send nothing
	for h := range homes {
		for _, p := range common {
			if w.r.Float64() < p.share {
				w.add(p, home(h), 0, ever)
			}
		}
	}
	return w
}

func home(i int) string { return fmt.Sprint("S-", 1000+i) }

func (w *world) add(p program, home string, from, until time.Duration) {
	one := runs{program: p, home: home, from: from, until: until}
	for range 1 + w.r.IntN(2) {
		one.providers = append(one.providers, int(w.r.ExpFloat64()*2.5)) // the few large ones, mostly
	}
	for range 12 {
		if p.mta {
			one.providers = append(one.providers, w.anywhere())
		}
	}
	w.all = append(w.all, one)
}

// anywhere is a network somebody writes to: a few dozen take most of it.
func (w *world) anywhere() int { return int(math.Exp(w.r.Float64() * math.Log(3000))) }

// infect gives homes a bot: so many sessions an hour, each to a network of its own.
func (w *world) infect(ja4 string, homes []int, perHour float64, shuffles bool) {
	for _, h := range homes {
		w.all = append(w.all, runs{program: program{ja4: ja4, perDay: perHour * 24, mta: true, shuffles: shuffles}, home: home(h), from: w.at, until: ever, bot: true})
	}
}

func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 0}), 24)
}

// to is a network to which a program sends.
func (w *world) to(p *runs) netip.Prefix {
	switch {
	case p.bot && w.r.IntN(4) > 0: // the large providers' customers are in every list, but only so many
		return network(10_000 + w.r.IntN(30_000))
	case p.bot:
		return network(w.r.IntN(30))
	case p.mta && w.r.IntN(2) == 0:
		return network(w.anywhere())
	}
	return network(p.providers[w.r.IntN(len(p.providers))])
}

// active is how much of its usual a program does at this time of the day.
func (p *runs) active(at time.Duration) float64 {
	hour := (at % (24 * time.Hour)).Hours()
	weekend := start.Add(at).Weekday()%6 == 0 // Saturday and Sunday
	switch {
	case at < p.from || at >= p.until:
		return 0
	case p.bot:
		return 1
	case p.office && weekend:
		return 0
	case p.office && (hour < 8 || hour > 18):
		return 0.02
	case p.office:
		return 2
	}
	return 1 - 0.8*math.Cos(2*math.Pi*(hour-3)/24) // quiet at night
}

// run lets time pass, a minute at a step.
func (w *world) run(d time.Duration) {
	for end := w.at + d; w.at < end; w.at += time.Minute {
		now := start.Add(w.at + w.from)
		for i := range w.all {
			p := &w.all[i]
			rate := p.perDay / 1440 * p.active(w.at)
			for rate > 0 && w.r.Float64() < rate {
				s := Sighting{JA4: p.ja4, JA3: p.ja4, Subscriber: p.home, Network: w.to(p), Messages: 1} // as estimated inside TLS
				if p.shuffles {
					s.JA3 = fmt.Sprint(w.r.Uint64())
				}
				w.c.See(s, now)
				w.sessions++
				rate--
			}
		}
		for _, change := range w.c.Tick(now) {
			w.changes, w.when = append(w.changes, change), append(w.when, w.at)
		}
	}
}

// began is when the first card of a print began and what it was then.
func (w *world) began(ja4 string) (Card, time.Duration, bool) {
	for i, c := range w.changes {
		if c.What == Began && c.Card.JA4 == ja4 {
			return c.Card, w.when[i], true
		}
	}
	return Card{}, 0, false
}

// move is the update of a program: from then on it has another print.
func (w *world) move(i int, ja4 string, at time.Duration) {
	next := w.all[i]
	w.all[i].until = at
	next.ja4, next.from = ja4, at
	w.all = append(w.all, next)
}

// some are n homes of so many.
func (w *world) some(n, of int) []int { return w.r.Perm(of)[:n] }

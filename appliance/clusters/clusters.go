// Package clusters finds the same rare TLS client on many subscribers at once, which is what one botnet looks like from
// outside. It makes cards for people to read; nothing is decided by it.
//
// # What is counted
//
// A print is a JA4. It sorts what a client may send in any order, so a client that shuffles its extensions, as browsers
// do, keeps it. Of each print is known which subscribers used it in these six weeks and the six before, how many of them came
// to it in the last hour and in the last day, and to how many networks its sessions went meanwhile.
//
// # When a card begins
//
// A subscriber comes to a print when it uses it for the first time in six to twelve weeks. When at least Config.Subscribers
// came within an hour (half an hour at least) or a day (half a day at least), what speaks for one botnet is added up in
// bits; see weigh for how. At [Threshold] a card begins. The weights are: how rare the print was here before, how many came
// to it, to how many networks they send, how little each session carries; and, against it, that they send to where the
// same subscribers sent before, as after an update.
//
// # What it cannot see
//
// A botnet with a print that is common here, one that came before the box had learnt, one with fewer subscribers
// than Config.Subscribers, one that chooses other ciphers each time, one that grows by less than that in a day, and one whose
// homes had its print in the last six weeks although it was on no card. Nor is it known which subscribers belong together: the
// lines of one customer count apart. A program that pauses for longer than the memory is new when it comes back.
//
// # Memory and time
//
// At most 3072 prints are known, each in 1.2 KB, and 8192 memberships, beside 0.5 MB for who sent where: 8 MB in all. Who
// was seen longest ago makes room, and prints that only one subscriber ever had only push out each other. All spans are of
// time that the box ran: neither a clock that is set nor a week without power makes what was learnt old.
package clusters

import (
	"container/list"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Bounds of Clusters.
const (
	maxFresh   = 1024 // prints that one subscriber had
	maxShared  = 2048 // other prints
	maxMembers = 8192 // of all prints
	maxCards   = 200  // those that ended make room first
	maxGap     = 24 * time.Hour
	quiet      = 24 * time.Hour // without a session of its print, a card ends
)

// Config is what the operator says.
type Config struct {
	Subscribers int           // so many that come to a print are the fewest that can make a card
	Learn       time.Duration // no card begins before the box has learnt for so long what is common here
	KnownGood   []string      // JA4s that never make a card
}

// Sighting is a session with a ClientHello that came to its end.
type Sighting struct {
	JA4, JA3   string
	Subscriber string
	Network    netip.Prefix // where it went
	Messages   int          // at least so many
}

// Clusters is safe for concurrent use.
type Clusters struct {
	mu     sync.Mutex
	cfg    Config
	good   map[string]bool
	key    uint64 // of the hashes
	clock  clock
	prints map[string]*print
	fresh  *list.List // of *print, used last first
	shared *list.List
	joined *list.List           // of *member, used last first
	of     map[string][]*member // by subscriber
	dirty  map[*print]struct{}  // to be weighed
	lines  [2]sketch            // subscribers of all prints, in this memory and the one before
	listed int                  // subscribers on the operator's list
	pairs  [2]sketch            // subscribers with the networks they sent to, in this memory and the one before
	filled float64              // share of bits of pairs, as the last half hour began
	came   [horizons][2]int     // of them, those that are new, in this span and the one before
	cards  []*card              // oldest first
	cardNo uint64
	lost   uint64 // prints that made room although several subscribers had them
}

// Stats is how full it is.
type Stats struct {
	Prints, Members int
	Botnets         int           // cards that run and look like one
	Updates         int           // cards that run and look like an update
	Lines           int           // subscribers with a print, about
	Learnt          time.Duration // so far
	Learning        bool          // no card begins yet
	Forgotten       uint64        // prints of several subscribers that made room
}

// New makes one that has learnt nothing.
func New(cfg Config) *Clusters {
	c := &Clusters{
		key: rand.Uint64(), prints: map[string]*print{}, fresh: list.New(), shared: list.New(), joined: list.New(),
		of: map[string][]*member{}, dirty: map[*print]struct{}{}, lines: [2]sketch{newSketch(lineBits), newSketch(lineBits)},
		pairs: [2]sketch{newSketch(pairBits), newSketch(pairBits)},
	}
	c.use(cfg)
	return c
}

// Use takes another configuration. Cards of prints that are known to be good now end with the next Tick.
func (c *Clusters) Use(cfg Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(cfg)
}

func (c *Clusters) use(cfg Config) {
	c.cfg, c.good = cfg, map[string]bool{}
	for _, ja4 := range cfg.KnownGood {
		c.good[ja4] = true
	}
	for _, p := range c.prints {
		c.dirty[p] = struct{}{}
	}
}

// Listed takes how many subscribers are on the operator's list, with TLS or without.
func (c *Clusters) Listed(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = n
}

// See counts a session.
func (c *Clusters) See(s Sighting, now time.Time) {
	if s.JA4 == "" || s.Subscriber == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	line := hash(c.key, s.Subscriber)
	known := c.lines[0].has(line) || c.lines[1].has(line)
	if !known {
		for h := range c.came {
			c.came[h][0]++
		}
	}
	c.lines[0].add(line)

	to := s.Network.Addr().As16()
	where := hashBytes(c.key, to[:])
	pair := mix(line ^ where)
	familiar := c.pairs[0].has(pair) || c.pairs[1].has(pair)
	c.pairs[0].add(pair)

	p := c.print(s.JA4)
	comes := !p.who[0].has(line) && !p.who[1].has(line)
	p.who[0].add(line)
	p.see(s, where, hash(c.key, s.JA3), comes)
	if m := c.member(p, s.Subscriber, comes, known, now); m != nil && m.see(s, where, now) {
		p.first(familiar)
	}
	if p.card != nil {
		p.card.see(s, where, line, now)
		if !p.card.runs() && len(p.again) < c.cfg.Subscribers {
			p.again[s.Subscriber] = true
		}
	}
	c.dirty[p] = struct{}{}
}

// Tick turns the spans and tells which cards began, grew or ended. It is to be called about once a second.
func (c *Clusters) Tick(now time.Time) []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	var changes []Change
	for p := range c.dirty {
		delete(c.dirty, p)
		changes = append(changes, c.judge(p, now)...)
	}
	for _, k := range c.cards {
		if k.Ended.IsZero() && c.clock.age-k.LastAge > quiet {
			changes = append(changes, c.end(k, quietly, now))
		}
	}
	return changes
}

// Stats returns how full it is.
func (c *Clusters) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Prints: len(c.prints), Members: c.joined.Len(), Lines: count(c.lines[:]...), Learnt: c.clock.age, Learning: c.learning(), Forgotten: c.lost}
	for _, k := range c.cards {
		switch {
		case !k.Ended.IsZero():
		case k.Looks == Botnet:
			s.Botnets++
		default:
			s.Updates++
		}
	}
	return s
}

func (c *Clusters) learning() bool { return c.clock.age < c.cfg.Learn }

// turn lets time pass: what is older than a span goes. The caller holds c.mu.
func (c *Clusters) turn(now time.Time) {
	turns := c.clock.advance(now)
	for h, n := range turns.spans {
		for range n {
			c.came[h][1], c.came[h][0] = c.came[h][0], 0
			c.filled = fill(c.pairs[:]...)
			for _, p := range c.prints {
				p.turn(h)
			}
		}
	}
	for range turns.memories {
		c.lines[1], c.lines[0] = c.lines[0], c.lines[1]
		clear(c.lines[0])
		c.pairs[1], c.pairs[0] = c.pairs[0], c.pairs[1]
		clear(c.pairs[0])
		for _, p := range c.prints {
			p.who[1], p.who[0] = p.who[0], p.who[1]
			clear(p.who[0].Bits)
		}
	}
}

package clusters

import (
	"fmt"
	"math"
	"time"
)

// Threshold is how many bits make a card.
const Threshold = 12.0

// uncommon is a print that one in so many of the subscribers with a print had, or fewer.
const uncommon = 20

// Looks says what a card looks like.
type Looks string

// What a card may look like.
const (
	Botnet Looks = "botnet"
	Update Looks = "software_update"
)

// Weight is one thing that speaks for one botnet, or against it when Bits is negative.
type Weight struct {
	Name  string
	Bits  float64
	Words string
}

// found is what speaks for one botnet over one horizon.
type found struct {
	horizon                                           int
	came, had, lines, sessions, messages, networks    int
	known                                             int // of came
	first, familiar                                   int
	share                                             float64 // of familiar, without those that only seem to be
	rarity, coincidence, spread, little, usual, total float64
}

// weigh adds up, in bits:
//
//	rarity       log2((lines+1) / (had+1)), at most 9: of all subscribers with a print, how few had this one before. Where that is a
//	             twentieth at most: of all on the list
//	coincidence  log2(came)
//	spread       2 log2(networks / came), from -6 to 4: phones and mail programs send to the few networks of their providers,
//	             and many of them to the same; bots hardly ever to the same network twice
//	little       1 where a session carries at most 1.5 messages, -1 where more than 3, 0 where that is not known
//	familiar     -8 times the share of networks to which the same subscribers sent before, with other prints: after an update
//	             a program goes on to where it sent before
func (c *Clusters) weigh(p *print, h int) found {
	now, before := &p.spans[h][0], &p.spans[h][1]
	f := found{
		horizon: h, came: now.Came + before.Came, sessions: now.Sessions + before.Sessions, messages: now.Messages + before.Messages,
		networks: count(now.Where, before.Where),
	}
	if f.came == 0 {
		return f
	}
	ever := countWho(p.who[:]...)
	f.lines = max(count(c.lines[:]...)-c.came[h][0]-c.came[h][1], 0)
	f.had = min(max(ever-f.came, 0), f.lines)
	if sure := max(f.had-countWhoErrs(ever), 0); sure*uncommon <= f.lines {
		f.lines = max(f.lines, c.listed-f.came)
	}
	for _, m := range p.members {
		if m.known && c.clock.age-m.since <= 2*spans[h] {
			f.known++
		}
	}
	f.first, f.familiar = now.First+before.First, now.Familiar+before.Familiar
	if free := 1 - c.filled; f.first > 0 && free > 0.1 { // of what is new, the share that is filled seems to be familiar
		f.share = min(max((float64(f.familiar)/float64(f.first)-c.filled)/free, 0), 1)
	}
	f.rarity = min(max(math.Log2(float64(f.lines+1)/float64(f.had+1)), 0), 9)
	f.coincidence = math.Log2(float64(f.came))
	f.spread = min(max(2*math.Log2(float64(max(f.networks, 1))/float64(f.came)), -6), 4)
	switch per := float64(f.messages) / float64(max(f.sessions, 1)); {
	case per == 0:
	case per <= 1.5:
		f.little = 1
	case per > 3:
		f.little = -1
	}
	f.usual = 0 - 8*f.share // not a negative zero
	f.total = f.rarity + f.coincidence + f.spread + f.little + f.usual
	return f
}

// best is the horizon that speaks most for one botnet, the shorter one where they say the same but for rounding.
func (c *Clusters) best(p *print) (best found, ok bool) {
	for h := range horizons {
		if f := c.weigh(p, h); f.came >= c.cfg.Subscribers && (!ok || f.total > best.total+0.001) {
			best, ok = f, true
		}
	}
	return best, ok
}

func (f found) looks() Looks {
	if f.share >= 0.3 || f.spread <= -2 {
		return Update
	}
	return Botnet
}

func (f found) within() time.Duration { return 2 * spans[f.horizon] }

func (f found) weights() []Weight {
	return []Weight{
		{"rarity", f.rarity, fmt.Sprintf("of about %d subscribers %d had this print before", f.lines, f.had)},
		{"coincidence", f.coincidence, fmt.Sprintf("%d subscribers came to it within %v", f.came, words(f.within()))},
		{"spread", f.spread, fmt.Sprintf("its %d sessions went to about %d networks, %.1f for each who came to it", f.sessions, f.networks, float64(f.networks)/float64(f.came))},
		{"little", f.little, fmt.Sprintf("%d messages are known of in %d sessions", f.messages, f.sessions)},
		{"familiar", f.usual, fmt.Sprintf("to %.0f %% of the networks the same subscribers had sent before; %d of them had another TLS client", 100*f.share, f.known)},
	}
}

// words is a horizon in words.
func words(d time.Duration) string {
	if d <= time.Hour {
		return "an hour"
	}
	return "a day"
}

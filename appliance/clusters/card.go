package clusters

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// What a Change tells.
const (
	Began = "began"
	Grew  = "grew" // to twice as many subscribers as last told
	Ended = "ended"
)

// Why a card ended.
const (
	quietly   = "quiet"
	knownGood = "known_good"
	forgotten = "forgotten" // it made room for another one
)

// Change is something about a card that is worth a record.
type Change struct {
	What   string
	Reason string // of an end: quiet, known_good, forgotten
	Card   Card
}

// Card is a cluster as people see it.
type Card struct {
	ID                 string
	JA4                string
	JA3                []string // some; a client that shuffles its extensions has many
	Shuffles           bool
	Looks              Looks
	Began, Last, Ended time.Time
	Reason             string // of its end
	Subscribers        int    // that came to the print, since shortly before it began
	Sessions           int
	Messages           int // at least
	Networks           int // about
	Bits               float64
	Weights            []Weight // as they were when it was told last
	Why                string
	MayBeWrong         []string
	Members            []Member // those who came first make room for others
}

// Member is a subscriber of a cluster.
type Member struct {
	Subscriber  string
	First, Last time.Time // First: when it came, or came again after a pause as long as the memory
	Sessions    int
	Messages    int  // at least
	Networks    int  // about
	Former      bool // had another TLS client before
}

// card is what is kept of a Card. Its exported fields are saved.
type card struct {
	No                 uint64
	JA4                string
	JA3                []string
	Shuffles           bool
	Looks              Looks
	Began, Last, Ended time.Time
	LastAge            time.Duration
	Reason             string
	Sessions, Messages int
	Who                who
	Where              sketch
	Told               int // subscribers, when last told
	Bits               float64
	Weights            []Weight
	Within             time.Duration
	Came, Known        int
	Familiar           float64 // share of networks
	Learnt             int     // days
	members            []Member
}

func (k *card) runs() bool { return k != nil && k.Ended.IsZero() }

// maxJA3 is how many JA3s a card names.
const maxJA3 = 4

func (k *card) see(s Sighting, to, line uint64, now time.Time) {
	if !k.runs() {
		return
	}
	k.Last = now
	k.Sessions++
	k.Messages += max(s.Messages, 0)
	k.Where.add(to)
	k.Who.add(line)
	k.names(s.JA3)
}

func (k *card) names(ja3 string) {
	if ja3 != "" && len(k.JA3) < maxJA3 && !slices.Contains(k.JA3, ja3) {
		k.JA3 = append(k.JA3, ja3)
	}
}

// judge looks whether the card of a print begins, grows or ends. One that begins may end another one.
func (c *Clusters) judge(p *print, now time.Time) []Change {
	k := p.card
	good := c.good[p.ja4]
	switch {
	case k.runs() && good:
		return []Change{c.end(k, knownGood, now)}
	case k.runs():
		k.LastAge = c.clock.age
		k.Shuffles = p.shuffles()
		if countWho(k.Who) >= 2*k.Told-k.Told/10-1 && c.view(k).Subscribers >= 2*k.Told {
			return []Change{c.tell(k, p, Grew)}
		}
		return nil
	case good, c.learning():
		return nil
	case k != nil && c.cameBack(p):
		k.Ended, k.Reason, k.LastAge, k.members = time.Time{}, "", c.clock.age, nil
		ended := c.keep(k, now)
		return append(ended, c.tell(k, p, Began))
	case k != nil && k.Reason == forgotten: // else it and others would push out each other with every session
		return nil
	}
	f, ok := c.best(p)
	if !ok || f.total < Threshold {
		return nil
	}
	return c.begin(p, f, now)
}

// begin makes a card for those who came within the horizon, and for who comes from now on.
func (c *Clusters) begin(p *print, f found, now time.Time) []Change {
	c.cardNo++
	k := &card{No: c.cardNo, JA4: p.ja4, Began: now, Last: now, LastAge: c.clock.age, Shuffles: p.shuffles(), Who: newWho(), Where: newSketch(whereBits)}
	for _, m := range p.members {
		if c.clock.age-m.since <= f.within() {
			k.Who.add(hash(c.key, m.subscriber))
		}
	}
	k.Sessions, k.Messages = f.sessions, f.messages
	k.names(p.ja3)
	for i := range k.Where {
		k.Where[i] = p.spans[f.horizon][0].Where[i] | p.spans[f.horizon][1].Where[i]
	}
	p.card = k
	k.weighed(f, c.clock.age)
	ended := c.keep(k, now)
	return append(ended, c.tell(k, p, Began))
}

// keep puts a card that runs among those that are kept. One that ended makes room for it if there is any, else the one whose
// print was used longest ago, which ends with that.
func (c *Clusters) keep(k *card, now time.Time) (ended []Change) {
	if slices.Contains(c.cards, k) {
		return nil
	}
	if len(c.cards) == maxCards {
		i := slices.IndexFunc(c.cards, func(k *card) bool { return !k.runs() })
		if i < 0 {
			last := slices.MinFunc(c.cards, func(a, b *card) int { return cmp.Compare(a.LastAge, b.LastAge) })
			ended = append(ended, c.end(last, forgotten, now))
			i = slices.Index(c.cards, last)
		}
		c.cards[i].members = nil // its print may hold it for longer
		c.cards = slices.Delete(c.cards, i, i+1)
	}
	c.cards = append(c.cards, k)
	return ended
}

func (k *card) weighed(f found, age time.Duration) {
	k.Bits, k.Weights, k.Looks, k.Within = f.total, f.weights(), f.looks(), f.within()
	k.Came, k.Known, k.Familiar, k.Learnt = f.came, f.known, f.share, int(age/(24*time.Hour))
}

func (c *Clusters) tell(k *card, p *print, what string) Change {
	if f, ok := c.best(p); ok && what == Grew {
		k.weighed(f, c.clock.age)
	}
	v := c.view(k)
	k.Told = max(v.Subscribers, 1)
	return Change{What: what, Card: v}
}

// end closes a card. Its members stay on it as they are.
func (c *Clusters) end(k *card, reason string, now time.Time) Change {
	k.members = c.view(k).Members
	k.Ended, k.Reason = now, reason
	if p := c.prints[k.JA4]; p != nil {
		p.again = map[string]bool{}
	}
	return Change{What: Ended, Reason: reason, Card: c.view(k)}
}

// cameBack tells whether enough subscribers use a print again whose card ended because nobody did, or made room.
func (c *Clusters) cameBack(p *print) bool {
	return p.card.Reason != knownGood && len(p.again) >= c.cfg.Subscribers
}

// Cards are those that run, the one with the most subscribers first, and then those that ended, the last one first.
func (c *Clusters) Cards() []Card {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Card, 0, len(c.cards))
	for _, k := range c.cards {
		all = append(all, c.view(k))
	}
	slices.SortFunc(all, Card.Compare)
	return all
}

// Compare is the order of Cards. It looks at Ended, Subscribers and ID alone.
func (c Card) Compare(d Card) int {
	if c.Ended.IsZero() != d.Ended.IsZero() {
		if c.Ended.IsZero() {
			return -1
		}
		return 1
	}
	return cmp.Or(d.Ended.Compare(c.Ended), cmp.Compare(d.Subscribers, c.Subscribers), cmp.Compare(c.ID, d.ID))
}

func abs(n int) int { return max(n, -n) }

// view is a card for others to keep. The caller holds c.mu.
func (c *Clusters) view(k *card) Card {
	v := Card{
		ID: fmt.Sprintf("K%d", k.No), JA4: k.JA4, JA3: slices.Clone(k.JA3), Shuffles: k.Shuffles, Looks: k.Looks,
		Began: k.Began, Last: k.Last, Ended: k.Ended, Reason: k.Reason, Subscribers: countWho(k.Who), Sessions: k.Sessions, Messages: k.Messages,
		Networks: count(k.Where), Bits: k.Bits, Weights: slices.Clone(k.Weights), Members: k.members,
	}
	if p := c.prints[k.JA4]; p != nil && k.runs() {
		for _, m := range p.members {
			if !k.Who.has(hash(c.key, m.subscriber)) {
				continue // came long before
			}
			v.Members = append(v.Members, Member{
				Subscriber: m.subscriber, First: m.First, Last: m.Last, Sessions: m.Sessions, Messages: m.Messages, Networks: m.networks(),
				Former: m.known,
			})
		}
	}
	if n := len(v.Members); abs(n-v.Subscribers) <= n/10+1 { // all are known by name, and the other is about as many
		v.Subscribers = n
	}
	v.Why, v.MayBeWrong = k.why(), k.doubts()
	return v
}

// Common is how common a JA4 is here.
type Common struct {
	Users int    // subscribers that had it in this memory or the one before, about; 0: it is not known
	Of    int    // subscribers with any, about
	Card  string // its card that runs; empty: none
}

// Common tells how common a JA4 is.
func (c *Clusters) Common(ja4 string) (v Common) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.prints[ja4]
	if p == nil {
		return v
	}
	v.Users = max(countWho(p.who[:]...), 1)
	v.Of = max(count(c.lines[:]...), v.Users)
	if p.card.runs() {
		v.Card = c.view(p.card).ID
	}
	return v
}

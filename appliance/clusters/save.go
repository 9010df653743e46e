package clusters

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// saved is what outlives a restart. Its fields keep their names and meanings; a new one may be added.
type saved struct {
	Key    uint64
	Age    time.Duration
	Last   time.Time // when it was that old
	Lines  [2]sketch
	Pairs  [2]sketch
	Came   [horizons][2]int
	Prints []savedPrint // fresh ones first, of either kind the one used longest ago first
	Cards  []savedCard
	CardNo uint64
	Filled *float64 // share of bits of Pairs, as the last half hour began; nil: an older version has not saved it
}

type savedPrint struct {
	JA4     string
	Who     [2]who
	Spans   [horizons][2]span
	Orders  uint64
	JA3     string
	Since   time.Duration
	Lines   int
	Shared  bool
	Card    uint64 // 0: none
	Again   map[string]bool
	Members []savedMember
}

type savedMember struct {
	Subscriber         string
	Since              time.Duration
	First, Last        time.Time
	Sessions, Messages int
	Where              [4]uint64
	Known              bool
}

type savedCard struct {
	Card    card
	Members []Member
}

// format is the first bytes of what Save returns; the last four are a CRC-32C of all before.
const format = "mailweir clusters 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save returns all that is known, for Load: well below 1 MB, compressed.
func (c *Clusters) Save() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := saved{Key: c.key, Age: c.clock.age, Last: c.clock.last, Lines: c.lines, Pairs: c.pairs, Came: c.came, CardNo: c.cardNo, Filled: &c.filled}
	for e := c.fresh.Back(); e != nil; e = e.Prev() {
		s.Prints = append(s.Prints, savePrint(e.Value.(*print)))
	}
	for e := c.shared.Back(); e != nil; e = e.Prev() {
		s.Prints = append(s.Prints, savePrint(e.Value.(*print)))
	}
	for _, k := range c.cards {
		s.Cards = append(s.Cards, savedCard{*k, k.members})
	}
	b := bytes.NewBufferString(format)
	z, _ := flate.NewWriter(b, flate.BestSpeed) // the level is one that there is
	if err := errors.Join(gob.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return nil, fmt.Errorf("save clusters: %w", err)
	}
	return binary.BigEndian.AppendUint32(b.Bytes(), crc32.Checksum(b.Bytes(), castagnoli)), nil
}

func savePrint(p *print) savedPrint {
	s := savedPrint{JA4: p.ja4, Who: p.who, Spans: p.spans, Orders: p.orders, JA3: p.ja3, Since: p.since, Lines: p.lines, Shared: p.shared, Again: p.again}
	if p.card != nil {
		s.Card = p.card.No
	}
	for _, m := range p.members {
		s.Members = append(s.Members, savedMember{m.subscriber, m.since, m.First, m.Last, m.Sessions, m.Messages, m.where, m.known})
	}
	return s
}

// Load makes what Save returned. The time until its first call is counted as time that passed if it is no more than maxRestart.
func Load(cfg Config, b []byte) (*Clusters, error) {
	n := len(b) - 4
	if n < len(format) || string(b[:len(format)]) != format {
		return nil, errors.New("not a state of clusters that this version knows")
	}
	if crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, errors.New("damaged: the checksum is another")
	}
	var s saved
	if err := gob.NewDecoder(flate.NewReader(bytes.NewReader(b[len(format):n]))).Decode(&s); err != nil {
		return nil, fmt.Errorf("read clusters: %w", err)
	}
	c := New(cfg)
	c.key, c.clock, c.came, c.cardNo = s.Key, clock{age: s.Age, last: s.Last, restarted: true}, s.Came, s.CardNo
	if !sized(lineBits, s.Lines[:]...) || !sized(pairBits, s.Pairs[:]...) {
		return nil, errors.New("a sketch has another size")
	}
	c.lines, c.pairs = s.Lines, s.Pairs
	if s.Filled != nil {
		c.filled = *s.Filled
	} else {
		c.filled = fill(c.pairs[:]...)
	}
	cards := map[uint64]*card{}
	for _, one := range s.Cards {
		k := one.Card
		k.members = one.Members
		if !sized(whoBits, k.Who.Bits) || !sized(whereBits, k.Where) {
			return nil, errors.New("a sketch has another size")
		}
		cards[k.No] = &k
		c.cards = append(c.cards, &k)
	}
	for _, one := range s.Prints {
		if !sized(whoBits, one.Who[0].Bits, one.Who[1].Bits) {
			return nil, errors.New("a sketch has another size")
		}
		for h := range one.Spans {
			if !sized(whereBits, one.Spans[h][0].Where, one.Spans[h][1].Where) {
				return nil, errors.New("a sketch has another size")
			}
		}
		c.restore(one, cards[one.Card])
	}
	c.use(cfg) // what was saved between a session and the next Tick is still to be weighed
	return c, nil
}

func sized(bits int, all ...sketch) bool {
	for _, s := range all {
		if len(s) != bits/64 {
			return false
		}
	}
	return true
}

func (c *Clusters) restore(s savedPrint, k *card) {
	p := c.print(s.JA4)
	if s.Shared {
		c.share(p)
	}
	p.who, p.spans, p.orders, p.ja3, p.since, p.lines, p.card, p.again = s.Who, s.Spans, s.Orders, s.JA3, s.Since, s.Lines, k, s.Again
	if k != nil && !k.runs() && p.again == nil {
		p.again = map[string]bool{}
	}
	for _, m := range s.Members {
		if c.joined.Len() == maxMembers {
			return
		}
		one := &member{print: p, subscriber: m.Subscriber, since: m.Since, First: m.First, Last: m.Last, Sessions: m.Sessions, Messages: m.Messages,
			where: m.Where, known: m.Known}
		one.place = c.joined.PushFront(one)
		p.members = append(p.members, one)
		c.of[m.Subscriber] = append(c.of[m.Subscriber], one)
	}
}

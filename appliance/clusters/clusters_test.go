package clusters

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// learnt is one that knows 400 subscribers with one print, each with its own network.
func learnt(t *testing.T, cfg Config) (*Clusters, time.Time) {
	t.Helper()
	c, now := New(cfg), start
	c.key = 1 // the same subscribers seem to be the same in every run
	for hour := range 49 {
		now = start.Add(time.Duration(hour) * time.Hour)
		for i := range 400 {
			c.See(Sighting{JA4: phone, Subscriber: home(i), Network: network(i % 20)}, now)
		}
		if changes := c.Tick(now); len(changes) > 0 {
			t.Fatalf("%+v", changes)
		}
	}
	return c, now
}

func TestTheLifeOfACard(t *testing.T) {
	t.Parallel()
	c, now := learnt(t, cfg)
	next := 0
	bots := func(n int) (all []Change) {
		for range n {
			c.See(Sighting{JA4: botPrint, JA3: "abc", Subscriber: home(next), Network: network(1000 + next), Messages: 1}, now)
			c.See(Sighting{JA4: botPrint, JA3: "abc", Subscriber: home(next), Network: network(2000 + next), Messages: 1}, now)
			next++
			all = append(all, c.Tick(now)...)
		}
		return all
	}
	if changes := bots(9); len(changes) > 0 {
		t.Fatalf("below the fewest that make a card: %+v", changes)
	}
	changes := bots(1)
	if len(changes) != 1 || changes[0].What != Began {
		t.Fatalf("%+v", changes)
	}
	k := changes[0].Card
	if k.ID != "K1" || k.JA4 != botPrint || k.Looks != Botnet || k.Subscribers != 10 || len(k.Members) != 10 || k.Sessions != 20 || k.Networks < 18 || k.Networks > 21 ||
		!k.Began.Equal(now) || !k.Ended.IsZero() || !slices.Equal(k.JA3, []string{"abc"}) {
		t.Errorf("%+v", k)
	}
	if m := k.Members[3]; m.Subscriber != home(3) || m.Sessions != 2 || m.Messages != 2 || m.Networks != 2 || !m.Former {
		t.Errorf("%+v", m)
	}
	sum := 0.0
	for _, w := range k.Weights {
		sum += w.Bits
		if w.Words == "" {
			t.Errorf("%+v", w)
		}
	}
	if sum != k.Bits || k.Bits < Threshold {
		t.Errorf("%v weights, %v bits", sum, k.Bits)
	}
	if !strings.Contains(k.Why, "Probably one botnet: 10 subscribers came") || len(k.MayBeWrong) < 3 || !strings.Contains(k.MayBeWrong[1], "10 of 10 sent with another TLS client before") {
		t.Errorf("%s\n%s", k.Why, strings.Join(k.MayBeWrong, "\n"))
	}
	if s := c.Stats(); s.Botnets != 1 || s.Updates != 0 || s.Learning || s.Prints != 2 || s.Lines < 380 || s.Lines > 420 {
		t.Errorf("%+v", s)
	}

	if changes = bots(9); len(changes) > 0 {
		t.Errorf("not twice as many: %+v", changes)
	}
	if changes = bots(30); len(changes) != 2 || changes[0].What != Grew || changes[0].Card.Subscribers != 20 || changes[1].Card.Subscribers != 40 {
		t.Errorf("%+v", changes)
	}
	for range 23 { // its subscribers are quiet, the others are not
		now = now.Add(time.Hour)
		if changes = c.Tick(now); len(changes) > 0 {
			t.Fatalf("%+v", changes)
		}
	}
	now = now.Add(time.Hour + time.Minute)
	changes = c.Tick(now)
	if len(changes) != 1 || changes[0].What != Ended || changes[0].Reason != "quiet" || changes[0].Card.Subscribers != 49 || !changes[0].Card.Ended.Equal(now) {
		t.Fatalf("%+v", changes)
	}
	if cards := c.Cards(); len(cards) != 1 || len(cards[0].Members) != 49 || c.Stats().Botnets != 0 {
		t.Errorf("%+v", cards)
	}
	next = 0 // those again that were there before
	if changes = bots(12); len(changes) != 1 || changes[0].What != Began || changes[0].Card.ID != "K1" || !changes[0].Card.Ended.IsZero() || len(changes[0].Card.Members) != 49 {
		t.Errorf("it comes back: %+v", changes)
	}
	c.Use(Config{Subscribers: 10, Learn: 24 * time.Hour, KnownGood: []string{botPrint}})
	if changes = c.Tick(now); len(changes) != 1 || changes[0].What != Ended || changes[0].Reason != "known_good" {
		t.Errorf("%+v", changes)
	}
	if changes = bots(60); len(changes) > 0 {
		t.Errorf("known to be good: %+v", changes)
	}
}

func TestNothingBeforeItHasLearnt(t *testing.T) {
	t.Parallel()
	c := New(Config{Subscribers: 10, Learn: 24 * time.Hour})
	now := start
	for i := range 400 {
		now = now.Add(time.Minute)
		c.See(Sighting{JA4: fmt.Sprint(botPrint, i%3), Subscriber: home(i), Network: network(i)}, now)
		if changes := c.Tick(now); len(changes) > 0 {
			t.Fatalf("%+v", changes)
		}
	}
	if s := c.Stats(); !s.Learning || s.Learnt > 7*time.Hour {
		t.Errorf("%+v", s)
	}
	if _, err := Load(cfg, nil); err == nil {
		t.Error("nothing can be loaded")
	}
}

// A restart in the middle changes nothing, word by word, wherever in a span it comes; neither does what the clock does
// meanwhile, but that a longer time without power is not counted, so that spans may begin elsewhere.
func TestRestarts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		jump   time.Duration
		worlds []uint64
	}{
		{"at once", 0, []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		{"a week later", 7 * 24 * time.Hour, []uint64{11}}, // in which those who came are within the same spans all the same
		{"and it is 1970", -56 * 365 * 24 * time.Hour, []uint64{11}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, seed := range row.worlds {
				without, with := restarted(t, seed, false, 0), restarted(t, seed, true, row.jump)
				if len(without) != 1 || !reflect.DeepEqual(without, with) {
					t.Errorf("world %d, without:\n%+v\nwith:\n%+v", seed, without, with)
				}
			}
		})
	}
}

// restarted is the cards of a world with a bot, with three restarts or without; at each the clock jumps.
func restarted(t *testing.T, seed uint64, restarts bool, jump time.Duration) []Card {
	t.Helper()
	w := newWorld(seed, 400)
	w.c.key = 1
	w.c.Use(cfg)
	again := func() {
		if !restarts {
			return
		}
		b, err := w.c.Save()
		if err != nil {
			t.Fatal(err)
		}
		listed := w.c.listed
		if w.c, err = Load(cfg, b); err != nil {
			t.Fatal(err)
		}
		w.c.Listed(listed)
		if len(b) > 400_000 {
			t.Errorf("%d bytes of 15 prints", len(b))
		}
	}
	w.run(48 * time.Hour)
	again()
	w.from = jump
	w.infect(botPrint, w.some(40, 400), 4.5, false)
	w.run(5 * time.Minute)
	again()
	w.from = 2 * jump
	w.run(time.Hour)
	again()
	cards := w.c.Cards()
	for i := range cards {
		k := &cards[i]
		k.Began, k.Last = time.Time{}, k.Last.Add(-w.from) // it began before the clock moved, perhaps
		k.Bits = math.Round(k.Bits*1000) / 1000            // half hours may begin elsewhere
		for j := range k.Weights {
			k.Weights[j].Bits = math.Round(k.Weights[j].Bits*1000) / 1000
		}
		for j := range k.Members {
			k.Members[j].First, k.Members[j].Last = time.Time{}, time.Time{}
		}
	}
	return cards
}

func TestWhatIsDamagedIsNotLoaded(t *testing.T) {
	t.Parallel()
	c, _ := learnt(t, cfg)
	b, err := c.Save()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 97 {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if _, err := Load(cfg, bad); err == nil {
			t.Fatalf("byte %d of %d is another, and nothing is said", i, len(b))
		}
		if _, err := Load(cfg, b[:i]); err == nil {
			t.Fatalf("%d of %d bytes are enough", i, len(b))
		}
	}
}

// One subscriber that makes up a print for each session pushes out only others like itself, and the memory is bounded.
func TestMadeUpPrints(t *testing.T) {
	t.Parallel()
	c, now := learnt(t, cfg)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40_000 {
		now = now.Add(100 * time.Millisecond)
		c.See(Sighting{JA4: fmt.Sprint("made up ", i), Subscriber: home(i % 3), Network: network(r.IntN(60_000))}, now)
		if i%100 == 0 {
			if changes := c.Tick(now); len(changes) > 0 {
				t.Fatalf("%+v", changes)
			}
		}
	}
	if s := c.Stats(); s.Prints > maxFresh+1 || s.Members > maxMembers || s.Forgotten != 0 {
		t.Errorf("%+v", s)
	}
	began := false
	for i := range 20 { // meanwhile a botnet is found as ever
		c.See(Sighting{JA4: botPrint, Subscriber: home(100 + i), Network: network(50_000 + i)}, now)
		c.See(Sighting{JA4: botPrint, Subscriber: home(100 + i), Network: network(51_000 + i)}, now)
		for _, change := range c.Tick(now) {
			began = began || change.Card.JA4 == botPrint
		}
	}
	if !began {
		t.Error("not seen among made-up prints")
	}
	// And several subscribers that share made-up prints: the common one stays, since it is in use.
	for i := range 8000 {
		now = now.Add(time.Second)
		for s := range 2 {
			c.See(Sighting{JA4: fmt.Sprint("shared ", i), Subscriber: home(s), Network: network(i)}, now)
		}
		c.See(Sighting{JA4: phone, Subscriber: home(i % 400), Network: network(i % 20)}, now)
		c.Tick(now)
	}
	s := c.Stats()
	if s.Prints > maxFresh+maxShared || s.Members > maxMembers || s.Forgotten == 0 {
		t.Errorf("%+v", s)
	}
	if p := c.prints[phone]; p == nil || countWho(p.who[:]...) < 380 {
		t.Error("what is common was forgotten")
	}
	if n := len(c.of); n > maxMembers {
		t.Errorf("%d subscribers", n)
	}
}

// More cards than are kept: those that ended make room first, then the one whose print was used longest ago. That one ends, and is
// told; it comes back with enough subscribers, not with a session.
func TestManyCards(t *testing.T) {
	t.Parallel()
	c, now := learnt(t, cfg)
	session := func(n, i, to int) {
		c.See(Sighting{JA4: fmt.Sprint("bot ", n), Subscriber: home((n*7 + i) % 400), Network: network(to + n*50 + i)}, now)
	}
	kept := func(why string, running int) {
		t.Helper()
		all := map[string]bool{}
		for _, k := range c.Cards() {
			all[k.ID] = all[k.ID] || k.Ended.IsZero()
		}
		for ja4, p := range c.prints {
			if p.card.runs() && !all[c.view(p.card).ID] {
				t.Errorf("%s: the card of %s runs and is none of those that are kept", why, ja4)
			}
		}
		if s := c.Stats(); len(all) > maxCards || s.Botnets != running {
			t.Errorf("%s: %d cards, %d run, want %d", why, len(all), s.Botnets, running)
		}
	}
	tick := func(why string, want ...string) {
		t.Helper()
		var told []string
		for _, change := range c.Tick(now) {
			told = append(told, strings.TrimSpace(change.Card.ID+" "+change.What+" "+change.Reason))
		}
		if !slices.Equal(told, want) {
			t.Errorf("%s: %q, want %q", why, told, want)
		}
	}
	bot := func(n int) {
		now = now.Add(time.Second)
		for i := range 40 {
			session(n, i, 1000)
			session(n, i, 30_000)
		}
	}
	const more = 20
	for n := range maxCards {
		bot(n)
		tick("there is room", fmt.Sprintf("K%d began", n+1))
	}
	for n := range 5 { // in use, so that others make room
		now = now.Add(time.Second)
		session(n, 0, 1000)
		tick("a session")
	}
	for n := maxCards; n < maxCards+more; n++ {
		bot(n)
		tick("there is none", fmt.Sprintf("K%d ended forgotten", n-maxCards+6), fmt.Sprintf("K%d began", n+1))
	}
	kept("all run", maxCards)

	for i := range cfg.Subscribers {
		now = now.Add(time.Second)
		if session(5, i, 1000); i < cfg.Subscribers-1 {
			tick("the sessions of a few")
			continue
		}
		tick("those of enough", fmt.Sprintf("K%d ended forgotten", more+6), "K6 began")
	}
	kept("one came back", maxCards)

	c.Use(Config{Subscribers: cfg.Subscribers, Learn: cfg.Learn, KnownGood: []string{"bot 100"}})
	tick("one is known", "K101 ended known_good")
	bot(maxCards + more)
	tick("one that ended makes room", fmt.Sprintf("K%d began", maxCards+more+1))
	kept("one that ended made room", maxCards)
}

// What a program that moves to another print sends to where it sent before weighs so much that rarity, coincidence and spread
// together make no card; the same that sends elsewhere makes one. That holds too where half of the sketch of who sent where is filled, so
// that half of what is new seems to have been there.
func TestWhereTheSameSentBefore(t *testing.T) {
	t.Parallel()
	const servers, networks = 40, 6
	for _, filled := range []float64{0, 0.5, 0.7} {
		for _, before := range []bool{true, false} {
			c, now := learnt(t, cfg)
			send := func(ja4 string, base int) (changes []Change) {
				for i := range servers {
					for n := range networks {
						c.See(Sighting{JA4: ja4, Subscriber: home(i), Network: network(base + networks*i + n), Messages: 1}, now)
					}
				}
				return c.Tick(now)
			}
			send(phone, 1000) // a print that all have
			r := rand.New(rand.NewPCG(1, 2))
			for range int(-math.Log(1-filled) * pairBits) {
				c.pairs[0].add(r.Uint64())
			}
			now = now.Add(spans[hour])
			c.Tick(now)
			base := 1000
			if !before {
				base = 20_000
			}
			changes := send(newServer, base)
			f := c.weigh(c.prints[newServer], hour)
			want := 0.0
			if before {
				want = 1
			}
			if math.Abs(f.share-want) > 0.2 || math.Abs(f.usual+8*want) > 8*0.2 {
				t.Errorf("filled %v, before %v: a share of %.2f, %.1f bits: %+v", filled, before, f.share, f.usual, f)
			}
			if card := len(changes) == 1 && changes[0].Card.Looks == Botnet; card == before || before && len(changes) > 0 {
				t.Errorf("filled %v, before %v: %+v", filled, before, changes)
			}
		}
	}
}

func TestSketchesCount(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 10, 100, 1000, 4000} {
		s, key := newSketch(whoBits), rand.Uint64()
		for i := range n {
			s.add(hash(key, home(i)))
		}
		if got := count(s); got < n-n/8-1 || got > n+n/8+1 {
			t.Errorf("%d are counted as %d", n, got)
		}
	}
	full := sketch{^uint64(0)}
	if got := count(full); got < 250 {
		t.Errorf("full: %d", got)
	}
}

func BenchmarkSee(b *testing.B) {
	w := newWorld(1, 400)
	w.run(24 * time.Hour)
	now := start.Add(w.at)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := &w.all[i%len(w.all)]
		now = now.Add(time.Millisecond)
		w.c.See(Sighting{JA4: p.ja4, JA3: p.ja4, Subscriber: p.home, Network: network(p.providers[0])}, now)
	}
}

// Who was not seen with a print since a time is forgotten, and so is a card that ended before; the others stay.
func TestForget(t *testing.T) {
	t.Parallel()
	c, now := learnt(t, cfg)
	for i := range 20 {
		for n := range 2 {
			c.See(Sighting{JA4: botPrint, Subscriber: home(i), Network: network(1000 + 100*n + i)}, now)
		}
	}
	if changes := c.Tick(now); len(changes) != 1 {
		t.Fatalf("%+v", changes)
	}
	for range 50 {
		now = now.Add(time.Hour)
		c.Tick(now)
	}
	ended := c.Cards()[0].Ended
	c.See(Sighting{JA4: phone, Subscriber: home(7), Network: network(7)}, now)
	if c.Forget(ended.Add(-30*24*time.Hour)) || len(c.Cards()) != 1 {
		t.Error("nothing is so old")
	}
	if !c.Forget(ended.Add(time.Second)) || len(c.Cards()) != 0 || c.Stats().Members != 1 || len(c.of) != 1 || len(c.of[home(7)]) != 1 {
		t.Errorf("%+v, %d cards, %d subscribers", c.Stats(), len(c.Cards()), len(c.of))
	}
	if b, err := c.Save(); err != nil {
		t.Error(err)
	} else if again, err := Load(cfg, b); err != nil || again.Stats().Members != 1 || len(again.Cards()) != 0 {
		t.Errorf("after a restart: %v", err)
	}
	if c.Forget(ended.Add(time.Second)) {
		t.Error("twice")
	}
}

// TestHowCommonAPrintIs: about how many had it, of how many; its card while it runs.
func TestHowCommonAPrintIs(t *testing.T) {
	t.Parallel()
	c, now := learnt(t, Config{Subscribers: 10, Learn: time.Hour})
	if v := c.Common("seen by nobody"); v != (Common{}) {
		t.Errorf("of nobody: %+v", v)
	}
	c.See(Sighting{JA4: "alone", Subscriber: home(7), Network: network(1)}, now)
	about := func(n int) bool { return n >= 360 && n <= 440 }
	if v := c.Common(phone); !about(v.Users) || !about(v.Of) || v.Of < v.Users || v.Card != "" {
		t.Errorf("of all 400: %+v", v)
	}
	if v := c.Common("alone"); v.Users != 1 || !about(v.Of) {
		t.Errorf("of one: %+v", v)
	}
	for i := range 40 {
		c.See(Sighting{JA4: "bot", Subscriber: home(i), Network: network(1000 + i)}, now)
	}
	c.Tick(now)
	cards := c.Cards()
	if v := c.Common("bot"); len(cards) != 1 || v.Card != cards[0].ID || v.Users < 36 || v.Users > 44 {
		t.Errorf("of a bot: %+v; %+v", v, cards)
	}
}

// Where hardly anybody uses TLS who had a print is as many as sketches err by; the card comes all the same, whatever the key of the hashes.
func TestAFewWhoUseTLSHideNoCluster(t *testing.T) {
	t.Parallel()
	for key := range uint64(60) {
		for _, others := range []int{0, 1, 3, 15} {
			c := New(Config{Subscribers: 10, Learn: 72 * time.Hour})
			c.key = key + 1
			now := start
			for range 80 {
				for i := range others {
					c.See(Sighting{JA4: phone, Subscriber: home(100 + i), Network: network(i)}, now)
				}
				c.Listed(4000)
				c.Tick(now)
				now = now.Add(time.Hour)
			}
			for i := range 80 {
				c.See(Sighting{JA4: botPrint, Subscriber: home(i % 40), Network: network(1000 + i), Messages: 1}, now)
			}
			c.Tick(now)
			if n := len(c.Cards()); n != 1 {
				t.Errorf("key %d, %d others: %d cards", c.key, others, n)
			}
		}
	}
}

package clusters

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// village is 400 homes with a phone.
type village struct {
	c       *Clusters
	now     time.Time
	changes []Change
}

// pass lets time pass, in which the phones are in use.
func (v *village) pass(d time.Duration) {
	for range d / (6 * time.Hour) {
		v.now = v.now.Add(6 * time.Hour)
		for i := range 400 {
			v.c.See(Sighting{JA4: phone, Subscriber: home(i), Network: network(i % 20), Messages: 1}, v.now)
		}
		v.changes = append(v.changes, v.c.Tick(v.now)...)
	}
}

// serve has the mail servers of so many offices, from one on, write to networks of their own, within an hour.
func (v *village) serve(ja4 string, first, offices int) {
	for round := range 6 {
		v.now = v.now.Add(8 * time.Minute)
		for i := range offices {
			v.c.See(Sighting{JA4: ja4, Subscriber: home(first + i), Network: network(1000 + 50*round + i + int(v.now.Unix()/3600%1000)*400), Messages: 1}, v.now)
			v.changes = append(v.changes, v.c.Tick(v.now)...)
		}
	}
}

const days = 24 * time.Hour

// knownVillage is one in which the servers of twelve offices have been known for 26 days.
func knownVillage() *village {
	v := &village{c: New(usual), now: start}
	v.c.key = 1
	v.serve(newProgram, 399, 1)
	for range 26 {
		v.pass(days)
		v.serve(newServer, 0, 12)
	}
	return v
}

// Twelve offices have a print that nobody else has. They close for some days, and all come back within an hour.
func TestOfficesThatComeBack(t *testing.T) {
	t.Parallel()
	v := knownVillage()
	if len(v.changes) > 0 {
		t.Fatalf("before they close: %+v", v.changes)
	}
	known, err := v.c.Save()
	if err != nil {
		t.Fatal(err)
	}
	for _, closed := range []int{3, 9, 10, 14, 16, 30, 41, 85} {
		c, err := Load(usual, known)
		if err != nil {
			t.Fatal(err)
		}
		w := &village{c: c, now: v.now}
		w.pass(time.Duration(closed) * days)
		w.serve(newServer, 0, 12)
		if closed*24 < int(memory.Hours()) {
			if len(w.changes) > 0 {
				t.Errorf("closed for %d days: %s", closed, w.changes[0].Card.Why)
			}
			continue
		}
		// That is longer than the memory. The card says so, and it counts those who came back.
		if len(w.changes) != 1 {
			t.Fatalf("closed for %d days: %+v", closed, w.changes)
		}
		k := w.changes[0].Card
		if k.Subscribers != 10 || len(k.Members) != 10 || !k.Members[0].First.After(v.now) {
			t.Errorf("closed for %d days: %d subscribers, %d members: %s", closed, k.Subscribers, len(k.Members), k.Why)
		}
		if all := c.Cards(); len(all) != 1 || all[0].Subscribers != 12 || len(all[0].Members) != 12 {
			t.Errorf("closed for %d days: %+v", closed, all)
		}
		if said := strings.Join(k.MayBeWrong, "\n"); !strings.Contains(said, "six to twelve weeks") {
			t.Errorf("not said how long it remembers: %s", said)
		}
		if w.serve(newProgram, 399, 1); c.prints[newProgram].shared {
			t.Error("one subscriber that comes back counts as two")
		}
	}
}

// Their servers were updated meanwhile, and send to where they sent before: not a botnet.
func TestOfficesThatComeBackWithAnUpdate(t *testing.T) {
	t.Parallel()
	v := &village{c: New(usual), now: start}
	v.c.key = 1
	open := func(ja4 string) {
		for i := range 12 {
			for n := range 6 {
				v.c.See(Sighting{JA4: ja4, Subscriber: home(i), Network: network(1000 + 6*i + n), Messages: 1}, v.now)
				v.changes = append(v.changes, v.c.Tick(v.now)...)
			}
		}
	}
	for range 26 {
		v.pass(days)
		open(postfix)
	}
	v.pass(16 * days)
	open(newServer)
	for _, change := range v.changes {
		if change.Card.Looks == Botnet {
			t.Errorf("%s: %s", change.What, change.Card.Why)
		}
	}
	if p := v.c.prints[newServer]; v.c.weigh(p, hour).share < 0.9 {
		t.Errorf("%+v", v.c.weigh(p, hour))
	}
}

func TestAProgramThatIsUsedOnceAMonth(t *testing.T) {
	t.Parallel()
	v := &village{c: New(usual), now: start}
	v.c.key = 1
	v.pass(3 * days)
	for range 6 {
		v.serve(newProgram, 0, 15)
		v.pass(31 * days)
	}
	for _, change := range v.changes {
		t.Errorf("%s: %s", change.What, change.Card.Why)
	}
}

// The same twelve new customers: a card where few have what they run, none where it is what many have.
func TestWhatIsRareHereDecides(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		had   int
		began bool
	}{{0, true}, {2, true}, {100, false}, {200, false}} {
		v := &village{c: New(usual), now: start}
		v.c.key = 1
		for range 8 {
			v.pass(days)
			v.serve(postfix, 0, row.had)
		}
		if len(v.changes) > 0 {
			t.Fatalf("%d had it: %+v", row.had, v.changes)
		}
		if v.serve(postfix, 1000, 12); (len(v.changes) > 0) != row.began {
			t.Errorf("%d of 400 had it, a card began: %v, want %v; %+v", row.had, len(v.changes) > 0, row.began, v.c.weigh(v.c.prints[postfix], hour))
		}
	}
}

// Where mail servers are common, those of a dozen new customers are nothing rare.
func TestNewCustomersWithACommonServerMakeNoCard(t *testing.T) {
	inWorlds(t, "12 new customers in a day with the mail server that half of all have", "no card", 400, func(w *world) string {
		server := program{ja4: postfix, perDay: 20, mta: true}
		for _, h := range w.some(200, 400) {
			w.add(server, home(h), 0, ever)
		}
		w.learnt()
		for i := range 12 {
			w.add(server, fmt.Sprint("new-", i), w.at+time.Duration(w.r.IntN(24))*time.Hour, ever)
		}
		w.run(2 * days)
		if len(w.changes) > 0 {
			return w.changes[0].Card.Why
		}
		return "no card"
	})
}

// Offices close for 16 days, from a Friday evening on to a Monday morning.
func TestOfficesThatCloseMakeNoCard(t *testing.T) {
	inWorlds(t, "offices closed for 16 days", "no card", 400, func(w *world) string {
		closing := 13*days + 18*time.Hour // start is a Saturday
		opening := closing + 16*days
		for i := range w.all {
			if again := w.all[i]; again.office {
				w.all[i].until, again.from = closing, opening
				w.all = append(w.all, again)
			}
		}
		w.run(opening + 2*days)
		if len(w.changes) > 0 {
			return w.changes[0].Card.Why
		}
		return "no card"
	})
}

// Two lines that make up prints by the thousand, each of them shared by the two, push out each other's prints: twelve offices whose program has been known for weeks are no cluster
// when they use it again.
func TestMadeUpPrintsPushOutTheirLike(t *testing.T) {
	t.Parallel()
	v := knownVillage()
	v.pass(4 * time.Hour)
	for i := range maxShared + 100 {
		for _, line := range []int{390, 391} {
			v.c.See(Sighting{JA4: fmt.Sprintf("t13d%06d_000000000000_000000000000", i), Subscriber: home(line), Network: network(i % 50)}, v.now)
		}
	}
	if v.c.Stats().Forgotten == 0 {
		t.Fatal("there was room for all of it")
	}
	v.pass(14 * time.Hour)
	v.serve(newServer, 0, 12)
	if len(v.changes) > 0 {
		t.Errorf("a card: %s", v.changes[0].Card.Why)
	}
}

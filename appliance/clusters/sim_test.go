package clusters

import (
	"flag"
	"testing"
	"time"
)

var seeds = flag.Uint64("seeds", 4, "how many worlds each simulation has")

const (
	botPrint   = "t13d121000_4d4a3b5e6f70_0123456789ab"
	otherBot   = "t12d110800_aabbccddeeff_ba9876543210"
	newPhone   = "t13d1715h2_5b57614c22b0_cd2f1d3c4b5a"
	newProgram = "t13d1012h2_ffeeddccbbaa_99887766aabb"
	newServer  = "t13d311200_e8f1e7e78f70_5566778899aa"
)

// inWorlds runs a story in many worlds, and tells how often which outcome was.
func inWorlds(t *testing.T, what, want string, homes int, story func(w *world) string) {
	t.Helper()
	t.Parallel()
	in := map[string]uint64{}
	for seed := range *seeds {
		w := newWorld(seed, homes)
		in[story(w)]++
	}
	t.Logf("%s, in %d worlds of %d homes: %v", what, *seeds, homes, in)
	if in[want] != *seeds {
		t.Errorf("%s in %d of %d worlds, want it in all", want, in[want], *seeds)
	}
}

// outcome is what became of a print that appeared at from.
func (w *world) outcome(ja4 string, from time.Duration) string {
	k, at, ok := w.began(ja4)
	switch {
	case !ok:
		return "no card"
	case k.Looks == Update:
		return "said to be an update"
	case at-from <= 10*time.Minute:
		return "botnet within 10 min"
	case at-from <= time.Hour:
		return "botnet within an hour"
	}
	return "botnet later"
}

// learnt lets the box learn for a week and a part of a day.
func (w *world) learnt() { w.run(usual.Learn + time.Duration(w.r.IntN(24))*time.Hour) }

// infected is what becomes of 40 of so many homes with a bot, within an hour, after the box has learnt.
func (w *world) infected(of int) string {
	w.learnt()
	from := w.at
	w.infect(botPrint, w.some(40, of), 4.5, false)
	w.run(time.Hour)
	return w.outcome(botPrint, from)
}

// Forty homes, each below every budget of the preset residential: at most 5 networks and 20 sessions an hour.
func TestABotnetIsOnACardWithinTenMinutes(t *testing.T) {
	inWorlds(t, "40 infected homes, 4.5 sessions an hour each", "botnet within 10 min", 400, func(w *world) string {
		return w.infected(400)
	})
}

func TestABotnetAmongMany(t *testing.T) {
	inWorlds(t, "40 infected homes, 4.5 sessions an hour each", "botnet within 10 min", 2000, func(w *world) string {
		return w.infected(2000)
	})
}

// What 40 of 100 homes have is hardly rare, so it takes a little longer.
func TestABotnetAmongFew(t *testing.T) {
	inWorlds(t, "40 infected homes, 4.5 sessions an hour each", "botnet", 100, func(w *world) string {
		if out := w.infected(100); out != "botnet within 10 min" && out != "botnet within an hour" {
			return out
		}
		return "botnet"
	})
}

// Port 25 is for mail servers: homes need not use it at all.
func TestABotnetAmongHomesThatSendNothing(t *testing.T) {
	inWorlds(t, "40 infected homes of 400 on the list, 4.5 sessions an hour each", "botnet within 10 min", 0, func(w *world) string {
		w.c.Listed(400)
		return w.infected(400)
	})
}

// What is rare among a few that send is rarer among all on the list.
func TestABotnetAmongHomesOfWhichFewSend(t *testing.T) {
	inWorlds(t, "40 infected homes of 3000 on the list, of which 60 send, 4.5 sessions an hour each", "botnet within 10 min", 60, func(w *world) string {
		return w.infected(3000)
	})
}

// Little is known of what is common where ten homes sent while the box learnt, and 390 begin within a week, as after a summer.
func TestHomesThatBeginToSendMakeNoCard(t *testing.T) {
	inWorlds(t, "390 homes of 20,000 on the list begin to send within a week", "no card", 0, func(w *world) string {
		w.c.Listed(20000)
		for h := range 400 {
			from := time.Duration(0)
			if h >= 10 {
				from = usual.Learn + time.Duration(w.r.Float64()*float64(7*24*time.Hour))
			}
			for _, p := range common {
				if w.r.Float64() < p.share {
					w.add(p, home(h), from, ever)
				}
			}
		}
		w.run(16 * 24 * time.Hour)
		if len(w.changes) > 0 {
			return w.changes[0].Card.Why
		}
		return "no card"
	})
}

func TestCommonPrintsMakeNoCard(t *testing.T) {
	inWorlds(t, "two weeks of common prints, day and night", "no card", 400, func(w *world) string {
		w.run(14 * 24 * time.Hour)
		if len(w.changes) > 0 {
			return w.changes[0].Card.Why
		}
		return "no card"
	})
}

// A box that is put in place on a Friday evening has seen no office when its second day is over: what comes on Monday is
// not new, and no card. With two days of learning it was one.
func TestTheFirstMondayMakesNoCard(t *testing.T) {
	inWorlds(t, "the first two weeks from a Friday evening on", "no card", 400, func(w *world) string {
		w.at = 6*24*time.Hour + 18*time.Hour // start is a Saturday
		w.run(14 * 24 * time.Hour)
		if len(w.changes) > 0 {
			return w.changes[0].Card.Why
		}
		return "no card"
	})
}

// JA3 does not group a client that sends its extensions in another order each time, JA4 does.
func TestABotThatShufflesItsExtensions(t *testing.T) {
	inWorlds(t, "40 infected homes whose bot shuffles its extensions", "botnet within 10 min", 400, func(w *world) string {
		w.learnt()
		from := w.at
		w.infect(botPrint, w.some(40, 400), 4.5, true)
		w.run(time.Hour)
		for _, k := range w.c.Cards() {
			if !k.Shuffles && k.Sessions > 20 || len(k.JA3) > maxJA3 {
				return "not known to shuffle"
			}
		}
		return w.outcome(botPrint, from)
	})
}

func TestTwoBotnetsAreTwoCards(t *testing.T) {
	inWorlds(t, "two botnets of 40 and 30 homes, some homes with both", "two cards", 400, func(w *world) string {
		w.learnt()
		from := w.at
		w.infect(botPrint, w.some(40, 400), 4.5, false)
		w.infect(otherBot, w.some(30, 400), 6, false)
		w.run(time.Hour)
		if len(w.c.Cards()) != 2 || w.outcome(otherBot, from)[:6] != "botnet" {
			return "not two cards"
		}
		return "two cards"
	})
}

// One session in three hours of each home: no budget is near, and no hour has enough.
func TestASlowBotnet(t *testing.T) {
	inWorlds(t, "40 infected homes that send once in three hours, one after another over two days", "botnet later", 400, func(w *world) string {
		w.learnt()
		from := w.at
		homes := w.some(40, 400)
		for _, h := range homes {
			w.infect(botPrint, []int{h}, 1.0/3, false)
			w.run(48 * time.Hour / 40)
		}
		return w.outcome(botPrint, from)
	})
}

// A bot that has the print of what many have cannot be seen so; its sessions and networks are counted all the same.
func TestABotWithACommonPrintIsNotSeen(t *testing.T) {
	inWorlds(t, "40 infected homes with the print of a phone", "no card", 400, func(w *world) string {
		w.learnt()
		from := w.at
		w.infect(phone, w.some(40, 400), 4.5, false)
		w.run(24 * time.Hour)
		return w.outcome(phone, from)
	})
}

func TestANewPhoneReleaseMakesNoCard(t *testing.T) {
	inWorlds(t, "4 of 5 phones of a kind updated within a week", "no card", 400, func(w *world) string {
		w.learnt()
		for i := range w.all {
			if w.all[i].ja4 == phone && w.r.Float64() < 0.8 {
				w.move(i, newPhone, w.at+time.Duration(w.r.Float64()*float64(7*days)))
			}
		}
		from := w.at
		w.run(8 * 24 * time.Hour)
		return w.outcome(newPhone, from)
	})
}

func TestANewMailProgramMakesNoCard(t *testing.T) {
	inWorlds(t, "a new mail program on a tenth of all homes within a day", "no card", 400, func(w *world) string {
		w.learnt()
		from := w.at
		for _, h := range w.some(40, 400) {
			w.add(program{ja4: newProgram, perDay: 10}, home(h), w.at+time.Duration(w.r.Float64()*float64(24*time.Hour)), ever)
		}
		w.run(3 * 24 * time.Hour)
		return w.outcome(newProgram, from)
	})
}

// Mail servers update themselves within half a day. That is a card or not, but never one that says botnet.
func TestAnUpdateOfMailServersIsSaidToBeOne(t *testing.T) {
	inWorlds(t, "every Postfix of a kind updated within half a day", "said so, or nothing", 1000, func(w *world) string {
		w.learnt()
		for i := range w.all {
			if w.all[i].ja4 == postfix {
				w.move(i, newServer, w.at+time.Duration(w.r.Float64()*float64(12*time.Hour)))
			}
		}
		from := w.at
		w.run(2 * 24 * time.Hour)
		if out := w.outcome(newServer, from); out != "no card" && out != "said to be an update" {
			return out
		}
		return "said so, or nothing"
	})
}

package webadmin

import (
	"fmt"
	"strings"
)

// laneWords say in a few words why a next session waits, in the order in which somebody wants to know.
var laneWords = []struct{ reason, text string }{
	{"copies_lost", "copies lost"},
	{"not_alive", "copies not read"},
	{"not_attached", "on no interface"},
	{"stage", "watched"},
	{"budget", "near a budget"},
	{"no_plan", "no such plan"},
	{"used_up", "none left, asks for more"},
	{"asks_first", "not known yet"},
}

// nextSession says in one line what a subscriber's next session meets; nothing where nothing is known.
func nextSession(l Lane) string {
	switch {
	case l.Reason == "":
		return ""
	case l.Waits:
		return "Next session waits for a verdict · " + reasonText(l.Why)
	}
	return "Next session does not wait · " + reasonText(l.Why)
}

// nextSessions says in one line what the next sessions of all meet.
func nextSessions(next map[string]int64) string {
	if len(next) == 0 || next["off"] > 0 { // off is said elsewhere
		return ""
	}
	var waiting []string
	var sum int64
	for _, w := range laneWords {
		if n := next[w.reason]; n > 0 {
			waiting = append(waiting, fmt.Sprintf("%s %s", number(n), w.text))
			sum += n
		}
	}
	text := count(next["lease"], "subscriber does not wait", "subscribers do not wait")
	if sum == 0 {
		return text
	}
	return fmt.Sprintf("%s; %s: %s", text, count(sum, "waits", "wait"), strings.Join(waiting, ", "))
}

// waitingOf are the subscribers that wait, for the page.
func waitingOf(all []Waiting) []waitingView {
	out := make([]waitingView, 0, len(all))
	for _, w := range all {
		out = append(out, waitingView{shortID(w.Subscriber), reasonText(w.Why), subscriberLink(w.Subscriber)})
	}
	return out
}

type waitingView struct{ ID, Why, Link string }

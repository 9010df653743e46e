package appliance

import (
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// rooms is what says where there was no room to count or to keep something.
type rooms struct {
	governor governor.Stats
	cases    uint64 // changes of stage that are in no case
}

// shortages are told as they happen, by a HEALTH record a minute at most, and as a problem as long as they go on.
var shortages = []struct {
	what, target    string
	of              func(rooms) uint64
	detail, meaning string
	do              string
}{
	{"uncounted", "table_full", func(r rooms) uint64 { return r.governor.Untracked - r.governor.Strangers },
		"sessions that passed uncounted, because as many subscribers are known as there is room for",
		"Who is not known yet passes unjudged until others are forgotten.",
		"This box takes " + fmt.Sprint(governor.MaxSubscribers) + " lines; look for a flood, or divide them between two boxes."},
	{"uncounted", "too_many_strangers", func(r rooms) uint64 { return r.governor.Strangers },
		"sessions that passed uncounted, because as many senders that no list has are known as there is room for",
		"More of them pass unjudged until others are forgotten; lines of the list are judged as always.",
		"Look for a flood from forged addresses: mailweir unmapped shows from where. Filter them where they come from (BCP 38)."},
	{"uncounted", "unknown_plan", func(r rooms) uint64 { return r.governor.UnknownPlan },
		"sessions that passed unjudged, because the configuration does not have the plan of their subscriber",
		"Their subscribers have no budget.",
		"Name a plan of the configuration in the list of subscribers, and one as identity.unmapped_plan."},
	{"case_changes_lost", "", func(r rooms) uint64 { return r.cases },
		"changes of stage that are in no case, because too many cases are open",
		"Mail is judged as always. What happened under some case numbers cannot be looked up; the STAGE records have it.",
		"Look for a flood: mailweir subscribers shows who is at the top."},
}

// watchRooms says what could not be counted or kept since it was last asked, which is to be each second.
func (h *health) watchRooms(now rooms) {
	h.mu.Lock()
	last := h.rooms
	h.rooms = now
	h.mu.Unlock()
	for _, s := range shortages {
		h.often(records.HealthFacts{What: s.what, Target: s.target, Count: grown(s.of(now), s.of(last)), Detail: s.detail})
	}
}

// goesOn is how long after it was last told a shortage is a problem. While it lasts it is told each minute.
const goesOn = 2 * time.Minute

// short are the shortages that go on.
func (h *health) short() (found []webadmin.Problem) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range shortages {
		c := h.counted[s.what+"/"+s.target+"/"+s.detail]
		if c == nil || c.told.IsZero() || now.Sub(c.told) > goesOn {
			continue
		}
		found = append(found, webadmin.Problem{What: "There are " + s.detail + ".", Meaning: s.meaning, Do: s.do})
	}
	return found
}

// watchHistory says once when not every binding that ended is kept for its time any more, and whenever sessions that ended
// cannot be told from repetitions any more.
func (h *health) watchHistory(s subscriber.Stats) {
	h.mu.Lock()
	last := h.forgot
	h.forgot = s.Forgot
	h.mu.Unlock()
	h.often(records.HealthFacts{What: "radius_ended_forgotten", Count: grown(s.Forgot, last),
		Detail: "sessions that ended within a day and are not known any more, because too many did; what they said could be played back"})
	if s.Lost > 0 {
		h.begin(records.HealthFacts{What: "bindings_history_full", Detail: fmt.Sprintf(
			"more bindings end than are kept (%d); who held an address is known since %s, and from now on for a shorter time", subscriber.MaxHistory, s.Since.UTC().Format(time.RFC3339))})
	}
}

// shortHistory is a problem where who held an address is known for less than a week.
func shortHistory(s subscriber.Stats, now time.Time) []webadmin.Problem {
	if s.Lost == 0 || now.Sub(s.Since) > 7*24*time.Hour {
		return nil
	}
	return []webadmin.Problem{{
		What:    "Who held an address is known for less than a week back.",
		Since:   webadmin.At(s.Since),
		Meaning: fmt.Sprintf("It is known since then. Of bindings that ended the last %d are kept, and so many end within this time. Mail is judged as always.", subscriber.MaxHistory),
		Do:      "For what was before, ask the RADIUS server's accounting log, or the collector for the records of the time.",
	}}
}

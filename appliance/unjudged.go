package appliance

import (
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// growing is a fault that shows in nothing but a counter that grows: a HEALTH record tells of it, at once and then once a
// minute, and status while it goes on.
type growing struct {
	what    string // of the HEALTH record
	detail  string
	count   func(a *Appliance) uint64
	problem webadmin.Problem
}

var allGrowing = []growing{
	{
		what: "table_full", detail: "sessions passed uncounted, since as many subscribers as fit in memory are known already",
		count: func(a *Appliance) uint64 { s := a.gov.Stats(); return s.Untracked - s.Strangers },
		problem: webadmin.Problem{
			What:    "More subscribers are active than fit in memory.",
			Meaning: "Mail of those who come in addition passes unjudged. Idle ones make room within minutes.",
			Do:      "Look at identity.ipv4_prefix and ipv6_prefix if most of them are no lines of yours: mailweir unmapped lists them. A box is made for a million lines.",
		},
	},
	{
		what: "unknown_plan", detail: "sessions passed unjudged, since the configuration does not have the plan of their subscriber",
		count: func(a *Appliance) uint64 { return a.gov.Stats().UnknownPlan },
		problem: webadmin.Problem{
			What:    "Sessions pass unjudged under a plan that the configuration does not have.",
			Meaning: "Nothing is counted for these subscribers.",
			Do:      "Reload the configuration, and please report this: a list with such a plan is refused.",
		},
	},
	{
		what: "case_changes_lost", detail: "changes of stage are in no case, since there are too many open cases",
		count: func(a *Appliance) uint64 { return a.cases.missed() },
		problem: webadmin.Problem{
			What:    "There are too many open cases to keep another one.",
			Meaning: "Mail is judged as always. The numbers of new cases lead nowhere; records have what happened.",
			Do:      "Look for what so many subscribers have in common: mailweir subscribers shows who is at the top.",
		},
	},
}

// growth is what became of those counters.
type growth struct {
	mu   sync.Mutex
	seen map[string]uint64
	last map[string]time.Time // when each grew
}

// goesOn is how long a counter that grew is a problem.
const goesOn = time.Minute

// lookAtCounters is called every second.
func (a *Appliance) lookAtCounters() {
	now := a.now()
	for _, g := range allGrowing {
		n := g.count(a)
		a.growth.mu.Lock()
		if a.growth.seen == nil {
			a.growth.seen, a.growth.last = map[string]uint64{}, map[string]time.Time{}
		}
		more := grown(n, a.growth.seen[g.what])
		a.growth.seen[g.what] = n
		if more > 0 {
			a.growth.last[g.what] = now
		}
		a.growth.mu.Unlock()
		a.health.often(records.HealthFacts{What: g.what, Count: more, Detail: g.detail})
	}
}

// growingProblems are the counters that grew lately.
func (a *Appliance) growingProblems() (found []webadmin.Problem) {
	a.growth.mu.Lock()
	defer a.growth.mu.Unlock()
	for _, g := range allGrowing {
		if last, ever := a.growth.last[g.what]; ever && a.now().Sub(last).Abs() < goesOn {
			found = append(found, g.problem)
		}
	}
	return found
}

package webadmin

import (
	"regexp"
	"strconv"
	"time"
)

// fullest is the budget with the highest ratio; nil: there is none.
func fullest(budgets []Budget) *Budget {
	var top *Budget
	for i := range budgets {
		if top == nil || budgets[i].Ratio > top.Ratio {
			top = &budgets[i]
		}
	}
	return top
}

// cause is the budget that explains a subscriber's stage: the fullest of those that it has now, of the one in the reason for the
// stage, and of those in the decisions since. The budgets alone would not do: denied attempts are not in them, and they drain while
// the subscriber is cut, so that nothing would be left to see of what it did. nil: there is none.
func cause(sub Subscriber) *Budget {
	all := append([]Budget(nil), sub.Budgets...)
	if stageRank(sub.Stage) > stageRank("observe") {
		if b, ok := budgetIn(sub.Reason); ok {
			all = append(all, b)
		}
		for _, d := range sub.Decisions {
			if !d.At.Before(sub.Since.Time) {
				all = append(all, Budget{Of: d.Of, Window: d.Window, Limit: d.Limit, Burst: d.Burst, Value: d.Value, Ratio: d.Ratio})
			}
		}
	}
	return fullest(all)
}

// The three forms of governor's reasons: `sessions 21/20 per 1h (105%)`, `sessions 6/5 at once, 20 per 1h (120%)`,
// `concurrent_sessions 4/3 (133%)`. A test writes them with governor and reads them back.
var reasonForm = regexp.MustCompile(`^([a-z_]+) (\d+)/(\d+)(?: at once, (\d+))?(?: per (\S+))? \(\d+%\)$`)

// budgetIn reads the budget that a reason names.
func budgetIn(reason string) (Budget, bool) {
	m := reasonForm.FindStringSubmatch(reason)
	if m == nil {
		return Budget{}, false
	}
	value, err1 := strconv.Atoi(m[2])
	burst, err2 := strconv.Atoi(m[3])
	if err1 != nil || err2 != nil || burst == 0 {
		return Budget{}, false
	}
	b := Budget{Of: m[1], Value: value, Limit: burst, Burst: burst, Ratio: float64(value) / float64(burst)}
	if m[4] != "" {
		limit, err := strconv.Atoi(m[4])
		if err != nil {
			return Budget{}, false
		}
		b.Limit = limit
	}
	if m[5] != "" {
		per, err := time.ParseDuration(m[5])
		if err != nil {
			return Budget{}, false
		}
		b.Window = Seconds(per)
	}
	return b, true
}

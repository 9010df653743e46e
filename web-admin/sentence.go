package webadmin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/sentences"
)

// teller makes what is to be said to a caller, in the operator's words.
type teller struct {
	*sentences.Set
	zone
	said []string
}

func (t *teller) say(key string, facts ...sentences.Fact) {
	t.said = append(t.said, t.Say(key, facts...))
}

// moment is a time behind "since" or "until".
func (t *teller) moment(name string, at Time) sentences.Fact {
	return t.Moment(name, at.In(t.loc), t.now.In(t.loc))
}

// sentence is what to tell the customer: what was counted, what we do, until when, what is not affected, and the case.
func sentence(p *sentences.Set, sub Subscriber, st Status, now time.Time, loc *time.Location) string {
	t := &teller{Set: p, zone: zone{now, loc}}
	if exempt := sub.Exemption; exempt != nil || stageRank(sub.Stage) < stageRank("pace") {
		if exempt != nil {
			t.say("free.exempt", t.moment("until", exempt.Until))
		} else {
			t.say("free.within")
		}
		if d, ok := lastActed(sub); ok { // what the caller may have noticed
			t.last(d)
			t.caseNumber(d.Case)
		}
		return strings.Join(t.said, " ")
	}
	t.why(sub)
	if st.Mode == "enforce" {
		t.doing(sub, st)
	} else {
		t.watching(sub, st)
	}
	t.say("other.often")
	t.caseNumber(sub.Case)
	return strings.Join(t.said, " ")
}

// why says what brought a line to its stage.
func (t *teller) why(sub Subscriber) {
	key, facts := "held.near", []sentences.Fact{}
	if top := cause(sub); top != nil {
		if counted, ok := t.counted(*top); ok {
			if key = "held.close"; top.Ratio > 1 {
				key = "held.over"
			}
			facts = append(facts, counted, t.limit(*top))
		}
	}
	if !sub.Since.IsZero() {
		key += "_since"
		facts = append(facts, t.moment("since", sub.Since))
	}
	t.say(key, facts...)
}

// doing says what the box does to a line's mail, and for how long.
func (t *teller) doing(sub Subscriber, st Status) {
	t.say("doing." + sub.Stage)
	if end := sub.Until.In(t.loc); !sub.Until.IsZero() && sub.Until.After(t.now) {
		if sub.Stage == "cut" {
			t.say("ends.cut", t.At("at", end, t.now.In(t.loc)))
		} else {
			t.say("ends.calm", t.About("about", end, t.now.In(t.loc)))
		}
	}
	if len(st.Ports) > 0 && !slices.Contains(st.Ports, 587) && !slices.Contains(st.Ports, 465) {
		t.say("other.ports")
	}
}

// watching says that the box does nothing, and what it did before.
func (t *teller) watching(sub Subscriber, st Status) {
	d, acted := lastActed(sub)
	switch {
	case acted:
		t.say("watching.since", t.moment("since", st.Since))
		t.last(d)
	case !sub.Since.IsZero() && sub.Since.Before(st.Since.Time):
		t.say("watching.before", t.moment("since", st.Since))
	default:
		t.say("watching.now")
	}
}

// last says what was done by a decision, and when.
func (t *teller) last(d Decision) {
	b := Budget{Of: d.Of, Window: d.Window, Limit: d.Limit, Burst: d.Burst, Value: d.Value}
	if b.Burst == 0 {
		b, _ = budgetIn(d.Reason)
	}
	at := t.At("at", d.At.In(t.loc), t.now.In(t.loc))
	if counted, ok := t.counted(b); ok && b.Burst > 0 {
		t.say("last."+d.Action, at, counted, t.limit(b))
		return
	}
	t.say("last_only."+d.Action, at)
}

func (t *teller) caseNumber(number string) {
	if number != "" {
		t.say("other.case", t.Fact("case", inert(number)))
	}
}

// counted is what a budget has counted; false where there are no words for that.
func (t *teller) counted(b Budget) (sentences.Fact, bool) {
	if !slices.Contains(budgetKinds, b.Of) {
		return sentences.Fact{}, false
	}
	return t.Filled("counted", t.Count("counted."+b.Of, b.Value)), true
}

// limit is what a budget allows: "20 allowed in an hour", "5 allowed at once and 20 in an hour".
func (t *teller) limit(b Budget) sentences.Fact {
	n, w := t.Number("n", b.Limit), time.Duration(b.Window)
	switch {
	case w == 0:
		return t.Filled("limit", t.Say("limit.plain", n))
	case b.Burst != b.Limit:
		return t.Filled("limit", t.Say("limit.burst", n, t.Number("burst", b.Burst), t.window(w)))
	}
	return t.Filled("limit", t.Say("limit.window", n, t.window(w)))
}

// window is the time for which a limit is, in the largest unit that it is whole numbers of.
func (t *teller) window(d time.Duration) sentences.Fact {
	unit, n := "seconds", d/time.Second
	switch {
	case d%(24*time.Hour) == 0:
		unit, n = "days", d/(24*time.Hour)
	case d%time.Hour == 0:
		unit, n = "hours", d/time.Hour
	case d%time.Minute == 0:
		unit, n = "minutes", d/time.Minute
	}
	return t.Filled("window", t.Count("window."+unit, int(n)))
}

// lastActed is the last decision that held a line's mail back.
func lastActed(sub Subscriber) (Decision, bool) {
	i := slices.IndexFunc(sub.Decisions, func(d Decision) bool { return d.Acted && stageRank(d.Action) >= stageRank("pace") }) // newest first
	if i < 0 {
		return Decision{}, false
	}
	return sub.Decisions[i], true
}

// limitText is a budget as every record writes it: "412/20 per 1h", "6/5 at once, 20 per 1h", "4/3".
func limitText(b Budget) string {
	w := time.Duration(b.Window)
	switch {
	case w == 0:
		return fmt.Sprintf("%s/%s", number(b.Value), number(b.Limit))
	case b.Burst != b.Limit:
		return fmt.Sprintf("%s/%s at once, %s per %s", number(b.Value), number(b.Burst), number(b.Limit), window(w))
	}
	return fmt.Sprintf("%s/%s per %s", number(b.Value), number(b.Limit), window(w))
}

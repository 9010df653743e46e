package webadmin

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// counted names what a budget counts, for a caller on the telephone.
var counted = map[string]string{
	"sessions":            "mail connections",
	"tls_handshakes":      "encrypted mail connections",
	"tls_failures":        "encrypted mail connections that failed",
	"concurrent_sessions": "mail connections at the same time",
	"destinations":        "networks contacted",
	"messages":            "messages",
	"recipients":          "recipients",
	"rejected":            "messages that were rejected",
}

// doing says what the box does to a line's mail at a stage, in enforce mode.
var doing = map[string]string{
	"pace":  "We let its mail through more slowly; nothing is lost.",
	"defer": "We ask its mail programs to wait and try again; mail is late, not lost.",
	"cut":   "We refuse its direct mail connections for now; its mail programs keep what they could not send and try again.",
}

// sentence is what to tell the customer: what was counted, what we do, until when, what is not affected, and the case.
func sentence(sub Subscriber, st Status, now time.Time, loc *time.Location) string {
	z := zone{now, loc}
	var said []string
	say := func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }
	if exempt := sub.Exemption; exempt != nil || stageRank(sub.Stage) < stageRank("pace") {
		if exempt != nil {
			say("Nothing is being held back on this line: it is exempt until %s.", z.clock(exempt.Until.Time).Text)
		} else {
			say("Nothing is being held back on this line: it is within what its plan allows.")
		}
		if d, ok := lastActed(sub); ok { // what the caller may have noticed
			say("%s", d.told(z))
			if d.Case != "" {
				say("The case number is %s.", d.Case)
			}
		}
		return strings.Join(said, " ")
	}

	since := ""
	if !sub.Since.IsZero() {
		since = " since " + z.clock(sub.Since.Time).Text
	}
	top := cause(sub)
	switch {
	case top == nil || counted[top.Of] == "":
		say("This line has been near or over what its plan allows%s.", since)
	case top.Ratio > 1:
		say("This line has been over what its plan allows%s: %s %s counted, %s allowed%s.", since, number(top.Value), counted[top.Of], number(top.Burst), allowance(*top))
	default:
		say("This line has come close to what its plan allows%s: %s of %s %s%s.", since, number(top.Value), number(top.Burst), counted[top.Of], allowance(*top))
	}
	d, acted := lastActed(sub)
	switch {
	case st.Mode != "enforce" && acted:
		say("The box only watches since %s. %s", z.clock(st.Since.Time).Text, d.told(z))
	case st.Mode != "enforce" && !sub.Since.IsZero() && sub.Since.Before(st.Since.Time):
		say("The box only watches since %s; what it did to this line's mail before that is in the records.", z.clock(st.Since.Time).Text)
	case st.Mode != "enforce":
		say("The box only watches at present, so its mail was neither slowed nor stopped by us.")
	default:
		say("%s", doing[sub.Stage])
		if !sub.Until.IsZero() && sub.Until.After(now) {
			if sub.Stage == "cut" {
				say("That ends at %s.", z.clock(sub.Until.Time).Text)
			} else {
				say("If it stops now, that ends at about %s.", z.clock(sub.Until.Time).Text)
			}
		}
		if len(st.Ports) > 0 && !slices.Contains(st.Ports, 587) && !slices.Contains(st.Ports, 465) {
			say("Mail sent through a mail provider with name and password (port 587 or 465) is not affected.")
		}
	}
	say("Often a computer or device on the line sends mail without its owner's knowledge.")
	if sub.Case != "" {
		say("The case number is %s.", sub.Case)
	}
	return strings.Join(said, " ")
}

// lastActed is the last decision that held a line's mail back.
func lastActed(sub Subscriber) (Decision, bool) {
	i := slices.IndexFunc(sub.Decisions, func(d Decision) bool { return d.Acted && stageRank(d.Action) >= stageRank("pace") }) // newest first
	if i < 0 {
		return Decision{}, false
	}
	return sub.Decisions[i], true
}

// allowance is the rest of a limit: " in an hour", " at once and 20 in an hour".
func allowance(b Budget) string {
	w := time.Duration(b.Window)
	switch {
	case w == 0:
		return ""
	case b.Burst != b.Limit:
		return fmt.Sprintf(" at once and %s %s", number(b.Limit), perWindow(w))
	}
	return " " + perWindow(w)
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

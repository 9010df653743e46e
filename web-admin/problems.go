package webadmin

import (
	"cmp"
	"fmt"
	"slices"
)

// problemsOf is everything that somebody should look at: what the status shows, and what its source adds. The box is healthy if none of it is about
// the box itself. It changes only when something does, neither with time nor with the order of its source, so that it can be
// compared with that of a second ago. What counts since the start and never falls (packets lost) is no problem: it would stand for ever.
func problemsOf(st Status) []Problem {
	out := []Problem{}
	add := func(since Time, what, meaning, do string) {
		out = append(out, Problem{What: what, Meaning: meaning, Do: do, Since: since})
	}
	if !st.Ready {
		do := "Look at " + logPlace(st.Image) + "; it says what mailweir waits for."
		if st.Image {
			do += " Item 7 starts the box again."
		}
		add(Time{}, "No packets are being judged", capital(st.Unjudged())+".", do)
	}
	for _, t := range st.Syslog {
		if t.Up || t.untried() {
			continue
		}
		meaning := fmt.Sprintf("Mail is not affected; %s waiting", count(t.Behind, "record", "records"))
		if t.Dropped > 0 {
			meaning += fmt.Sprintf(", %s lost to this collector.", number(t.Dropped))
		} else {
			meaning += ", none lost."
		}
		do := "Check the collector and the way to it."
		if t.LastError != "" {
			do = "Check the collector and the way to it: " + inert(t.LastError) + "."
		}
		add(t.Since, "Collector "+inert(t.URL)+" unreachable", meaning, do)
	}
	if !st.Store.OK {
		meaning := "Mail is not affected; budgets and stages of the time since then would be forgotten at a restart."
		do := "Check the data directory and the disk's free space."
		if st.Store.Why != "" {
			do += " " + inert(st.Store.Why) + "."
		}
		add(Time{}, "Budgets cannot be saved", meaning, do)
	}
	if st.Clock.Known && !st.Clock.Synced {
		do := "Check the time service of this machine."
		if st.Clock.Kept {
			do = "Name an NTP server (Set-up, Time; in the configuration ntp.servers), or have your DHCP server name one (option 42), and let the box reach its UDP port 123."
			if st.Clock.Why != "" {
				do += " Last: " + inert(st.Clock.Why) + "."
			}
		}
		if st.Clock.Unset() {
			add(Time{}, "The clock was not set since the box came up", "Mail is not affected; times in records are wrong, codes of second factors do not fit, and browsers may find the certificate not valid.", do)
		} else {
			add(Time{}, "The clock is not synchronised", "Mail is not affected; times in records may be wrong.", do)
		}
	}
	added := slices.SortedFunc(slices.Values(st.Problems), func(a, b Problem) int {
		return cmp.Or(a.Since.Compare(b.Since.Time), cmp.Compare(a.What, b.What))
	})
	for _, p := range added {
		out = append(out, Problem{What: inert(p.What), Meaning: inert(p.Meaning), Do: inert(p.Do), Since: p.Since, By: p.By, Link: p.Link, Lines: p.Lines})
	}
	return out
}

// Unjudged says what becomes of mail that nobody judges now.
func (st Status) Unjudged() string {
	switch {
	case !st.FailClosed:
		return "mail passes unjudged"
	case st.Steered:
		return "mail does not pass: network.on_failure is closed, so it is dropped until it is judged, and its senders try again"
	}
	return "mail passes unjudged, although network.on_failure is closed: the rules that would stop it are not in the kernel"
}

// logPlace is where somebody looks for the log: the image has neither a shell nor a service manager.
func logPlace(image bool) string {
	if image {
		return "the log: item 6 of the menu at the box's console"
	}
	return "the log of the service"
}

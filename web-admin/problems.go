package webadmin

import "fmt"

// problemsOf is everything about the box itself that somebody should look at: what the status shows, and what its source adds.
// Empty means healthy. Nothing in it changes with time alone, so that it can be compared with that of a second ago.
func problemsOf(st Status) []Problem {
	out := []Problem{}
	add := func(since Time, what, meaning, do string) {
		out = append(out, Problem{What: what, Meaning: meaning, Do: do, Since: since})
	}
	if !st.Ready {
		add(Time{}, "No packets are being judged", "Mail passes unwatched.", "Look at the log of the service; it says what it waits for.")
	}
	for _, t := range st.Syslog {
		if t.Up {
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
	if n := st.Lanes.Queue.Dropped; n > 0 {
		add(Time{}, count(n, "packet", "packets")+" dropped by the full queue since the start",
			"Mail was slowed by retransmissions, not lost.", "If this number grows, raise queue.length or queue.count.")
	}
	if n := st.Lanes.Queue.UserDropped; n > 0 {
		add(Time{}, count(n, "packet", "packets")+" could not be handed over for judging since the start",
			"Mail was slowed by retransmissions, not lost.", "If this number grows, the machine is too slow for this traffic.")
	}
	if st.Clock.Known && !st.Clock.Synced {
		add(Time{}, "The clock is not synchronised", "Mail is not affected; times in records may be wrong.", "Check the time service of this machine.")
	}
	for _, p := range st.Problems {
		out = append(out, Problem{What: inert(p.What), Meaning: inert(p.Meaning), Do: inert(p.Do), Since: p.Since})
	}
	return out
}

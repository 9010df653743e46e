package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/nfq/capture"
)

// shownSubscribers is how many the summary names; --json tells of all.
const shownSubscribers = 40

// replaySummary prints a replay for people.
func replaySummary(out io.Writer, r *appliance.ReplayReport) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush() // the writer below tells of errors
	if r.Capture.Packets == 0 {
		fmt.Fprintf(w, "capture\t%d frames, no IP packet\n", r.Capture.Frames)
	} else {
		fmt.Fprintf(w, "capture\t%d packets, %s to %s UTC (%s)\n", r.Capture.Packets,
			r.First.UTC().Format(time.DateTime), r.Last.UTC().Format(time.DateTime), lasting(r.Last.Sub(r.First)))
	}
	for _, line := range captureNotes(&r.Capture) {
		fmt.Fprintf(w, "\t%s\n", line)
	}
	for _, line := range packetNotes(&r.Run) {
		fmt.Fprintf(w, "\t%s\n", line)
	}
	if r.Damage != nil {
		for line := range strings.Lines(r.Damage.Error()) {
			fmt.Fprintf(w, "DAMAGE\t%s\n", strings.TrimSpace(line))
		}
	}
	sessionLines(w, &r.Run.Sessions)
	runLines(w, &r.Run)
	if r.Against == nil {
		subscriberTable(w, r.Run.Subscribers)
		return
	}
	runLines(w, r.Against)
	differenceTable(w, r)
}

func sessionLines(w io.Writer, s *appliance.ReplaySessions) {
	fmt.Fprintf(w, "sessions\t%d: %d in clear, %d STARTTLS, %d implicit TLS, %d unknown%s\n", s.Total, s.Clear, s.StartTLS, s.Implicit, s.Unknown,
		list("; ended: ", s.Ends, 0))
	if s.MidAir+s.Gaps > 0 {
		fmt.Fprintf(w, "\t%d had begun before the capture; %d have holes in what was captured\n", s.MidAir, s.Gaps)
	}
	fmt.Fprintf(w, "messages\t%s, %d recipients, %d refused\n", messages(s), s.Recipients, s.Rejected)
	fmt.Fprintf(w, "bytes\t%d up, %d down, %d of TLS handshakes\n", s.BytesUp, s.BytesDown, s.HandshakeBytes)
	if n := s.StartTLS + s.Implicit; n > 0 {
		fmt.Fprintf(w, "TLS\t%d%s%s\n", n, list(": ", s.Handshakes, 0), list("; ", s.TLSVersions, 0))
		fmt.Fprintf(w, "\t%d clients by JA4%s\n", len(s.JA4), list(": ", s.JA4, 5))
	}
}

// messages says how many there were, as far as it is known: those read in clear and those estimated inside TLS.
func messages(s *appliance.ReplaySessions) string {
	text := fmt.Sprintf("%s accepted", span(s.MessagesLo, s.MessagesHi))
	if n := s.MessagesLo - s.Messages; n > 0 {
		text += fmt.Sprintf(" (%d read in clear, at least %d estimated inside TLS)", s.Messages, n)
	}
	if s.Unbounded > 0 {
		text += fmt.Sprintf(", beside those of %d sessions that cannot be told", s.Unbounded)
	}
	return text
}

// span is a range of numbers: "3", or "3 to 5".
func span(lo, hi int) string {
	if hi > lo {
		return fmt.Sprintf("%d to %d", lo, hi)
	}
	return fmt.Sprint(lo)
}

// spanOf is that of a subscriber's messages: "3", "3 to 5", or "3+" where no bound is known.
func spanOf(s *appliance.ReplaySubscriber) string {
	if s.Unbounded {
		return fmt.Sprintf("%d+", s.MessagesLo)
	}
	return span(s.MessagesLo, s.MessagesHi)
}

func runLines(w io.Writer, r *appliance.ReplayRun) {
	d, name := r.Decisions, "in force"
	if r.ConfigFile != "" {
		name = plain(filepath.Base(r.ConfigFile))
	}
	fmt.Fprintf(w, "%s\tmode %s: %d passed, %d paced, %d deferred, %d cut; acted %d, would have acted %d\n", name, r.Mode,
		d.Passed, d.Paced, d.Deferred, d.Cut, r.Acted, d.Paced+d.Deferred+d.Cut-r.Acted)
	if r.Uncounted > 0 {
		fmt.Fprintf(w, "\t%d sessions passed uncounted: too many subscribers\n", r.Uncounted)
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(w, "\tat least %d subscribers are in no table: too many\n", r.Unlisted)
	}
}

// subscriberTable names those above observe, and then those with the most sessions.
func subscriberTable(w io.Writer, all []appliance.ReplaySubscriber) {
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b appliance.ReplaySubscriber) int {
		return cmp.Or(cmp.Compare(b.Highest, a.Highest), cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.ID, b.ID))
	})
	fmt.Fprintf(w, "\nsubscriber\tplan\tsessions\tTLS\tmessages\tpaced\tdeferred\tcut\tstages\twhy\n")
	for _, s := range all[:min(len(all), shownSubscribers)] {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%d\t%s\t%s\n", plain(s.ID), plain(s.Plan), s.Sessions, s.Encrypted, spanOf(&s),
			s.Decisions.Paced, s.Decisions.Deferred, s.Decisions.Cut, stages(&s), s.Why)
	}
	more(w, len(all))
}

func differenceTable(w io.Writer, r *appliance.ReplayReport) {
	all := differences(r)
	if len(all) == 0 {
		fmt.Fprintf(w, "difference\tnone: all subscribers would have been in the same stages for the same time\n")
		return
	}
	fmt.Fprintf(w, "difference\t%d subscribers\n\nsubscriber\tplan\t%s\t%s\n", len(all), plain(filepath.Base(r.Run.ConfigFile)), plain(filepath.Base(r.Against.ConfigFile)))
	for _, d := range all[:min(len(all), shownSubscribers)] {
		plan := d.One.Plan
		if d.Two.Plan != plan {
			plan = strings.Trim(plan+" / "+d.Two.Plan, "/ ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", plain(d.ID), plain(plan), fate(&d.One), fate(&d.Two))
	}
	more(w, len(all))
}

// fate is what became of a subscriber, in a cell.
func fate(s *appliance.ReplaySubscriber) string {
	text := stages(s)
	for _, n := range []struct {
		n    int
		word string
	}{{s.Decisions.Paced, "paced"}, {s.Decisions.Deferred, "deferred"}, {s.Decisions.Cut, "cut"}} {
		if n.n > 0 {
			text += fmt.Sprintf("; %d %s", n.n, n.word)
		}
	}
	return text
}

func more(w io.Writer, n int) {
	if n > shownSubscribers {
		fmt.Fprintf(w, "and %d more; --json has them all\n", n-shownSubscribers)
	}
}

// captureNotes are what is to be known of a capture beside its packets.
func captureNotes(s *capture.Stats) (lines []string) {
	note := func(n uint64, format string, args ...any) {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("%d ", n)+fmt.Sprintf(format, args...))
		}
	}
	note(s.NoIP, "frames without an IP packet")
	for _, link := range slices.Sorted(maps.Keys(s.Links)) {
		note(s.Links[link], "of these of link type %d, which is not known here", link)
	}
	note(s.Cut, "frames cut short by the capture, %d bytes are not there", s.CutBytes)
	note(s.NoTime, "frames without a possible time: the one before tells it")
	f := s.Fragments
	note(f.Seen, "fragments: %d packets joined, %d incomplete, %d cut short by the capture, %d refused", f.Joined, f.Missing, f.Cut, f.Refused)
	return lines
}

// packetNotes are of packets that told nothing and might have been expected to.
func packetNotes(r *appliance.ReplayRun) (lines []string) {
	counts := map[string]int{}
	for _, why := range []string{"too_short", "bad_version", "bad_header_length", "bad_total_length", "bad_extension_header", "bad_tcp_offset", "not_tcp", "not_governed", "stray", "flow_table_full", "after_end"} {
		if n := r.Packets[why]; n > 0 {
			counts[strings.ReplaceAll(why, "_", " ")] = int(n)
		}
	}
	if len(counts) > 0 {
		lines = append(lines, "packets of no session"+list(": ", counts, 0))
	}
	return lines
}

// list says how often what was, the most frequent first and at most so many (0: all); "" if nothing was.
func list(before string, counts map[string]int, most int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var parts []string
	for i, name := range names {
		if most > 0 && i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], cmp.Or(plain(name), "none")))
	}
	if parts == nil {
		return ""
	}
	return before + strings.Join(parts, ", ")
}

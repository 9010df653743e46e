package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mailweir/mailweir/appliance/update"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

func statusCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /status, with the last update")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("status takes no argument %q", rest[0])
	}
	var s webadmin.Status
	if err := newClient(*data).get(ctx, []string{"status"}, nil, &s); err != nil {
		return err
	}
	last, err := update.Load(*data)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, struct {
			webadmin.Status
			Update *update.Outcome `json:"update,omitempty"`
		}{s, last})
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	ready := "judging packets"
	if !s.Ready {
		ready = "NOT judging packets (" + s.Unjudged() + ")"
	}
	fmt.Fprintf(w, "mode\t%s, %s for %s, version %s\n", s.Mode, ready, time.Duration(s.Uptime).Round(time.Second), s.Version)
	fmt.Fprintf(w, "sessions\t%d open, %d since start\n", s.Sessions.Open, s.Sessions.Total)
	fmt.Fprintf(w, "decisions\t%d passed, %d paced, %d deferred, %d cut; acted %d, would have acted %d\n",
		s.Actions.Passed, s.Actions.Paced, s.Actions.Deferred, s.Actions.Cut, s.Acted, s.WouldHaveActed)
	fmt.Fprintf(w, "subscribers\t%d warned, %d paced, %d deferred, %d cut now; %d exempt\n",
		s.Stages.Warn, s.Stages.Pace, s.Stages.Defer, s.Stages.Cut, s.Exempt)
	q := s.Lanes.Queue
	fmt.Fprintf(w, "queue\t%d waiting, %d held on purpose, %d judged; dropped %d full, %d unread; failed open %d; %s\n",
		q.Depth, q.Held, q.Packets, q.Dropped, q.UserDropped, s.Actions.FailedOpen, strings.Join([]string{q.Form, q.Reader}, ", reader "))
	fmt.Fprintf(w, "fast lane\t%s\n", fastLane(s.Lanes.Fast))
	for _, line := range nextSessions(s.Lanes.Fast) {
		fmt.Fprintf(w, "next session\t%s\n", line)
	}
	if s.Bridge != nil {
		fmt.Fprintf(w, "bridge\t%s\n", bridged(*s.Bridge))
	}
	if s.Router != nil {
		for _, line := range routed(*s.Router) {
			fmt.Fprintf(w, "router\t%s\n", line)
		}
	}
	if len(s.Syslog) == 0 {
		fmt.Fprintf(w, "syslog\tno collector configured\n")
	}
	for _, t := range s.Syslog {
		up := "up"
		if !t.Up {
			up = "DOWN since " + clock(t.Since) + ": " + t.LastError
		}
		waiting := fmt.Sprintf("%d waiting", t.Behind)
		if !t.Oldest.IsZero() {
			waiting += ", the oldest of " + clock(t.Oldest)
		}
		fmt.Fprintf(w, "syslog\t%s %s, %s, %d lost\n", t.URL, up, waiting, t.Dropped)
	}
	for _, t := range s.Notices {
		up := "up"
		if !t.Up {
			up = "FAILS since " + clock(t.Since) + ": " + t.LastError
		}
		fmt.Fprintf(w, "notices\t%s (%s) %s, %d waiting, %d delivered, %d lost\n", t.Name, t.Where, up, t.Waiting, t.Delivered, t.Lost)
	}
	if len(s.Syslog) > 0 {
		fmt.Fprintf(w, "spool\t%s\n", spoolLine(s.Spool))
	}
	fmt.Fprintf(w, "journal\t%s\n", journalLine(s.Journal))
	if s.Head.Seq > 0 {
		fmt.Fprintf(w, "records\tlast %s:%d:%s\n", plain(s.Box), s.Head.Seq, plain(s.Head.Hash))
	}
	fmt.Fprintf(w, "clusters\t%s\n", clustersLine(s.Clusters))
	store := "ok"
	if !s.Store.OK {
		store = "FAULTY: " + s.Store.Why
	}
	if last != nil {
		fmt.Fprintf(w, "update\t%s, %s\n", plain(last.String()), clock(webadmin.At(last.Time)))
	}
	fmt.Fprintf(w, "store\t%s, %d bytes written today\n", store, s.Store.WrittenToday)
	if s.Clock.Known {
		fmt.Fprintf(w, "clock\t%s\n", clockLine(s.Clock))
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem\t%s\n", problemLine(p))
	}
	return w.Flush()
}

// problemLine is a problem in a line, with its times.
func problemLine(p webadmin.Problem) string {
	text := p.What
	if !p.Since.IsZero() {
		text += " (since " + clock(p.Since) + ")"
	}
	if !p.By.IsZero() {
		text += " (by " + clock(p.By) + ")"
	}
	return plain(text + " " + p.Meaning + " " + p.Do)
}

// clockLine says who keeps the clock, in a line.
func clockLine(c webadmin.Clock) string {
	text := "synchronised"
	if !c.Synced {
		text = "NOT synchronised: times in records may be wrong"
	}
	if c.Server != "" {
		text += fmt.Sprintf("; %s (stratum %d) was heard %s, off by %v", plain(c.Server), c.Stratum, clock(c.Heard), time.Duration(c.Offset).Round(time.Microsecond))
	}
	if c.Why != "" {
		text += "; " + plain(c.Why)
	}
	return text
}

// spoolLine says how full the spool is, in a line.
func spoolLine(p webadmin.Spool) string {
	text := fmt.Sprintf("%d records, %.1f of %.1f MiB", p.Records, float64(p.Bytes)/(1<<20), float64(p.Limit)/(1<<20))
	if !p.Oldest.IsZero() {
		text += ", the oldest of " + clock(p.Oldest)
	}
	if p.Fault != "" {
		text += "; the disk TAKES NOTHING, records wait in memory: " + plain(p.Fault)
	}
	return text
}

// journalLine says how full the journal is and what it misses, in a line.
func journalLine(j webadmin.Journal) string {
	text := fmt.Sprintf("%.1f of %.1f MiB", float64(j.Bytes)/(1<<20), float64(j.Limit)/(1<<20))
	if !j.Since.IsZero() {
		text += ", since " + clock(j.Since)
	}
	text += fmt.Sprintf("; %d held beyond their time, %d records and %d inputs lost", j.Held, j.Lost, j.Inputs)
	if j.Fault != "" {
		text += "; it CANNOT BE WRITTEN: " + plain(j.Fault)
	}
	return text
}

// clustersLine says how the search for clusters stands, in a line.
func clustersLine(c webadmin.Clusters) string {
	text := fmt.Sprintf("%d that look like botnets, %d like updates; %d different TLS clients are known", c.Botnets, c.Updates, c.Prints)
	if c.Learning {
		text += fmt.Sprintf("; none begins yet, it has learnt for %v what is common here", time.Duration(c.Learnt).Round(time.Minute))
	}
	return text
}

// fastLane says how the fast lane is, in a line.
func fastLane(f webadmin.FastLane) string {
	if !f.On {
		return "off: " + f.Why
	}
	text := fmt.Sprintf("on (%s); %d subscribers may begin %d sessions unasked; %d sessions did, %d were handed over; %d copies, %d lost",
		f.How, f.Subscribers, f.Allowed, f.Sessions, f.Handed, f.Copies, f.CopiesLost)
	var waited []string
	for _, why := range slices.Sorted(maps.Keys(f.Waited)) {
		if n := f.Waited[why]; n > 0 {
			waited = append(waited, fmt.Sprintf("%d %s", n, strings.ReplaceAll(why, "_", " ")))
		}
	}
	if len(waited) > 0 {
		text += "; waited: " + strings.Join(waited, ", ")
	}
	if f.Tracked != "" {
		text += "; tracked, because of " + f.Tracked
	}
	if f.ShortCut.On {
		text += fmt.Sprintf("; short cut on, %d of %d packets took it", f.ShortCut.Packets, f.Packets)
	} else {
		text += "; short cut off: " + f.ShortCut.Why
	}
	if f.Why != "" {
		text += "; " + f.Why
	}
	return text
}

// nextSessions says what the next sessions of all subscribers meet, and names some of those that wait, a line each.
func nextSessions(f webadmin.FastLane) []string {
	if len(f.Next) == 0 {
		return nil
	}
	text := fmt.Sprintf("%d subscribers do not wait for a verdict", f.Next["lease"])
	for _, reason := range slices.Sorted(maps.Keys(f.Next)) {
		if n := f.Next[reason]; n > 0 && reason != "lease" {
			text += fmt.Sprintf("; %d wait: %s", n, strings.ReplaceAll(reason, "_", " "))
		}
	}
	lines := []string{text}
	for _, w := range f.Waiting {
		lines = append(lines, plain(w.Subscriber)+" waits: "+w.Why)
	}
	return lines
}

// bridged says how the bridge is, in a line.
func bridged(b webadmin.Bridge) string {
	text := cmp.Or(b.Name, "none")
	switch t := b.Tagged; {
	case t.Why != "":
		text += "; mail with VLAN tags or in PPPoE passes unjudged: " + t.Why
	case t.On:
		text += fmt.Sprintf("; mail with VLAN tags or in PPPoE is governed (%d packets)", t.Taken)
	}
	if n := b.Tagged.Odd; n > 0 {
		text += fmt.Sprintf("; %d such packets passed unjudged", n)
	}
	if n := b.Tagged.Dropped; n > 0 {
		text += fmt.Sprintf("; %d such packets were dropped", n)
	}
	if len(b.Changed) > 0 {
		text += "; set until we stop: " + strings.Join(b.Changed, ", ")
	}
	for _, f := range []struct {
		answers bool
		family  string
	}{{b.Answer4, "IPv4"}, {b.Answer6, "IPv6"}} {
		if !f.answers {
			text += "; who is deferred over " + f.family + " is reset"
		}
	}
	if b.Unanswered > 0 {
		text += fmt.Sprintf("; %d deferred sessions were reset, since no way back was known", b.Unanswered)
	}
	if b.Tracked != "" {
		text += "; all that crosses it is tracked, because of " + b.Tracked
	}
	if b.Why != "" {
		text += "; " + b.Why
	}
	return text
}

// routed says what a router has, in lines: addresses, and then routes.
func routed(r webadmin.Router) (lines []string) {
	for _, a := range r.Addresses {
		lines = append(lines, a.Interface+" has "+a.Address)
	}
	for _, one := range r.Routes {
		lines = append(lines, strings.TrimSpace("to "+one.To+" via "+one.Via+" "+one.Interface))
	}
	return lines
}

// clock says a moment of the last day by its time, an older one with its date.
func clock(t webadmin.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case time.Since(t.Time).Abs() < 24*time.Hour:
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format(time.DateTime)
}

// plain shows what somebody else wrote without letting it move the cursor.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

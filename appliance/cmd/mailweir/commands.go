package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

func statusCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /status")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("status takes no argument %q", rest[0])
	}
	var s webadmin.Status
	if err := newClient(*data).call(ctx, "GET", []string{"status"}, nil, &s); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, s)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	ready := "judging packets"
	if !s.Ready {
		ready = "NOT judging packets"
	}
	fmt.Fprintf(w, "mode\t%s, %s for %s, version %s\n", s.Mode, ready, time.Duration(s.Uptime).Round(time.Second), s.Version)
	fmt.Fprintf(w, "sessions\t%d open, %d since start\n", s.Sessions.Open, s.Sessions.Total)
	fmt.Fprintf(w, "decisions\t%d passed, %d paced, %d deferred, %d cut; acted %d, would have acted %d\n",
		s.Actions.Passed, s.Actions.Paced, s.Actions.Deferred, s.Actions.Cut, s.Acted, s.WouldHaveActed)
	fmt.Fprintf(w, "subscribers\t%d warned, %d paced, %d deferred, %d cut now\n", s.Stages.Warn, s.Stages.Pace, s.Stages.Defer, s.Stages.Cut)
	q := s.Lanes.Queue
	fmt.Fprintf(w, "queue\t%d waiting, %d held on purpose, %d judged; dropped %d full, %d unread; failed open %d; %s\n",
		q.Depth, q.Held, q.Packets, q.Dropped, q.UserDropped, s.Actions.FailedOpen, strings.Join([]string{q.Form, q.Reader}, ", reader "))
	fast := "on"
	if !s.Lanes.Fast.On {
		fast = "off: " + s.Lanes.Fast.Why
	}
	fmt.Fprintf(w, "fast lane\t%s\n", fast)
	if len(s.Syslog) == 0 {
		fmt.Fprintf(w, "syslog\tno collector configured\n")
	}
	for _, t := range s.Syslog {
		up := "up"
		if !t.Up {
			up = "DOWN since " + clock(t.Since) + ": " + t.LastError
		}
		fmt.Fprintf(w, "syslog\t%s %s, %d waiting, %d lost\n", t.URL, up, t.Behind, t.Dropped)
	}
	store := "ok"
	if !s.Store.OK {
		store = "FAULTY: " + s.Store.Why
	}
	fmt.Fprintf(w, "store\t%s, %d bytes written today\n", store, s.Store.WrittenToday)
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem\t%s %s %s\n", p.What, p.Meaning, p.Do)
	}
	return w.Flush()
}

func subscribersCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /subscribers")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	api := newClient(*data)
	switch len(rest) {
	case 0:
		items, err := allSubscribers(ctx, api)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, map[string]any{"items": items, "next": ""})
		}
		w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SUBSCRIBER\tPLAN\tSTAGE\tSINCE\tOPEN\tCASE\tWHY\tNAME")
		for _, s := range items {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", s.ID, s.Plan, s.Stage, clock(s.Since), s.Open,
				cmp.Or(s.Case, "-"), cmp.Or(s.Reason, "-"), cmp.Or(plain(s.Name), "-"))
		}
		return w.Flush()
	case 1:
		if rest[0] == "" {
			return usagef("an empty ID; `mailweir subscribers` lists them")
		}
		var s webadmin.Subscriber
		if err := api.call(ctx, "GET", []string{"subscribers", rest[0]}, nil, &s); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, s)
		}
		printSubscriber(c, s)
		return nil
	}
	return usagef("subscribers takes one ID, not %d", len(rest))
}

// allSubscribers follows the pages of the list to its end.
func allSubscribers(ctx context.Context, api *client) ([]webadmin.Subscriber, error) {
	items := []webadmin.Subscriber{}
	query := url.Values{"limit": {strconv.Itoa(1000)}}
	for {
		var page struct {
			Items []webadmin.Subscriber `json:"items"`
			Next  string                `json:"next"`
		}
		if err := api.call(ctx, "GET", []string{"subscribers"}, query, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			return items, nil
		}
		query.Set("cursor", page.Next)
	}
}

func printSubscriber(c *invocation, s webadmin.Subscriber) {
	fmt.Fprintf(c.stdout, "%s  %s  plan %s  %s\n", s.ID, cmp.Or(plain(s.Name), "(no name)"), s.Plan, strings.Join(s.Prefixes, " "))
	fmt.Fprintf(c.stdout, "stage %s since %s", s.Stage, clock(s.Since))
	if !s.Until.IsZero() {
		fmt.Fprintf(c.stdout, ", until %s if it stops now", clock(s.Until))
	}
	if s.Case != "" {
		fmt.Fprintf(c.stdout, ", case %s", s.Case)
	}
	if s.Reason != "" {
		fmt.Fprintf(c.stdout, "\nwhy: %s", s.Reason)
	}
	fmt.Fprintf(c.stdout, "\n%d sessions open\n\n", s.Open)
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "BUDGET\tWINDOW\tUSED\tAT ONCE\tLIMIT\tRATIO\tREFILLS")
	for _, b := range s.Budgets {
		window := "-"
		if b.Window > 0 {
			window = time.Duration(b.Window).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.0f%%\t%s\n", b.Of, window, b.Value, b.Burst, b.Limit, b.Ratio*100, clock(b.RefillsAt))
	}
	w.Flush()
	if len(s.Decisions) == 0 {
		fmt.Fprintln(c.stdout, "\nno decision other than pass so far")
		return
	}
	fmt.Fprintln(c.stdout)
	w = tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tDECISION\tACTED\tWAIT\tWHY")
	for _, d := range s.Decisions {
		acted := "no"
		if d.Acted {
			acted = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clock(d.At), d.Action, acted, time.Duration(d.Wait).Round(time.Millisecond), d.Reason)
	}
	w.Flush()
}

func releaseCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print the subscriber as JSON")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("release takes one subscriber ID; `mailweir subscribers` lists them")
	}
	var s webadmin.Subscriber
	if err := newClient(*data).call(ctx, "POST", []string{"subscribers", rest[0], "release"}, nil, &s); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, s)
	}
	fmt.Fprintf(c.stdout, "%s is released: stage %s, budgets full\n", s.ID, s.Stage)
	return nil
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

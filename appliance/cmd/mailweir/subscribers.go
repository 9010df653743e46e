package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

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
		if *asJSON {
			return printList(ctx, c.stdout, api, []string{"subscribers"})
		}
		list, err := all[webadmin.Subscriber](ctx, api, []string{"subscribers"}, url.Values{"brief": {"1"}})
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(c.stdout, 64<<10) // there may be a million, and a tabwriter writes each cell by itself
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SUBSCRIBER\tPLAN\tSTAGE\tSINCE\tOPEN\tCASE\tEXEMPT\tWHY\tNAME")
		for _, s := range list {
			exempt := "-"
			if s.Exemption != nil {
				exempt = "until " + clock(s.Exemption.Until)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", plain(s.ID), s.Plan, s.Stage, clock(s.Since), s.Open,
				cmp.Or(s.Case, "-"), exempt, cmp.Or(s.Reason, "-"), cmp.Or(plain(s.Name), "-"))
		}
		return errors.Join(w.Flush(), out.Flush())
	case 1:
		if rest[0] == "" {
			return usagef("an empty ID; `mailweir subscribers` lists them")
		}
		var s webadmin.Subscriber
		if err := api.get(ctx, []string{"subscribers", rest[0]}, nil, &s); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, s)
		}
		return printSubscriber(c, s)
	}
	return usagef("subscribers takes one ID, not %d", len(rest))
}

// sources are the words for who says that somebody holds a prefix.
var sources = map[string]string{"csv": "the list", "lease": "a DHCP lease", "radius": "RADIUS", "api": "the API"}

func printSubscriber(c *invocation, s webadmin.Subscriber) error {
	plan := s.Plan
	if s.PlanSource == "operator" {
		plan += fmt.Sprintf(" (set by hand; the list says %s)", cmp.Or(s.ListPlan, "nothing"))
	}
	fmt.Fprintf(c.stdout, "%s  %s  plan %s\n", plain(s.ID), cmp.Or(plain(s.Name), "(no name)"), plan)
	if len(s.Bindings) == 0 {
		fmt.Fprintf(c.stdout, "at %s\n", cmp.Or(strings.Join(s.Prefixes, " "), "no address now"))
	}
	for _, b := range s.Bindings {
		fmt.Fprintf(c.stdout, "at %s by %s", b.Prefix, cmp.Or(sources[b.Source], b.Source))
		if !b.From.IsZero() {
			fmt.Fprintf(c.stdout, " since %s", clock(b.From))
		}
		fmt.Fprintln(c.stdout)
	}
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
	if e := s.Exemption; e != nil {
		fmt.Fprintf(c.stdout, "\nexempt since %s until %s by %s: %s", clock(e.Since), clock(e.Until), plain(e.By), plain(e.Reason))
	}
	fmt.Fprintf(c.stdout, "\n%d sessions open", s.Open)
	if s.Lane.Reason != "" {
		does := "waits for a verdict"
		if !s.Lane.Waits {
			does = "does not wait"
		}
		fmt.Fprintf(c.stdout, "; the next one %s: %s", does, s.Lane.Why)
		if len(s.Lane.Addresses) > 0 {
			fmt.Fprintf(c.stdout, " (from %s)", strings.Join(s.Lane.Addresses, ", "))
		}
	}
	fmt.Fprint(c.stdout, "\n\n")
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "BUDGET\tWINDOW\tUSED\tAT ONCE\tLIMIT\tRATIO\tPRESSURE\tREFILLS")
	for _, b := range s.Budgets {
		window := "-"
		if b.Window > 0 {
			window = time.Duration(b.Window).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.0f%%\t%d\t%s\n", b.Of, window, b.Value, b.Burst, b.Limit, b.Ratio*100, b.Pressure, clock(b.RefillsAt))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Decisions) == 0 {
		_, err := fmt.Fprintln(c.stdout, "\nno decision other than pass so far")
		return err
	}
	fmt.Fprintln(c.stdout)
	return printDecisions(c, s.Decisions)
}

func printDecisions(c *invocation, decisions []webadmin.Decision) error {
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tDECISION\tACTED\tWAIT\tWHY")
	for _, d := range decisions {
		acted := "no"
		if d.Acted {
			acted = "yes"
		}
		why := d.Reason
		if d.Retry {
			why += ", a retry"
		}
		if d.Exemption != "" {
			why += ", exempt: " + plain(d.Exemption)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clock(d.At), d.Action, acted, time.Duration(d.Wait).Round(time.Millisecond), why)
	}
	return w.Flush()
}

func caseCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /cases/NUMBER")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("case takes one case NUMBER; it stands in the answer that a deferred sender got, in the records and on the page")
	}
	var k webadmin.Case
	if err := newClient(*data).get(ctx, []string{"cases", rest[0]}, nil, &k); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, k)
	}
	fmt.Fprintf(c.stdout, "case %s of %s  %s  plan %s\nopened %s", k.ID, plain(k.Subscriber), cmp.Or(plain(k.Name), "(no name)"), k.Plan, clock(k.Opened))
	switch {
	case !k.Closed.IsZero():
		fmt.Fprintf(c.stdout, ", ended %s", clock(k.Closed))
	case !k.Until.IsZero():
		fmt.Fprintf(c.stdout, ", stage %s until %s if it stops now", k.Stage, clock(k.Until))
	default:
		fmt.Fprintf(c.stdout, ", stage %s", k.Stage)
	}
	fmt.Fprintf(c.stdout, "\nat worst %s: %s\n", k.Highest, k.Reason)
	if len(k.Changes) > 0 {
		fmt.Fprintln(c.stdout)
		w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "WHEN\tFROM\tTO\tWHY")
		for _, ch := range k.Changes {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", clock(ch.At), ch.From, ch.To, plain(ch.Reason))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(k.Decisions) == 0 {
		return nil
	}
	fmt.Fprintln(c.stdout)
	return printDecisions(c, k.Decisions)
}

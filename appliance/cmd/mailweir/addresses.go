package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"text/tabwriter"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

func lookupCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /lookup")
	at := c.flags.String("at", "", "when: 03:12, \"yesterday 03:12\", \"2026-01-31 03:12\" (local time) or RFC 3339; now if left out")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("lookup takes one ADDRESS")
	}
	addr, err := netip.ParseAddr(rest[0])
	if err != nil || addr.Zone() != "" {
		return usagef("%q is no IPv4 or IPv6 address", rest[0])
	}
	query := url.Values{"address": {addr.String()}}
	if *at != "" {
		t, err := webadmin.ParsePast(*at, time.Now(), time.Local)
		if err != nil {
			return usagef("--at %q: %w", *at, err)
		}
		query.Set("at", t.UTC().Format(time.RFC3339Nano))
	}
	var l webadmin.Lookup
	if err := newClient(*data).get(ctx, []string{"lookup"}, query, &l); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, l)
	}
	if len(l.Holders) == 0 {
		_, err := fmt.Fprintf(c.stdout, "%s at %s: nobody's line; counted as %s\n", l.Address, clock(l.At), cmp.Or(l.Unmapped, "unmapped"))
		return err
	}
	fmt.Fprintf(c.stdout, "%s at %s\n\n", l.Address, clock(l.At))
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SUBSCRIBER\tPREFIX\tBY\tFROM\tUNTIL\tPLAN NOW\tNAME")
	for _, h := range l.Holders {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(h.Subscriber), h.Prefix, cmp.Or(sources[h.Source], h.Source), clock(h.From), clock(h.Until),
			cmp.Or(h.Plan, "-"), cmp.Or(plain(h.Name), "-"))
	}
	return w.Flush()
}

func unmappedCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /unmapped")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("unmapped takes no argument %q; `mailweir lookup ADDRESS` tells about one", rest[0])
	}
	api := newClient(*data)
	if *asJSON {
		return printList(ctx, c.stdout, api, []string{"unmapped"})
	}
	list, err := all[webadmin.Unmapped](ctx, api, []string{"unmapped"}, nil)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.stdout, "no source that is nobody's line so far")
		return err
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tCOUNTED AS\tSTAGE\tSESSIONS\tDENIED\tMESSAGES\tNETWORKS\tCLIENTS\tFIRST\tLAST\tMANY BEHIND IT")
	for _, u := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", u.Address, u.Subscriber, u.Stage, u.Sessions, u.Denied, u.Messages,
			u.Destinations, u.Clients, clock(u.First), clock(u.Last), cmp.Or(plain(u.Crowd), "-"))
	}
	return w.Flush()
}

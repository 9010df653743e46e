package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

func presetsCommand(_ context.Context, c *invocation) error {
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /presets; with NAME: that one")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	presets := appliance.Presets()
	switch len(rest) {
	case 0:
		if *asJSON {
			return printJSON(c.stdout, page[webadmin.Plan]{Items: presets})
		}
		w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
		for _, p := range presets {
			fmt.Fprintf(w, "%s\t%s\n", p.Name, p.For)
		}
		return w.Flush()
	case 1:
		i := slices.IndexFunc(presets, func(p webadmin.Plan) bool { return p.Name == rest[0] })
		if i < 0 {
			var names []string
			for _, p := range presets {
				names = append(names, p.Name)
			}
			return usagef("there is no preset %q; there are %s", rest[0], strings.Join(names, ", "))
		}
		if *asJSON {
			return printJSON(c.stdout, presets[i])
		}
		return printPreset(c, presets[i])
	}
	return usagef("presets takes one NAME, not %d", len(rest))
}

func printPreset(c *invocation, p webadmin.Plan) error {
	fmt.Fprintf(c.stdout, "%s  %s\nhighest stage %s\n\n", p.Name, p.For, p.HighestStage)
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "BUDGET\tLIMIT\tPER\tAT ONCE")
	for _, b := range p.Budgets {
		window := "-"
		if b.Window > 0 {
			window = config.FormatDuration(time.Duration(b.Window))
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\n", b.Of, b.Limit, window, b.Burst)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	l := p.Ladder
	span := func(s webadmin.Seconds) string { return config.FormatDuration(time.Duration(s)) }
	_, err := fmt.Fprintf(c.stdout, "\nwarn at %d%%, pace at %d%% (a reply is held %s at most), defer at %d%%, cut at %d%% for %s, attempts counted;\nback to observe %s after it stopped\n\nin the configuration: plans: [{name: %s, preset: %s}]\n",
		l.WarnAt, l.PaceAt, span(l.PaceMax), l.DeferAt, l.CutAt, span(l.CutFor), span(l.ReleaseAfter), p.Name, p.Name)
	return err
}

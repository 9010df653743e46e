package main

import (
	"context"
	"fmt"

	"github.com/mailweir/mailweir/appliance/verify"
)

// shown is how many findings are printed of each chain; --json has all.
const shown = 20

func recordsCommand(_ context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory, where no FILE is named: its spool and its journal are checked")
	asJSON := c.flags.Bool("json", false, "print JSON, with all findings")
	rest, err := c.parse()
	switch {
	case err != nil:
		return err
	case len(rest) == 0 || rest[0] != "verify":
		return usagef("records needs a word: mailweir records verify [FILE|DIR…]")
	}
	paths := rest[1:]
	if len(paths) == 0 {
		paths = []string{*data}
	}
	parts, err := verify.Paths(paths)
	if err != nil {
		return err
	}
	records, findings := 0, 0
	for _, p := range parts {
		records += p.Records + p.Deleted
		findings += len(p.Findings)
	}
	if *asJSON {
		if err := printJSON(c.stdout, map[string]any{"whole": findings == 0 && records > 0, "parts": parts}); err != nil {
			return err
		}
	} else {
		for _, p := range parts {
			printPart(c, p)
		}
	}
	switch {
	case records == 0:
		return fmt.Errorf("there is no record of mailweir in %s", plain(fmt.Sprint(paths)))
	case findings > 0:
		return fmt.Errorf("not whole: %d findings", findings)
	}
	return nil
}

func printPart(c *invocation, p verify.Part) {
	fmt.Fprintf(c.stdout, "%s: %d records", plain(p.What), p.Records)
	if p.Deleted > 0 {
		fmt.Fprintf(c.stdout, ", %d deleted on time", p.Deleted)
	}
	if p.Duplicates > 0 {
		fmt.Fprintf(c.stdout, ", %d of them twice", p.Duplicates)
	}
	for _, b := range p.Boxes {
		fmt.Fprintf(c.stdout, "; box %s: %d to %d", plain(b.Box), b.First, b.Last)
	}
	if p.Whole() {
		fmt.Fprintln(c.stdout, "; whole")
		return
	}
	fmt.Fprintln(c.stdout, "; NOT whole")
	for i, f := range p.Findings {
		if i == shown {
			fmt.Fprintf(c.stdout, "  and %d more\n", len(p.Findings)-shown)
			break
		}
		fmt.Fprintf(c.stdout, "  %s: %s: %s\n", plain(f.Where), f.Kind, plain(f.Text))
	}
}

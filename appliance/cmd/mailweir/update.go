package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/mailweir/mailweir/appliance/boot"
	"github.com/mailweir/mailweir/appliance/update"
)

func updateCommand(_ context.Context, c *invocation) error {
	dry := c.flags.Bool("dry-run", false, "check the whole file, and write nothing")
	asJSON := c.flags.Bool("json", false, "print JSON")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("update takes one FILE, or - for the standard input")
	}
	box, err := boot.Machine()
	if err != nil {
		return err
	}
	var from io.Reader = struct{ io.Reader }{os.Stdin} // never read twice, also if it could be
	if rest[0] != "-" {
		f, err := os.Open(rest[0])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	if *dry {
		m, err := box.Check(from)
		if err != nil {
			return fmt.Errorf("%s: %w", rest[0], err)
		}
		if *asJSON {
			return printJSON(c.stdout, m)
		}
		_, err = fmt.Fprintf(c.stdout, "%s would go into slot %s\n", plain(m.String()), box.Idle())
		return err
	}
	o, err := box.Install(from, boot.StateDir, boot.Links(), time.Now)
	if err != nil {
		return fmt.Errorf("%s: %w", rest[0], err)
	}
	if *asJSON {
		return printJSON(c.stdout, o)
	}
	_, err = fmt.Fprintln(c.stdout, plain(o.String()))
	return err
}

func slotsCommand(_ context.Context, c *invocation) error {
	asJSON := c.flags.Bool("json", false, "print JSON")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("slots takes no argument %q", rest[0])
	}
	box, err := boot.Machine()
	if err != nil {
		return err
	}
	all, err := box.Slots()
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, all)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\n", s.Name, slotLine(s))
	}
	return w.Flush()
}

// slotLine says what is in a slot, in a line.
func slotLine(s update.Slot) string {
	text := fmt.Sprintf("version %s (build %d)", plain(s.About.Version), s.About.Build)
	if s.Fault != "" {
		text = plain(s.Fault)
	}
	if s.Runs {
		text += ", runs"
	}
	if s.Active {
		text += ", active"
	}
	if s.OnTrial {
		text += fmt.Sprintf(", on trial, starts left: %d", s.Tries)
	}
	return text
}

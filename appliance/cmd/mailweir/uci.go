package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/uci"
)

// defaultUCI is where OpenWrt has ours.
const defaultUCI = "/etc/config/mailweir"

// uciCommand is what the service of OpenWrt's package calls before it starts us and when something in /etc/config changed.
func uciCommand(_ context.Context, c *invocation) error {
	file := c.flags.String("config", "", "configuration file to change (required); made if it is not there")
	dry := c.flags.Bool("dry-run", false, "print what the file would be, and change nothing")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	from := defaultUCI
	switch {
	case len(rest) == 1:
		from = rest[0]
	case len(rest) > 1:
		return usagef("uci takes one FILE, not %d", len(rest))
	}
	if *file == "" {
		return usagef("uci needs --config FILE")
	}
	said, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	sections, err := uci.Parse(from, string(said))
	if err != nil {
		return problems(c, err)
	}
	before, err := os.ReadFile(*file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	after, err := uci.Apply(from, sections, *file, before)
	if _, bad := errors.AsType[config.Problems](err); bad {
		return problems(c, err)
	}
	if err != nil {
		return err
	}
	switch {
	case *dry:
		_, err = c.stdout.Write(after)
		return err
	case bytes.Equal(before, after):
		return nil
	}
	if err := durable.Rewrite(*file, after); err != nil {
		return err
	}
	fmt.Fprintf(c.stderr, "mailweir: %s is as %s says now\n", *file, from)
	return nil
}

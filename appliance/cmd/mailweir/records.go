package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/verify"
)

// shown is how many findings are printed of each chain; --json has all.
const shown = 20

func recordsCommand(_ context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory, where no FILE is named: its spool and its journal are checked")
	asJSON := c.flags.Bool("json", false, "print JSON, with all findings")
	var o verify.Options
	c.flags.IntVar(&o.Prefix, "prefix", 0, "`words` that the collector's template writes before each record")
	c.flags.BoolVar(&o.WithoutText, "without-text", false, "the collector keeps no texts for people: do not ask for them")
	c.flags.BoolVar(&o.WithoutCollector, "without-collector", false, "the box has no collector configured: ask for nothing in a spool that none has a position in")
	c.flags.StringVar(&o.Collector, "collector", "", "whose log it is, the `URL` that syslog.targets of the box has: what other collectors lost explains no gap then")
	c.flags.Func("head", "the last record as its box says it in `mailweir status`, [BOX:]SEQ:HASH, so that a log whose end is missing is noticed; once for each box", func(s string) error {
		h, err := parseHead(s)
		o.Heads = append(o.Heads, h)
		return err
	})
	rest, err := c.parse()
	switch {
	case err != nil:
		return err
	case len(rest) == 0 || rest[0] != "verify":
		return usagef("records needs a word: mailweir records verify [FILE|DIR…]")
	case o.Prefix < 0:
		return usagef("--prefix is %d, and cannot be less than 0", o.Prefix)
	case o.Collector != "" && !strings.Contains(o.Collector, "://"):
		return usagef("--collector %q: a URL as syslog.targets of the box has it, such as relp://192.0.2.1", o.Collector)
	}
	paths := rest[1:]
	if len(paths) == 0 {
		paths = []string{*data}
	}
	parts, err := verify.Paths(paths, o)
	if err != nil {
		return err
	}
	var all verify.Report
	for _, p := range parts {
		all.Records += p.Records + p.Deleted
		all.Findings = append(all.Findings, p.Findings...)
		all.Boxes = append(all.Boxes, p.Boxes...)
	}
	whole := all.Whole() && all.Records > 0
	if *asJSON {
		out := map[string]any{"whole": whole, "verdict": all.Verdict(), "parts": parts}
		if !whole && all.Whole() {
			out["verdict"] = verify.NotKnown
		}
		if err := printJSON(c.stdout, out); err != nil {
			return err
		}
	} else {
		for _, p := range parts {
			printPart(c, p)
		}
	}
	switch {
	case len(all.Findings) > 0:
		return fmt.Errorf("%s: %d findings", all.Verdict(), len(all.Findings))
	case !whole:
		return fmt.Errorf("there is no record of mailweir in %s", plain(fmt.Sprint(paths)))
	}
	return nil
}

// parseHead reads [BOX:]SEQ:HASH.
func parseHead(s string) (verify.Head, error) {
	var h verify.Head
	rest, hash, ok := cutLast(s)
	box, number, named := cutLast(rest)
	if !named {
		box, number = "", rest
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if sum, bad := hex.DecodeString(hash); !ok || err != nil || seq == 0 || bad != nil || len(sum) != sha256.Size {
		return h, errors.New("it is no [BOX:]SEQ:HASH as `mailweir status` shows it")
	}
	return verify.Head{Box: box, Seq: seq, Hash: strings.ToLower(hash)}, nil
}

// cutLast cuts at the last colon.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
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
		if b.Last >= b.First {
			fmt.Fprintf(c.stdout, "; box %s: %d to %d", plain(b.Box), b.First, b.Last)
		}
	}
	fmt.Fprintf(c.stdout, "; %s\n", strings.Replace(p.Verdict(), "not", "NOT", 1))
	findings := verify.Joined(p.Findings)
	for i, f := range findings {
		if i == shown {
			fmt.Fprintf(c.stdout, "  and %d more\n", len(findings)-shown)
			break
		}
		fmt.Fprintf(c.stdout, "  %s: %s: %s\n", plain(f.Where), f.Kind, plain(f.Text))
	}
	for _, n := range p.Notes {
		fmt.Fprintf(c.stdout, "  note: %s\n", plain(n))
	}
}

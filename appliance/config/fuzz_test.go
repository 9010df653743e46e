package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzConfig: whatever the file, Parse does not panic, its error is one line per problem, viper never refuses what the schema
// let pass, and what it accepts prints and loads back equal.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(contract(f)))
	for _, s := range []string{
		"", "---\n", "mode: ~", "queue: &q {<<: *q}", "plans: [&p {name: x, highest_stage: cut, <<: {budgets: [{of: sessions, limit: 1, per: 1s}]}}, *p]",
		"network: {mark_mask: 0o17, limited_ports: [0x19, 5_87]}", "? {a: b}\n: c", "mode: !!str observe\nqueue: {first: !!int '3'}", "\xef\xbb\xbfmode: enforce\r\n",
		"retention: {sessions: 1.5h, series: 3660d}\nsyslog: {spool_bytes: 2GB, targets: [{url: 'tcp://[::1]:5'}]}",
		"identity: {unmapped_plan: ÿ}\nplans: [{name: ÿ, highest_stage: warn}]", "defer: {text: \"a: 'b' # {retry}\"}", "admin: {listen: '1e3:1'}",
		"identity: {radius: {clients: [192.0.2.1, '::/0']}, unmapped_plan: a, lease_files: [{path: l, format: kea-csv}]}\nplans: [{name: a, preset: hosting, ladder: {cut_at: 900}}]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("not Problems: %v", err)
			}
			for _, p := range ps {
				if s := p.Error(); strings.ContainsAny(s, "\r\n") {
					t.Fatalf("more than a line: %q", s)
				}
				if p.Line > 1+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r")) {
					t.Fatalf("line beyond the end: %v", p)
				}
				if p.Key == "" && strings.Contains(p.Message, "decoding") {
					t.Fatalf("the schema and viper disagree: %v", p)
				}
			}
			return
		}
		text, err := c.Effective()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("f.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		sameValues(t, back, c)
	})
}

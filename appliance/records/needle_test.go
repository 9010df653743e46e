package records

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

// What a record says is found; what all records have, and the names of parameters, are not.
func TestNeedles(t *testing.T) {
	c, err := OpenChain(filepath.Join(t.TempDir(), "state"), "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	c.SetPolicy("enforce", "0123456789abcdef")
	at := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	c.Append(Audit(AuditFacts{Time: at, Who: "a", What: "b"}), at)
	r := c.Append(Session(SessionFacts{Subscriber: `S-1 "Müller" [a]\b`, Plan: "residential", Src: netip.MustParseAddrPort("100.64.0.11:4711"), Dst: netip.MustParseAddrPort("192.0.2.25:25"),
		SNI: "MX.Example.net", End: at, EndReason: "fin"}), at)
	for _, row := range []struct {
		why  string
		text string
		has  []Param
		want bool
	}{
		{"nothing is asked for", "", nil, true},
		{"an address", "100.64.0.11", nil, true},
		{"a part of one", ".0.11", nil, true},
		{"another", "100.64.0.12", nil, false},
		{"without regard to case", "mx.EXAMPLE", nil, true},
		{"what is escaped in the line", `"Müller" [a]\B`, nil, true},
		{"what is written as it is escaped, and was not so", `\"`, nil, false},
		{"the text for people", "ms", nil, true},
		{"the hash before it", r.Value("prev")[:6], nil, false},
		{"the event's id", r.Value("event")[:8], nil, false},
		{"the policy", "0123456789abcdef", nil, false},
		{"the name of a parameter", "end_reason", nil, false},
		{"a value that goes over into the next", `fin" `, nil, false},
		{"of a subscriber", "", []Param{{"subscriber", `S-1 "Müller" [a]\b`}}, true},
		{"of one whose id is the beginning", "", []Param{{"subscriber", "S-1"}}, false},
		{"an event", "", []Param{{"event", r.Value("event")}}, true},
		{"nobody in particular", "", []Param{{"subscriber", ""}, {"event", ""}}, true},
		{"of a subscriber, and a text that is not there", "smtp.", []Param{{"subscriber", `S-1 "Müller" [a]\b`}}, false},
	} {
		n := NewNeedle(row.text, row.has...)
		if got := n.In(r.Canonical(), []byte(r.Text)); got != row.want {
			t.Errorf("%s: %v in %s %s", row.why, got, r.Canonical(), r.Text)
		}
	}
	n := NewNeedle("nothing-of-this")
	if got := testing.AllocsPerRun(100, func() { n.In(r.Canonical(), nil) }); got != 0 {
		t.Errorf("a look allocates %v times", got)
	}
	for _, odd := range []string{"", "SESSION", "SESSION 2026 [mailweir@32473", "SESSION 2026 [mailweir@32473 x]", `SESSION 2026 [mailweir@32473 x="\]`} {
		if n.In([]byte(odd), nil) {
			t.Errorf("found in %q", odd)
		}
	}
}

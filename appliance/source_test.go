package appliance

import (
	"testing"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

func TestMatches(t *testing.T) {
	v := webadmin.Subscriber{ID: "S-1044", Name: "Elm Street 12", Plan: "residential", Stage: "defer", Case: "00K7Q",
		Prefixes: []string{"100.64.3.0/29", "2001:db8:34::/56"}}
	for _, row := range []struct {
		why  string
		q    webadmin.Query
		want bool
	}{
		{"everybody", webadmin.Query{}, true},
		{"part of the name, without regard to case", webadmin.Query{Text: "elm street"}, true},
		{"id", webadmin.Query{Text: "1044"}, true},
		{"case number", webadmin.Query{Text: "00k7q"}, true},
		{"part of a prefix", webadmin.Query{Text: "100.64.3"}, true},
		{"an address within a prefix", webadmin.Query{Text: "100.64.3.5"}, true},
		{"an IPv6 address within a prefix", webadmin.Query{Text: "2001:db8:34:ff::9"}, true},
		{"an address of somebody else", webadmin.Query{Text: "100.64.3.9"}, false},
		{"nothing of it", webadmin.Query{Text: "oak"}, false},
		{"its stage", webadmin.Query{Stages: []string{"pace", "defer"}}, true},
		{"another stage", webadmin.Query{Stages: []string{"cut"}, Text: "elm"}, false},
	} {
		if got := matches(v, row.q); got != row.want {
			t.Errorf("%s: %v", row.why, got)
		}
	}
}

func TestFailedOpenCountsWhatShouldHaveBeenJudged(t *testing.T) {
	passed := map[string]uint64{"flow_table_full": 1, "hold_bound": 2, "panic": 4, "stopping": 8, "mid_air": 16, "empty": 32, "not_governed": 64}
	if got := failedOpen(passed); got != 15 {
		t.Errorf("%d", got)
	}
}

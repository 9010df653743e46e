package webadmin

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// What changes in the configuration is said in the words of the pages, with the plan's name, and the key beside it.
func TestDifferencesAreInWords(t *testing.T) {
	t.Parallel()
	plans := []string{"residential", "office"}
	for key, want := range map[string]string{
		"network.counted_ports":          "Ports that are only counted",
		"plans[0].budgets[1].limit":      "Plan residential, budget 2: limit",
		"plans[1].ladder.cut_for":        "Plan office: cut for",
		"plans[7].highest_stage":         "Plan 8: never more than",
		"syslog.targets[1].url":          "Collector 2: address",
		"identity.lease_files[0].format": "Lease file 1: format",
		"plans":                          "Plans",
		"something.new":                  "something.new",
		"plans[0].something":             "plans[0].something",
	} {
		if got := KeyText(key, plans); got != want {
			t.Errorf("%s is called %q", key, got)
		}
	}
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	got, more := s.differences([]ConfigDifference{{"plans[0].budgets[2].of", "sessions", "tls_handshakes"}, {"plans[4].name", "", "webfarm"}, {"plans[4].budgets[0].limit", "", "300"}, {"network.counted_ports", "[]", "[465]"}, {"defer.text", `""`, "write to us"}})
	want := []difference{{"Plan residential, budget 3: what is counted", "plans[0].budgets[2].of", "sessions", "TLS handshakes"}, {"Plan webfarm: name", "plans[4].name", "", "webfarm"},
		{"Plan webfarm, budget 1: limit", "plans[4].budgets[0].limit", "", "300"}, {"Ports that are only counted", "network.counted_ports", "none", "[465]"}, {"What a deferred mail server is told", "defer.text", "empty", "write to us"}}
	if more != "" || len(got) != len(want) {
		t.Fatalf("%+v, %q", got, more)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if some, more := s.differences(make([]ConfigDifference, shownDifferences+3)); len(some) != shownDifferences || more != "3 more keys" {
		t.Errorf("%d, %q", len(some), more)
	}
	// On the pages: while a plan is changed, and before a backup is put back.
	cookie := enter(t, s)
	form := url.Values{"do": {"check"}, "highest": {"defer"}, "warn_at": {"50"}, "pace_at": {"80"}, "pace_max": {"60s"}, "defer_at": {"100"}, "cut_at": {"300"}, "cut_for": {"2h"}, "release_after": {"15m"}}
	if page := body(t, send(t, s, cookie, "/plans/residential", form)); !strings.Contains(page, `<bdi>Plan residential: cut for</bdi> <code class="sub">plans[0].ladder.cut_for</code>`) {
		t.Error("the page of a plan says keys only")
	}
	if page := body(t, upload(t, s, cookie, "/settings/restore", []byte("PK backup"), map[string]string{"do": "look"})); !strings.Contains(page, "<li><code>network.upstream_interfaces[0]</code> this box has no port port4; it has port2, port3</li>") || !strings.Contains(page, "<bdi>Plan residential, budget 1: limit</bdi>") || !strings.Contains(page, "<bdi>Collector 2: address</bdi>") {
		t.Error("the page of a backup says keys only")
	}
}

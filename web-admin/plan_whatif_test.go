package webadmin

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// triedPage is the page of a plan after a what-if that answers so.
func triedPage(t *testing.T, report string) string {
	t.Helper()
	box := busyBox()
	box.report = report
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	form := url.Values{"do": {"try"}, "highest": {"cut"}, "of-0": {"tls_handshakes"}, "limit-0": {"30"}, "per-0": {"1h"}, "of-1": {"concurrent_sessions"}, "limit-1": {"3"},
		"warn_at": {"50"}, "pace_at": {"80"}, "pace_max": {"60s"}, "defer_at": {"100"}, "cut_at": {"300"}, "cut_for": {"1h"}, "release_after": {"15m"}}
	_, page, ok := strings.Cut(body(t, send(t, s, enter(t, s), "/plans/residential", form)), `id="what-if"`)
	if !ok {
		t.Fatal("there is no what-if")
	}
	return page
}

// Who would be hit is called by name, with a link to the line, and the reason is in words. Mail of registered mail servers is counted, and it is said what is not known.
func TestAWhatIfNamesLinesAndCountsMailServers(t *testing.T) {
	t.Parallel()
	page := triedPage(t, triedReport)
	for _, want := range []string{`<a class="name" href="/subscribers/S-1044"><bdi>Elm Street 12</bdi></a> <span class="sub"><bdi>S-1044</bdi> · residential</span>`, "Bakery Hinterholz", "TLS handshakes 61/20 per 1h (305%)",
		"mail of 2 registered mail servers would have been held back or refused (as it is: 1)", `registered mail servers touched</th><td class="n">1 of 3</td><td class="n">2 of 3</td>`,
		`their sessions paced</th><td class="n">7</td><td class="n">61</td>`, `their sessions deferred or cut</th><td class="n">0</td><td class="n">9</td>`, `their messages in these sessions, at least</th><td class="n">7</td><td class="n">88</td>`,
		"the lines under mailserver; a server under another plan is not known as one", "nobody knows"} {
		if !strings.Contains(page, want) {
			t.Errorf("the what-if lacks %q", want)
		}
	}
	if strings.Contains(page, "tls_handshakes") {
		t.Error("it says tls_handshakes to a person")
	}
	// A line that has no name is called by its id, once.
	if page := triedPage(t, strings.ReplaceAll(triedReport, `"name": "Elm Street 12", `, "")); !strings.Contains(page, `<bdi>S-1044</bdi></a> <span class="sub">residential</span>`) {
		t.Error("a line without a name")
	}
	for servers, want := range map[string]string{
		`{"plans": [], "subscribers": 0}`:                   "No plan begins as mailserver, so the box does not know which lines are registered mail servers",
		`{"plans": ["mailserver", "mx"], "subscribers": 0}`: "the lines under mailserver, mx, and none of them sent anything in these days",
	} {
		var report WhatIf
		if err := json.Unmarshal([]byte(triedReport), &report); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(servers), &report.Config.MailServers); err != nil {
			t.Fatal(err)
		}
		report.Config.MailServers.Touched, report.Against.MailServers = 0, report.Config.MailServers
		text, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		if page := triedPage(t, string(text)); !strings.Contains(page, want) || strings.Contains(page, "servers touched") {
			t.Errorf("%s: it does not say %q", servers, want)
		}
	}
}

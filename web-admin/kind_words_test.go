package webadmin

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// How a session ended is said on the row of its record as on the page of its line.
func TestRecordsSayHowASessionEnded(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{"fin": "ended in order", "rst": "broken off", "something_new": "something_new", "": "in clear"} {
		if got := sessionLine(map[string]string{"tls": "none", "end_reason": reason}); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", reason, got)
		}
	}
}

// What budgets count is said in words, wherever the box says it.
func TestReasonsAreInWords(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"tls_handshakes 412/20 per 1h (2060%)":                                                  "TLS handshakes 412/20 per 1h (2,060%)",
		"tls_failures 11/10 per 1h (110%)":                                                      "TLS failures 11/10 per 1h (110%)",
		"concurrent_sessions 4/3 (133%)":                                                        "concurrent sessions 4/3 (133%)",
		"rejected 51/50 per 1h (102%)":                                                          "rejections 51/50 per 1h (102%)",
		"sessions 6/5 at once, 20 per 1h (120%)":                                                "sessions 6/5 at once, 20 per 1h (120%)",
		"watched: stage cut, tls_handshakes 412/20 per 1h (2060%)":                              "watched: stage cut, TLS handshakes 412/20 per 1h (2,060%)",
		"sessions 12345/20 at once, 1000000 per 1h (61725%)":                                    "sessions 12,345/20 at once, 1,000,000 per 1h (61,725%)",
		"messages 999/31000 per 24h (3%)":                                                       "messages 999/31,000 per 24h (3%)",
		"12345 sessions may begin so":                                                           "12,345 sessions may begin so",
		"ticket 471100 of 2026-11-18, case 00001, 2001:db8::1234/64, line S-12345 of port 2525": "ticket 471100 of 2026-11-18, case 00001, 2001:db8::1234/64, line S-12345 of port 2525",
		"concurrent_sessions has no burst; remove it":                                           "concurrent sessions has no burst; remove it",
		"released by admin: his request was rejected 3 times":                                   "released by admin: his request was rejected 3 times",
		"": "",
	} {
		if got := reasonText(reason); got != want {
			t.Errorf("%q is %q", reason, got)
		}
	}
	for _, kind := range budgetKinds {
		if text := kindText(kind); text == "" || strings.Contains(text, "_") {
			t.Errorf("%s is called %q", kind, text)
		}
	}
}

var tags = regexp.MustCompile(`<[^>]*>`)

// No page says a word of the configuration where people read, but beside the words, for who edits the file.
func TestPagesSayNoWordsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.subs[0].Decisions[0].Reason, box.subs[5].Stage = "concurrent_sessions 4/3 (133%)", "observe"
	box.subs[5].Decisions = []Decision{{At: ago(time.Hour), Action: "defer", Acted: true, Of: "tls_failures", Value: 11, Limit: 10, Burst: 10, Window: Seconds(time.Hour), Reason: "tls_failures 11/10 per 1h (110%)"}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	jargon := regexp.MustCompile(`\b(tls_handshakes|tls_failures|concurrent_sessions)\b`)
	for _, path := range []string{"/", "/subscribers", "/subscribers/S-1044", "/subscribers/" + box.subs[5].ID, "/cases/K7Q2X", "/records", "/plans", "/plans/residential", "/wizard/plans"} {
		page := body(t, get(t, s, path, "Cookie", cookie))
		if found := jargon.FindString(tags.ReplaceAllString(page, "")); found != "" {
			t.Errorf("%s says %s", path, found)
		}
	}
	if page := body(t, get(t, s, "/subscribers/S-1044", "Cookie", cookie)); !strings.Contains(page, "TLS handshakes") || !strings.Contains(page, "concurrent sessions 4/3") {
		t.Error("the words are nowhere")
	}
	sentence := read[Subscriber](t, s, "/api/v1/subscribers/"+box.subs[5].ID).Sentence
	if !strings.Contains(sentence, "after 11 failed encrypted mail connections; 10 allowed in an hour.") {
		t.Errorf("on the telephone: %s", sentence)
	}
}

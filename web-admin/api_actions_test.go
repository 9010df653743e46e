package webadmin

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// answer is a problem, or what was asked for.
type answer struct {
	Title, Detail string
	Errors        []struct{ Field, Message string }
	Subscriber
	Prefix string
}

func TestActionsAreTakenOrRefused(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	line := "/api/v1/subscribers/S-1044"
	for _, row := range []struct {
		why, method, path, body string
		status                  int
		fields                  string // that are complained about, in order
		say                     string // part of the first complaint, or of the detail
	}{
		{"an exemption without anything", "POST", line + "/exemption", `{}`, 400, "reason until", "is missing"},
		{"without an end", "POST", line + "/exemption", `{"reason":"asked"}`, 400, "until", "is missing"},
		{"without a reason", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z"}`, 400, "reason", "is missing"},
		{"with a reason of spaces", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"  "}`, 400, "reason", "empty"},
		{"that has ended", "POST", line + "/exemption", `{"until":"2026-11-18T11:04:40Z","reason":"asked"}`, 400, "until", "future"},
		{"that ends in 2028", "POST", line + "/exemption", `{"until":"2028-01-01T00:00:00Z","reason":"asked"}`, 400, "until", "366 days"},
		{"with a day for a time", "POST", line + "/exemption", `{"until":"2026-12-01","reason":"asked"}`, 400, "until", "a time like"},
		{"with numbers", "POST", line + "/exemption", `{"until":1,"reason":["asked"]}`, 400, "reason until", "a string"},
		{"with null", "POST", line + "/exemption", `{"until":null,"reason":null}`, 400, "reason until", "a string"},
		{"with something else in it", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"asked","for":"ever"}`, 400, "for", "not known here; known: until, reason"},
		{"with something twice", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","until":"2026-12-02T00:00:00Z","reason":"asked"}`, 400, "until", "twice"},
		{"with a line break", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"asked\r\nby"}`, 400, "reason", "one line"},
		{"with a turned direction", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"\u202eevil"}`, 400, "reason", "one line"},
		{"with a long reason", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"` + strings.Repeat("x", 257) + `"}`, 400, "reason", "256 bytes"},
		{"with no body", "POST", line + "/exemption", "", 400, "", "empty"},
		{"with a list", "POST", line + "/exemption", `[1]`, 400, "", "not begin with {"},
		{"with half an object", "POST", line + "/exemption", `{"until":`, 400, "", "EOF"},
		{"with two objects", "POST", line + "/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"asked"}{}`, 400, "", "follows"},
		{"with much that is no JSON", "POST", line + "/exemption", strings.Repeat("x", 20<<10), 413, "", "16384"},
		{"with a large list", "POST", line + "/exemption", "[" + strings.Repeat("1,", 10<<10) + "1]", 413, "", "16384"},
		{"with a novel", "POST", line + "/exemption", `{"reason":"` + strings.Repeat("x", 20<<10) + `"}`, 413, "", "16384"},
		{"of nobody", "POST", "/api/v1/subscribers/S-0/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"asked"}`, 404, "", "Nobody"},
		{"an end of none", "DELETE", line + "/exemption", "", 404, "", "no exemption"},
		{"an exemption", "POST", line + "/exemption", `{"until":"2026-12-01T01:00:00+01:00","reason":" Christmas mailing "}`, 200, "", ""},
		{"another one instead", "POST", line + "/exemption", `{"until":"2027-11-19T11:00:00Z","reason":"a year"}`, 200, "", ""},
		{"its end", "DELETE", line + "/exemption", "", 200, "", ""},
		{"no plan", "PATCH", line, `{}`, 400, "plan", "missing"},
		{"a plan of nobody", "PATCH", line, `{"plan":"rich"}`, 400, "plan", `no plan "rich"; there are residential, office`},
		{"a plan that is a number", "PATCH", line, `{"plan":7}`, 400, "plan", "string"},
		{"a name instead of a plan", "PATCH", line, `{"name":"Elm"}`, 400, "name plan", "not known"},
		{"a plan", "PATCH", line, `{"plan":"office"}`, 200, "", ""},
		{"null, which is no plan", "PATCH", line, `{"plan":null}`, 400, "plan", "must be a string"},
		{"the list's again", "PATCH", line, `{"plan":""}`, 200, "", ""},
		{"a release of before", "DELETE", line + "/release", "", 409, "", "within a quarter of an hour"},
		{"release", "POST", line + "/release", "", 200, "", ""},
		{"release taken back", "DELETE", line + "/release", "", 200, "", ""},
		{"and again", "DELETE", line + "/release", "", 409, "", "once"},
		{"of nobody", "DELETE", "/api/v1/subscribers/S-0/release", "", 404, "", "Nobody"},
		{"a prefix with bits beyond", "PUT", "/api/v1/bindings", `{"prefix":"192.0.2.1/24","subscriber":"S-1044"}`, 400, "prefix", "192.0.2.0/24 is the prefix around it"},
		{"everybody's prefix", "PUT", "/api/v1/bindings", `{"prefix":"0.0.0.0/0","subscriber":"S-1044"}`, 400, "prefix", "everybody's"},
		{"no prefix", "PUT", "/api/v1/bindings", `{"prefix":"S-1044","subscriber":"S-1044"}`, 400, "prefix", "like"},
		{"an address with a zone", "PUT", "/api/v1/bindings", `{"prefix":"fe80::1%eth0","subscriber":"S-1044"}`, 400, "prefix", "like"},
		{"nobody's line", "PUT", "/api/v1/bindings", `{"prefix":"192.0.2.0/24","subscriber":"S-0"}`, 400, "subscriber", "no such line"},
		{"a prefix", "PUT", "/api/v1/bindings", `{"prefix":"192.0.2.0/24","subscriber":"S-1044"}`, 200, "", ""},
		{"an address", "PUT", "/api/v1/bindings", `{"prefix":"::ffff:192.0.2.9","subscriber":"S-1102"}`, 200, "", ""},
		{"taken back", "DELETE", "/api/v1/bindings?prefix=192.0.2.0/24", "", 200, "", ""},
		{"taken back again", "DELETE", "/api/v1/bindings?prefix=192.0.2.0/24", "", 404, "", "has not given"},
		{"taken back without saying which", "DELETE", "/api/v1/bindings", "", 400, "prefix", "like"},
		{"whose is no address", "GET", "/api/v1/lookup", "", 400, "address", "IPv4 or IPv6"},
		{"whose is a prefix", "GET", "/api/v1/lookup?address=192.0.2.0/24&at=x", "", 400, "address at", "IPv4 or IPv6"},
		{"whose was it in another time", "GET", "/api/v1/lookup?address=192.0.2.1&at=0001-01-02T00:00:00Z", "", 400, "at", "1970"},
		{"whose was it before all time", "GET", "/api/v1/lookup?address=192.0.2.1&at=0001-01-01T00:00:00Z", "", 400, "at", "a time like"},
		{"whose will it be", "GET", "/api/v1/lookup?address=192.0.2.1&at=2027-01-01T00:00:00Z", "", 400, "at", "has been"},
		{"which case", "GET", "/api/v1/cases/K0000", "", 404, "", "forgotten"},
		{"exempt or not", "GET", "/api/v1/subscribers?exempt=maybe", "", 400, "exempt", "1 or 0"},
		{"a long cursor", "GET", "/api/v1/unmapped?cursor=" + strings.Repeat("x", 2000), "", 400, "cursor", "next"},
	} {
		a := ask(t, s, row.method, row.path, row.body, auth...)
		var got answer
		if err := json.NewDecoder(a.Body).Decode(&got); err != nil {
			t.Errorf("%s: %v", row.why, err)
		}
		var fields []string
		say := got.Detail
		for i, e := range got.Errors {
			fields = append(fields, e.Field)
			if i == 0 {
				say = e.Message
			}
		}
		if a.StatusCode != row.status || strings.Join(fields, " ") != row.fields || !strings.Contains(say, row.say) || (a.StatusCode == 200) == (got.Title != "") {
			t.Errorf("%s: %s %+v, want %d, fields %q, %q", row.why, a.Status, got, row.status, row.fields, row.say)
		}
	}
	const who = "admin.token 127.0.0.1 "
	want := []string{"exempt S-1044", "exempt S-1044", "unexempt S-1044", "plan S-1044", "plan S-1044", "release S-1044", "unrelease S-1044",
		"bind 192.0.2.0/24 to S-1044", "bind 192.0.2.9/32 to S-1102", "unbind 192.0.2.0/24"}
	for i := range want {
		want[i] = who + want[i]
	}
	if !slices.Equal(box.by, want) {
		t.Errorf("done: %q\nwant: %q", box.by, want)
	}
}

func TestAnExemptionIsShown(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	one := read[Subscriber](t, s, "/api/v1/subscribers/S-0871")
	if one.Exemption == nil || one.Exemption.Reason != "Christmas newsletter, asked by phone" || one.Exemption.Since.IsZero() || one.Exemption.By != "admin 192.0.2.7" {
		t.Errorf("%+v", one.Exemption)
	}
	if !strings.Contains(one.Sentence, "Nothing is being held back on this line: it is exempt until") {
		t.Error(one.Sentence)
	}
	if all := read[list[Subscriber]](t, s, "/api/v1/subscribers?exempt=1"); len(all.Items) != 1 || all.Items[0].ID != "S-0871" {
		t.Errorf("%d are exempt", len(all.Items))
	}
}

// A failure of the box is told as such, and that nothing was changed.
func TestAChangeThatCannotBeSavedIsTold(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.failing = errors.New("write budgets: no space left on device")
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	for _, call := range [][3]string{{"POST", "/subscribers/S-1044/release", ""}, {"POST", "/subscribers/S-1044/exemption", `{"until":"2026-12-01T00:00:00Z","reason":"asked"}`},
		{"DELETE", "/subscribers/S-1044/exemption", ""}, {"PATCH", "/subscribers/S-1044", `{"plan":"office"}`}, {"PUT", "/bindings", `{"prefix":"192.0.2.0/24","subscriber":"S-1044"}`}} {
		a := ask(t, s, call[0], "/api/v1"+call[1], call[2], "Authorization", "Bearer "+tokenOf(t, s))
		if text := body(t, a); a.StatusCode != 500 || !strings.Contains(text, "Nothing was changed: ") || !strings.Contains(text, "no space left") {
			t.Errorf("%v: %s %s", call, a.Status, text)
		}
	}
}

func TestCasesAreFoundHoweverTheyAreWritten(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.subs[0].Case = "00K1Q"
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	for _, id := range []string{"00K1Q", "00k1q", "OoKiq", "%2000KLQ%20"} {
		if c := read[Case](t, s, "/api/v1/cases/"+id); c.Subscriber != "S-1044" || len(c.Changes) != 2 {
			t.Errorf("%s: %+v", id, c)
		}
	}
}

func TestWhoHeldAnAddressThen(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	for _, row := range []struct {
		why, query, holder, unmapped string
	}{
		{"now", "address=100.64.3.7", "S-1044", ""},
		{"mapped into IPv6", "address=::ffff:100.64.3.7", "S-1044", ""},
		{"yesterday", "address=100.64.3.7&at=2026-11-17T02:12:00Z", "S-1044", ""},
		{"before RADIUS said so", "address=100.64.3.7&at=2026-11-01T02:12:00%2B01:00", "", "100.64.3.7/32"},
		{"nobody's", "address=100.64.250.1", "", "100.64.250.1/32"},
	} {
		l := read[Lookup](t, s, "/api/v1/lookup?"+row.query)
		got := ""
		for _, h := range l.Holders {
			got += h.Subscriber
		}
		if got != row.holder || l.Unmapped != row.unmapped || l.Holders == nil || l.At.IsZero() {
			t.Errorf("%s: %+v", row.why, l)
		}
	}
}

// FuzzBody: whatever the body is, it is read or refused, and nothing of it is taken that was not asked for.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{"until":"2026-12-01T00:00:00Z","reason":"asked"}`, `{}`, ``, `[`, `{"a":1,"a":2}`, `{"reason":"\ud800"}`, `{"reason":{"a":[]}} `, "{\"reason\":\"\xff\"}", `{"until":"9999-12-31T23:59:59+23:59","reason":""}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := &jsonBody{members: map[string]json.RawMessage{}}
		if b.read(strings.NewReader(text)) != nil {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("%q was read", text)
		}
		until, reason := b.time("until"), b.text("reason", false)
		if len(b.errors) == 0 && (reason == "" || len(reason) > maxText || unfit(reason) != "" || until.IsZero()) {
			t.Errorf("%q gave %v, %q", text, until, reason)
		}
	})
}

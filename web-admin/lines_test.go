package webadmin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// far is a what-if that waits for olga, reads a list, and then half of a journal of seven days.
func far(_ context.Context, q WhatIfQuestion) error {
	if q.Waits != nil {
		q.Waits(Busy{"olga 192.0.2.2", At(noon.Add(-12 * time.Second))})
	}
	if q.Progress == nil {
		return nil
	}
	q.Progress(WhatIfProgress{Doing: DoingList})
	begin := noon.Add(-7 * 24 * time.Hour)
	for i := range 3 {
		q.Progress(WhatIfProgress{Doing: DoingJournal, Read: int64(i) * 2050, Of: 10_000, From: At(begin), To: At(noon), At: At(begin.Add(time.Duration(i) * 37 * time.Hour))})
	}
	q.Progress(WhatIfProgress{Doing: DoingReport, Read: 10_000, Of: 10_000})
	return nil
}

// Who accepts lines waits for another what-if, is told how far theirs is, and gets the report, or what was wrong, as the last of them. Who does not gets what they always got.
func TestAWhatIfTellsHowFarItIsOverTheAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.trial = far
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	read := func(config string) (doing []string, last WhatIfLine) {
		t.Helper()
		a := ask(t, s, "POST", "/api/v1/what-if", `{"config": "`+config+`", "days": 7}`, append(auth, "Accept", linesType)...)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != linesType {
			t.Errorf("%s: %s %s", config, a.Status, a.Header.Get("Content-Type"))
		}
		for lines := bufio.NewScanner(a.Body); lines.Scan(); {
			last = WhatIfLine{}
			dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&last); err != nil && !strings.Contains(lines.Text(), `"report"`) { // the fake one's is another
				t.Fatalf("%v: %s", err, lines.Text())
			}
			if p := last.Progress; p != nil {
				doing = append(doing, p.Doing+p.Behind)
			}
		}
		return doing, last
	}
	doing, last := read("mode: enforce")
	if got := strings.Join(doing, " "); got != "waitolga list journal journal journal report" || last.Progress != nil || last.Problem != nil {
		t.Errorf("%s, and then %+v", got, last)
	}
	if _, last = read("refused"); last.Problem == nil || last.Problem.Status != http.StatusBadRequest || last.Problem.Errors[0].Field != "days" {
		t.Errorf("%+v", last)
	}
	plain := ask(t, s, "POST", "/api/v1/what-if", `{"config": "mode: enforce", "days": 7}`, auth...)
	if said := body(t, plain); plain.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(said, `{"config":`) {
		t.Errorf("%s", said)
	}
	box.trial = nil
	if a := ask(t, s, "POST", "/api/v1/what-if", `{"config": "busy: true", "days": 7}`, append(auth, "Accept", linesType)...); a.StatusCode != http.StatusConflict {
		t.Errorf("before anything was told: %s", a.Status)
	}
}

// The page of a plan is told in words how far its what-if is, and then gets itself with the figures, by which it can be saved.
func TestAPlanTellsHowFarItsWhatIfIs(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.report, box.trial = triedReport, far
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	form := url.Values{"highest": {"cut"}, "of-0": {"tls_handshakes"}, "limit-0": {"30"}, "per-0": {"1h"}, "of-1": {"concurrent_sessions"}, "limit-1": {"3"},
		"warn_at": {"50"}, "pace_at": {"80"}, "pace_max": {"60s"}, "defer_at": {"100"}, "cut_at": {"300"}, "cut_for": {"1h"}, "release_after": {"15m"}}
	asked := func(do, limit string) (says []string, page string) {
		t.Helper()
		form.Set("do", do)
		form.Set("limit-0", limit)
		a := send(t, s, cookie, "/plans/residential", form)
		if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			return nil, body(t, a)
		}
		lines := json.NewDecoder(a.Body)
		for lines.More() {
			var l planLine
			if err := lines.Decode(&l); err != nil {
				t.Fatal(err)
			}
			if page += l.Page; l.Says != "" {
				percent := -1
				if l.Percent != nil {
					percent = *l.Percent
				}
				says = append(says, fmt.Sprintf("%s %d/%d", l.Says, percent, l.Part))
			}
		}
		return says, page
	}
	want := []string{"Waits: the what-if of olga has been under way for 12\u00a0s. -1/1", "Reads the list of subscribers. -1/2",
		"0 of 7 days read, 0\u00a0%. 0/3", "1 of 7 days read, 20\u00a0%. 20/3", "3 of 7 days read, 41\u00a0%. 41/4", "All read, adds up. 100/8"}
	for _, do := range []string{"type", "watch"} {
		says, page := asked(do, "30")
		if strings.Join(says, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: told\n%s", do, strings.Join(says, "\n"))
		}
		if !strings.Contains(page, "Elm Street 12") || !strings.Contains(page, `name="seen" value="r`) || strings.Contains(page, "disabled") {
			t.Errorf("%s: the page has no figures, or cannot be saved", do)
		}
	}
	if says, page := asked("try", "30"); says != nil || !strings.Contains(page, "Elm Street 12") {
		t.Error("without a script there is another page")
	}
	for what, limit := range map[string]string{"what is wrong": "many", "what is in force": "20"} {
		if what == "what is in force" {
			form.Set("of-0", "sessions")
			form.Set("burst-0", "5")
		}
		if says, page := asked("type", limit); says != nil || !strings.Contains(page, `id="untried"`) || strings.Contains(page, "data-try") || !strings.Contains(page, `value="save" disabled`) {
			t.Errorf("%s is tried: %q", what, says)
		}
	}
	box.trial = func(context.Context, WhatIfQuestion) error {
		return Busy{"olga 192.0.2.2", At(noon.Add(-12 * time.Second))}
	}
	if _, page := asked("try", "30"); !strings.Contains(page, "The what-if of olga has been under way for 12\u00a0s, and there is one at a time.") || !strings.Contains(page, `value="save" disabled`) {
		t.Error("it does not say whose what-if is under way")
	}
}

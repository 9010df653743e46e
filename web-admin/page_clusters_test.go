package webadmin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// A cluster's page says what it is, who has it and why that may be wrong; an admin says that its client is known, and takes it back.
func TestAClusterIsJudgedByPeople(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie, operator := enter(t, s), enterAs(t, s, "olga", users.Operator)
	all := body(t, get(t, s, "/clusters", "Cookie", cookie))
	for _, want := range []string{`href="/clusters/K7"`, "probably one botnet", "goes on", "31.4", "the client is known as good"} {
		if !strings.Contains(all, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	page := body(t, get(t, s, "/clusters/K7", "Cookie", cookie))
	for _, want := range []string{"t13d121000_4d4a3b5e6f70_0123456789ab", "e7d705a3286e19ea42f587b344ee6865", "Why it is one: 31.4 bits", "(speaks against it)", "different programs may have the same", `href="/subscribers/S-1044"`, "Elm Street 12", "And 2 lines", "Known as good…"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := body(t, get(t, s, "/clusters/K7", "Cookie", operator)); strings.Contains(page, "Known as good…") {
		t.Error("an operator is offered what an admin does")
	}
	post := func(path, cookie string) (int, string) {
		t.Helper()
		a := ask(t, s, "POST", path, "", "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
		return a.StatusCode, a.Header.Get("Location")
	}
	known := func() []string {
		t.Helper()
		_, v, ok := s.configured(nil, nil)
		if !ok {
			t.Fatal("no configuration")
		}
		return v.Clusters.KnownGood
	}
	if code, _ := post("/clusters/K7/known-good", operator); code != 403 || len(known()) > 0 {
		t.Errorf("an operator: %d", code)
	}
	for range 2 { // the second changes nothing
		if code, to := post("/clusters/K7/known-good", cookie); code != 303 || !strings.HasPrefix(to, "/clusters/K7") || !slices.Equal(known(), []string{"t13d121000_4d4a3b5e6f70_0123456789ab"}) {
			t.Errorf("%d to %s: %v", code, to, known())
		}
	}
	for range 2 {
		if code, to := post("/clusters/K7/known-good/end", cookie); code != 303 || !strings.HasPrefix(to, "/clusters/K7") || len(known()) > 0 {
			t.Errorf("taken back: %d to %s: %v", code, to, known())
		}
	}
	for _, path := range []string{"/clusters/K99", "/api/v1/clusters/K99"} {
		if a := get(t, s, path, "Cookie", cookie); a.StatusCode != 404 {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if code, _ := post("/clusters/K99/known-good", cookie); code != 404 {
		t.Errorf("one that is not there: %d", code)
	}
	if got := read[Cluster](t, s, "/api/v1/clusters/K7"); got.JA4 == "" || len(got.Members) != 23 || len(got.Weights) != 4 {
		t.Errorf("%+v", got)
	}
	if page := body(t, get(t, s, "/clusters", "Cookie", enter(t, startServer(t, Options{Source: quietBox()})))); strings.Contains(page, "K7") {
		t.Error("another box's")
	}
}

// A cluster of many lines has them by pages.
func TestAClusterOfManyLines(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.cluster[0].Members = nil
	for i := range 250 {
		box.cluster[0].Members = append(box.cluster[0].Members, ClusterMember{Subscriber: fmt.Sprintf("L-%03d", i), First: At(noon), Last: At(noon)})
	}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	seen := map[string]bool{}
	path := "/clusters/K7"
	for _, want := range []int{100, 100, 50} {
		page := body(t, get(t, s, path, "Cookie", cookie))
		n := 0
		for i := range 250 {
			if id := fmt.Sprintf("L-%03d", i); strings.Contains(page, "/subscribers/"+id+`"`) {
				seen[id] = true
				n++
			}
		}
		if n != want {
			t.Errorf("%s has %d", path, n)
		}
		path = linked(page, "next")
	}
	if len(seen) != 250 || path != "" {
		t.Errorf("%d lines, and on to %q", len(seen), path)
	}
	for _, odd := range []string{"?from=-7", "?from=x", "?from=99999"} {
		if a := get(t, s, "/clusters/K7"+odd, "Cookie", cookie); a.StatusCode != 200 {
			t.Errorf("%s: %s", odd, a.Status)
		}
	}
}

// Figures of networks say how sure they are.
func TestDestinationsSayHowSureTheyAre(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/destinations", "Cookie", cookie))
	for _, want := range []string{"7,231 sessions to all networks", "a network that is not listed had at most 14 sessions", ">2,412<", ">597 to 603<", "Example Mail International", "AS64496", "Owners as of", "203.0.114.25:25", "Elm Street 12", ">41<", "5 in an hour"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	box.mu.Lock()
	for i := range box.dests.Items {
		box.dests.Items[i].Error, box.dests.Items[i].Owner, box.dests.Items[i].AS = 0, "", 0
	}
	box.dests.Error, box.dests.Owners = 0, Time{}
	box.mu.Unlock()
	page = body(t, get(t, s, "/destinations?window=24h", "Cookie", cookie))
	for _, want := range []string{"Every figure below is exact", "destinations.owners_file is not set", `<a href="/destinations?window=24h" aria-current="true">last day</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, ">Owner<") && !strings.Contains(page, `id="gone"`) {
		t.Error("a column of owners that are not known")
	}
	for _, bad := range []string{"?window=2h", "?cursor=" + strings.Repeat("x", 2000)} {
		if a := get(t, s, "/destinations"+bad, "Cookie", cookie); a.StatusCode != 400 {
			t.Errorf("%s: %s", bad, a.Status)
		}
	}
	if got := read[list[OfferGone]](t, s, "/api/v1/destinations/starttls-gone?limit=1"); len(got.Items) != 1 || got.Items[0].Server != "203.0.114.25:25" || got.Next == "" {
		t.Errorf("%+v", got)
	}
	viewer := body(t, get(t, s, "/destinations", "Cookie", enterAs(t, s, "vera", users.Viewer)))
	if strings.Contains(viewer, "203.0.114.25") || strings.Contains(viewer, "Elm Street") || !strings.Contains(viewer, "203.0.x.x") {
		t.Error("a viewer sees servers or names")
	}
}

package webadmin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func read[T any](t *testing.T, s *Server, path string) T {
	t.Helper()
	a := get(t, s, path, "Authorization", "Bearer "+tokenOf(t, s))
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %s, %s: %s", path, a.Status, a.Header.Get("Content-Type"), body(t, a))
	}
	var v T
	if err := json.NewDecoder(a.Body).Decode(&v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func TestStatusIsTheContracts(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	st := read[map[string]any](t, s, "/api/v1/status")
	for _, path := range strings.Fields(`version mode ready uptime_s lanes.fast.on lanes.fast.why lanes.queue.depth lanes.queue.dropped lanes.queue.user_dropped sessions.open sessions.total
		actions.passed actions.paced actions.deferred actions.cut actions.failed_open acted syslog.0.url syslog.0.up syslog.0.behind syslog.0.last_error clock.synced clock.offset_s store.ok store.written_bytes_today`) {
		var at any = st
		for _, key := range strings.Split(path, ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[key]
			case []any:
				at = v[0]
			}
		}
		if at == nil {
			t.Errorf("status lacks %s", path)
		}
	}
	lane := st["lanes"].(map[string]any)["fast"].(map[string]any)
	if next, _ := lane["next"].(map[string]any); next["lease"] != 1134.0 || next["stage"] != 16.0 {
		t.Errorf("what next sessions meet: %v", lane["next"])
	}
	if st["uptime_s"] != 274320.0 || st["mode_since"] != "2026-11-15T07:04:40.000Z" {
		t.Errorf("uptime_s %v, mode_since %v", st["uptime_s"], st["mode_since"])
	}
	empty := read[map[string]any](t, startServer(t, Options{Source: quietBox()}), "/api/v1/status")
	if empty["syslog"] == nil || empty["problems"] == nil {
		t.Error("an empty list is null")
	}
}

func TestSubscribersArePagedAndFound(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	var ids []string
	path := "/api/v1/subscribers?limit=30"
	for path != "" {
		page := read[list[map[string]any]](t, s, path)
		for _, sub := range page.Items {
			ids = append(ids, sub["id"].(string))
		}
		if path = ""; page.Next != "" {
			path = "/api/v1/subscribers?limit=30&cursor=" + page.Next
		}
	}
	if len(ids) != 85 || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 85 {
		t.Errorf("%d subscribers over all pages", len(ids))
	}
	if held := read[list[Subscriber]](t, s, "/api/v1/subscribers?stage=cut&stage=defer,pace"); len(held.Items) != 16 {
		t.Errorf("%d in stage pace or higher, want 16", len(held.Items))
	}
	for _, q := range []string{"100.64.3.7", "elm", "K7Q2X", "s-1044", "2001:db8:34::25"} {
		if found := read[list[Subscriber]](t, s, "/api/v1/subscribers?q="+q); len(found.Items) != 1 || found.Items[0].ID != "S-1044" {
			t.Errorf("q=%s finds %d", q, len(found.Items))
		}
	}
	for _, sub := range read[list[Subscriber]](t, s, "/api/v1/subscribers?brief=1&stage=cut,defer").Items {
		if sub.Name == "" && !sub.Unmapped || sub.Case == "" || sub.Reason == "" || len(sub.Budgets)+len(sub.Bindings)+len(sub.Decisions)+len(sub.Sentence) > 0 {
			t.Errorf("in brief: %+v", sub)
		}
	}
	one := read[map[string]any](t, s, "/api/v1/subscribers/S-1044")
	for _, key := range strings.Fields("id name plan prefixes stage since until reason case budgets decisions sentence") {
		if one[key] == nil {
			t.Errorf("a subscriber lacks %s", key)
		}
	}
	if _, has := one["exemption"]; !has || one["exemption"] != nil {
		t.Errorf("exemption is %v", one["exemption"])
	}
	for _, key := range strings.Fields("of window_s limit burst value ratio refills_at") {
		if one["budgets"].([]any)[0].(map[string]any)[key] == nil {
			t.Errorf("a budget lacks %s", key)
		}
	}
	// An unmapped source's id has a slash.
	if u := read[Subscriber](t, s, "/api/v1"+subscriberLink("100.64.77.15/32")); u.ID != "100.64.77.15/32" || !u.Unmapped {
		t.Errorf("unmapped: %+v", u)
	}
	r, err := http.NewRequest("POST", s.URL()+"api/v1"+subscriberLink("100.64.77.15/32")+"/release", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+tokenOf(t, s))
	a, err := client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var released Subscriber
	if json.NewDecoder(a.Body).Decode(&released); a.StatusCode != 200 || released.Stage != "observe" {
		t.Errorf("release: %s, %+v", a.Status, released)
	}
}

func TestRecordsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	a := get(t, s, "/api/v1/records?kind=decision&limit=1", "Authorization", "Bearer "+tokenOf(t, s))
	text := body(t, a)
	seq, action, reason := strings.Index(text, `"seq":"1823`), strings.Index(text, `"action":"defer"`), strings.Index(text, `"reason":`)
	if seq < 0 || seq > action || action > reason {
		t.Errorf("params are not in the record's order: %s", text)
	}
	from := noon.Add(-5 * time.Minute).UTC().Format(time.RFC3339)
	if got := read[list[map[string]any]](t, s, "/api/v1/records?from="+from); len(got.Items) != 5 {
		t.Errorf("%d records of the last five minutes, want 5", len(got.Items))
	}
	if got := read[list[map[string]any]](t, s, "/api/v1/records?subscriber=S-1044"); len(got.Items) != 1 {
		t.Errorf("%d records of S-1044", len(got.Items))
	}
}

func TestBadInputIsAProblem(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for path, want := range map[string]string{
		"/api/v1/subscribers?limit=0":                            "limit",
		"/api/v1/subscribers?limit=1001":                         "limit",
		"/api/v1/subscribers?limit=x":                            "limit",
		"/api/v1/subscribers?stage=angry":                        "stage",
		"/api/v1/records?kind=gossip":                            "kind",
		"/api/v1/records?kind=STAGE,AUDIT":                       "kind",
		"/api/v1/records?from=yesterday":                         "from",
		"/api/v1/records?from=1&to=2":                            "to",
		"/api/v1/records?subscriber=" + strings.Repeat("x", 300): "subscriber",
	} {
		a := get(t, s, path, auth...)
		var p struct {
			Title  string
			Status int
			Errors []struct{ Field, Message string }
		}
		if err := json.NewDecoder(a.Body).Decode(&p); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		named := slices.ContainsFunc(p.Errors, func(e struct{ Field, Message string }) bool { return e.Field == want && e.Message != "" })
		if a.StatusCode != 400 || p.Status != 400 || p.Title == "" || !named || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %+v", path, a.Status, p)
		}
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/api/v1/subscribers/nobody", 404}, {"POST", "/api/v1/subscribers/nobody/release", 404}, {"GET", "/api/v1/what-if", 405}, {"GET", "/api/v2/status", 404},
		{"PUT", "/api/v1/status", 405}, {"GET", "/api/v1/subscribers/S-1044/release", 405}, {"BREW", "/api/v1/status", 405}} {
		a := ask(t, s, c.method, c.path, "", auth...)
		if a.StatusCode != c.want || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s %s", c.method, c.path, a.Status, a.Header.Get("Content-Type"))
		}
	}
	// A number that JSON does not have is an answer, too.
	box.mu.Lock()
	box.subs[0].Budgets[0].Ratio = math.NaN()
	box.mu.Unlock()
	if a := get(t, s, "/api/v1/subscribers/S-1044", auth...); a.StatusCode != 500 || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("NaN: %s", a.Status)
	}
	if a := get(t, s, "/subscribers/S-1044", "Cookie", enter(t, s)); a.StatusCode != 200 {
		t.Errorf("a page with NaN: %s", a.Status)
	}
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	doc := read[struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Summary     string
			Parameters  []struct{ Name, In string }
			RequestBody struct {
				Content map[string]struct {
					Schema struct{ Properties map[string]any }
				}
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}](t, s, "/api/v1/openapi.json")
	described := 0
	for _, methods := range doc.Paths {
		described += len(methods)
	}
	if described != len(apiRoutes()) || doc.OpenAPI != "3.1.0" {
		t.Errorf("%d operations described, %d routes", described, len(apiRoutes()))
	}
	cookie := enter(t, s) // the account has an answer for people only
	example := strings.NewReplacer("cases/{id}", "cases/K7Q2X", "clusters/{id}", "clusters/K7", "records/{id}", "records/182400", "{id}", "S-1044", "/lookup", "/lookup?address=100.64.3.7")
	for _, rt := range apiRoutes() {
		op, ok := doc.Paths[rt.path][strings.ToLower(rt.method)]
		if !ok || op.Summary == "" {
			t.Errorf("%s %s is not described", rt.method, rt.path)
			continue
		}
		if strings.Contains(rt.path, "{id}") && !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == "id" && p.In == "path" }) {
			t.Errorf("%s: id is not described", rt.path)
		}
		if sent := len(op.RequestBody.Content["application/json"].Schema.Properties); (sent > 0) != (rt.api.body != nil) {
			t.Errorf("%s %s: %d members of its body are described", rt.method, rt.path, sent)
		}
		if rt.method != "GET" || rt.api.answer == nil || rt.access == owning {
			continue
		}
		// The real answer has the keys that the document requires, and no others.
		a := get(t, s, example.Replace(rt.path), "Cookie", cookie)
		var answer any
		if err := json.NewDecoder(a.Body).Decode(&answer); a.StatusCode != 200 || err != nil {
			t.Errorf("%s: %s, %v", rt.path, a.Status, err)
			continue
		}
		fits(t, rt.path, op.Responses["200"].Content["application/json"].Schema, answer, doc.Components.Schemas)
	}
}

// fits holds an answer against its schema: required keys, no unknown ones, types.
func fits(t *testing.T, at string, schema map[string]any, v any, named map[string]map[string]any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = named[strings.TrimPrefix(ref, "#/components/schemas/")]
	}
	if any, ok := schema["anyOf"].([]any); ok {
		if v == nil {
			return
		}
		schema = any[0].(map[string]interface{})
		fits(t, at, schema, v, named)
		return
	}
	kinds, ok := schema["type"].([]any)
	if !ok {
		kinds = []any{schema["type"]}
	}
	kind := map[bool]string{true: "null"}[v == nil]
	switch v := v.(type) {
	case map[string]any:
		kind = "object"
		if each, words := schema["additionalProperties"].(map[string]any); words {
			for key, value := range v {
				fits(t, at+"."+key, each, value, named)
			}
			break
		}
		props, _ := schema["properties"].(map[string]any)
		for _, key := range schema["required"].([]any) {
			if _, has := v[key.(string)]; !has {
				t.Errorf("%s lacks %s", at, key)
			}
		}
		for key, value := range v {
			sub, known := props[key].(map[string]any)
			if !known {
				t.Errorf("%s.%s is not described", at, key)
				continue
			}
			if key != "params" {
				fits(t, at+"."+key, sub, value, named)
			}
		}
	case []any:
		kind = "array"
		for _, item := range v {
			fits(t, at+"[]", schema["items"].(map[string]any), item, named)
		}
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case float64:
		kind = "number"
		if slices.Contains(kinds, any("integer")) {
			kind = "integer"
		}
	}
	if !slices.Contains(kinds, any(kind)) {
		t.Errorf("%s is %s, described as %v", at, kind, kinds)
	}
}

// event is one server-sent event.
type event struct{ kind, id, data string }

func listen(t *testing.T, ctx context.Context, s *Server, header ...string) (<-chan event, *http.Response) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := client()
	c.Timeout = 0
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan event, 100)
	go func() {
		defer close(out)
		defer a.Body.Close()
		var e event
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.kind = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				out <- e
				e = event{}
			}
		}
	}()
	return out, a
}

// next waits for the next event of a kind.
func next(t *testing.T, events <-chan event, kind string) event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before %s", kind)
			}
			if e.kind == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no %s event in 10 s", kind)
		}
	}
}

func TestEventsTellCountersStagesAndHealth(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cookie := enter(t, s)
	events, a := listen(t, ctx, s, "Cookie", cookie)
	if a.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %s", a.Status, a.Header.Get("Content-Type"))
	}
	if h := next(t, events, "health"); !strings.Contains(h.data, "syslog-2") {
		t.Errorf("health at the start: %s", h.data)
	}
	next(t, events, "counters")
	box.mu.Lock()
	seq := box.records[0].Seq
	for i := uint64(1); i <= 2; i++ { // two in one second: both are told, in their order
		box.records = append([]Record{{Seq: seq + i, Kind: "STAGE", Subscriber: fmt.Sprint("S-", i), At: At(noon)}}, box.records...)
	}
	box.status.Sessions.Open = 4711
	box.status.Syslog[1].Up = true
	box.mu.Unlock()
	if e := next(t, events, "health"); e.data != "[]" {
		t.Errorf("the collector is up, but: %s", e.data)
	}
	for i := uint64(1); i <= 2; i++ {
		if e := next(t, events, "stage"); e.id != fmt.Sprint(seq+i) || !strings.Contains(e.data, fmt.Sprint(`"S-`, i)) {
			t.Errorf("stage event %d: %+v", i, e)
		}
	}
	if e := next(t, events, "counters"); !strings.Contains(e.data, `"open":4711`) {
		t.Errorf("counters: %s", e.data)
	}
	// Who reconnects hears what was missed.
	again, _ := listen(t, ctx, s, "Authorization", "Bearer "+tokenOf(t, s), "Last-Event-ID", fmt.Sprint(seq+1))
	if e := next(t, again, "stage"); e.id != fmt.Sprint(seq+2) {
		t.Errorf("after %d comes %s", seq+1, e.id)
	}
	// Logging out ends the stream of that session, and not the other.
	ask(t, s, "POST", "/logout", "", "Cookie", cookie)
	deadline := time.After(10 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-events:
		case <-deadline:
			t.Fatal("the stream goes on after logout")
		}
	}
	next(t, again, "counters")
}

// TestEventsOfABusySecondAreAllTold pours in more stage changes than a page of records holds, at once and while nobody listened.
func TestEventsOfABusySecondAreAllTold(t *testing.T) {
	t.Parallel()
	const n = 2*maxLimit + 50
	box := busyBox()
	s := startServer(t, Options{Source: box})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	events, _ := listen(t, t.Context(), s, auth...)
	next(t, events, "counters")
	box.mu.Lock()
	seq := box.records[0].Seq
	for i := uint64(1); i <= n; i++ {
		box.records = slices.Insert(box.records, 0, Record{Seq: seq + i, Kind: "STAGE", Subscriber: fmt.Sprint("S-", i), At: At(noon)})
	}
	box.mu.Unlock()
	again, _ := listen(t, t.Context(), s, append(auth, "Last-Event-ID", fmt.Sprint(seq))...)
	for why, heard := range map[string]<-chan event{"who listens": events, "who comes back": again} {
		for i := uint64(1); i <= n; i++ {
			if e := next(t, heard, "stage"); e.id != fmt.Sprint(seq+i) {
				t.Fatalf("%s: event %d is %s", why, seq+i, e.id)
			}
		}
		next(t, heard, "counters")
	}
}

// TestIdsWithASlashAreFoundEscaped asks over both ways in, as clients that escape a path segment send it.
func TestIdsWithASlashAreFoundEscaped(t *testing.T) {
	t.Parallel()
	ids := []string{"100.65.1.1/32", "2001:db8:7::/64", "a/b/c", "50% off", "a%2Fb", "x/../S-1044", "//", "Müller"}
	box := busyBox()
	for _, id := range ids {
		box.subs = append(box.subs, Subscriber{ID: id, Stage: "cut"})
	}
	s := startServer(t, Options{Source: box})
	socket := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.opt.DataDir, "mailweir.sock"))
	}}}
	for way, c := range map[string]struct {
		root   string
		client *http.Client
	}{"socket": {"http://box/", socket}, "HTTPS": {s.URL(), client()}} {
		for _, id := range ids {
			for _, call := range []struct{ method, suffix, stage string }{{"GET", "", "cut"}, {"POST", "/release", "observe"}} {
				box.mu.Lock()
				for i := range box.subs {
					if call.method == "GET" && box.subs[i].ID == id {
						box.subs[i].Stage = "cut" // again, for the second way
					}
				}
				box.mu.Unlock()
				path := "api/v1/subscribers/" + url.PathEscape(id) + call.suffix
				r, err := http.NewRequest(call.method, c.root+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+tokenOf(t, s))
				a, err := c.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				var sub Subscriber
				if err := json.NewDecoder(a.Body).Decode(&sub); err != nil {
					t.Error(err)
				}
				a.Body.Close()
				if a.StatusCode != 200 || sub.ID != id || sub.Stage != call.stage {
					t.Errorf("%s over %s: %s %s: %s, %q in %s", id, way, call.method, path, a.Status, sub.ID, sub.Stage)
				}
			}
		}
	}
}

func TestEventStreamsAreBoundedAndEndWithTheServer(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s, err := New(Options{Source: box, DataDir: shortDir(t), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	token := tokenOf(t, s)
	var streams []<-chan event
	for range maxStreams {
		events, a := listen(t, t.Context(), s, "Authorization", "Bearer "+token)
		if a.StatusCode != 200 {
			t.Fatal(a.Status)
		}
		streams = append(streams, events)
	}
	if _, a := listen(t, t.Context(), s, "Authorization", "Bearer "+token); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many: %s", a.Status)
	}
	began := time.Now()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > drainFor {
		t.Errorf("the server took %v to stop", took)
	}
	for _, events := range streams {
		for range events {
		}
	}
	if _, err := os.Stat(filepath.Join(s.opt.DataDir, "mailweir.sock")); err == nil {
		t.Error("the socket stays behind")
	}
}

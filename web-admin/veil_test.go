package webadmin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// namedBox is a box in which everything that is somebody's says so.
func namedBox() (*fakeBox, []string) {
	box := busyBox()
	secrets := []string{"Elm Street", "Mill Lane", "S-1044", "S-1102", "100.64.3.7", "2001:db8:34::", "198.51.100.77", "2001:db8:77::9", "SECRETNAME"}
	who := "SECRETNAME"
	box.status.Lanes.Fast.Waiting = []Waiting{{Subscriber: "S-1044", Reason: "stage", Why: "S-1044 of SECRETNAME"}}
	box.status.Problems = []Problem{{What: "RADIUS names SECRETNAME", Meaning: "S-1044", Do: "call 198.51.100.77"}}
	box.status.Syslog = append(box.status.Syslog, Syslog{URL: "udp://198.51.100.77:514", LastError: "dial 198.51.100.77: refused", Since: At(noon)})
	box.status.Clock = Clock{Known: true, Synced: true, Kept: true, Server: "198.51.100.77", Heard: At(noon), Why: who + " does not answer"}
	box.status.Notices = []NoticeTarget{{Name: who, Where: "SECRETNAME@isp.example", LastError: who}}
	box.status.Store.OK, box.status.Store.Why, box.status.Spool.Fault = false, who, who
	for i := range box.subs {
		box.subs[i].Exemption = &Exemption{Reason: who, By: who, Since: At(noon), Until: At(noon)}
		box.subs[i].Lane.Why, box.subs[i].Lane.Addresses = who, []string{"198.51.100.77"}
		box.subs[i].Bindings = append(box.subs[i].Bindings, Binding{Prefix: "198.51.100.77/32", Subscriber: "S-1044", Source: "radius", From: At(noon)})
		box.subs[i].Decisions = append(box.subs[i].Decisions, Decision{At: At(noon), Action: "pass", Exemption: who, Reason: "sessions 1/10"})
	}
	box.sources = []Unmapped{{Address: "198.51.100.77", Subscriber: "198.51.100.77/32", Crowd: who, First: At(noon), Last: At(noon)}}
	box.cluster = []Cluster{{ID: "C1", Members: []ClusterMember{{Subscriber: "S-1044", Name: who}}}}
	box.gone = append(box.gone, OfferGone{Server: "198.51.100.77:25", Network: "198.51.100.0/24", Since: At(noon)})
	box.fault = who
	box.histories = map[string]History{"S-1044": {Since: At(noon), Fault: who, Stages: []Change{{At: At(noon), From: "observe", To: "cut", Reason: "sessions 21/20 per 1h (105%)"}},
		Sessions: []LineSession{{Seq: 1003, Start: At(noon), Server: "198.51.100.77", Port: 25}}, Networks: []LineNetwork{{Network: "198.51.100.77/32", Owner: who, AS: 1}}, Prints: []LinePrint{{JA4: "t13"}}}}
	for i, kind := range recordKinds {
		params := []Param{{"seq", "1"}, {"subscriber", "S-1044"}, {"src", "198.51.100.77"}, {"dst", "2001:db8:77::9"}, {"binding", "198.51.100.77/32"}, {"sni", who}, {"who", who}, {"from", who},
			{"to", who}, {"what", "release"}, {"object", "S-1044"}, {"before", who}, {"after", who}, {"detail", who}, {"exemption", who}, {"file", who}, {"target", who}, {"something_new", who}, {"reason", who}}
		if kind == "STAGE" || kind == "DECISION" { // what the governor says of a budget
			params = append(params[:7:7], Param{"from", "observe"}, Param{"to", "defer"}, Param{"action", "defer"}, Param{"reason", "sessions 21/20 per 1h (105%)"}, Param{"exemption", who})
		}
		box.records = append(box.records, Record{Seq: uint64(1000 + i), At: At(noon), Kind: kind, Subscriber: "S-1044", Text: who + " 198.51.100.77 S-1044", Line: who + " 198.51.100.77", Params: params})
	}
	return box, secrets
}

// addresses is what looks like a whole IPv4 address.
var addresses = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)

// TestAViewerSeesNobodysNameOrAddress reads every page, every answer of the API, the stream of events and the metrics as a viewer, and follows every link.
func TestAViewerSeesNobodysNameOrAddress(t *testing.T) {
	t.Parallel()
	box, secrets := namedBox()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	s := startServer(t, Options{Source: box, Metrics: says(`up{url="udp://198.51.100.77:514"} 1`), MetricsMasked: says(`up{url="udp collector 1"} 1`)})
	cookie := enterAs(t, s, "vera", users.Viewer)
	open := enter(t, s)
	hidden := s.veil.ids.hide("S-1044")
	paths := []string{"/subscribers?q=" + hidden, "/records?subscriber=" + hidden, "/nothing", "/api/v1/nothing", "/subscribers?stage=cut", "/subscribers?exempt=1", "/records/1003", "/api/v1/records/1003", "/api/v1/records?q=" + hidden, "/clusters/C1", "/api/v1/clusters/C1",
		"/api/v1/records.csv?kind=SESSION", "/api/v1/records.csv?kind=STAGE", "/api/v1/records.json?subscriber=" + hidden}
	for _, rt := range routes() {
		if rt.method == "GET" && (rt.access == viewing || rt.access == metricsOnly) {
			path := strings.NewReplacer("{$}", "", "/cases/{id}", "/cases/K7Q2X", "{id}", hidden).Replace(rt.path)
			paths = append(paths, path)
			if rt.api != nil && strings.HasSuffix(path, "s") {
				paths = append(paths, path+"?limit=1")
			}
		}
	}
	link := regexp.MustCompile(`href="(/[^"#]*)"`)
	seen, answered := map[string]bool{}, 0
	for i := 0; i < len(paths); i++ {
		path := paths[i]
		if seen[path] || len(seen) > 400 {
			continue
		}
		seen[path] = true
		a := get(t, s, path, "Cookie", cookie, "Last-Event-ID", "0")
		var text string
		if strings.Contains(path, "/events") {
			if text = firstSecond(t, a); strings.Count(text, "event: stage") == 0 || !strings.Contains(text, "event: health") {
				t.Errorf("the stream of events lacks some: %s", text)
			}
		} else {
			text = body(t, a)
		}
		if a.StatusCode == 200 {
			answered++
		}
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s (%d) tells a viewer %q: …%s…", path, a.StatusCode, secret, text[max(0, at-80):min(len(text), at+80)])
			}
		}
		for _, address := range addresses.FindAllString(text, -1) {
			if !strings.Contains(path, "/destinations") && !strings.Contains(path, "/account") && /* their own */ !strings.HasSuffix(address, ".0") {
				t.Errorf("%s tells a viewer the address %s", path, address)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if next, err := url.QueryUnescape(m[1]); err == nil && !strings.HasPrefix(m[1], "/static") && !strings.Contains(next, "evidence") {
				paths = append(paths, strings.ReplaceAll(m[1], "&amp;", "&"))
			}
		}
	}
	if answered < 25 {
		t.Errorf("only %d of %d pages were there to be read", answered, len(seen))
	}
	// The same pages have it all for whoever may see it, or the test looks for what is not there.
	all := ""
	for _, path := range []string{"/", "/subscribers", "/subscribers/S-1044", "/records", "/records/1003", "/destinations", "/clusters/C1", "/api/v1/records.csv", "/unmapped", "/api/v1/status", "/api/v1/records", "/api/v1/clusters", "/api/v1/subscribers", "/metrics"} {
		all += body(t, get(t, s, path, "Cookie", open))
	}
	for _, secret := range secrets {
		if !strings.Contains(all, secret) {
			t.Errorf("%q is nowhere in this box", secret)
		}
	}
	t.Logf("%d addresses read, %d answered", len(seen), answered)
}

// firstSecond is what a stream of events says in its first second; the stream ends then.
func firstSecond(t *testing.T, a *http.Response) string {
	t.Helper()
	defer a.Body.Close()
	var text strings.Builder
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		if counters := strings.Contains(text.String(), "event: counters\n"); counters && lines.Text() == "" {
			return text.String()
		}
	}
	t.Fatalf("the stream of events ends: %v after %s", lines.Err(), text.String())
	return ""
}

// Whoever has the role operator gets the metrics as they are, all others the masked ones, also where they are public.
func TestMetricsAreMaskedForViewers(t *testing.T) {
	t.Parallel()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	for _, public := range []bool{false, true} {
		s := startServer(t, Options{Source: busyBox(), Metrics: says("whole"), MetricsMasked: says("masked"), MetricsPublic: public})
		person(t, s, boss, users.Admin)
		bearer := func(role users.Role) []string {
			secret, _, err := s.users.AddToken(boss, "scrape", role, s.opt.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return []string{"Authorization", "Bearer " + secret}
		}
		for _, c := range []struct {
			why    string
			header []string
			status int
			want   string
		}{
			{"a viewer's token", bearer(users.Viewer), 200, "masked"},
			{"an operator's token", bearer(users.Operator), 200, "whole"},
			{"the admin token", []string{"Authorization", "Bearer " + tokenOf(t, s)}, 200, "whole"},
			{"a token that is none", []string{"Authorization", "Bearer mwt_nothing"}, http.StatusUnauthorized, ""},
			{"no token", nil, map[bool]int{true: 200, false: http.StatusUnauthorized}[public], "masked"},
		} {
			a := get(t, s, "/metrics", c.header...)
			if text := body(t, a); a.StatusCode != c.status || c.status == 200 && text != c.want {
				t.Errorf("%s, public %v: %s %q, want %d %q", c.why, public, a.Status, text, c.status, c.want)
			}
		}
	}
}

// A viewer cannot ask whether a name or an address is there, but finds a case and a pseudonym.
func TestAViewersSearchTellsNothing(t *testing.T) {
	t.Parallel()
	box, _ := namedBox()
	s := startServer(t, Options{Source: box})
	cookie := enterAs(t, s, "vera", users.Viewer)
	nothing := body(t, get(t, s, "/api/v1/subscribers?q=there-is-nobody-of-this-name", "Cookie", cookie))
	for _, q := range []string{"Elm", "S-1044", "100.64.3.7", "residential"} {
		if got := body(t, get(t, s, "/api/v1/subscribers?q="+q, "Cookie", cookie)); got != nothing {
			t.Errorf("%q finds %s", q, got)
		}
	}
	for _, path := range []string{"/api/v1/subscribers/S-1044", "/subscribers/S-1044", "/api/v1/subscribers/nobody"} {
		if a := get(t, s, path, "Cookie", cookie); a.StatusCode != 404 {
			t.Errorf("%s by its true id: %s", path, a.Status)
		}
	}
	for _, q := range []string{s.veil.ids.hide("S-1044"), "K7Q2X", "k7q2x"} {
		var got list[Subscriber]
		if err := json.NewDecoder(get(t, s, "/api/v1/subscribers?q="+q, "Cookie", cookie).Body).Decode(&got); err != nil || len(got.Items) != 1 {
			t.Fatalf("%q finds %d, %v", q, len(got.Items), err)
		}
		sub := got.Items[0]
		if sub.ID != s.veil.ids.hide("S-1044") || sub.Name != sub.ID[:len(pseudonymMark)+nameLetters] || sub.Stage != "cut" || sub.Prefixes[0] != "100.64.x.x" || sub.Prefixes[1] != "2001:db8:x" {
			t.Errorf("%q finds %+v", q, sub)
		}
	}
}

func TestPseudonymsLeadBackAndSayNothing(t *testing.T) {
	t.Parallel()
	p, other := newPseudonyms(make([]byte, 32)), newPseudonyms([]byte("another key"))
	for _, id := range []string{"S-1044", "100.64.9.9/32", "2001:db8::/56", "Ä\x00", "\x80", "S\x80\x00", strings.Repeat("x", idRoom-1), strings.Repeat("x", idRoom), strings.Repeat("x", longestID)} {
		word := p.hide(id)
		if back, ok := p.open(word); !ok || back != id || p.hide(id) != word {
			t.Errorf("%q became %q and then %q", id, word, back)
		}
		if back, ok := other.open(word); ok {
			t.Errorf("%q is %q for another box", word, back)
		}
		for i := range word {
			bent := []byte(word)
			bent[i] ^= 1
			if back, ok := p.open(string(bent)); ok && back != id {
				t.Errorf("%q bent at %d is %q", word, i, back)
			}
		}
	}
	for _, word := range []string{"line-", "line-a", "S-1044", "line-" + strings.Repeat("a", 20), "line-ü"} {
		if id, ok := p.open(word); ok {
			t.Errorf("%q is %q", word, id)
		}
	}
	if p.hide("") != "" || p.name("") != "" {
		t.Error("nobody has a pseudonym")
	}
}

// What a pseudonym looks like tells nothing of the id: neither its length, nor that of a cursor.
func TestPseudonymsHaveOneLength(t *testing.T) {
	t.Parallel()
	p := newPseudonyms(make([]byte, 32))
	length := len(p.hide("S-1"))
	for n := 1; n <= 128; n++ { // as long as an id of a list may be
		if word := p.hide(strings.Repeat("n", n)); len(word) != length || len(word) > maxText {
			t.Fatalf("an id of %d bytes has a pseudonym of %d, and one of 3 has %d", n, len(word), length)
		}
	}
	if a, b := p.hide("radius:"+strings.Repeat("n", 130)), p.hide("radius:"+strings.Repeat("n", 250)); len(a) != len(b) {
		t.Errorf("long ones: %d and %d", len(a), len(b))
	}
	for _, place := range []string{"b2", strings.Repeat("b2JzZXJ2ZSAw", 30)} {
		if word := p.hideCursor(place); len(word) != len(p.hideCursor("x")) || len(word) > maxCursor {
			t.Errorf("a cursor of %d bytes becomes one of %d", len(place), len(word))
		} else if back, ok := p.open(word); !ok || back != place {
			t.Errorf("%q is read back as %q", place, back)
		}
	}
}

// What a page shows of a pseudonym is its beginning, and of an id that begins as they do all.
func TestPagesShowTheBeginningOfAPseudonym(t *testing.T) {
	t.Parallel()
	p := newPseudonyms(make([]byte, 32))
	for id, want := range map[string]string{p.hide("S-1"): p.name("S-1"), p.hide("radius:" + strings.Repeat("n", 200)): p.name("radius:" + strings.Repeat("n", 200)), "line-" + strings.Repeat("4", 123): "line-" + strings.Repeat("4", 123), "S-1": "S-1"} {
		if got := shortID(id); got != want {
			t.Errorf("%q is shown as %q", id, got)
		}
	}
}

// orderly is a box whose list goes by [Query.Tie] alone, as it does for lines that are equal otherwise.
type orderly struct{ *fakeBox }

func (o orderly) Subscribers(q Query) ([]Subscriber, string) {
	all := slices.Clone(o.subs)
	slices.SortFunc(all, func(a, b Subscriber) int {
		if q.Tie != nil {
			return cmp.Compare(q.Tie(a.ID), q.Tie(b.ID))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, ""
}

func (o orderly) Unmapped(p Page) ([]Unmapped, string) {
	all := slices.Clone(o.sources)
	slices.SortFunc(all, func(a, b Unmapped) int {
		if p.Tie != nil {
			return cmp.Compare(p.Tie(a.Subscriber), p.Tie(b.Subscriber))
		}
		return strings.Compare(a.Subscriber, b.Subscriber)
	})
	return all, ""
}

// Whoever sees no ids is shown nobody in their order, and the same order each time. With another key of the box it is another one.
func TestTheOrderTellsAViewerNothing(t *testing.T) {
	t.Parallel()
	box := orderly{&fakeBox{}}
	for i := range 400 {
		box.subs = append(box.subs, Subscriber{ID: fmt.Sprintf("S-%04d", i)})
		box.sources = append(box.sources, Unmapped{Subscriber: fmt.Sprintf("100.64.%d.%d/32", i/256, i%256)})
		box.status.Lanes.Fast.Waiting = append(box.status.Lanes.Fast.Waiting, Waiting{Subscriber: fmt.Sprintf("S-%04d", i)})
	}
	rising := func(ids []string) (n int) {
		for i := range ids[1:] {
			if ids[i] < ids[i+1] {
				n++
			}
		}
		return n
	}
	open := func(v *veil, subs []Subscriber) (ids []string) {
		for _, sub := range subs {
			id, _ := v.ids.open(sub.ID)
			ids = append(ids, id)
		}
		return ids
	}
	v, other := newVeil(box, make([]byte, 32)), newVeil(box, []byte("another key"))
	subs, _ := v.Subscribers(Query{})
	again, _ := v.Subscribers(Query{})
	others, _ := other.Subscribers(Query{})
	one, two := open(v, subs), open(other, others)
	if n := rising(one); n < 150 || n > 250 {
		t.Errorf("%d of 399 ids are greater than the one before them", n)
	}
	if !slices.Equal(one, open(v, again)) || slices.Equal(one, two) {
		t.Error("the order is another one each time, or the same for every box")
	}
	var waiting []Subscriber
	for _, w := range v.Status().Lanes.Fast.Waiting {
		waiting = append(waiting, Subscriber{ID: w.Subscriber})
	}
	if n := rising(open(v, waiting)); n < 150 || n > 250 {
		t.Errorf("of those who wait, %d of 399 ids are greater than the one before them", n)
	}
	var strangers []Subscriber
	unmapped, _ := v.Unmapped(Page{})
	for _, u := range unmapped {
		strangers = append(strangers, Subscriber{ID: u.Subscriber})
	}
	if n := rising(open(v, strangers)); n < 150 || n > 250 {
		t.Errorf("of those who are nobody's line, %d of 399 are greater than the one before them", n)
	}
}

// openWords are the texts of views that a viewer sees as they are: words that the box chooses from a list, versions, figures of budgets.
// A new field that holds text is masked in veil.go, or stands here because it cannot tell whose line it is about.
const openWords = `
Status.Version Status.Box Status.Mode Status.Lanes.Queue.Form Status.Lanes.Queue.Reader Status.Lanes.Fast.Why Status.Lanes.Fast.How Status.Lanes.Fast.Tracked
Status.Lanes.Fast.ShortCut.Why Status.Lanes.Fast.Waiting.Reason Status.Lanes.Fast.Waiting.Why Status.Bridge.Name Status.Bridge.Tagged.Why Status.Bridge.Why Status.Bridge.Changed Status.Bridge.Tracked
Status.Router.Addresses.Interface Status.Router.Addresses.Address Status.Router.Routes.To Status.Router.Routes.Via Status.Router.Routes.Interface
Status.Notices.Kind Status.Syslog.URL Status.Head.Hash
Subscriber.Plan Subscriber.PlanSource Subscriber.ListPlan Subscriber.Stage Subscriber.Reason Subscriber.Case Subscriber.Budgets.Of Subscriber.Bindings.Source
Subscriber.Lane.Reason Subscriber.Lane.Why
Subscriber.Decisions.Action Subscriber.Decisions.Stage Subscriber.Decisions.Before Subscriber.Decisions.Of Subscriber.Decisions.Reason Subscriber.Decisions.Case
Case.ID Case.Plan Case.Stage Case.Highest Case.Reason Case.Changes.From Case.Changes.To Case.Changes.Reason
Case.Decisions.Action Case.Decisions.Stage Case.Decisions.Before Case.Decisions.Of Case.Decisions.Reason Case.Decisions.Case
Unmapped.Stage
Cluster.ID Cluster.JA4 Cluster.JA3 Cluster.LooksLike Cluster.EndReason Cluster.Weights.Name Cluster.Weights.Text Cluster.Why Cluster.MayBeWrong
Destinations.Items.Network Destinations.Items.Owner Destinations.Next
Record.Kind Record.Severity Record.Hash Record.Params.Name OfferGone.Network OfferGone.Owner`

// fullBox answers with views of which every text is somebody's name.
type fullBox struct{ *fakeBox }

const whose = "SECRETNAME"

func full[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem())
	return v
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(whose)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Time]() {
			v.Set(reflect.ValueOf(At(noon)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	}
}

func (fullBox) Status() Status                           { return full[Status]() }
func (fullBox) Subscribers(Query) ([]Subscriber, string) { return full[[]Subscriber](), whose }
func (fullBox) Case(string) (Case, bool)                 { return full[Case](), true }
func (fullBox) Unmapped(Page) ([]Unmapped, string)       { return full[[]Unmapped](), whose }
func (fullBox) Clusters(Page) ([]Cluster, string)        { return full[[]Cluster](), "" }
func (fullBox) Cluster(string) (Cluster, bool)           { return full[Cluster](), true }
func (fullBox) OffersGone(Page) ([]OfferGone, string)    { return full[[]OfferGone](), whose }
func (fullBox) Records(context.Context, RecordQuery) (RecordPage, error) {
	return full[RecordPage](), nil
}
func (fullBox) Destinations(time.Duration, Page) (d Destinations) { return full[Destinations]() }

// leaks are the places in v that hold the name.
func leaks(v reflect.Value, at string) (found []string) {
	switch v.Kind() {
	case reflect.String:
		if strings.Contains(v.String(), whose) {
			return []string{at}
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = append(found, leaks(v.Index(i), at)...)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return leaks(v.Elem(), at)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			found = append(found, leaks(v.Field(i), at+"."+v.Type().Field(i).Name)...)
		}
	}
	return found
}

func TestTheVeilHidesEveryTextThatIsNotKnown(t *testing.T) {
	t.Parallel()
	v := newVeil(fullBox{busyBox()}, make([]byte, 32))
	subs, next := v.Subscribers(Query{})
	sources, after := v.Unmapped(Page{})
	c, _ := v.Case("")
	clusters, _ := v.Clusters(Page{})
	page, err := v.Records(t.Context(), RecordQuery{})
	if err != nil {
		t.Fatal(err)
	}
	records := page.Items
	one, _ := v.Cluster("")
	clusters = append(clusters, one)
	gone, more := v.OffersGone(Page{})
	var found []string
	for name, view := range map[string]any{"Status": v.Status(), "Subscriber": subs, "Case": c, "Unmapped": sources, "Cluster": clusters, "Record": records, "RecordPage": page.Fault, "OfferGone": gone, "Destinations": v.Destinations(0, Page{}), "cursors": next + after + more,
		"holds": v.Holds(), "lookup": v.Lookup(netip.Addr{}, noon)} {
		found = append(found, leaks(reflect.ValueOf(view), name)...)
	}
	open := strings.Fields(openWords)
	for _, at := range found {
		if !slices.Contains(open, at) {
			t.Errorf("%s tells a viewer what it holds: mask it in veil.go", at)
		}
	}
	if len(subs) != 1 || len(sources) != 1 || len(records) != 1 || len(found) < 40 {
		t.Errorf("%d lines, %d sources, %d records, %d texts seen", len(subs), len(sources), len(records), len(found))
	}
}

package webadmin

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// manyRecords are n records of one line, the newest first.
func manyRecords(n int) (all []Record) {
	for i := range n {
		seq := uint64(n - i)
		all = append(all, Record{Seq: seq, At: ago(time.Duration(i) * time.Second), Kind: "SESSION", Severity: "info", Subscriber: "S-1044", Text: fmt.Sprintf("session %d", seq), Hash: fakeHash(seq),
			Params: []Param{{"seq", fmt.Sprint(seq)}, {"prev", fakeHash(seq - 1)}, {"subscriber", "S-1044"}, {"src", "100.64.3.7"}, {"dst", "203.0.113.25"}}})
	}
	return all
}

var rowOf = regexp.MustCompile(`<tr id="record-([^"]*)"`)

func rowsOf(page string) (seqs []string) {
	for _, m := range rowOf.FindAllStringSubmatch(page, -1) {
		seqs = append(seqs, m[1])
	}
	return seqs
}

// linked is where a link of a page with this attribute leads.
func linked(page, rel string) string {
	m := regexp.MustCompile(`<a href="([^"]*)" rel="` + rel + `"`).FindStringSubmatch(page)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// From page to page of a hundred rows, and back on the same way, with what is looked for kept.
func TestRecordsGoOnAndBack(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.records = manyRecords(430)
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	const first = "/records?kind=SESSION&q=session&severity=info"
	var forth []string
	path, pages := first, []int{100, 100, 100, 100, 30}
	for i, want := range pages {
		page := body(t, get(t, s, path, "Cookie", cookie))
		rows := rowsOf(page)
		if len(rows) != want || strings.Contains(page, "data-live") {
			t.Fatalf("page %d of %s: %d rows", i+1, path, len(rows))
		}
		forth = append(forth, rows[0])
		if next := linked(page, "next"); (next == "") != (i == len(pages)-1) {
			t.Fatalf("page %d leads on to %q", i+1, next)
		} else if next != "" {
			path = next
		}
	}
	for i := len(pages) - 2; i >= 0; i-- {
		page := body(t, get(t, s, path, "Cookie", cookie))
		path = linked(page, "prev")
		back := rowsOf(body(t, get(t, s, path, "Cookie", cookie)))
		if len(back) != pages[i] || back[0] != forth[i] || !strings.Contains(path, "q=session") || !strings.Contains(path, "severity=info") {
			t.Fatalf("back to page %d by %s: %d rows from %v", i+1, path, len(back), back[:1])
		}
	}
	if linked(body(t, get(t, s, path, "Cookie", cookie)), "prev") != "" {
		t.Error("there is something before the first page")
	}
	if page := body(t, get(t, s, "/records", "Cookie", cookie)); !strings.Contains(page, "data-live") {
		t.Error("the newest records do not stay current")
	}
	way := "/records?cursor=100"
	for range 200 {
		way += "&back=" + strings.Repeat("9", 40)
	}
	if a := get(t, s, way, "Cookie", cookie); a.StatusCode != 200 || linked(body(t, a), "prev") != "" {
		t.Errorf("a way back that nobody went: %s", a.Status)
	}
}

// Where the way back is not known the page says so, and has a list of all that came since, which ends with what the page begins with.
func TestRecordsWithoutAWayBackLeadToAllSince(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.records = manyRecords(430)
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/records?q=session&cursor=300", "Cookie", cookie))
	first := rowsOf(page)[0]
	m := regexp.MustCompile(`back 40 pages at most\. <a href="([^"]*)">`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page does not say so")
	}
	n, last := 0, ""
	for path := html.UnescapeString(m[1]); path != ""; {
		page = body(t, get(t, s, path, "Cookie", cookie))
		rows := rowsOf(page)
		if len(rows) == 0 {
			t.Fatalf("%s has none", path)
		}
		n, last, path = n+len(rows), rows[len(rows)-1], linked(page, "next")
	}
	if last != first || n < 300 || n >= 430 {
		t.Errorf("%d records since %s, the last one is %s", n, first, last)
	}
	if page := body(t, get(t, s, "/records?q=session", "Cookie", cookie)); strings.Contains(page, "way-back") || strings.Contains(body(t, get(t, s, linked(page, "next"), "Cookie", cookie)), "way-back") {
		t.Error("it is said where the way is known")
	}
}

// A number, an event, a text, a subscriber, a severity, a time: each finds what it means, on the page and over the API.
func TestRecordsAreSearched(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for _, row := range []struct {
		why, page, api string
		want           int
	}{
		{"a number", "q=182400", "q=182400", 1},
		{"a number as pages show it", "q=%23182,400", "q=182,400", 1},
		{"a number as a text", "q=%22182000%22", "q=%22182000%22", 1},
		{"an event", "q=01930000-0000-7000-8000-00000002C880", "q=01930000-0000-7000-8000-00000002c880", 1},
		{"a text", "q=MX.example.net", "q=mx.example.net", 1},
		{"a subscriber and a kind", "subscriber=S-1102&kind=stage", "subscriber=S-1102&kind=stage", 1},
		{"a warning or worse", "severity=warning", "severity=warning", 1},
		{"of some minutes", "from=12:04:00&to=12:04:30", "from=2026-11-18T11:04:00Z&to=2026-11-18T11:04:30Z", 3},
		{"since yesterday, of one", "from=yesterday+00:00&subscriber=S-1044", "from=2026-11-16T23:00:00Z&subscriber=S-1044", 1},
		{"nothing", "q=nothing-of-this", "q=nothing-of-this", 0},
	} {
		if rows := rowsOf(body(t, get(t, s, "/records?"+row.page, "Cookie", cookie))); len(rows) != row.want {
			t.Errorf("%s: %d rows on the page, want %d", row.why, len(rows), row.want)
		}
		if got := read[map[string]any](t, s, "/api/v1/records?"+row.api); len(got["items"].([]any)) != row.want || got["next"] != "" || got["fault"] != "" {
			t.Errorf("%s: %v over the API, want %d", row.why, got, row.want)
		}
	}
	for query, wants := range map[string][]string{
		"from=soon":                      {`<a href="#from">From</a>`, "a time like", `value="soon"`},
		"to=2030-01-01+00:00":            {`<a href="#to">Until</a>`, "has not been yet"},
		"from=12:00&to=11:00":            {`<a href="#to">Until</a>`, "after"},
		"q=" + strings.Repeat("x", 300):  {`<a href="#q">Search</a>`, "at most 256 bytes"},
		"severity=loud":                  {"something that does not exist"},
		"kind=GOSSIP&q=%3Cb%3Ex%3C/b%3E": {"something that does not exist"},
	} {
		a := get(t, s, "/records?"+query, "Cookie", cookie)
		page := body(t, a)
		for _, want := range wants {
			if a.StatusCode != 400 || !strings.Contains(page, want) || len(rowsOf(page)) > 0 {
				t.Errorf("%s: %s lacks %q", query, a.Status, want)
			}
		}
	}
	for _, bad := range []string{"severity=loud", "from=yesterday", "q=" + strings.Repeat("x", 300)} {
		for _, path := range []string{"records", "records.csv", "records.json"} {
			if a := get(t, s, "/api/v1/"+path+"?"+bad, "Cookie", cookie); a.StatusCode != 400 {
				t.Errorf("%s?%s: %s", path, bad, a.Status)
			}
		}
	}
}

// slowBox finds nothing at once: it pauses its search twice.
type slowBox struct{ *fakeBox }

func (b slowBox) Records(_ context.Context, q RecordQuery) (RecordPage, error) {
	switch q.Cursor {
	case "":
		return RecordPage{Next: "50", Back: ago(time.Hour)}, nil
	case "50":
		return RecordPage{Next: "20", Back: ago(2 * time.Hour)}, nil
	}
	return RecordPage{Items: manyRecords(1)}, nil
}

// What cannot be found in one go says how far it is, and goes on; a journal that cannot be read says so, and an export of it does.
func TestASearchThatIsNotDoneSaysSo(t *testing.T) {
	t.Parallel()
	box := busyBox()
	slow := startServer(t, Options{Source: slowBox{box}, Now: func() time.Time { return noon }})
	cookie := enter(t, slow)
	page := body(t, get(t, slow, "/records?q=session", "Cookie", cookie))
	if !strings.Contains(page, "None so far") || !strings.Contains(page, "11:04") || !strings.Contains(page, "Look further back") {
		t.Errorf("%s", page)
	}
	if got := read[RecordPage](t, slow, "/api/v1/records?q=session"); got.Next != "50" || !got.Back.Equal(noon.Add(-time.Hour)) || got.Items == nil {
		t.Errorf("%+v", got)
	}
	if export := body(t, get(t, slow, "/api/v1/records.json", "Cookie", cookie)); strings.Count(export, "\n") != 1 || !strings.Contains(export, `"seq":1`) {
		t.Errorf("an export over three pages: %s", export)
	}
	box.fault = "read records-00000412.seg: input/output error"
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie = enter(t, s)
	if page := body(t, get(t, s, "/records", "Cookie", cookie)); !strings.Contains(page, "Not all records can be read") || !strings.Contains(page, "input/output error") || len(rowsOf(page)) != 77 {
		t.Errorf("with a fault: %d rows", len(rowsOf(page)))
	}
	for path, want := range map[string]string{"records.csv": ",,INCOMPLETE,", "records.csv?kind=SESSION": ",,INCOMPLETE,", "records.json": `{"incomplete":"records may be missing here: read records-`} {
		if got := body(t, get(t, s, "/api/v1/"+path, "Cookie", cookie)); strings.Count(got, want) != 1 {
			t.Errorf("%s does not say once that it is incomplete: %s", path, got[max(0, len(got)-300):])
		}
	}
	if a := get(t, s, "/records/99", "Cookie", cookie); a.StatusCode != 503 || !strings.Contains(body(t, a), "cannot be read") {
		t.Errorf("a record that cannot be read: %s", a.Status)
	}
	if a := get(t, s, "/api/v1/records/99", "Cookie", cookie); a.StatusCode != 503 {
		t.Errorf("over the API: %s", a.Status)
	}
}

// One record: in words, each parameter with what it means, the line, and whether the chain holds around it.
func TestARecordShowsItsPlaceInTheChain(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.records = manyRecords(9)
	box.records[3].Hash = strings.Repeat("0", 64)        // 6: not what 7 carries
	box.records = slices.Delete(box.records, 6, 7)       // 3 is gone
	box.records[len(box.records)-1].Params[1].Value = "" // 1 is the first
	box.records[0].Line = `<165>1 now edge-1 mailweir - SESSION [mailweir@32473 seq="9"] "><script>`
	box.status.Head.Seq = 9
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for seq, want := range map[int][2]string{9: {"joins", "last"}, 8: {"joins", "joins"}, 7: {"broken", "joins"}, 6: {"joins", "broken"}, 4: {"missing", "joins"}, 2: {"joins", "missing"}, 1: {"first", "joins"}} {
		p := read[RecordPlace](t, s, fmt.Sprint("/api/v1/records/", seq))
		if p.Record.Seq != uint64(seq) || p.Before != want[0] || p.After != want[1] {
			t.Errorf("%d: before %s, after %s, want %v", seq, p.Before, p.After, want)
		}
		page := body(t, get(t, s, fmt.Sprint("/records/", seq), "Cookie", cookie))
		for _, how := range want {
			if !strings.Contains(page, linkWords[how].Text) {
				t.Errorf("the page of %d does not say %s", seq, how)
			}
		}
	}
	page := body(t, get(t, s, "/records/9", "Cookie", cookie))
	for _, want := range []string{"100.64.3.7 → 203.0.113.25", "session 9", "the subscriber’s address", `href="/subscribers/S-1044"`, fakeHash(9), "SESSION [mailweir@32473 seq=", "&#34;&gt;&lt;script&gt;", `href="/records/8"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, path := range []string{"/records/3", "/records/0", "/records/x", "/records/-1", "/records/99999999999999999999", "/api/v1/records/3", "/api/v1/records/x"} {
		if a := get(t, s, path, "Cookie", cookie); a.StatusCode != 404 {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}

// An export has everything that was filtered, in a form that other programs read, with nothing that a spreadsheet would run; and it is noted who took it.
func TestRecordsAreExported(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.records = manyRecords(2345)
	evil := []string{"=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "\tx", "a,b\"c\r\n=d", "\u202egnp", "nul\x00byte", strings.Repeat("W", 64<<10)}
	for i, e := range evil {
		box.records[i].Params = append(box.records[i].Params, Param{"sni", e}, Param{e, e})
		box.records[i].Subscriber, box.records[i].Text = e, e
	}
	var noted []AuditEvent
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }, Audit: func(e AuditEvent) { noted = append(noted, e) }})
	cookie := enter(t, s)
	noted = nil
	for query, columns := range map[string]int{"": 7, "?kind=SESSION": 4 + 30 + 1, "?q=session": 7} {
		a := get(t, s, "/api/v1/records.csv"+query, "Cookie", cookie)
		if a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/csv") || !strings.Contains(a.Header.Get("Content-Disposition"), `attachment; filename="records-2026-11-18-1204.csv"`) {
			t.Errorf("%s: %s, %v", query, a.Status, a.Header)
		}
		rows, err := csv.NewReader(a.Body).ReadAll()
		want := 2345
		if query == "?q=session" {
			want -= len(evil)
		}
		if err != nil || len(rows) != 1+want || len(rows[0]) != columns || rows[1][0] == "" {
			t.Fatalf("%s: %d rows of %d, %v", query, len(rows), len(rows[0]), err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(cell[0])) {
					t.Errorf("%s: a spreadsheet runs %.40q", query, cell)
				}
			}
		}
	}
	a := get(t, s, "/api/v1/records.json?kind=SESSION&q=session", "Cookie", cookie)
	lines, n := bufio.NewReader(a.Body), 0
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		var r struct {
			Seq    uint64
			Params map[string]string
		}
		if err := json.Unmarshal(line, &r); err != nil || r.Seq == 0 || r.Params["dst"] != "203.0.113.25" {
			t.Fatalf("%v: %s", err, line)
		}
		n++
	}
	if n != 2345-len(evil) {
		t.Errorf("%d objects", n)
	}
	if len(noted) != 4 || noted[3].What != "records_exported" || noted[3].Object != "json" || noted[3].After != "kind=SESSION&q=session" || !strings.HasPrefix(noted[3].Who, boss) {
		t.Errorf("noted: %+v", noted)
	}
	page := body(t, get(t, s, "/records?kind=SESSION&q=session&from=yesterday+00:00", "Cookie", cookie))
	if m := regexp.MustCompile(`href="(/api/v1/records\.csv[^"]*)"`).FindStringSubmatch(page); m == nil {
		t.Error("the page does not lead to its export")
	} else if u, err := url.Parse(strings.ReplaceAll(m[1], "&amp;", "&")); err != nil || u.Query().Get("q") != "session" || u.Query().Get("from") != "2026-11-16T23:00:00Z" || u.Query().Get("kind") != "SESSION" {
		t.Errorf("the page leads to %s, %v", m[1], err)
	}
}

// endless is a box of which an export never comes to its end.
type endless struct {
	*fakeBox
	asked chan context.Context
}

func (b endless) Records(ctx context.Context, q RecordQuery) (RecordPage, error) {
	select {
	case b.asked <- ctx:
	case <-ctx.Done():
	}
	return RecordPage{Items: manyRecords(1000), Next: "7"}, ctx.Err()
}

// Who hangs up ends the search and the export that he asked for.
func TestHangingUpEndsTheSearch(t *testing.T) {
	t.Parallel()
	box := endless{busyBox(), make(chan context.Context)}
	s := startServer(t, Options{Source: box})
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"api/v1/records.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+tokenOf(t, s))
	go func() {
		if a, err := client().Do(r); err == nil {
			io.Copy(io.Discard, a.Body)
			a.Body.Close()
		}
	}()
	for range 3 {
		<-box.asked
	}
	hangUp()
	for { // it may have asked once more meanwhile
		select {
		case of := <-box.asked:
			select {
			case <-of.Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		case <-time.After(10 * time.Second):
			return // nothing is asked any more
		}
	}
}

// A viewer's search of records says nothing of names and addresses, and finds what a viewer may know.
func TestAViewersSearchOfRecordsTellsNothing(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enterAs(t, s, "vera", users.Viewer)
	count := func(query string) int {
		t.Helper()
		var got RecordPage
		if err := json.NewDecoder(get(t, s, "/api/v1/records?"+query, "Cookie", cookie).Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		return len(got.Items)
	}
	for _, q := range []string{"q=100.64.9.2", "q=S-1102", "q=mx.example.net", "q=admin", "subscriber=S-1102", "q=198.51"} {
		if n := count(q); n != 0 {
			t.Errorf("%s finds %d", q, n)
		}
	}
	hidden := s.veil.ids.hide("S-1102")
	for q, want := range map[string]int{"q=182400": 1, "q=K7Q4M": 2, "q=" + hidden: 2, "subscriber=" + hidden: 2, "q=" + hidden + "&kind=STAGE": 1, "q=" + hidden + "&subscriber=" + s.veil.ids.hide("S-1044"): 0} {
		if n := count(q); n != want {
			t.Errorf("%s finds %d, want %d", q, n, want)
		}
	}
	// The hash of a record cannot be tried against names: what it is over has random digits that a viewer does not see.
	text := body(t, get(t, s, "/api/v1/records/182399", "Cookie", cookie)) + body(t, get(t, s, "/records/182399", "Cookie", cookie)) + body(t, get(t, s, "/api/v1/records.csv?kind=DECISION", "Cookie", cookie))
	if strings.Contains(text, "01930000-0000-7000") || !strings.Contains(text, fakeHash(182399)) || !strings.Contains(text, fakeHash(182398)) || !strings.Contains(text, `"before":"joins"`) {
		t.Errorf("%s", text)
	}
}

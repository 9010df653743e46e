package webadmin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	recordsPerPage = 100
	maxWayBack     = 40 // pages that a page of records leads back to, one by one
)

// recordKinds are the kinds that the box writes, in the order of the filter.
var recordKinds = []string{"SESSION", "DECISION", "STAGE", "AUDIT", "CONFIG", "HEALTH", "CLUSTER", "SHARE"}

// severityNames are the severities of records, the worst first (RFC 5424).
var severityNames = []string{"error", "warning", "notice", "info"}

// recordsView answers: what did the box say, and when?
type recordsView struct {
	Ask            recordsAsk
	Wrong          []formError
	Kinds          []kindTab
	Severities     []choice
	Records        []recordView
	Next, Previous string // links; empty: there is none
	Since          string // link to all from the first of these on, where the way back is not known any more
	WayBack        int    // pages that Previous leads back, at most
	First          bool
	Filtered       bool
	Back           moment // there is more, and it was looked for back to here
	Fault          string
	CSV, JSON      string // what was asked for, as a file; empty: nothing is there
}

type kindTab struct {
	Name, Link string
	Here       bool
}

// choice is one of a list.
type choice struct {
	Value, Text string
	Chosen      bool
}

// recordsAsk is what somebody looks for, as typed.
type recordsAsk struct{ Q, Kind, Severity, Subscriber, From, To string }

// link is the page of records of this question.
func (a recordsAsk) link(more url.Values) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": a.Q, "kind": a.Kind, "severity": a.Severity, "subscriber": a.Subscriber, "from": a.From, "to": a.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, values := range more {
		q[name] = values
	}
	if len(q) == 0 {
		return "/records"
	}
	return "/records?" + q.Encode()
}

// recordsLink is the page of the records of a kind, of a subscriber, or both.
func recordsLink(kind, subscriber string) string {
	return recordsAsk{Kind: kind, Subscriber: subscriber}.link(nil)
}

// recordsAsked reads what a page was asked for. Times are as people write them, unlike the API's.
func (s *Server) recordsAsked(in *input) (a recordsAsk, q RecordQuery) {
	a = recordsAsk{Q: in.text("q"), Kind: in.kind("kind"), Severity: in.severity("severity"), Subscriber: in.text("subscriber"), From: in.text("from"), To: in.text("to")}
	q = RecordQuery{Kind: a.Kind, Severity: a.Severity, Subscriber: a.Subscriber, Limit: recordsPerPage, Cursor: in.cursor()}
	q.seek(a.Q)
	for _, one := range []struct {
		field, text string
		at          *time.Time
	}{{"from", a.From, &q.From}, {"to", a.To, &q.To}} {
		if one.text == "" {
			continue
		}
		at, err := ParsePast(one.text, s.opt.Now(), s.opt.Location)
		if err != nil {
			in.wrong(one.field, err.Error())
		}
		*one.at = at
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		in.wrong("to", "a time after “from”")
	}
	return a, q
}

// seek reads what is typed into the field of a search: a number is that of a record, a UUID that of an event, and all else a text; what stands in double quotes
// is a text whatever it looks like.
func (q *RecordQuery) seek(text string) {
	if inside, ok := strings.CutPrefix(text, `"`); ok {
		q.Text = strings.TrimSuffix(inside, `"`)
		return
	}
	number := strings.ReplaceAll(strings.TrimPrefix(text, "#"), ",", "") // as pages show it
	if seq, err := strconv.ParseUint(number, 10, 63); err == nil && seq > 0 {
		q.Seq = seq
		return
	}
	if isUUID(text) {
		q.Event = strings.ToLower(text)
		return
	}
	q.Text = text
}

// isUUID tells whether text has the form of RFC 9562 section 4.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range strings.ToLower(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}

// recordsLabels are the fields of the form by their names.
var recordsLabels = map[string]string{"q": "Search", "severity": "Severity", "subscriber": "Subscriber", "from": "From", "to": "Until", "kind": "Kind", "cursor": "Page"}

func (s *Server) recordsPage(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	ask, q := s.recordsAsked(&in)
	v := recordsView{Ask: ask, First: q.Cursor == "", Filtered: ask != recordsAsk{}}
	for _, e := range in.errors {
		if e.Field == "kind" || e.Field == "severity" || e.Field == "cursor" { // which nobody types
			s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of records.")
			return
		}
		v.Wrong = append(v.Wrong, formError{e.Field, recordsLabels[e.Field], e.Message})
	}
	status := http.StatusBadRequest
	if len(v.Wrong) == 0 {
		page, err := s.see(r).Records(r.Context(), q)
		if err != nil {
			return // nobody waits any more
		}
		status = http.StatusOK
		s.showFound(&v, page, q, r.URL.Query()["back"])
	}
	all := ask
	all.Kind = ""
	v.Kinds = []kindTab{{"all", all.link(nil), ask.Kind == ""}}
	for _, k := range recordKinds {
		one := ask
		one.Kind = k
		v.Kinds = append(v.Kinds, kindTab{k, one.link(nil), ask.Kind == k})
	}
	v.Severities = []choice{{"", "any", ask.Severity == ""}}
	for i, name := range severityNames {
		text := name + " and worse"
		if i == 0 {
			text = name
		}
		v.Severities = append(v.Severities, choice{name, text, ask.Severity == name})
	}
	// A search is not made anew each second.
	s.render(w, r, status, "records", frame{Title: "Records", Here: "/records", Live: v.First && !v.Filtered}, v)
}

// showFound puts a page of records on v, with the ways to the following one and to those before it, which way has the cursors of.
func (s *Server) showFound(v *recordsView, page RecordPage, q RecordQuery, way []string) {
	z := zone{s.opt.Now(), s.opt.Location}
	for _, rec := range page.Items {
		v.Records = append(v.Records, recordOf(rec, z))
	}
	v.Fault = inert(page.Fault)
	if length := len(strings.Join(way, "")); len(way) > maxWayBack || length > maxCursor {
		way = nil
	}
	if page.Next != "" {
		on := append(slices.Clone(way), q.Cursor)
		v.Next = v.Ask.link(url.Values{"cursor": {page.Next}, "back": on[max(0, len(on)-maxWayBack):]})
		v.Back = z.clock(page.Back.Time)
	}
	if len(way) > 0 {
		before := way[len(way)-1]
		more := url.Values{}
		if before != "" {
			more.Set("cursor", before)
		}
		if len(way) > 1 {
			more["back"] = way[:len(way)-1]
		}
		v.Previous = v.Ask.link(more)
	} else if q.Cursor != "" && len(page.Items) > 0 {
		since := v.Ask
		since.From = page.Items[0].At.In(z.loc).Format("2006-01-02 15:04:05")
		v.Since, v.WayBack = since.link(nil), maxWayBack
	}
	if len(v.Records) > 0 || page.Next != "" {
		v.CSV, v.JSON = exportLink("csv", v.Ask.Q, q), exportLink("json", v.Ask.Q, q)
	}
}

// Newest is the first page of this question.
func (a recordsAsk) Newest() string { return a.link(nil) }

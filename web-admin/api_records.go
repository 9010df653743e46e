package webadmin

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/sheet"
)

// RecordPlace is a record and how it hangs together with its neighbours in the chain: GET /api/v1/records/{id}.
type RecordPlace struct {
	Record Record `json:"record"`
	Before string `json:"before"` // joins, broken (the hashes do not fit), missing (the one before is not here), first
	After  string `json:"after"`  // joins, broken, missing, last
}

// recordFilters are the query parameters that say which records are meant.
var recordFilters = []string{"kind", "severity", "subscriber", "q", "from", "to"}

func recordRoutes() []route {
	const export = "The records that a list of them would have, all of its pages, newest first"
	return []route{
		{"GET", apiRoot + "/records", viewing, (*Server).apiRecords, &operation{summary: "Records, newest first; a page may be empty and have a next one. severity: this one or worse; q: a record's number, an event's id, or part of a text (in double quotes it is a text in any case)",
			query: append(slices.Clone(recordFilters), "limit", "cursor"), answer: RecordPage{}}},
		{"GET", apiRoot + "/records/{id}", viewing, (*Server).apiRecord, &operation{summary: "One record by its number, and whether the chain of hashes holds around it", answer: RecordPlace{}}},
		{"GET", apiRoot + "/records.csv", viewing, (*Server).apiRecordsCSV, &operation{summary: export + ", as CSV; of kind SESSION, DECISION or STAGE each parameter has a column", query: recordFilters, media: "text/csv"}},
		{"GET", apiRoot + "/records.json", viewing, (*Server).apiRecordsJSON, &operation{summary: export + ", as JSON, an object a line; a line with incomplete says why some may be missing", query: recordFilters, media: "application/x-ndjson"}},
	}
}

// recordQuery reads which records are meant.
func (in *input) recordQuery() RecordQuery {
	q := RecordQuery{Kind: in.kind("kind"), Severity: in.severity("severity"), Subscriber: in.text("subscriber"), From: in.time("from"), To: in.time("to")}
	q.seek(in.text("q"))
	return q
}

// severity reads the name of a severity.
func (in *input) severity(name string) string {
	return in.oneOf(name, strings.ToLower(in.text(name)), severityNames)
}

func (s *Server) apiRecords(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := in.recordQuery()
	q.Limit, q.Cursor = in.limit(), in.cursor()
	if in.refused(w) {
		return
	}
	page, err := s.see(r).Records(r.Context(), q)
	if err != nil {
		return // nobody waits any more
	}
	page.Items = orEmpty(page.Items)
	writeJSON(w, http.StatusOK, page)
}

// sequence is the number of a record in r's path.
func sequence(r *http.Request) (seq uint64, ok bool) {
	seq, err := strconv.ParseUint(r.PathValue("id"), 10, 63)
	return seq, err == nil && seq > 0
}

func (s *Server) apiRecord(w http.ResponseWriter, r *http.Request) {
	seq, ok := sequence(r)
	if !ok {
		problem(w, http.StatusNotFound, "No such record", "Records have numbers from 1 on.")
		return
	}
	p, fault, found, err := s.placeOf(r, seq)
	switch {
	case err != nil: // nobody waits any more
	case !found && fault != "":
		problem(w, http.StatusServiceUnavailable, "This record cannot be read", fault)
	case !found:
		problem(w, http.StatusNotFound, "No such record", "It has not been made yet, its time is over, or the journal never got it.")
	default:
		writeJSON(w, http.StatusOK, p)
	}
}

// placeOf finds a record and its neighbours.
func (s *Server) placeOf(r *http.Request, seq uint64) (p RecordPlace, fault string, found bool, err error) {
	q := RecordQuery{After: max(seq, 2) - 2, Below: seq + 2, Limit: 3}
	around := map[uint64]Record{}
	for { // of a large file that is not complete a page may be empty
		page, err := s.see(r).Records(r.Context(), q)
		if err != nil {
			return p, "", false, err
		}
		for _, rec := range page.Items {
			around[rec.Seq] = rec
		}
		if fault = page.Fault; page.Next == "" || len(around) == 3 {
			break
		}
		q.Cursor = page.Next
	}
	if p.Record, found = around[seq]; !found {
		return p, fault, false, nil
	}
	before, hasBefore := around[seq-1]
	after, hasAfter := around[seq+1]
	prev := p.Record.value("prev")
	p.Before, p.After = "joins", "joins"
	switch {
	case prev == "":
		p.Before = "first"
	case !hasBefore:
		p.Before = "missing"
	case prev != before.Hash:
		p.Before = "broken"
	}
	switch {
	case !hasAfter && s.see(r).Status().Head.Seq <= seq:
		p.After = "last"
	case !hasAfter:
		p.After = "missing"
	case after.value("prev") != p.Record.Hash:
		p.After = "broken"
	}
	return p, fault, true, nil
}

func (r Record) value(name string) string {
	for _, p := range r.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// exportLink leads to a file of the records that q means; sought is what was typed into its search.
func exportLink(format, sought string, q RecordQuery) string {
	v := url.Values{}
	for name, value := range map[string]string{"kind": q.Kind, "severity": q.Severity, "subscriber": q.Subscriber, "q": sought} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	path := apiRoot + "/records." + format
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// recordFile is a file that records are written into.
type recordFile interface {
	begin() error
	add(r Record) error
	incomplete(why string) error
	flush() error
}

func (s *Server) apiRecordsCSV(w http.ResponseWriter, r *http.Request) {
	s.export(w, r, "text/csv; charset=utf-8", "csv", func(q RecordQuery) recordFile {
		f := &csvFile{w: csv.NewWriter(w), columns: sheet.Columns(q.Kind)}
		f.w.UseCRLF = true // RFC 4180
		return f
	})
}

func (s *Server) apiRecordsJSON(w http.ResponseWriter, r *http.Request) {
	s.export(w, r, "application/x-ndjson", "json", func(RecordQuery) recordFile {
		f := jsonFile{json.NewEncoder(w)}
		f.out.SetEscapeHTML(false)
		return f
	})
}

const (
	exportAtOnce   = maxLimit         // records in memory
	exportPatience = 30 * time.Second // for the caller to take a page of them
)

// Exports of one user: so many at once, and then one in this time, since each makes a record.
const (
	exportsAtOnce = 30
	exportEvery   = time.Minute
)

// export writes page after page, as long as the caller takes them. Between two it rests as long as the one before took, so that it has half of one processor at most. It
// is noted who takes away what is about customers.
func (s *Server) export(w http.ResponseWriter, r *http.Request, media, format string, begin func(RecordQuery) recordFile) {
	in := input{q: r.URL.Query()}
	q := in.recordQuery()
	if in.refused(w) {
		return
	}
	if a := actorOf(r); r.Method != http.MethodHead {
		if wait := s.exports.charge(cmp.Or(a.name, a.who)); wait > 0 {
			s.later(w, r, wait, "Too many exports", "Each is a record itself. The next one may begin in %d s.")
			return
		}
	}
	q.Limit = exportAtOnce
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Disposition", `attachment; filename="records-`+s.opt.Now().In(s.opt.Location).Format("2006-01-02-1504")+"."+format+`"`)
	if r.Method == http.MethodHead {
		return
	}
	s.tell(actorOf(r), "records_exported", format, "", r.URL.RawQuery)
	file, ctl := begin(q), http.NewResponseController(w)
	err := cmp.Or(file.begin(), supported(ctl.SetReadDeadline(time.Time{}))) // the server's is for requests, and would end this one
	for fault := ""; err == nil; {
		began := time.Now()
		err = supported(ctl.SetWriteDeadline(began.Add(exportPatience)))
		var page RecordPage
		if err == nil {
			page, err = s.see(r).Records(r.Context(), q)
		}
		for i := 0; err == nil && i < len(page.Items); i++ {
			err = file.add(page.Items[i])
		}
		if page.Fault != "" && page.Fault != fault && err == nil {
			fault = page.Fault
			err = file.incomplete(fault)
		}
		if err == nil {
			err = file.flush()
		}
		if q.Cursor = page.Next; err != nil || page.Next == "" {
			break
		}
		rest := time.NewTimer(time.Since(began))
		select {
		case <-r.Context().Done():
			err = r.Context().Err()
		case <-rest.C:
		}
		rest.Stop()
	}
	if err != nil { // the caller has gone, or must see that this is not all
		panic(http.ErrAbortHandler)
	}
}

// supported is err, but for that of a writer without deadlines, as in tests.
func supported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

type csvFile struct {
	w       *csv.Writer
	columns []string // nil: all parameters in one
	row     []string
}

func (f *csvFile) begin() error {
	names := append([]string{"seq", "time", "kind", "severity"}, f.columns...)
	if f.columns == nil {
		names = append(names, "subscriber", "parameters")
	}
	return f.w.Write(append(names, "text"))
}

func (f *csvFile) add(r Record) error {
	f.row = append(f.row[:0], strconv.FormatUint(r.Seq, 10), r.At.UTC().Format("2006-01-02T15:04:05.000Z"), sheet.Cell(r.Kind), r.Severity)
	if f.columns == nil {
		var all []string
		for _, p := range r.Params {
			all = append(all, p.Name+"="+strconv.Quote(p.Value))
		}
		f.row = append(f.row, sheet.Cell(r.Subscriber), sheet.Cell(strings.Join(all, " ")))
	}
	for _, name := range f.columns {
		f.row = append(f.row, sheet.Cell(r.value(name)))
	}
	return f.w.Write(append(f.row, sheet.Cell(r.Text)))
}

// incomplete is a row without a number, so that nobody takes what is there for all.
func (f *csvFile) incomplete(why string) error {
	f.row = append(f.row[:0], "", "", "INCOMPLETE", "")
	for range max(len(f.columns), 2*btoi(f.columns == nil)) {
		f.row = append(f.row, "")
	}
	return f.w.Write(append(f.row, sheet.Cell("records may be missing here: "+why)))
}

func (f *csvFile) flush() error {
	f.w.Flush()
	return f.w.Error()
}

type jsonFile struct{ out *json.Encoder }

func (f jsonFile) begin() error       { return nil }
func (f jsonFile) add(r Record) error { return f.out.Encode(r) }
func (f jsonFile) flush() error       { return nil }

func (f jsonFile) incomplete(why string) error {
	return f.out.Encode(map[string]string{"incomplete": "records may be missing here: " + why})
}

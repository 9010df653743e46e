package webadmin

import (
	"context"
	"fmt"
	"net/http"
)

// Spool is where records wait on the disk until every collector has them.
type Spool struct {
	Bytes   int64  `json:"bytes"`
	Limit   int64  `json:"limit_bytes"`
	Records int64  `json:"records"`
	Oldest  Time   `json:"oldest"` // of the records in it
	Fault   string `json:"fault"`  // why the disk takes nothing, and records wait in memory; empty: it does

	Unwritten int64   `json:"unwritten_records"` // in memory, of which the disk has not said that it has them
	Hangs     Seconds `json:"hangs_s"`           // for how long the disk has not answered; 0: it does

	Aside      int64 `json:"unreadable_files"` // that could not be read at a start and were set aside
	AsideBytes int64 `json:"unreadable_bytes"` // and count towards the limit
}

// Journal is how the box's own records stand.
type Journal struct {
	Bytes  int64  `json:"bytes"`
	Limit  int64  `json:"limit_bytes"`
	Since  Time   `json:"since"`       // the oldest record in it
	Held   int64  `json:"held"`        // records beyond their time, since their case is held
	Lost   int64  `json:"lost"`        // records that it never got, since the start
	Inputs int64  `json:"lost_inputs"` // and inputs of the governor
	Fault  string `json:"fault"`       // why it cannot be written, or that there is none; empty: it can

	HoldsUnknown string `json:"holds_unknown"` // why it is not known what is held, so that nothing of any case is deleted; empty: it is
}

// Head is the last record, against which the end of a collector's log can be held.
type Head struct {
	Seq  uint64 `json:"seq"`  // 0: there is none yet
	Hash string `json:"hash"` // hexadecimal, what the record after it will carry as prev
}

// words say how full the spool is.
func (p Spool) words() string {
	if p.Fault != "" {
		return "Records cannot be written to the disk and wait in memory: " + inert(p.Fault)
	}
	full := 0.0
	if p.Limit > 0 {
		full = 100 * float64(p.Bytes) / float64(p.Limit)
	}
	return fmt.Sprintf("%s on the disk until all collectors have them; the spool is %.0f %% full.", count(p.Records, "record", "records"), full)
}

// SyslogResult is what became of a test record at a collector.
type SyslogResult struct {
	URL   string  `json:"url"`
	OK    bool    `json:"ok"` // the collector (RELP) or its kernel (TCP, TLS) has acknowledged it, or nobody refused it (UDP)
	Error string  `json:"error"`
	Took  Seconds `json:"took_s"`
}

func (s *Server) apiTestSyslog(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, list[SyslogResult]{Items: orEmpty(s.testSyslog(r))})
}

func (s *Server) testSyslog(r *http.Request) []SyslogResult {
	ctx, cancel := context.WithTimeout(r.Context(), testLimit)
	defer cancel()
	return s.opt.Source.TestSyslog(ctx, actorOf(r).who)
}

// testedView is a line of the page that a test of the collectors leads to.
type testedView struct {
	URL, Error string
	OK         bool
}

func (s *Server) testSyslogPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "tested", frame{Title: "Test of the collectors"}, s.tested(r))
}

package appliance

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	journalAtOnce  = 16 << 20               // bounds what is read of the journal for one page
	diskPatience   = 10 * time.Second       // for which a page waits for the disk, and for those before it
	writerPatience = 100 * time.Millisecond // for which it waits for records of what has just happened
)

// slot is for one at a time, who is waited for no longer than somebody wants to. Its zero value is free.
type slot struct {
	once sync.Once
	free chan struct{}
}

func (s *slot) take(ctx context.Context) error {
	s.once.Do(func() { s.free = make(chan struct{}, 1) })
	select {
	case s.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slot) leave() { <-s.free }

var severities = map[string]records.Severity{"error": records.Error, "warning": records.Warning, "notice": records.Notice, "info": records.Info}

func severityName(s records.Severity) string {
	for name, one := range severities {
		if one == s {
			return name
		}
	}
	return ""
}

// queryOf is what the journal is asked for. The cursor is the lowest number of the page before.
func queryOf(q webadmin.RecordQuery) journal.Query {
	want := journal.Query{Subscriber: q.Subscriber, Case: q.Case, Severity: severities[q.Severity], Event: q.Event, Text: q.Text, From: q.From, To: q.To, Above: q.After, Below: q.Below}
	if q.Kind != "" {
		want.Kinds = []records.Kind{records.Kind(q.Kind)}
	}
	if q.Seq > 0 {
		want.Above, want.Below = max(want.Above, q.Seq-1), q.Seq+1
	}
	if at, err := strconv.ParseUint(q.Cursor, 10, 64); err == nil && (want.Below == 0 || at < want.Below) {
		want.Below = at
	}
	return want
}

// settle lets what has happened become records before they are read.
func (a *Appliance) settle(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, writerPatience)
	defer done()
	a.writer.Settle(ctx)
}

// Records lists records, newest first: from memory, and older ones from the journal.
func (s *source) Records(ctx context.Context, q webadmin.RecordQuery) (page webadmin.RecordPage, err error) {
	want, limit := queryOf(q), cmp.Or(q.Limit, 100)
	s.a.settle(ctx)
	found := s.a.recent.Select(limit+1, want.Filter())
	if len(found) > limit {
		found = found[:limit]
		page.Next = strconv.FormatUint(found[limit-1].Seq, 10)
	} else if older, fault := s.older(ctx, want, limit-len(found)); ctx.Err() != nil {
		return page, ctx.Err()
	} else {
		for i := range older.Items {
			found = append(found, older.Items[i].Record)
		}
		page.Fault = fault
		if older.Below > 0 {
			page.Next, page.Back = strconv.FormatUint(older.Below, 10), webadmin.At(older.Back)
		}
	}
	page.Items = make([]webadmin.Record, len(found))
	for i := range found {
		page.Items[i] = s.record(&found[i])
	}
	return page, nil
}

func (s *source) record(r *records.Record) webadmin.Record {
	v := webadmin.Record{
		Seq: r.Seq, At: webadmin.At(r.Time), Kind: string(r.Kind), Severity: severityName(r.Severity), Subscriber: r.Value("subscriber"), Text: r.Text,
		Line: string(r.AppendLine(nil, facility(s.a.cfg.Load()))), Hash: r.HexHash(),
	}
	for _, p := range r.Params() {
		v.Params = append(v.Params, webadmin.Param{Name: p.Name, Value: p.Value})
	}
	return v
}

// older looks for what is wanted among the records that are not in memory any more. fault says why there may be more than it found.
func (s *source) older(ctx context.Context, want journal.Query, limit int) (f journal.Found, fault string) {
	oldest := s.a.recent.Oldest()
	switch {
	case oldest > 0 && oldest <= want.Above+1: // memory has them all
		return f, ""
	case s.a.journal == nil:
		return f, "there is no journal until the next start; the box has no more than the last records in memory"
	}
	if want.Below == 0 || oldest > 0 && oldest < want.Below {
		want.Below = oldest
	}
	if limit == 0 { // there may be more
		f.Below = want.Below
		return f, ""
	}
	f, err := s.readJournal(ctx, want, limit, journalAtOnce)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded):
		return f, "the disk has not answered for " + diskPatience.String() + ", or others read the journal"
	case err != nil:
		s.a.log.Error("read the journal", "err", err) // what is in memory is told all the same
		return f, err.Error()
	case len(f.Bad) > 0:
		fault = f.Bad[0]
		if more := len(f.Bad) - 1; more > 0 {
			fault += ", and " + strconv.Itoa(more) + " more"
		}
	}
	return f, fault
}

// readJournal gives up when a disk does not answer, which no context can end: then the one who waits for it in the kernel keeps the slot until it does.
func (s *source) readJournal(ctx context.Context, want journal.Query, limit int, bytes int64) (f journal.Found, err error) {
	ctx, done := context.WithTimeout(ctx, diskPatience)
	defer done()
	if err := s.reading.take(ctx); err != nil {
		return f, err
	}
	type answer struct {
		found journal.Found
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		defer s.reading.leave()
		r, err := journal.Read(journal.Dir(s.a.opt.DataDir))
		if err != nil {
			answers <- answer{err: err}
			return
		}
		found, err := r.Newest(ctx, want, limit, bytes)
		answers <- answer{found, err}
	}()
	select {
	case a := <-answers:
		return a.found, a.err
	case <-ctx.Done():
		return f, ctx.Err()
	}
}

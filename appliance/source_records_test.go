package appliance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A search finds in memory and in the journal alike, and what a record is joined to is there for who asks for its number.
func TestRecordsAreFound(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	say := func(object string, n int) {
		for range n {
			d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "anna", What: "plan", Object: object}))
		}
		d.journaled()
	}
	say("before", 3)
	d.cut()
	d.start()
	say("after", 2)
	s := d.api()
	find := func(q webadmin.RecordQuery) []webadmin.Record {
		t.Helper()
		page, err := s.Records(t.Context(), q)
		if err != nil || page.Fault != "" {
			t.Fatal(err, page.Fault)
		}
		return page.Items
	}
	for q, want := range map[webadmin.RecordQuery]int{{Text: "BEFORE"}: 3, {Text: "anna", Kind: "AUDIT"}: 5, {Text: "anna", Severity: "warning"}: 0, {Text: "anna", Severity: "notice"}: 5, {Text: "nobody"}: 0} {
		if got := find(q); len(got) != want {
			t.Errorf("%+v finds %d, want %d", q, len(got), want)
		}
	}
	for _, r := range find(webadmin.RecordQuery{Text: "anna"}) {
		if r.Severity != "notice" || len(r.Hash) != 64 {
			t.Errorf("%+v", r)
		}
		if got := find(webadmin.RecordQuery{Seq: r.Seq}); len(got) != 1 || got[0].Line != r.Line {
			t.Errorf("number %d finds %+v", r.Seq, got)
		}
		around := find(webadmin.RecordQuery{After: r.Seq - min(r.Seq, 2), Below: r.Seq + 1, Limit: 2})
		if len(around) == 2 && !strings.Contains(around[0].Line, `prev="`+around[1].Hash+`"`) {
			t.Errorf("%d is not joined to the one before", r.Seq)
		}
	}
}

// On a disk that cannot be read memory is told all the same, and why there is no more.
func TestRecordsOfAFaultyDisk(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "anna", What: "plan", Object: "before"}))
	d.journaled()
	d.cut()
	d.start()
	d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "anna", What: "plan", Object: "after"}))
	d.journaled()
	files, err := filepath.Glob(filepath.Join(journal.Dir(filepath.Join(d.dir, "data")), "records-*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		if err := errors.Join(os.Rename(path, path+".away"), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	page, err := d.api().Records(t.Context(), webadmin.RecordQuery{Text: "anna"})
	if err != nil || len(page.Items) != 1 || !strings.Contains(page.Fault, "records-") {
		t.Errorf("%d found, %q, %v", len(page.Items), page.Fault, err)
	}
	for _, path := range files { // for who closes the journal
		if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that does not answer costs a page some seconds, and whoever goes away sooner is let go.
func TestNobodyWaitsLongForTheDisk(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "anna", What: "plan", Object: "before"}))
	d.journaled()
	d.cut()
	d.start()
	d.journaled()
	synctest.Test(t, func(t *testing.T) {
		s := d.api()
		if err := s.reading.take(t.Context()); err != nil { // somebody's disk hangs
			t.Fatal(err)
		}
		began := time.Now()
		page, err := s.Records(t.Context(), webadmin.RecordQuery{Text: "anna"})
		if took := time.Since(began); err != nil || took != diskPatience || !strings.Contains(page.Fault, "has not answered") {
			t.Errorf("after %v: %q, %v", took, page.Fault, err)
		}
		soon, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if _, err := s.Records(soon, webadmin.RecordQuery{Text: "anna"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who went away: %v", err)
		}
		s.reading.leave()
	})
}

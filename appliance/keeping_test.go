package appliance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// journaled writes what waits for the journal.
func (d *deaf) journaled() {
	d.t.Helper()
	d.told(records.KindAudit)
	ctx, end := context.WithCancel(d.t.Context())
	end()
	if err := d.journal.Run(ctx); err != nil {
		d.t.Fatal(err)
	}
	if err := d.journal.Status().Err; err != nil {
		d.t.Fatal(err)
	}
}

// What was said before a restart, and what memory has no room for, is in the list of records all the same, once each, page
// by page.
func TestRecordsReachBackBeyondTheRestart(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	say := func(n int) {
		for range n {
			d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "home"}))
			d.pass(time.Second)
		}
		d.journaled()
	}
	say(30)
	d.cut()
	d.start()
	say(recentRecords + 20)
	seen := map[uint64]bool{}
	q := webadmin.RecordQuery{Kind: "AUDIT", Limit: 1000}
	s := &source{a: d.Appliance}
	var last uint64
	for range 100 {
		page, err := s.Records(t.Context(), q)
		if err != nil || page.Fault != "" {
			t.Fatal(err, page.Fault)
		}
		for _, it := range page.Items {
			if seen[it.Seq] || last > 0 && it.Seq >= last {
				t.Fatalf("record %d after %d", it.Seq, last)
			}
			seen[it.Seq], last = true, it.Seq
		}
		if q.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	if len(seen) != recentRecords+50 {
		t.Errorf("%d records in all", len(seen))
	}
	if page, err := s.Records(t.Context(), webadmin.RecordQuery{Kind: "AUDIT", Limit: 10, To: opened.Add(3 * time.Second)}); err != nil || len(page.Items) != 3 {
		t.Errorf("%d records of the first three seconds, %v", len(page.Items), err)
	}
}

// A journal that cannot be opened is told, and the box goes on without.
func TestABoxWithoutAJournal(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "before"}))
	d.journaled()
	d.cut()
	dir := filepath.Join(d.dir, "data", "journal")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	d.write("data/journal", "no directory")
	d.start()
	d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "home"}))
	told := fmt.Sprint(d.told(records.KindHealth))
	if !strings.Contains(told, "journal") || !strings.Contains(told, dir) || !strings.Contains(d.log.String(), dir) {
		t.Errorf("told %s; log %s", told, d.log)
	}
	d.forgetOld()
	d.watchJournal()
	if page, err := (&source{a: d.Appliance}).Records(t.Context(), webadmin.RecordQuery{Kind: "AUDIT"}); err != nil || len(page.Items) != 1 || !strings.Contains(page.Fault, "no journal") {
		t.Errorf("%d records, %q, %v", len(page.Items), page.Fault, err)
	}
}

// What damage cost is stated with its numbers, so that a gap in the journal is one that the chain tells of.
func TestDamageIsStatedWithNumbers(t *testing.T) {
	t.Parallel()
	if f := damageFacts(journal.Damage{After: 3, Before: 9}); f.What != "record_loss" || f.Target != "journal" || f.FirstSeq != 4 || f.LastSeq != 8 || f.Count != 5 {
		t.Errorf("%+v", f)
	}
	if f := damageFacts(journal.Damage{Before: 9, Aside: "records-00000001.seg.unreadable-1"}); f.What != "record_loss" || f.FirstSeq != 1 || f.LastSeq != 8 || f.Count != 8 {
		t.Errorf("%+v", f)
	}
	for _, d := range []journal.Damage{{Before: 9}, {After: 3, Before: 9, Gone: true}, {After: 3}, {After: 3, Before: 4}, {After: 3, Before: 9, Inputs: true}} {
		if f := damageFacts(d); f.What != "journal" || f.FirstSeq != 0 || f.Count != 0 {
			t.Errorf("%+v of %+v", f, d)
		}
	}
}

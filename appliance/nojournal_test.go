package appliance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/verify"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// health is what HEALTH records said of something since the start, the texts.
func (d *deaf) healthOf(what string) (texts []string) {
	d.t.Helper()
	d.told(records.KindHealth)
	for _, r := range d.recent.Select(recentRecords, func(r *records.Record) bool { return r.Kind == records.KindHealth && r.Value("what") == what }) {
		texts = append(texts, r.Text)
	}
	return texts
}

// A box that cannot open its journal has none in that life, and says so; the next one says which numbers the journal never got, and verify takes its word: neither whole nor missing.
func TestTheLifeAfterOneWithoutAJournalSaysWhatItMisses(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	say := func() uint64 {
		d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "home"}))
		d.told(records.KindAudit)
		return d.chain.Seq()
	}
	say()
	d.journaled()
	last := d.chain.Seq()
	d.cut()
	dir := journal.Dir(filepath.Join(d.dir, "data"))
	if err := os.Rename(dir, dir+".aside"); err != nil {
		t.Fatal(err)
	}
	d.write("data/journal", "no directory")
	d.start()
	if d.journal != nil || len(d.healthOf("journal")) != 1 {
		t.Fatalf("there is a journal, or it was not said that there is none: %q", d.healthOf("journal"))
	}
	end := say()
	journalPart := func() verify.Report {
		t.Helper()
		parts, err := verify.Paths([]string{filepath.Join(d.dir, "data")}, verify.Options{WithoutCollector: true})
		if err != nil || len(parts) != 2 {
			t.Fatal(parts, err)
		}
		return parts[0].Report
	}
	if r := journalPart(); r.Verdict() != verify.NotKnown {
		t.Errorf("in the life without: %+v", r)
	}
	d.cut()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".aside", dir); err != nil {
		t.Fatal(err)
	}
	d.start()
	told := d.healthOf("record_loss")
	if len(told) != 1 || !strings.Contains(told[0], "journal") {
		t.Fatalf("said %q", told)
	}
	r := d.recent.Select(1, func(r *records.Record) bool { return r.Value("what") == "record_loss" })[0]
	if lost := records.Lost(r.Value); !lost.Covers(last+1, end) || lost.Count() != end-last {
		t.Errorf("said %v, it lacks %d to %d", lost, last+1, end)
	}
	d.journaled()
	if r := journalPart(); r.Verdict() != verify.NotKnown || len(r.Findings) != 1 || r.Findings[0].First != last+1 || r.Findings[0].Last != end {
		t.Errorf("in the next one: %+v", r)
	}
	d.journaled()
	d.cut()
	d.start()
	if told := d.healthOf("record_loss"); len(told) > 0 {
		t.Errorf("said again: %q", told)
	}
}

// A holds.json that is damaged costs no journal, and no case: all of them stay until somebody says what is held.
func TestADamagedListOfHoldsKeepsEveryCase(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans+"retention: {sessions: 1h, records: 2h}\n", homeList)
	d.sends("100.64.0.1", 8)
	number := d.caseOf("home")
	if number == "" {
		t.Fatal("no case")
	}
	d.pass(25 * time.Hour)
	d.settled(d.gov.Tick(d.time()))
	d.save()
	d.journaled()
	if _, err := (&source{a: d.Appliance}).Hold(number, "court order 12/26", "admin"); err != nil {
		t.Fatal(err)
	}
	d.cut()
	d.write("data/journal/holds.json", `{"holds": [{"case": "0`)
	for _, life := range []string{"this life", "the next one"} {
		d.start()
		for range 3 {
			d.pass(3 * time.Hour)
			d.forgetOld()
			d.watchJournal()
			d.journaled()
		}
		if _, ok := d.cases.file(number); !ok || d.journal == nil {
			t.Fatalf("%s: the case is gone, or the journal", life)
		}
		if said := d.healthOf("holds"); len(said) != 1 || !strings.Contains(said[0], "set aside as ") {
			t.Errorf("%s: said %q", life, said)
		}
		if h := (&source{a: d.Appliance}).Holds(); len(h.Items) > 0 || !strings.Contains(h.Unknown, "set aside as ") {
			t.Errorf("%s: the list of holds says %+v", life, h)
		}
		if _, err := (&source{a: d.Appliance}).Unhold(number, "admin"); err == nil || !strings.Contains(err.Error(), number) || !strings.Contains(err.Error(), "set aside as ") {
			t.Errorf("%s: the end of a hold that is not known: %v", life, err)
		}
		said := slices.ContainsFunc(d.problems(), func(p webadmin.Problem) bool { return strings.Contains(p.What, "not known which cases are held") })
		if v := d.journalView(); v.HoldsUnknown == "" || !said {
			t.Errorf("%s: %+v, %+v", life, v, d.problems())
		}
		d.save()
		d.cut()
	}
	d.write("data/journal/holds.json", "[]\n")
	d.start()
	d.forgetOld()
	d.watchJournal()
	if _, ok := d.cases.file(number); ok || len(d.healthOf("holds")) > 0 {
		t.Errorf("once nothing is held the case is there: %v, %q", ok, d.healthOf("holds"))
	}
}

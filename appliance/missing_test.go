package appliance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/verify"
)

// stopped is what is left of a box that was told to stop, with records in three files of its journal.
func stopped(t *testing.T) (d *deaf, files []string) {
	d = newDeaf(t, homePlans, homeList)
	for range 3 {
		for range 5 {
			d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "home"}))
		}
		d.journaled()
		d.stop()
		d.start()
	}
	d.journaled()
	d.stop()
	files, err := filepath.Glob(filepath.Join(journal.Dir(filepath.Join(d.dir, "data")), "records-*.seg"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	return d, files
}

// stop is the end of a box that nothing cuts short, as far as the journal is concerned.
func (d *deaf) stop() {
	d.t.Helper()
	if err := d.journal.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.cut()
}

func (d *deaf) verified() verify.Report {
	d.t.Helper()
	parts, err := verify.Paths([]string{filepath.Join(d.dir, "data")}, verify.Options{WithoutCollector: true})
	if err != nil {
		d.t.Fatal(err)
	}
	return parts[0].Report
}

// What somebody takes from the journal while the box is off is missing, before the next start and after it: the box had it when it stopped, and does not say that it never did.
func TestTheNextStartDoesNotExplainWhatWasTakenFromTheJournal(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why  string
		take func(files []string) []string
	}{
		{"the newest file", func(files []string) []string { return files[len(files)-1:] }},
		{"the first file", func(files []string) []string { return files[:1] }},
		{"all files", func(files []string) []string { return files }},
	} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			d, files := stopped(t)
			if r := d.verified(); r.Verdict() != verify.IsWhole {
				t.Fatalf("before: %+v", r)
			}
			for _, file := range row.take(files) {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			d.start()
			d.journaled()
			if told := d.healthOf("record_loss"); slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "journal") }) {
				t.Errorf("said %q", told)
			}
			said := slices.ContainsFunc(d.healthOf("journal"), func(s string) bool { return strings.Contains(s, "had them when it was closed") })
			if newest := row.why != "the first file"; said != newest {
				t.Errorf("said that something is gone: %v", said)
			}
			for _, life := range []string{"the next life", "the one after it"} {
				r := d.verified()
				if r.Verdict() != verify.NotWhole || !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool { return f.Kind == verify.Gap && f.First > 0 }) {
					t.Errorf("%s: %s %+v", life, r.Verdict(), r.Findings)
				}
				d.stop()
				d.start()
				d.journaled()
			}
		})
	}
}

// What says what the journal had is damaged: then the box does not say that the journal never got what it lacks.
func TestADamagedWordOfTheLastRecordExplainsNothing(t *testing.T) {
	t.Parallel()
	d, files := stopped(t)
	if err := os.Remove(files[len(files)-1]); err != nil {
		t.Fatal(err)
	}
	d.write("data/journal.last", "mailweir-journal-last-1 0 3 - 00000000\n")
	d.start()
	d.journaled()
	if said := d.healthOf("journal"); len(said) != 1 || !strings.Contains(said[0], "journal.last is damaged") || len(d.healthOf("record_loss")) > 0 {
		t.Errorf("said %q, %q", said, d.healthOf("record_loss"))
	}
	if r := d.verified(); r.Verdict() != verify.NotWhole {
		t.Errorf("%+v", r)
	}
}

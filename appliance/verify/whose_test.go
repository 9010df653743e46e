package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

// What one collector lost explains no gap in the log of another: where it is said whose log it is, only his losses count, and where it is not, the report says that it depends.
func TestALossExplainsGapsOfItsCollectorOnly(t *testing.T) {
	t.Parallel()
	const one, two, three = "relp://192.0.2.1", "tcp://192.0.2.2:514", "relps://192.0.2.3"
	w := newWorld(t)
	for _, l := range []spool.Loss{
		{Why: spool.Full, Numbers: records.Ranges{11, 13}, Readers: []string{one}},
		{Why: spool.Unwritable, Numbers: records.Ranges{21, 23}, Readers: []string{one, two}},
		{Why: spool.Forgotten, Doubt: records.Ranges{31, 33}, Readers: []string{two}},
	} {
		for _, f := range l.Facts() {
			w.say(records.Health(f)) // 61, 62, 63
		}
	}
	w.say(records.Health(records.HealthFacts{What: "record_loss", Target: two, Count: 3, FirstSeq: 41, LastSeq: 43}))
	w.say(records.Health(records.HealthFacts{What: "records_again", Target: one, Count: 3, FirstSeq: 54, LastSeq: 56, Doubt: "51-53"}))
	w.say(records.Health(records.HealthFacts{What: "chain_restart", FirstSeq: 5, LastSeq: 6, Detail: "they did not reach the spool"})) // nobody in particular
	w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release"}))
	for _, row := range []struct {
		from, to int
		says     string
		of       []string
	}{
		{11, 13, "record 61 says so (record_loss spool of " + one + ")", []string{one}},
		{21, 23, "record 62 says so (record_loss spool of " + one + " " + two + ")", []string{one, two}},
		{31, 33, "record 63 says that this may be (record_loss spool of " + two + ", doubt)", []string{two}},
		{41, 43, "record 64 says so (record_loss " + two + ")", []string{two}},
		{51, 53, "record 65 says that this may be (records_again " + one + ", doubt)", []string{one}},
		{5, 6, "record 66 says so (chain_restart)", nil},
	} {
		lines := without(w.lines, row.from, row.to)
		whole, rotated := w.log(lines), []string{w.log(lines[:20]), w.log(lines[20:])}
		for i, whose := range []string{"", one, two, three, "", one, two, three} {
			paths := []string{whole}
			if i >= 4 {
				paths = rotated
			}
			parts, err := Paths(paths, Options{Collector: whose})
			if err != nil || len(parts) != 1 || len(parts[0].Findings) != 1 {
				t.Fatal(err, parts)
			}
			f, notes := parts[0].Findings[0], strings.Join(parts[0].Notes, "\n")
			his := whose == "" || row.of == nil || strings.Contains(strings.Join(row.of, " "), whose)
			if said := strings.Contains(f.Text, row.says); f.Kind != Gap || !said || strings.Contains(f.Text, "nothing says so of "+whose) == his || (f.cause == "") == his {
				t.Errorf("%d to %d in a log of %q: %q, cause %q", row.from, row.to, whose, f.Text, f.cause)
			}
			if depends := whose == "" && row.of != nil; strings.Contains(notes, "whose log this is is not known: what is said of "+strings.Join(row.of, ", ")) != depends || (notes == "") == depends {
				t.Errorf("%d to %d in a log of %q is noted as %q", row.from, row.to, whose, notes)
			}
		}
	}
}

// A power cut while the disk hung gives numbers twice; the record of it is named as the reason.
func TestNumbersThatAPowerCutGaveTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	state := filepath.Join(w.data, stateFile)
	had, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // which the disk never got
		w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release"}))
	}
	write(t, state, had)
	if w.chain, err = records.OpenChain(state, "box-1"); err != nil {
		t.Fatal(err)
	}
	e, _ := records.Past{How: records.FoundPowerCut, Last: many, Spooled: many}.Health(time.Now())
	w.say(e)
	w.say(records.Audit(records.AuditFacts{Who: "admin", What: "exempt"}))
	words := fmt.Sprintf("record %d says that numbers behind %d may have been given before (chain_restart)", many+1, many)
	for _, paths := range [][]string{{w.log(w.lines)}, {w.log(w.lines[:20]), w.log(w.lines[20:])}} {
		r := w.check(paths...)
		if len(r.Findings) != 2 || r.Findings[0].Kind != Conflict || r.Findings[0].First != many+1 || !strings.Contains(r.Findings[0].Text, words) || !strings.Contains(r.Findings[1].Text, words) {
			t.Errorf("%+v", r.Findings)
		}
		if joined := Joined(r.Findings); len(joined) != 1 {
			t.Errorf("%+v", joined)
		}
	}
	// A number before that was not given twice by it.
	other := strings.Replace(w.lines[9], `before="cut"`, `before="cup"`, 1)
	if f := w.check(w.log(slices.Insert(slices.Clone(w.lines), 10, other))).Findings[0]; f.Kind != Conflict || f.First != 10 || strings.Contains(f.Text, "given before") {
		t.Errorf("%+v", f)
	}
}

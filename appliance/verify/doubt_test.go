package verify

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
)

// without is the lines but for some numbers, from 1.
func without(lines []string, from, to int) []string {
	return slices.Delete(slices.Clone(lines), from-1, to)
}

// What a collector over TCP lacks within the doubt that records_again states is explained with these words; what it lacks elsewhere, or partly elsewhere, is not, nor is what the box itself lacks.
func TestAGapWithinAStatedDoubtIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const target = "tcp://192.0.2.9:514"
	r := w.say(records.Health(records.HealthFacts{What: "records_again", Target: target, Count: 10, FirstSeq: 31, LastSeq: 40, Doubt: "11-30"}))
	w.say(records.Audit(records.AuditFacts{Who: "admin", What: "release"}))
	for _, row := range []struct {
		why       string
		from, to  int
		explained bool
	}{
		{"within", 12, 20, true}, {"all of it", 11, 30, true}, {"before", 5, 6, false}, {"behind: what was sent again", 31, 32, false}, {"from before into it", 9, 14, false}, {"from it to behind it", 28, 33, false},
	} {
		report := w.check(w.log(without(w.lines, row.from, row.to)))
		if len(report.Findings) != 1 || report.Findings[0].Kind != Gap || report.Verdict() != NotWhole {
			t.Fatalf("%s: %+v", row.why, report.Findings)
		}
		text := report.Findings[0].Text
		if explained := strings.Contains(text, "says that this may be (records_again "+target+", doubt)"); explained != row.explained || row.explained != strings.Contains(text, "record 61 says") || r.Seq != 61 {
			t.Errorf("%s: explained %v: %s", row.why, explained, text)
		}
	}
	// What the box lost itself and what is in doubt may lie side by side.
	w.say(records.Health(records.HealthFacts{What: "record_loss", Target: "spool", Count: 3, FirstSeq: 8, LastSeq: 10}))
	text := w.check(w.log(without(w.lines, 8, 15))).Findings[0].Text
	if !strings.Contains(text, "record 63 says so (record_loss spool)") || !strings.Contains(text, "record 61 says that this may be") {
		t.Errorf("both: %s", text)
	}
}

// Nothing but records_again and record_loss can say that a collector may miss something.
func TestOnlySomeRecordsMayStateADoubt(t *testing.T) {
	t.Parallel()
	for what, may := range map[string]bool{"records_again": true, "record_loss": true, "spool": false, "collector_down": false} {
		w := newWorld(t)
		w.say(records.Health(records.HealthFacts{What: what, Target: "spool", Doubt: "11-30"}))
		text := w.check(w.log(without(w.lines, 12, 20))).Findings[0].Text
		if explained := strings.Contains(text, "may be ("+what+" spool, doubt)"); explained != may {
			t.Errorf("%s: %s", what, text)
		}
	}
}

// Digits that no record has behind the milliseconds of a log's timestamp are found; zeroes are only another form of it.
func TestAddedDigitsOfATimeAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for digits, found := range map[string]bool{"9": true, "999": true, "001": true, "000000999": true, "0000000000009": true, "000": false, "000000": false} {
		lines := slices.Clone(w.lines)
		lines[20] = strings.Replace(lines[20], "Z box-1", digits+"Z box-1", 1)
		report := w.check(w.log(lines))
		if report.Whole() == found || found && !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Kind == Damaged && strings.HasSuffix(f.Where, ":22") }) {
			t.Errorf("%s: %+v", digits, report.Findings)
		}
	}
}

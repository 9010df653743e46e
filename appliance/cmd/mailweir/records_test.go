package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// An auditor checks a collector's log, and then one in which somebody removed a line.
func TestRecordsVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	chain, err := records.OpenChain(filepath.Join(dir, "records.state"), "box-1")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for range 10 {
		r := chain.Append(records.Audit(records.AuditFacts{Who: "admin", What: "release", Object: "S-1"}), time.Now())
		lines = append(lines, string(r.AppendLine(nil, 20)))
	}
	log := filepath.Join(dir, "mail.log")
	write := func(lines []string) {
		if err := os.WriteFile(log, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lines)
	if code, out, errs := typed(t, "records", "verify", log); code != 0 || !strings.Contains(out, "10 records; box box-1: 1 to 10; whole") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	write(append(lines[:4:4], lines[5:]...))
	if code, out, errs := typed(t, "records", "verify", log); code != exitFailed || !strings.Contains(out, log+":5: gap: record 5 is missing, behind "+log+":4") || !strings.Contains(errs, "not whole: 1 findings") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	code, out, _ := typed(t, "records", "verify", "--json", log)
	var answer struct {
		Whole bool
		Parts []struct{ Findings []struct{ Kind string } }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != exitFailed || answer.Whole || answer.Parts[0].Findings[0].Kind != "gap" {
		t.Errorf("%d %v %s", code, err, out)
	}
	head := func(line string) string {
		l, err := records.ParseLine([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("box-1:%d:%s", l.Seq, l.Hash())
	}
	write(lines)
	if code, out, errs := typed(t, "records", "verify", log, "--head", head(lines[9])); code != 0 {
		t.Errorf("%d %s%s", code, out, errs)
	}
	write(lines[:8])
	if code, out, errs := typed(t, "records", "verify", log, "--head", head(lines[9])); code != exitFailed || !strings.Contains(out, "records 9 to 10 are missing, behind "+log+":8") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	write([]string{"\x28\xb5\x2f\xfd"})
	if code, out, errs := typed(t, "records", "verify", log); code != exitFailed || !strings.Contains(out, "; NOT known") || !strings.Contains(out, "zstd -d") || !strings.Contains(errs, "not known: 1 findings") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	write([]string{"nothing of ours"})
	if code, _, errs := typed(t, "records", "verify", log); code != exitFailed || !strings.Contains(errs, "no record of mailweir in") {
		t.Errorf("%d %s", code, errs)
	}
	for _, wrong := range [][]string{{"records"}, {"records", "check"}, {"records", "verify", "--head", "9:xyz"}, {"records", "verify", "--prefix", "-1"}} {
		if code, _, errs := typed(t, wrong...); code != exitUsage || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %s", wrong, code, errs)
		}
	}
	if code, _, errs := typed(t, "records", "verify", filepath.Join(dir, "nowhere")); code != exitFailed || !strings.Contains(errs, "nowhere") {
		t.Errorf("%d %s", code, errs)
	}
}

func typed(t *testing.T, argv ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	code = Main(t.Context(), argv, &o, &e)
	return code, o.String(), e.String()
}

package appliance

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// What a client made up for itself stands in the export as it is, or with an apostrophe before it where a spreadsheet would
// run it; every record is one row, whatever is in it.
func TestExportIsInert(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	snis := []string{"=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "plain.example", "a,b\"c", "two\nlines"}
	for _, sni := range snis {
		d.writer.Say(records.Session(records.SessionFacts{Subscriber: "home", Plan: "small", SNI: sni, End: d.time(), MessagesHi: 7,
			Src: netip.MustParseAddrPort("100.64.0.1:4711"), Dst: netip.MustParseAddrPort("192.0.2.25:25")}))
		d.pass(time.Second)
	}
	d.journaled()
	r, err := journal.Read(journal.Dir(filepath.Join(d.dir, "data")))
	if err != nil {
		t.Fatal(err)
	}
	q := journal.Query{Kinds: []records.Kind{records.KindSession}}
	var text bytes.Buffer
	if n, err := ExportCSV(&text, r, q); err != nil || n != len(snis) {
		t.Fatal(n, err)
	}
	rows, err := csv.NewReader(&text).ReadAll()
	if err != nil || len(rows) != len(snis)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	for i, want := range []string{"'=cmd|'/C calc'!A0", "'+1", "'-1", "'@SUM(A1)", "plain.example", "a,b\"c", "two\ufffdlines"} {
		row := rows[i+1]
		if row[at["sni"]] != want || row[at["src"]] != "100.64.0.1" || row[at["messages_hi"]] != "7" || row[at["kind"]] != "SESSION" {
			t.Errorf("%q became %q in %q", snis[i], row[at["sni"]], row)
		}
	}
	text.Reset()
	if n, err := ExportJSON(&text, r, q); err != nil || n != len(snis) {
		t.Fatal(n, err)
	}
	for i, line := range bytes.Split(bytes.TrimSpace(text.Bytes()), []byte("\n")) {
		var e ExportedRecord
		if err := json.Unmarshal(line, &e); err != nil || e.Kind != "SESSION" || e.Params["subscriber"] != "home" || i < 6 && e.Params["sni"] != snis[i] {
			t.Errorf("%s: %v", line, err)
		}
	}
	text.Reset()
	if _, err := ExportCSV(&text, r, journal.Query{}); err != nil {
		t.Fatal(err)
	}
	if rows, err := csv.NewReader(&text).ReadAll(); err != nil || len(rows) < len(snis)+1 || rows[0][3] != "parameters" {
		t.Errorf("of all kinds: %d rows, %v", len(rows), err)
	}
}

package evidence

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/evidence/xarftest"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

var opened = time.Date(2026, 11, 21, 3, 12, 0, 0, time.UTC)

// shelf is an Archive of records in memory.
type shelf []records.Record

func (s shelf) Select(kinds []records.Kind, subscriber string, from, to time.Time, give func(*records.Record) error) error {
	for i := range s {
		if r := &s[i]; slices.Contains(kinds, r.Kind) && r.Value("subscriber") == subscriber && !r.Time.Before(from) && r.Time.Before(to) {
			if err := give(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// recorded are n sessions of a bot, one each 10 seconds from the opening on, with what hostile clients put into names, and what came with them.
func recorded(t *testing.T, n int) shelf {
	t.Helper()
	chain, err := records.OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	chain.SetPolicy("enforce", "p")
	var s shelf
	add := func(e records.Entry) { s = append(s, chain.Append(e, e.Time)) }
	names := []string{"mx.example", "=HYPERLINK(\"http://x\")", "+1", "-1+1", "@SUM(A1)", "a,b\"c", "<script>alert(1)</script>"}
	for i := range n {
		at := opened.Add(time.Duration(i) * 10 * time.Second)
		add(records.Session(records.SessionFacts{
			Subscriber: "S-1", Plan: "residential", Src: netip.MustParseAddrPort("192.0.2.7:40000"), Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 1}), 25),
			Start: at, End: at.Add(time.Second), TLS: "starttls", JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1", SNI: names[i%len(names)], Handshake: "complete", MessagesLo: 1, MessagesHi: 2, EndReason: "fin",
		}))
	}
	add(records.Session(records.SessionFacts{Subscriber: "S-2", Src: netip.MustParseAddrPort("192.0.2.8:40000"), Dst: netip.MustParseAddrPort("198.51.100.1:25"), End: opened.Add(time.Second)}))
	add(records.Session(records.SessionFacts{Subscriber: "S-1", Src: netip.MustParseAddrPort("192.0.2.9:40000"), Dst: netip.MustParseAddrPort("198.51.100.1:25"), End: opened.Add(-2 * Before)}))
	add(records.Stage(stage()))
	return s
}

func stage() governor.StageChange {
	c := governor.StageChange{From: governor.StageDefer, To: governor.StageCut, At: opened.Add(time.Minute)}
	c.Subscriber, c.Plan, c.Case, c.Mode = "S-1", "residential", "00007", governor.ModeEnforce
	return c
}

func hostile() Case {
	return Case{ID: "00007", Subscriber: "S-1", Name: `Elm <script>alert("x")</script>`, Plan: "residential", Box: "box-1", Opened: opened, Highest: "cut",
		Reason: "sessions 31/10, 300%", Changes: []Change{{opened, "observe", "warn", "a <b>reason</b>"}, {opened.Add(time.Minute), "defer", "cut", "sessions"}}}
}

var isp = Reporter{Organization: "Example ISP", Contact: "abuse@isp.example"}

// unpacked is what a pack has, by name, unpacked into a directory as well.
func unpacked(t *testing.T, pack []byte, dir string) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(pack), int64(len(pack)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range z.File {
		name, ok := strings.CutPrefix(f.Name, "case-00007/")
		if !ok || strings.ContainsAny(name, "/\\") {
			t.Errorf("the pack has %q", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if all[name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), all[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if report := all["xarf.json"]; report != nil {
		if wrong := xarftest.Wrong(t, report); wrong != nil {
			t.Errorf("the report is no XARF: %v\n%.2000s", wrong, report)
		}
	}
	return all
}

func TestAPackIsWhole(t *testing.T) {
	t.Parallel()
	s, dir := recorded(t, 14), t.TempDir()
	pack, err := Make(hostile(), isp, s, opened.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Make(hostile(), isp, s, opened.Add(2*time.Hour))
	if err != nil || !bytes.Equal(pack, again) {
		t.Errorf("made again of the same records it is another (%v)", err)
	}
	files := unpacked(t, pack, dir)

	// The hashes are right, as coreutils compute them, and of all files.
	check := exec.Command("sha256sum", "--strict", "-c", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != len(files)-1 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}

	// The table has the bot's sessions of that time and nobody else's, as a reader of RFC 4180 has them, and no formula.
	rows, err := csv.NewReader(bytes.NewReader(files["sessions.csv"])).ReadAll()
	if err != nil || len(rows) != 15 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	sni := slices.Index(rows[0], "sni")
	for i, row := range rows[1:] {
		if row[0] != fmt.Sprint(i+1) || row[slices.Index(rows[0], "src")] != "192.0.2.7" {
			t.Errorf("row %d: %q", i, row)
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("row %d has the formula %q", i, cell)
			}
		}
	}
	if rows[2][sni] != `'=HYPERLINK("http://x")` || rows[6][sni] != `a,b"c` {
		t.Errorf("names %q, %q", rows[2][sni], rows[6][sni])
	}

	// The page runs nothing, whatever was put into names.
	page := string(files["report.html"])
	if bad := regexp.MustCompile(`(?i)<script|<b>reason|javascript:|https?://|<[^>]*\son\w+\s*=`).FindString(page); bad != "" {
		t.Errorf("the page has %q", bad)
	}
	for _, want := range []string{"Elm &lt;script&gt;", "14 SMTP sessions from 1 address to 14 networks", "at least 14 messages", "<td>192.0.2.7</td><td class=\"n\">14</td>", "sessions 31/10, 300%"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if n := strings.Count(string(files["records.log"]), "\n"); n != 15 {
		t.Errorf("%d records", n)
	}
}

func TestTheReportIsXARF(t *testing.T) {
	t.Parallel()
	long := hostile()
	long.Reason = strings.Repeat("ä", 2000)
	for _, row := range []struct {
		why string
		c   Case
		n   int
		by  Reporter
	}{{"a bot", hostile(), 14, isp}, {"a reason of 2000 characters", long, 1, isp}, {"an @ in the contact's name", hostile(), 1, Reporter{isp.Organization, `"abuse@desk"@isp.example`}}} {
		pack, err := Make(row.c, row.by, recorded(t, row.n), opened.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		files := unpacked(t, pack, t.TempDir())
		var r report
		if err := json.Unmarshal(files["xarf.json"], &r); err != nil {
			t.Fatal(err)
		}
		if r.Source != "192.0.2.7" || r.SourcePort != 40000 || r.Time != "2026-11-21T03:12:00Z" || r.Reporter.Domain != "isp.example" || !strings.Contains(r.Compromise, "not proved") {
			t.Errorf("%s: %+v", row.why, r)
		}
		if data, err := base64.StdEncoding.DecodeString(r.Evidence[0].Payload); err != nil || !bytes.Equal(data, files["sessions.csv"]) || r.Evidence[0].Hash != "sha256:"+sum(data) || r.Evidence[0].Size != len(data) {
			t.Errorf("%s: the evidence is not sessions.csv (%v)", row.why, err)
		}
		// The schema does look: each of these makes the report wrong.
		for _, spoil := range []func(map[string]any){
			func(m map[string]any) { m["xarf_version"] = "3" },
			func(m map[string]any) { delete(m, "compromise_evidence") },
			func(m map[string]any) { m["category"] = "connection" },
			func(m map[string]any) { m["report_id"] = "7" },
			func(m map[string]any) { m["timestamp"] = "yesterday" },
			func(m map[string]any) { m["source_port"] = json.Number("0") },
			func(m map[string]any) { m["tags"] = []any{"no namespace"} },
			func(m map[string]any) { m["bot_capabilities"] = []any{"mail"} },
			func(m map[string]any) { m["reporter"].(map[string]any)["contact"] = "nobody" },
			func(m map[string]any) { m["evidence"].([]any)[0].(map[string]any)["hash"] = "none" },
		} {
			wrong := map[string]any{}
			if err := json.Unmarshal(files["xarf.json"], &wrong); err != nil {
				t.Fatal(err)
			}
			spoil(wrong)
			text, err := json.Marshal(wrong)
			if err != nil {
				t.Fatal(err)
			}
			if found := xarftest.Wrong(t, text); len(found) != xarftest.Schemas() {
				t.Errorf("%s: a schema takes %s: %v", row.why, text, found)
			}
		}
	}
}

// What cannot be said is not made up: without a reporter, or without a session, there is no report, and the page says why.
func TestAPackWithoutAReportSaysWhy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		by   Reporter
		n    int
		part string
	}{{Reporter{}, 3, "evidence.organization and evidence.contact are not configured"}, {isp, 0, "no session of this case is known"}} {
		pack, err := Make(hostile(), row.by, recorded(t, row.n), opened.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		files := unpacked(t, pack, t.TempDir())
		if files["xarf.json"] != nil || !strings.Contains(string(files["report.html"]), row.part) || len(files["SHA256SUMS"]) == 0 {
			t.Errorf("want %q in\n%s", row.part, files["report.html"])
		}
	}
}

// What came behind the case's closing is no part of its pack; what came with it is, and what came within the day before it opened.
func TestAPackEndsWithItsCase(t *testing.T) {
	t.Parallel()
	c := hostile()
	c.Closed = opened.Add(30 * time.Second)
	pack, err := Make(c, isp, recorded(t, 14), opened.Add(time.Hour)) // one each 10 seconds, at their ends: 1 s, 11 s, 21 s, 31 s and so on; and a change of stage at 60 s
	if err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, pack, t.TempDir())
	rows, err := csv.NewReader(bytes.NewReader(files["sessions.csv"])).ReadAll()
	if err != nil || len(rows) != 1+3 || rows[3][0] != "3" {
		t.Errorf("%d rows, %v: %q", len(rows), err, rows)
	}
	if log := string(files["records.log"]); strings.Count(log, "\n") != 3 || strings.Contains(log, " STAGE ") {
		t.Errorf("records.log:\n%s", log)
	}
	c.Closed = opened.Add(31 * time.Second)
	if pack, err = Make(c, isp, recorded(t, 14), opened.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if log := string(unpacked(t, pack, t.TempDir())["records.log"]); strings.Count(log, "\n") != 4 {
		t.Errorf("with what came at its closing:\n%s", log)
	}
}

// A pack is bounded: it has the newest sessions and decisions and every change of stage, and says exactly what it left out.
func TestAPackIsBounded(t *testing.T) {
	t.Parallel()
	pack, err := Make(hostile(), isp, recorded(t, MaxRecords+5), opened.Add(100*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, pack, t.TempDir())
	page := strings.Join(strings.Fields(string(files["report.html"])), " ")
	for _, want := range []string{"oldest 5 sessions, with at least 5 messages, and the oldest 0 decisions are left out", "number 1 (2026-11-21 03:12:01 UTC) to number 5 (2026-11-21 03:12:41 UTC)",
		"20000 SMTP sessions", "5 earlier sessions are not counted here"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%.3000s", want, page)
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(files["sessions.csv"])).ReadAll()
	if err != nil || len(rows) != MaxRecords+1 || rows[1][0] != "6" || rows[MaxRecords][0] != fmt.Sprint(MaxRecords+5) {
		t.Errorf("%d rows from %s to %s, %v", len(rows), rows[1][0], rows[len(rows)-1][0], err)
	}
	if log := string(files["records.log"]); strings.Count(log, "\n") != MaxRecords+1 || !strings.Contains(log, " STAGE ") || strings.Contains(log, ` seq="5"`) || !strings.Contains(log, ` seq="6"`) {
		t.Errorf("records.log has %d lines", strings.Count(log, "\n"))
	}
	t.Logf("%d records: %d bytes packed", MaxRecords, len(pack))
}

// What does not fit into an XARF report is left out of it, the oldest rows first, and it says how many; it is a report all the same.
func TestAReportWithMoreSessionsThanFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("sub.", 60) + "example"
	chain, err := records.OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	var s shelf
	for range MaxRecords {
		e := records.Session(records.SessionFacts{Subscriber: "S-1", Src: netip.MustParseAddrPort("192.0.2.7:40000"), Dst: netip.MustParseAddrPort("198.51.100.1:25"), SNI: long, End: opened})
		s = append(s, chain.Append(e, e.Time))
	}
	pack, err := Make(hostile(), isp, s, opened.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, pack, t.TempDir())
	var r report
	if err := json.Unmarshal(files["xarf.json"], &r); err != nil || len(r.Evidence) != 1 {
		t.Fatal(err, len(r.Evidence))
	}
	data, err := base64.StdEncoding.DecodeString(r.Evidence[0].Payload)
	if err != nil || len(data) > maxEvidence || len(data) < maxEvidence-1000 {
		t.Fatal(len(data), err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	older := MaxRecords - (len(rows) - 1)
	if err != nil || older <= 0 || rows[0][0] != "seq" || rows[1][0] != fmt.Sprint(older+1) || rows[len(rows)-1][0] != fmt.Sprint(MaxRecords) ||
		!strings.HasSuffix(r.Evidence[0].Description, fmt.Sprintf("; the oldest %d are left out", older)) {
		t.Errorf("%d rows of %d, %q, %v", len(rows)-1, MaxRecords, r.Evidence[0].Description, err)
	}
	if !bytes.HasSuffix(files["sessions.csv"], data[len(data)-1000:]) {
		t.Error("they are not the rows of sessions.csv")
	}
}

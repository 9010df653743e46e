package appliance

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// ask asks the running API of a box over its socket.
func (d *deaf) ask(method, path, body string) (status int, answer []byte) {
	d.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var to net.Dialer
		return to.DialContext(ctx, "unix", filepath.Join(d.dir, "data", "mailweir.sock"))
	}}}
	req, err := http.NewRequest(method, "http://box/api/v1"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	r, err := client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err = io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return r.StatusCode, answer
}

// serve has the web admin of a box answer until the box is cut.
func (d *deaf) serve() (end func()) {
	d.t.Helper()
	web, err := webadmin.New(d.webOptions(d.cfg.Load()))
	if err != nil {
		d.t.Fatal(err)
	}
	stop := background(d.t.Context(), web.Run)
	<-web.Ready()
	return func() {
		if err := stop(); err != nil {
			d.t.Error(err)
		}
		web.Close()
	}
}

// A held case, its records and its pack outlive retention and restarts until the hold is ended over the API; then they go. A hold whose case
// is gone can be ended too, and does not hold for ever what its subscriber does from then on.
func TestAHeldCaseStaysUntilItIsReleased(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	yaml := homePlans + fmt.Sprintf("admin: {listen: %q}\nretention: {sessions: 1h, records: 2h}\n", l.Addr())
	d := newDeaf(t, yaml, homeList)
	d.sends("100.64.0.1", 8) // deferred: a case
	d.writer.Say(records.Session(records.SessionFacts{Subscriber: "home", Plan: "small", End: d.time(), EndReason: "fin",
		Src: netip.MustParseAddrPort("100.64.0.1:4711"), Dst: netip.MustParseAddrPort("192.0.2.25:25")}))
	number := d.caseOf("home")
	if number == "" {
		t.Fatal("no case")
	}
	d.pass(25 * time.Hour)
	d.settled(d.gov.Tick(d.time()))
	if f, _ := d.cases.file(number); f.Closed.IsZero() {
		t.Fatal("the case has not closed")
	}
	d.save()
	d.journaled()

	end := d.serve()
	if status, answer := d.ask("POST", "/cases/"+number+"/hold", `{"reason": "court order 12/26"}`); status != http.StatusOK {
		t.Fatalf("hold: %d %s", status, answer)
	}
	if status, _ := d.ask("POST", "/cases/99999/hold", `{"reason": "x"}`); status != http.StatusNotFound {
		t.Errorf("hold of no case: %d", status)
	}
	listed := func() (n int) {
		var l struct{ Items []webadmin.Hold }
		_, answer := d.ask("GET", "/holds", "")
		if err := json.Unmarshal(answer, &l); err != nil {
			t.Fatal(err)
		}
		return len(l.Items)
	}
	pack := func() string {
		status, answer := d.ask("GET", "/cases/"+number+"/evidence.zip", "")
		if status != http.StatusOK {
			return fmt.Sprint(status)
		}
		z, err := zip.NewReader(bytes.NewReader(answer), int64(len(answer)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			if strings.HasSuffix(f.Name, "sessions.csv") {
				r, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				return string(all)
			}
		}
		return "no sessions.csv"
	}
	for _, life := range []string{"this life", "the next one"} {
		d.forgetOld()
		d.journaled()
		d.pass(3 * time.Hour)
		d.forgetOld()
		d.journaled()
		d.save()
		if n := listed(); n != 1 {
			t.Errorf("%s: %d holds", life, n)
		}
		if csv := pack(); !strings.Contains(csv, "100.64.0.1") {
			t.Errorf("%s: the pack's sessions: %s", life, csv)
		}
		if status, answer := d.ask("POST", "/cases/"+number+"/hold", `{"reason": "prolonged"}`); status != http.StatusOK {
			t.Errorf("%s: hold again: %d %s", life, status, answer)
		}
		end()
		d.cut()
		d.start()
		end = d.serve()
	}
	if status, answer := d.ask("DELETE", "/cases/"+number+"/hold", ""); status != http.StatusOK {
		t.Errorf("end the hold: %d %s", status, answer)
	}
	d.forgetOld()
	d.journaled()
	if got := pack(); got != "404" || listed() != 0 {
		t.Errorf("after the hold: pack %s, %d holds", got, listed())
	}

	d.sends("100.64.0.2", 8)
	other := d.caseOf("other")
	if status, answer := d.ask("POST", "/cases/"+other+"/hold", `{"reason": "x"}`); status != http.StatusOK {
		t.Fatalf("hold: %d %s", status, answer)
	}
	end()
	d.cut()
	for _, name := range []string{"mailweir.db", "budgets"} { // and so its case
		if err := os.RemoveAll(filepath.Join(d.dir, "data", name)); err != nil {
			t.Fatal(err)
		}
	}
	d.start()
	end = d.serve()
	defer end()
	d.forgetOld()
	if h, _ := d.journal.Holds(); len(h) != 1 || !h[0].To.Equal(d.time()) {
		t.Errorf("a hold whose case is gone holds on: %+v", h)
	}
	if status, answer := d.ask("DELETE", "/cases/"+other+"/hold", ""); status != http.StatusOK || listed() != 0 {
		t.Errorf("end the hold of a case that is gone: %d %s", status, answer)
	}
}

// Held cases stay in a casebook that is full; the others make room.
func TestAFullCasebookKeepsWhatIsHeld(t *testing.T) {
	t.Parallel()
	b := newCasebook()
	id := func(n int) string { return fmt.Sprintf("%05d", n) }
	note := func(n int) {
		at := opened.Add(time.Duration(n) * time.Second)
		b.note(moved(id(n), 1, 2, at))
		b.note(moved(id(n), 2, 0, at.Add(time.Millisecond)))
	}
	b.hold(id(1))
	b.hold(id(3))
	for n := 1; n <= maxCases+10; n++ {
		note(n)
	}
	there := func(n int) bool { _, ok := b.file(id(n)); return ok }
	if !there(1) || there(2) || !there(3) || there(12) || !there(13) || b.missed() > 0 || len(b.cases) != maxCases {
		t.Errorf("1 %v, 2 %v, 3 %v, 12 %v, 13 %v, %d missed, %d cases", there(1), there(2), there(3), there(12), there(13), b.missed(), len(b.cases))
	}
	b.unhold(id(3))
	b.forget(opened.Add(14 * time.Second)) // up to 13
	if !there(1) || there(3) || there(13) || !there(14) {
		t.Errorf("after the hold: 1 %v, 3 %v, 13 %v, 14 %v", there(1), there(3), there(13), there(14))
	}
	b.unhold(id(1))
	b.forget(opened.Add(14 * time.Second))
	if there(1) || !there(maxCases+10) {
		t.Errorf("%d cases, 1 %v", len(b.cases), there(1))
	}
}

// Numbers go on from the highest that anybody knows: after a power cut that took the state back, without a collector, from the journal's.
func TestNumbersGoOnFromTheJournal(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	state := filepath.Join(d.dir, "data", "records.state")
	say := func() (last uint64) {
		d.writer.Say(records.Audit(records.AuditFacts{Time: d.time(), Who: "admin", What: "plan", Object: "home"}))
		d.journaled()
		return d.chain.Seq()
	}
	say()
	old, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		say()
	}
	last := say()
	seq, hash, err := d.journal.Last()
	if err != nil || seq != last {
		t.Fatalf("the journal's last is %d, the chain's %d: %v", seq, last, err)
	}
	d.cut()
	if err := os.WriteFile(state, old, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.journaled()
	for _, r := range d.recent.Select(recentRecords, func(r *records.Record) bool { return r.Seq <= last }) {
		t.Errorf("number %d was given twice: %s", r.Seq, r.Text)
	}
	first := d.recent.Select(recentRecords, func(r *records.Record) bool { return r.Seq == last+1 })
	if len(first) != 1 || first[0].Value("prev") != hash {
		t.Errorf("behind %d comes %v", last, first)
	}
}

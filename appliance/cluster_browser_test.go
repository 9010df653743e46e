package appliance

import (
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// An admin without scripts takes a cluster's client for known, takes that back, and takes its sessions away as files.
func TestAClusterAndItsRecordsWithoutScripts(t *testing.T) {
	d := newObserved(t, "")
	d.usual(3)
	for i := range 40 {
		d.mails(i*7, 1000+i, rarePrint)
		d.observer.drain()
		d.observer.look()
	}
	p := browse(t, d)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", d.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.Do("the cluster", open(p.URL+"clusters"), see("#cluster-K1"), click("#cluster-K1 a"), see("#do-know"))
	p.Do("known as good", click("#do-know summary"), click("#do-know button"), see(".done"))
	if known := d.cfg.Load().Clusters.KnownGood; !slices.Equal(known, []string{rarePrint}) {
		t.Errorf("known as good: %q", known)
	}
	d.observer.look()
	if cards, _ := d.api().Clusters(webadmin.Page{}); len(cards) != 1 || cards[0].EndReason != "known_good" {
		t.Errorf("%+v", cards)
	}
	p.Do("it has ended", open(p.URL+"clusters"), reads("#cluster-K1", "known as good"), click("#cluster-K1 a"), see("#do-forget"))
	p.Do("and back", click("#do-forget summary"), click("#do-forget button"), see(".done"))
	if known := d.cfg.Load().Clusters.KnownGood; len(known) != 0 {
		t.Errorf("after it was taken back: %q", known)
	}

	p.Do("its sessions", open(p.URL+"records"), see("#q"), typed("#q", rarePrint), click("#ask button"), click(`.tabs a[href*="kind=SESSION"][href*="q="]`), reads(`.tabs a[aria-current]`, "SESSION"), see("#export"))
	if n := p.Count("#records tbody tr"); n != 40 {
		t.Errorf("%d sessions on the page", n)
	}
	name, file := p.Download(`#export a[href*="records.csv"]`)
	rows, err := csv.NewReader(strings.NewReader(string(file))).ReadAll()
	if err != nil || len(rows) != 41 || !strings.HasSuffix(name, ".csv") {
		t.Fatalf("%s: %v: %d rows", name, err, len(rows))
	}
	if at := slices.Index(rows[0], "ja4"); at < 0 || rows[1][at] != rarePrint || rows[40][at] != rarePrint {
		t.Errorf("%q\n%q", rows[0], rows[1])
	}
	name, file = p.Download(`#export a[href*="records.json"]`)
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	for _, line := range lines {
		var r webadmin.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Kind != "SESSION" {
			t.Fatalf("%s: %v: %s", name, err, line)
		}
	}
	if len(lines) != 40 {
		t.Errorf("%s: %d lines", name, len(lines))
	}
}

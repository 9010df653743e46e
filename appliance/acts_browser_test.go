package appliance

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// Somebody lets a line go, makes a backup and puts it back, each by clicks on the pages of a real box, without scripts and with them; and the
// browser has nothing to complain of.
func TestAReleaseAndABackupByClicks(t *testing.T) {
	d := newDeaf(t, homePlans, homeList)
	p := browse(t, d)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", d.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	before, list := d.read("mailweir.yaml"), d.read("subscribers.csv")
	for i, scripts := range []bool{false, true} {
		p.Scripts(scripts)
		for range 4 {
			d.session("home", "small")
		}
		r, _ := d.gov.Explain("home", d.time())
		if r.Stage != governor.StageDefer || r.Case == "" {
			t.Fatalf("scripts %v: %+v", scripts, r)
		}
		p.Do("the line", open(p.URL+"subscribers/home"), see(".case-card.defer"), click("#do-release summary"), click("#do-release button"), see(".case-card.observe"))
		if r, _ := d.gov.Explain("home", d.time()); r.Stage != governor.StageObserve || r.Case != "" {
			t.Errorf("scripts %v: after its release %+v", scripts, r)
		}
		if n := p.Count("#do-release"); n != 0 {
			t.Errorf("scripts %v: who is not held can be released", scripts)
		}
		released := d.recent.Select(recentRecords, func(r *records.Record) bool { return r.Kind == records.KindAudit && r.Value("what") == "release" })
		if len(released) != i+1 || released[0].Value("object") != "home" || !strings.HasPrefix(released[0].Value("who"), "admin 127.0.0.1") {
			t.Errorf("scripts %v: %d releases on record", scripts, len(released))
		}

		p.Do("the page of backups", open(p.URL+"settings/backup"), see("#file"), typed("#now-backup", browserPassword))
		name, backup := p.Download(`form[action="/settings/backup"] button`)
		held, err := zip.NewReader(bytes.NewReader(backup), int64(len(backup)))
		if err != nil || !strings.HasPrefix(name, "mailweir-") || !strings.HasSuffix(name, ".zip") || len(held.File) < 2 {
			t.Fatalf("scripts %v: %s has %d bytes: %v", scripts, name, len(backup), err)
		}
		d.write("mailweir.yaml", strings.ReplaceAll(before, "limit: 6", "limit: 7"))
		d.write("subscribers.csv", list+"third,small,100.64.0.3\n")
		if err := d.reload(); err != nil || d.cfg.Load().Plans[1].Budgets[0].Limit != 7 || d.who.Table().Len() != 3 {
			t.Fatalf("scripts %v: the other configuration is not in force: %v", scripts, err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, backup, 0o600); err != nil {
			t.Fatal(err)
		}
		p.Do("put back", sends("#file", file), typed("#now-restore", browserPassword), click("button[value=restore]"), reads("#looked", "Restored"))
		if d.cfg.Load().Plans[1].Budgets[0].Limit != 6 || d.who.Table().Len() != 2 || d.read("mailweir.yaml") != before || d.read("subscribers.csv") != list {
			t.Errorf("scripts %v: in force: limit %d, %d lines", scripts, d.cfg.Load().Plans[1].Budgets[0].Limit, d.who.Table().Len())
		}
	}
	for _, m := range p.Complaints() {
		t.Errorf("the browser complains: %s", m)
	}
}

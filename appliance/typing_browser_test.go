package appliance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/browsertest"
)

// trials are the processes of what-ifs of this box that run.
func (d *deaf) trials() (pids []int) {
	d.t.Helper()
	of, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range of {
		line, err := os.ReadFile(file) // one that has ended has none
		if pid, bad := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && bad == nil && bytes.Contains(line, []byte(d.dir)) && bytes.Contains(line, []byte("\x00replay\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Somebody types a plan: after a pause it is tried, the page tells how much of the journal was read, what is typed next ends the process of before, and once the
// figures of what stands there are shown it can be saved.
func TestAPlanIsTriedAsOneTypes(t *testing.T) {
	const sessions = 100_000
	d := newTrying(t)
	bin := d.opt.Executable
	d.cut()
	if err := os.RemoveAll(filepath.Join(d.dir, "data")); err != nil {
		t.Fatal(err)
	}
	d.wall = time.Now().Add(-3 * 24 * time.Hour)
	d.start()
	d.opt.Executable = bin
	for range sessions / 2000 {
		d.sends("100.64.0.1", 2000)
		d.journaled()
	}
	p := browse(t, d)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", d.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.Scripts(true)
	plan := d.cfg.Load().Plans[0]
	page := p.URL + "plans/" + plan.Name
	p.Do("the plan", open(page), see("#untried"), browsertest.Script(`(() => {
		window.told = [];
		new MutationObserver(() => { const text = document.querySelector("#far-text").textContent; if (told.at(-1) !== text) told.push(text); })
			.observe(document.querySelector("#tried"), { subtree: true, childList: true, characterData: true });
	})()`))
	if p.Count(`button[value=save]:disabled`) != 1 {
		t.Error("it can be saved before anything was tried")
	}
	p.Do("a limit", chosen("#burst-0", "1"), typed("#limit-0", "3"))
	first := d.aTrial()
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil { // it stays where it is
		t.Fatal(err)
	}
	p.Do("it is told", see("#far-bar"))
	p.Do("another one", typed("#limit-0", "4"))
	for until := time.Now().Add(10 * time.Second); syscall.Kill(first, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the process of what was typed before is still there")
		}
	}
	second := d.aTrial()
	p.Do("its figures", reads("#what-if", "Of 100,000 sessions"), see("button[value=save]:enabled"))
	if n := p.Count("#far[hidden]"); n != 1 || len(d.trials()) > 0 || second == first {
		t.Errorf("%d bars are hidden, and processes %v are there", n, d.trials())
	}
	told := p.Said("told.join('|')")
	var percents []int
	for _, text := range strings.Split(told, "|") {
		var percent int
		if _, after, ok := strings.Cut(text, "read, "); ok {
			if n, err := fmt.Sscanf(after, "%d", &percent); n == 1 && err == nil {
				percents = append(percents, percent)
			}
		}
	}
	if len(percents) < 2 || percents[len(percents)-1] < 30 || !strings.Contains(told, " hours read, ") {
		t.Errorf("it was told %q", told)
	}
	t.Logf("told: %s", told)

	// Back to what was tried: the same figures.
	p.Do("once more", typed("#limit-0", "5"), typed("#limit-0", "4"), see("button[value=save]:enabled"), see("#far-before[hidden] + .what-if"))
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("it is in force before it was saved")
	}
	p.Do("a limit that is none", typed("#limit-0", "0"), reads("#errors", "0 is out of range"), see("#far-before"), see("button[value=save]:disabled"))
	p.Do("mended", typed("#limit-0", "4"), see("button[value=save]:enabled"), browsertest.Click("button[value=save]"), see(".done"))
	if b := d.cfg.Load().Plans[0].Budgets[0]; b.Limit != 4 {
		t.Errorf("in force: %+v", b)
	}
	for _, m := range p.Complaints() {
		if !strings.Contains(m, "400") { // of the limit that is none
			t.Errorf("the browser complains: %s", m)
		}
	}
}

// aTrial waits for the process of a what-if, of which there is one at a time.
func (d *deaf) aTrial() int {
	d.t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		switch pids := d.trials(); len(pids) {
		case 0:
		case 1:
			return pids[0]
		default:
			d.t.Fatalf("what-ifs at once: %v", pids)
		}
	}
	d.t.Fatal("nothing is tried")
	return 0
}

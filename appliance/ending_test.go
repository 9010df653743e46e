package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/frozentest"
	"github.com/mailweir/mailweir/appliance/records"
)

// A stop does not wait for ever for a part that the disk keeps: it says where and for how long it waited, does nothing more there, and does the others, for which it waits less then.
func TestAStopGoesOnWithoutWhatHangs(t *testing.T) {
	t.Parallel()
	e := ending{wait: 200 * time.Millisecond, soon: 20 * time.Millisecond}
	never := make(chan struct{})
	defer close(never)
	hangs := func() error { <-never; return nil }
	did := ""
	does := func(what string) func() error { return func() error { did += what; return nil } }
	broken := errors.New("broken")
	steps := []struct {
		path string
		f    func() error
		says string
		took time.Duration // at least
	}{
		{"data/budgets", does("a"), "", 0},
		{"data/budgets", func() error { return broken }, "broken", 0},
		{"data/journal", hangs, "data/journal: the disk has not answered for 200ms, and is not waited for any longer: the end may not be written", 200 * time.Millisecond},
		{"data/journal", does("b"), "", 0},
		{"data/spool", does("c"), "", 0},
		{"data", does("d"), "", 0}, // what hangs is part of it
		{"data/spool", hangs, "data/spool: the disk has not answered for 20ms, and is not waited for any longer: the end may not be written", 20 * time.Millisecond},
	}
	for i, s := range steps {
		began := time.Now()
		if err := e.step("the end", s.path, s.f); (err == nil) != (s.says == "") || err != nil && err.Error() != s.says {
			t.Errorf("step %d: %v, want %q", i, err, s.says)
		}
		if took := time.Since(began); took < s.took {
			t.Errorf("step %d waited %v", i, took)
		}
	}
	if did != "ac" {
		t.Errorf("it did %q", did)
	}
}

// A life of which something could not be written ends with an error, and no other begins where something hangs.
func TestALifeThatCouldNotWriteEndsWithAnError(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	a := d.Appliance
	a.queues = nil // as in cut
	if err := a.closed(nil); err != nil {
		t.Errorf("all was written: %v", err)
	}
	d.start()
	a = d.Appliance
	a.queues = nil
	if err := errors.Join(os.RemoveAll(a.at("spool")), os.WriteFile(a.at("spool"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	a.syslog.spool.Reader("relp://192.0.2.1") // which has a place there
	a.writer.Say(records.Config(records.ConfigFacts{Time: d.time(), What: "started"}))
	d.told(records.KindConfig)
	if err := a.closed(nil); err == nil || !strings.Contains(err.Error(), a.at("spool")) {
		t.Errorf("the spool is gone: %v", err)
	}
	d.Appliance = nil
	b := &Appliance{opt: a.opt, log: a.log}
	if err := b.closed(errAgain); !errors.Is(err, errAgain) {
		t.Errorf("another life is asked for: %v", err)
	}
	b.ending.late = []string{"data/journal"}
	if err := b.closed(errAgain); errors.Is(err, errAgain) {
		t.Error("and something hangs")
	}
}

// A new configuration with other collectors does not wait for ever for a disk that hangs: it is refused, says why, and nobody waits for what it named.
func TestOtherCollectorsWhileTheDiskHangs(t *testing.T) {
	disk := frozentest.New(t, 64)
	d := &deaf{t: t, dir: t.TempDir(), wall: opened}
	if err := os.Symlink(disk.Dir, filepath.Join(d.dir, "data")); err != nil {
		t.Fatal(err)
	}
	with := func(url string) {
		d.write("mailweir.yaml", homePlans+fmt.Sprintf("syslog: {targets: [{url: %q}]}\n", url))
	}
	with("udp://127.0.0.1:9")
	d.write("subscribers.csv", homeList)
	d.start()
	t.Cleanup(d.cut)
	t.Cleanup(disk.Thaw) // before that
	d.opt.CollectorsWait = 300 * time.Millisecond
	disk.Freeze()
	with("udp://127.0.0.1:10")
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- d.reload() }()
	select {
	case err := <-done:
		ps, ok := errors.AsType[config.Problems](err)
		if !ok || len(ps) != 1 || ps[0].Key != "syslog.targets" || !strings.Contains(ps[0].Message, d.at("spool")) || !strings.Contains(ps[0].Message, "has not answered for 300ms") {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("it waited for %v", time.Since(began))
		disk.Thaw()
		<-done
	}
	if all := d.syslog.Status(); len(all) != 1 || all[0].URL != "udp://127.0.0.1:9" {
		t.Errorf("in force: %+v", all)
	}
	disk.Thaw()
	d.behind.Wait()
	if positions, _ := filepath.Glob(filepath.Join(disk.Dir, "spool", "position-*")); len(positions) != 1 {
		t.Errorf("the spool waits for %v", positions)
	}
	if err := d.reload(); err != nil {
		t.Errorf("the disk answers again: %v", err)
	}
	if all := d.syslog.Status(); len(all) != 1 || all[0].URL != "udp://127.0.0.1:10" {
		t.Errorf("in force then: %+v", all)
	}
}

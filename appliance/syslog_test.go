package appliance

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// A test of the collectors says who has the record, and of the other why not.
func TestSyslogTestTellsWhoHasTheRecord(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	d := newDeaf(t, homePlans+fmt.Sprintf("syslog: {targets: [{url: \"tcp://%s\"}, {url: \"relp://%s\"}]}\n", l.Addr(), nobody.Addr()), homeList)
	end := background(t.Context(), d.writer.Run)
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got := (&source{a: d.Appliance}).TestSyslog(ctx, "me")
	if len(got) != 2 || !got[0].OK || got[0].Error != "" || got[1].OK || !strings.Contains(got[1].Error, "nobody listens at "+nobody.Addr().String()) {
		t.Errorf("%+v", got)
	}
	if v := d.spoolView(); v.Records == 0 || v.Bytes == 0 || v.Fault != "" {
		t.Errorf("%+v", v)
	}
}

// A configuration that is refused leaves no collector behind for whom the spool would wait.
func TestARefusedCollectorIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans+"syslog: {targets: [{url: \"udp://127.0.0.1:9\"}]}\n", homeList)
	positions := func() int {
		all, err := filepath.Glob(filepath.Join(d.dir, "data", "spool", "position-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	yaml := strings.Replace(homePlans, "identity: {", "identity: {radius: {listen: \"127.0.0.1:18131\", secret_file: nothing}, ", 1)
	d.write("mailweir.yaml", yaml+"syslog: {targets: [{url: \"udp://127.0.0.1:9\"}, {url: \"relp://127.0.0.1:9\"}]}\n")
	if err := d.reload(); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
	if n := positions(); n != 1 {
		t.Errorf("%d positions", n)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "mailweir.yaml"), []byte(homePlans), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); positions() != 0; time.Sleep(5 * time.Millisecond) { // it goes with its reader, which is not waited for
		if time.Now().After(end) {
			t.Fatalf("without a collector: %d positions", positions())
		}
	}
}

// A spool that cannot be used is told, and the box starts without it on the disk.
func TestABoxWithoutASpool(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans+"syslog: {targets: [{url: \"udp://127.0.0.1:9\"}]}\n", homeList)
	d.cut()
	if err := os.RemoveAll(filepath.Join(d.dir, "data", "spool")); err != nil {
		t.Fatal(err)
	}
	d.write("data/spool", "x")
	d.start()
	told := fmt.Sprint(d.told(records.KindHealth))
	if !strings.Contains(told, "records cannot be written to the disk") || !strings.Contains(told, "how far each collector got cannot be written") ||
		!strings.Contains(d.log.String(), "the spool cannot be written") {
		t.Errorf("told %s; log %s", told, d.log)
	}
	if v := d.spoolView(); v.Fault == "" {
		t.Errorf("%+v", v)
	}
}

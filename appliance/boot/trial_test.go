package boot

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

func TestATrialEndsWhenAllIsWellForAWhileOrTheTimeIsOver(t *testing.T) {
	for _, row := range []struct {
		why      string
		ill      func(time.Duration) bool
		least    time.Duration
		most     time.Duration
		complain string
	}{
		{"well at once", func(time.Duration) bool { return false }, trialCalm, trialCalm + trialPause, ""},
		{"well after a minute", func(d time.Duration) bool { return d < time.Minute }, time.Minute + trialCalm, time.Minute + trialCalm + 2*trialPause, ""},
		{"well, ill again, well", func(d time.Duration) bool { return d > 5*time.Second && d < 20*time.Second }, 20*time.Second + trialCalm, 20*time.Second + trialCalm + 2*trialPause, ""},
		{"ill every fifth second", func(d time.Duration) bool { return d.Truncate(trialPause)%(4*trialPause) == 0 }, trialTime, trialTime + 5*trialPause, "web admin: no answer"},
		{"never well", func(time.Duration) bool { return true }, trialTime, trialTime + trialPause, "web admin: no answer"},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			checks := []check{{"modules", func(context.Context) error { return nil }}, {"web admin", func(context.Context) error {
				if row.ill(time.Since(begun)) {
					return errors.New("no answer")
				}
				return nil
			}}}
			err := healthy(t.Context(), checks, trialTime)
			took := time.Since(begun)
			if took < row.least || took > row.most || (err == nil) != (row.complain == "") || err != nil && err.Error() != row.complain {
				t.Errorf("%s: %v after %v, want %q after %v to %v", row.why, err, took, row.complain, row.least, row.most)
			}
		})
	}
}

func TestWhatIsNotWellIsNamed(t *testing.T) {
	bad := func(what string) check {
		return check{what, func(context.Context) error { return errors.New("bad " + what) }}
	}
	if err := all(t.Context(), []check{bad("links"), {"modules", func(context.Context) error { return nil }}, bad("store")}); err == nil || err.Error() != "links: bad links; store: bad store" {
		t.Errorf("%v", err)
	}
	var s seen
	if err := governs(s, nil); err == nil || err.Error() != "not ready" {
		t.Errorf("%v", err)
	}
	s.Ready = true
	s.Store.Why = "disk full"
	if err := governs(s, nil); err == nil || err.Error() != "store: disk full" {
		t.Errorf("%v", err)
	}
	s.Store.OK = true
	if err := governs(s, nil); err != nil {
		t.Errorf("%v", err)
	}
	if err := governs(s, errors.New("no answer")); err == nil {
		t.Error("who does not answer governs")
	}
	if err := linksAre([]string{"port2", "port3"}, []string{"port1", "port2"}); err == nil || !strings.HasPrefix(err.Error(), "port3 had a link") {
		t.Errorf("%v", err)
	}
	if err := linksAre([]string{"port2"}, []string{"port1", "port2"}); err != nil {
		t.Error(err)
	}
}

func TestTheWebAdminAnswersOrNot(t *testing.T) {
	status := http.StatusOK
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
	defer s.Close()
	listen := s.Listener.Addr().String()
	for code, well := range map[int]bool{200: true, 303: true, 500: false, 404: false} {
		status = code
		if err := webAnswers(t.Context(), listen); (err == nil) != well {
			t.Errorf("%d: %v", code, err)
		}
	}
	s.Close()
	if err := webAnswers(t.Context(), listen); err == nil {
		t.Error("nobody listens, and it answers")
	}
}

func TestOnlyTheBytesOfGRUBsFileAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "grubenv")
	was := layout.Env{Active: "a"}.Block()
	if err := os.WriteFile(file, was, 0o600); err != nil {
		t.Fatal(err)
	}
	is := layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries}.Block()
	if err := overwrite(file, is); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, is) {
		t.Errorf("%v, %q", err, got)
	}
	if err := os.Truncate(file, 1000); err != nil {
		t.Fatal(err)
	}
	if err := overwrite(file, was); err == nil || !strings.Contains(err.Error(), "1024 bytes") {
		t.Errorf("a file of another size: %v", err)
	}
	if err := overwrite(filepath.Join(t.TempDir(), "none"), was); err == nil {
		t.Error("a file that is not there was made")
	}
}

// sysfs makes files below a directory that stands for /sys, and links.
func sysfs(t *testing.T, files map[string]string, links map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	make := func(name string, do func(path string) error) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := do(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		make(name, func(p string) error { return os.WriteFile(p, []byte(text+"\n"), 0o644) })
	}
	for name, to := range links {
		make(name, func(p string) error { return os.Symlink(filepath.Join(dir, to), p) })
	}
	return dir
}

func TestPartitionsAndSticksAreFoundInSysfs(t *testing.T) {
	const pci, usb = "devices/pci0/ata1/block/sda", "devices/pci0/usb1/1-1/block/sdb"
	sys := sysfs(t, map[string]string{
		pci + "/size": "100", pci + "/diskseq": "1", pci + "/sda3/partition": "3", pci + "/sda3/size": "10", pci + "/sda4/partition": "4", pci + "/sda4/size": "10",
		usb + "/size": "100", usb + "/diskseq": "2", usb + "/sdb1/partition": "1", usb + "/sdb1/size": "10",
		"devices/pci0/usb1/1-2/block/sdc/size": "0", "devices/pci0/usb1/1-3/block/sdd/size": "100", "devices/pci0/usb1/1-3/block/sdd/sdd1/size": "10",
	}, map[string]string{
		"class/block/sda": pci, "class/block/sda3": pci + "/sda3", "class/block/sda4": pci + "/sda4",
		"class/block/sdb": usb, "class/block/sdb1": usb + "/sdb1", "class/block/sdc": "devices/pci0/usb1/1-2/block/sdc",
		"class/block/sdd": "devices/pci0/usb1/1-3/block/sdd", "class/block/sdd1": "devices/pci0/usb1/1-3/block/sdd/sdd1",
	})
	if got, err := partition(sys, "/dev", "/dev/sda", layout.SlotPartition("b")); err != nil || got != "/dev/sda4" {
		t.Errorf("slot b: %s, %v", got, err)
	}
	if _, err := partition(sys, "/dev", "/dev/sda", layout.Data); err == nil || !strings.Contains(err.Error(), "no partition 5") {
		t.Errorf("%v", err)
	}
	w := &stickWatch{sys: sys, dev: "/dev", own: "/dev/sdd", seen: map[string]bool{}}
	look := func(why string, want ...string) {
		t.Helper()
		if got := w.look(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
	}
	look("at the start", "/dev/sdb", "/dev/sdb1")
	look("nothing new")
	if err := os.WriteFile(filepath.Join(sys, usb, "diskseq"), []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	look("pulled and put in again", "/dev/sdb", "/dev/sdb1")
}

func TestWhichUpdatesOnAStickArePassedOver(t *testing.T) {
	b := &update.Box{About: layout.About{Build: 10}}
	gaveUp := &update.Outcome{State: update.RolledBack, To: update.Version{Build: 11}}
	damaged := errors.New("damaged")
	for _, row := range []struct {
		why         string
		build       int64
		bad         error
		last        *update.Outcome
		left, alone bool
		want        string
	}{
		{"a newer one", 11, nil, nil, true, true, ""},
		{"the one that runs", 10, nil, nil, false, true, "runs already"},
		{"one that was given up, and the stick was left in", 11, nil, gaveUp, true, true, "was given up here"},
		{"one that was given up, and somebody puts it in again", 11, nil, gaveUp, false, true, ""},
		{"a newer one than was given up", 12, nil, gaveUp, true, true, ""},
		{"a damaged one beside others", 0, damaged, nil, false, false, "damaged"},
		{"a damaged one alone is told by who installs it", 0, damaged, nil, false, true, ""},
	} {
		got := passOver(b, bundle.Manifest{Build: row.build}, row.bad, row.last, row.left, row.alone)
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q", row.why, got)
		}
	}
}

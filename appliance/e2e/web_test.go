package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/web-admin/remote"
)

// webPID is the process of the box's web admin; 0: there is none.
func (b *box) webPID() int {
	b.t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.cmd.Process.Pid))
	check(b.t, err)
	for _, list := range lists {
		children, _ := os.ReadFile(list) // of a thread that has ended there is none
		for _, pid := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			if bytes.Equal(line, []byte("mailweir\x00"+remote.Command+"\x00")) && !bytes.Contains(stat, []byte(") Z ")) {
				n, err := strconv.Atoi(pid)
				check(b.t, err)
				return n
			}
		}
	}
	return 0
}

// The web admin has no rights, of which it cannot have any again, and a lower priority; who governs has kept his.
func TestTheWebAdminHasNoRights(t *testing.T) {
	l, ctx := startLab(t)
	b := newBox(t, ctx, l, config("enforce", ""), "subscriber,plan,prefixes\n")
	b.start()
	web := b.webPID()
	if web == 0 {
		t.Fatal("there is none")
	}
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", web))
	check(t, err)
	for _, path := range append(all, fmt.Sprintf("/proc/%d/status", web)) {
		text, err := os.ReadFile(path)
		check(t, err)
		for _, which := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
			if none := "Cap" + which + ":\t0000000000000000\n"; !strings.Contains(string(text), none) {
				t.Errorf("no %q in %s:\n%s", none, path, text)
			}
		}
		if !strings.Contains(string(text), "NoNewPrivs:\t1\n") {
			t.Errorf("it can have new rights:\n%s", text)
		}
	}
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, web); err != nil || 20-raw != 10 {
		t.Errorf("nice %d, %v", 20-raw, err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	check(t, err)
	if strings.Contains(string(text), "CapEff:\t0000000000000000") || !strings.Contains(string(text), "NoNewPrivs:\t0") {
		t.Errorf("the process that governs has given up rights:\n%s", text)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	check(t, err)
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, b.cmd.Process.Pid); err != nil || raw != own {
		t.Errorf("the process that governs has nice %d, %v", 20-raw, err)
	}
}

// The web admin is killed, panics and hangs while mail flows: no session is lost, and pages and the command line are back, without the box having begun anew.
func TestMailGoesOnWhateverBecomesOfTheWebAdmin(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", ""), fmt.Sprintf("subscriber,plan,prefixes\nhome,free,%s\n", home.IPv4))
	b.start()
	page := func() error {
		a, err := b.browser().Get("https://127.0.0.1:8443/")
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", a.Status)
		}
		return nil
	}
	check(t, page())
	mail := func() (waited []time.Duration) {
		for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 150, Concurrency: 4, Timeout: 20 * time.Second}) {
			if s.Result != lab.Sent {
				t.Errorf("a session: %v, %v", s.Result, s.Err)
			}
			waited = append(waited, s.Greeting)
		}
		slices.Sort(waited)
		return waited
	}
	told := func(waited []time.Duration) string {
		return fmt.Sprintf("%d sessions, greetings after %v, the last after %v", len(waited), waited[len(waited)/2].Round(time.Millisecond), waited[len(waited)-1].Round(time.Millisecond))
	}
	t.Logf("nothing happens: %s", told(mail()))
	pid := b.webPID()
	for _, c := range []struct {
		what   string
		signal syscall.Signal
		within time.Duration
	}{
		{"killed", syscall.SIGKILL, 10 * time.Second},
		{"a panic", syscall.SIGABRT, 15 * time.Second},
		{"stopped", syscall.SIGSTOP, 45 * time.Second},
	} {
		sent := make(chan []time.Duration, 1)
		go func() { sent <- mail() }()
		time.Sleep(50 * time.Millisecond) // into the mail
		began := time.Now()
		check(t, syscall.Kill(pid, c.signal))
		await(t, c.within, c.what+": a page", func() bool { return b.webPID() != pid && page() == nil })
		took := time.Since(began)
		if s := b.status(); s.Sessions.Total == 0 {
			t.Errorf("%s: status %+v", c.what, s.Sessions)
		}
		waited := <-sent
		if worst := waited[len(waited)-1]; worst > 5*time.Second {
			t.Errorf("%s: somebody waited %v for a greeting", c.what, worst)
		}
		t.Logf("%s: pages after %v; %s", c.what, took.Round(time.Millisecond), told(waited))
		pid = b.webPID()
	}
	b.mu.Lock()
	said := b.stderr.String()
	b.mu.Unlock()
	if n := strings.Count(said, "the web admin's process has ended"); n != 3 || strings.Count(said, "mailweir: ready") != 1 || !strings.Contains(said, "it hangs") || !strings.Contains(said, "SIGABRT") {
		t.Errorf("%d times it says that the web admin has ended:\n%s", n, said)
	}

	// It ends with the box, also when it hangs and the box is killed; and the next one listens where it did.
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	b.kill()
	await(t, 10*time.Second, "the end of the web admin", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	b.start()
	check(t, page())
}

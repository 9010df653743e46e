package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A process that stands still (stopped, or without a processor) has the queues bound and does
// not read them. Mail passes unjudged after some seconds, it is told, and when the process goes
// on it governs again.
func TestMailPassesWhileTheProcessStandsStill(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	send := func(n int) (all []lab.Session) {
		for i := range n {
			all = append(all, home.Send(ctx, lab.Traffic{To: mx.Address(i%2 == 1), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1, Concurrency: 1})...)
		}
		return all
	}
	results := func(all []lab.Session) (sent, deferred int) {
		for _, s := range all {
			switch s.Result {
			case lab.Sent:
				sent++
			case lab.Deferred:
				deferred++
			default:
				t.Errorf("%v: %v", s.Result, s.Err)
			}
		}
		return sent, deferred
	}
	if sent, deferred := results(send(4)); sent != 2 || deferred != 2 {
		t.Fatalf("%d sent, %d deferred, want two of each", sent, deferred)
	}
	pid := b.cmd.Process.Pid
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	await(t, 10*time.Second, "it to stand still", func() bool { // each thread stops where it may
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		check(t, err)
		for _, file := range threads {
			text, _ := os.ReadFile(file)
			if _, after, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(after, "T") {
				return false
			}
		}
		return len(threads) > 0
	})
	goOn := func() { check(t, syscall.Kill(pid, syscall.SIGCONT)) }
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	began := time.Now()
	if sent, deferred := results(send(6)); sent != 6 || deferred != 0 {
		t.Errorf("while it stood still %d were sent and %d deferred, want 6 and none", sent, deferred)
	}
	t.Logf("six sessions in %v", time.Since(began).Round(time.Millisecond))
	goOn()
	await(t, 20*time.Second, "a record of it", func() bool {
		for _, r := range b.records("kind=HEALTH&limit=100") {
			if param(r.Line, "what") == "stood_still" {
				return true
			}
		}
		return false
	})
	if sent, deferred := results(send(3)); sent != 0 || deferred != 3 {
		t.Errorf("when it went on %d were sent and %d deferred, want none and 3", sent, deferred)
	}
}

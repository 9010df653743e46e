package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
)

// breakRing puts something that cannot be waited for in the place of the epoll by which
// this process waits for the copies of its fast lane.
func breakRing() error {
	all, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return err
	}
	for _, path := range all {
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			var target, epoll int
			if n, _ := fmt.Sscanf(line, "tfd: %d", &target); n != 1 {
				continue
			}
			if what, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", target)); what != "anon_inode:bpf-map" {
				continue
			}
			fmt.Sscan(filepath.Base(path), &epoll)
			return unix.Dup3(target, epoll, unix.O_CLOEXEC)
		}
	}
	return fmt.Errorf("none of %d descriptors is it", len(all))
}

// The ring of the fast lane cannot be waited for any more, in the middle of a session that
// began unasked: that session goes on, others wait for their verdicts, and the lane comes
// back by itself.
func TestALaneThatCannotBeReadEndsAlone(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", ""), fmt.Sprintf("subscriber,plan,prefixes\nhome,free,%s %s\n", home.IPv4, home.Prefix6))
	self, err := os.Executable()
	check(t, err)
	b.binary, b.env = self, []string{ringEnv + "=1048576"}
	b.start()
	mail := func(why string, linger time.Duration) {
		for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 2, Concurrency: 1, Linger: linger}) {
			if s.Result != lab.Sent {
				t.Errorf("%s: %v: %v", why, s.Result, s.Err)
			}
		}
	}
	mail("at the start", 0)
	running := make(chan struct{})
	go func() {
		defer close(running)
		mail("in the middle of it", time.Second)
	}()
	await(t, 5*time.Second, "a session to run", func() bool { return b.status().Sessions.Open == 1 })
	check(t, b.cmd.Process.Signal(syscall.SIGUSR1))
	await(t, 5*time.Second, "the broken lane to be told", func() bool { return b.healthOf("fast_lane", "") == 1 })
	<-running
	await(t, 10*time.Second, "the lane to be back", func() bool { return b.healthOf("fast_lane", "") == 2 && b.status().Lanes.Fast.On })
	before := b.status().Lanes.Fast.Sessions
	mail("afterwards", 0)
	mail("afterwards", 0)
	s := b.status()
	if n := s.Lanes.Fast.Sessions - before; n < 3 {
		t.Errorf("afterwards %d of 4 sessions began unasked", n)
	}
	await(t, 5*time.Second, "all sessions to be over", func() bool { return b.status().Sessions.Open == 0 })
	if s.Sessions.Total != 8 {
		t.Errorf("%d sessions are counted, there were 8", s.Sessions.Total)
	}
	if !strings.Contains(b.said(), "broke: <nil>") {
		t.Error("the lane was not broken")
	}
}

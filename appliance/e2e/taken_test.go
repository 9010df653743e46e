package e2e

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// takeLinks does what `bpftool link detach` does with all links at an interface.
func takeLinks(name string) error {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	q, err := link.QueryPrograms(link.QueryOptions{Target: dev.Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	for _, p := range q.Programs {
		id, _ := p.LinkID()
		attr := struct{ id, next, flags uint32 }{id: uint32(id)}
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno != 0 {
			return errno
		}
		of := struct{ fd uint32 }{uint32(fd)}
		_, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_DETACH, uintptr(unsafe.Pointer(&of)), unsafe.Sizeof(of))
		if err := unix.Close(int(fd)); errno != 0 || err != nil {
			return errors.Join(errno, err)
		}
	}
	return nil
}

// healthOf counts the HEALTH records about something.
func (b *box) healthOf(what, target string) (n int) {
	b.t.Helper()
	for _, r := range b.records("kind=HEALTH&limit=1000") {
		if param(r.Line, "what") == what && param(r.Line, "target") == target {
			n++
		}
	}
	return n
}

// Somebody takes the fast lane's program away, and an interface goes and comes back: both
// are noticed within seconds and told, mail goes on all the while, and the lane comes back
// by itself.
func TestTheFastLaneComesBack(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", ""), fmt.Sprintf("subscriber,plan,prefixes\nhome,free,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	mail := func(why string) {
		t.Helper()
		for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 4, Concurrency: 1}) {
			if s.Result != lab.Sent {
				t.Errorf("%s: %v: %v", why, s.Result, s.Err)
			}
		}
	}
	unasked := func() int64 { return b.status().Lanes.Fast.Sessions }
	mail("at the start")
	for _, dev := range []string{"lan0", "wan0"} {
		check(t, b.lab.Box.Do(func() error { return takeLinks(dev) }))
		mail("without the program at " + dev)
		await(t, 6*time.Second, "the missing program to be told", func() bool { return b.healthOf("fast_lane_taken", dev) == 1 })
		before := unasked()
		mail("with it again")
		if n := unasked() - before; n < 3 {
			t.Errorf("back at %s: %d of 4 sessions began unasked", dev, n)
		}
	}

	rename := func(from, to string) {
		t.Helper()
		out, err := b.lab.Box.Command(ctx, "ip", "link", "set", from, "name", to).CombinedOutput()
		if err != nil {
			t.Fatalf("rename %s: %v: %s", from, err, out)
		}
	}
	rename("wan0", "gone0")
	await(t, 6*time.Second, "the missing interface to be told", func() bool { return b.healthOf("fast_lane", "interfaces") == 1 })
	mail("without wan0 in the lane")
	if f := b.status().Lanes.Fast; f.On || f.Why == "" {
		t.Errorf("without wan0: %+v", f)
	}
	if !slices.ContainsFunc(b.status().Problems, func(p webadmin.Problem) bool { return strings.HasPrefix(p.What, "The fast lane is not in use") }) {
		t.Errorf("without wan0 the problems are %+v", b.status().Problems)
	}
	if next := b.subscriber("home").Lane; next.Reason != "not_attached" {
		t.Errorf("without wan0 his next session: %+v", next)
	}
	rename("gone0", "wan0")
	await(t, 6*time.Second, "the lane to be back", func() bool { return b.healthOf("fast_lane", "interfaces") == 2 && b.status().Lanes.Fast.On })
	before := unasked()
	mail("with wan0 again")
	if n := unasked() - before; n < 3 {
		t.Errorf("with wan0 again %d of 4 sessions began unasked", n)
	}
	// Only those that ended while nobody looked at wan0 are not known to be over yet.
	await(t, 10*time.Second, "all other sessions to be over", func() bool { return b.status().Sessions.Open <= 4 })
}

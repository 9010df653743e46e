package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// memoryGroup makes a control group with so many bytes, in whichever version has memory
// here, and removes it with the test. most is the most it ever used, killed how many
// processes of it the kernel has killed.
func memoryGroup(t *testing.T, bytes int) (dir string, most, killed func() int) {
	t.Helper()
	parent, limit, peak, events := "/sys/fs/cgroup", "memory.max", "memory.peak", "memory.events"
	if text, err := os.ReadFile(parent + "/cgroup.subtree_control"); err != nil || !strings.Contains(string(text), "memory") {
		parent, limit, peak, events = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"
	}
	dir = filepath.Join(parent, fmt.Sprintf("mailweir-e2e-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("this test needs a control group for memory (version 2 with memory in cgroup.subtree_control, or version 1): %v", err)
	}
	t.Cleanup(func() {
		await(t, 5*time.Second, "the group to be empty", func() bool { return os.Remove(dir) == nil })
	})
	check(t, os.WriteFile(filepath.Join(dir, limit), []byte(strconv.Itoa(bytes)), 0o644))
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(dir, file))
		check(t, err)
		return strings.TrimSpace(string(text))
	}
	most = func() int { n, _ := strconv.Atoi(read(peak)); return n }
	killed = func() (n int) {
		_, rest, _ := strings.Cut("\n"+read(events), "\noom_kill ")
		n, _ = strconv.Atoi(strings.Fields(rest + " 0")[0])
		return n
	}
	return dir, most, killed
}

// The whole box within 160 MB, what the kernel keeps for it included: as much as a box of
// 256 MB has left. Under all the mail that the machine can send through it, from 20,000
// lines, it loses no session and none of its processes.
func TestASmallBox(t *testing.T) {
	for _, lane := range []string{"auto", "off"} {
		t.Run("fast_lane="+lane, func(t *testing.T) { smallBox(t, lane) })
	}
}

func smallBox(t *testing.T, lane string) {
	const room, lasts, lines = 160 << 20, 8 * time.Second, 20_000
	dir, most, killed := memoryGroup(t, room)
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	var list strings.Builder
	list.WriteString("subscriber,plan,prefixes\n")
	var homes []*lab.Home
	for i := range 4 {
		h := addHome(t, l, fmt.Sprintf("home-%d", i))
		homes = append(homes, h)
		fmt.Fprintf(&list, "home-%d,busy,%s %s\n", i, h.IPv4, h.Prefix6)
	}
	for i := range lines {
		fmt.Fprintf(&list, "S-%05d,busy,10.99.%d.%d\n", i, i/250, i%250+1)
	}
	b := newBox(t, ctx, l, config("enforce", `  - name: busy
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000, burst: 10000, per: 24h}
      - {of: messages, limit: 1000, burst: 10000, per: 24h}
`)+"queue: {fast_lane: "+lane+"}\n", list.String())
	b.within = []string{"sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, dir}
	b.start()

	var sent, failed atomic.Int64
	var wg sync.WaitGroup
	until := time.Now().Add(lasts)
	for i, h := range homes {
		wg.Go(func() {
			for time.Now().Before(until) {
				for _, s := range h.Send(ctx, lab.Traffic{To: mx.Address(i%2 == 1), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: i == 0, Sessions: 20, Concurrency: 10}) {
					if s.Result == lab.Sent {
						sent.Add(1)
					} else if failed.Add(1) < 5 {
						t.Errorf("%s: %v: %v", h.Name, s.Result, s.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	all := sent.Load() + failed.Load()
	await(t, 10*time.Second, "all sessions to be over", func() bool { return b.status().Sessions.Open == 0 })
	s := b.status()
	charged := 0
	for i := range homes {
		charged += budget(t, b.subscriber(fmt.Sprintf("home-%d", i)), "sessions").Value
	}
	t.Logf("%d sessions in %v, %d failed, %d counted, %d charged; %d began unasked; %.0f of %d MB at most", all, lasts, failed.Load(), s.Sessions.Total, charged,
		s.Lanes.Fast.Sessions, float64(most())/1e6, room/1_000_000)
	if s.Sessions.Total != all || failed.Load() > 0 {
		t.Errorf("%d of %d sessions were counted, %d failed", s.Sessions.Total, all, failed.Load())
	}
	if n := killed(); n > 0 {
		t.Errorf("the kernel killed %d processes of it", n)
	}
	if on := lane == "auto"; s.Lanes.Fast.On != on || (s.Lanes.Fast.Sessions > 0) != on {
		t.Errorf("the fast lane: %+v", s.Lanes.Fast)
	}
}

package e2e

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/frozentest"
	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// The disk under the data directory hangs, as the kernel's freezing has it: mail goes on as fast as before and is judged, status and metrics answer and say so, the collector
// gets the records meanwhile; when the disk answers again a HEALTH record says how long it took, and no number is missing anywhere.
func TestMailAndRecordsGoOnWhileTheDiskHangs(t *testing.T) {
	disk := frozentest.New(t, 256) // before the lab, whose machines see what is mounted then
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home, other := addHome(t, l, "home"), addHome(t, l, "other")
	tcp := collectTCP(t, l)
	b := newBox(t, ctx, l, config("enforce", `  - name: big
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1000, per: 24h}
  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)+"queue: {fast_lane: off}\nsyslog: {targets: [{url: \"tcp://127.0.0.1:5515\"}]}\n",
		fmt.Sprintf("subscriber,plan,prefixes\nhome,big,%s\nother,small,%s\n", home.IPv4, other.IPv4))
	b.data = filepath.Join(disk.Dir, "data")
	b.start()
	t.Cleanup(disk.Thaw) // before the box is stopped, which waits for its disk
	traffic := func(h *lab.Home, n, atOnce int) (greeted []time.Duration, results []lab.Result) {
		for _, s := range h.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: n, Concurrency: atOnce}) {
			greeted, results = append(greeted, s.Connect+s.Greeting), append(results, s.Result)
		}
		slices.Sort(greeted)
		return greeted, results
	}
	mostly := func(all []time.Duration) string {
		return fmt.Sprintf("p50 %v, p99 %v", all[len(all)/2].Round(10*time.Microsecond), all[len(all)*99/100].Round(10*time.Microsecond))
	}
	sessions := func() int { return tcp.count("SESSION", `subscriber="home"`) }
	const n = 100
	before, results := traffic(home, n, 2)
	await(t, 20*time.Second, "the sessions at the collector", func() bool { return sessions() == n })

	disk.Freeze()
	began := time.Now()
	during, more := traffic(home, n, 2) // while nobody has noticed yet
	var st webadmin.Status
	await(t, 30*time.Second, "the status to say so", func() bool {
		asked := time.Now()
		st = b.status()
		if took := time.Since(asked); took > 3*time.Second {
			t.Errorf("the status took %v", took)
		}
		return st.Spool.Hangs > 0
	})
	if !strings.Contains(st.Spool.Fault, "has not answered") || !slices.ContainsFunc(st.Problems, func(p webadmin.Problem) bool { return strings.Contains(p.What, "disk has not answered") }) {
		t.Errorf("status: %+v, %+v", st.Spool, st.Problems)
	}
	later, rest := traffic(home, n, 2)
	_, judged := traffic(other, 4, 1)
	await(t, 20*time.Second, "the records at the collector while the disk hangs", func() bool { return sessions() == 3*n })
	await(t, 20*time.Second, "the collector to be told of the disk, and of who was deferred", func() bool {
		return tcp.has("HEALTH", `what="spool"`, `target="disk"`, "has not answered") && tcp.has("DECISION", `subscriber="other"`, `action="defer"`)
	})
	resp, err := b.browser().Get("https://127.0.0.1:8443/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(metrics), "\nmailweir_spool_ok 0\n") || strings.Contains(string(metrics), "\nmailweir_spool_disk_hangs_seconds 0\n") {
		t.Errorf("the metrics do not say so: %v", err)
	}
	hung := time.Since(began)
	disk.Thaw()

	await(t, 30*time.Second, "a record of how long it took", func() bool { return tcp.has("HEALTH", `what="spool"`, `target="disk"`, `dur_ms="`, "answers again") })
	for _, line := range tcp.all() {
		if strings.Contains(line, "answers again") {
			var ms int64
			fmt.Sscan(param(line, "dur_ms"), &ms)
			if took := time.Duration(ms) * time.Millisecond; took < hung/2 || took > hung+10*time.Second {
				t.Errorf("it hung for %v, said are %v", hung, took)
			}
		}
	}
	for why, all := range map[string][]lab.Result{"before": results, "at first": more, "later": rest} {
		if slices.ContainsFunc(all, func(r lab.Result) bool { return r != lab.Sent }) {
			t.Errorf("%s: %v", why, all)
		}
	}
	if !slices.Equal(judged, []lab.Result{lab.Sent, lab.Sent, lab.Deferred, lab.Deferred}) {
		t.Errorf("who has two sessions: %v", judged)
	}
	// Whoever waits for the disk waits until it is thawed.
	for _, all := range [][]time.Duration{during, later} {
		if worst := all[len(all)-1]; worst > 5*before[n-1]+2*time.Second {
			t.Errorf("a session waited %v for its greeting; before %v at most", worst, before[n-1])
		}
	}
	t.Logf("hung for %v; greetings before: %s; at first: %s; later: %s", hung.Round(time.Millisecond), mostly(before), mostly(during), mostly(later))
	await(t, 20*time.Second, "the disk to have everything", func() bool { s := b.status().Spool; return s.Unwritten == 0 && s.Fault == "" })
	b.stop()
	seen := map[string]bool{}
	last := 0
	for _, line := range tcp.all() {
		if m := seqOf.FindStringSubmatch(line); m != nil {
			seen[m[1]] = true
			var seq int
			fmt.Sscan(m[1], &seq)
			last = max(last, seq)
		}
	}
	if len(seen) != last {
		t.Errorf("%d of %d numbers came", len(seen), last)
	}
}

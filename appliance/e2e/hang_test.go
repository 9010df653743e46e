package e2e

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/frozentest"
	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/appliance/records"
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

// hanging is a box whose disk hangs, which it has noticed, with mail through it and a collector.
type hanging struct {
	t         *testing.T
	disk      *frozentest.Disk
	box       *box
	collector *collector
	send      func(n int) []lab.Session
	sent      int
}

func newHanging(t *testing.T) *hanging {
	t.Helper()
	h := &hanging{t: t, disk: frozentest.New(t, 256)} // before the lab, whose machines see what is mounted then
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	h.send = func(n int) []lab.Session {
		return home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: n})
	}
	h.collector = collectTCP(t, l)
	h.box = newBox(t, ctx, l, config("enforce", `  - name: big
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1000, per: 24h}
`)+"queue: {fast_lane: off}\nsyslog: {targets: [{url: \"tcp://127.0.0.1:5515\"}]}\n", fmt.Sprintf("subscriber,plan,prefixes\nhome,big,%s\n", home.IPv4))
	h.box.data = filepath.Join(h.disk.Dir, "data")
	h.box.start()
	t.Cleanup(h.disk.Thaw) // before the box is stopped, which waits for its disk
	h.sends(3)
	await(t, 20*time.Second, "the first sessions at the collector", func() bool { return h.sessions() == 3 })
	await(t, 20*time.Second, "the disk to have everything", func() bool { return h.box.status().Spool.Unwritten == 0 })
	h.disk.Freeze()
	await(t, 30*time.Second, "the hang to be noticed", func() bool { h.sends(1); return h.box.status().Spool.Hangs > 0 })
	return h
}

// sends has so many sessions, each of which has to be taken.
func (h *hanging) sends(n int) {
	h.t.Helper()
	h.sent += n
	for _, s := range h.send(n) {
		if s.Result != lab.Sent {
			h.t.Errorf("a session: %v", s.Result)
		}
	}
}

// sessions is how many the collector has records of.
func (h *hanging) sessions() int { return h.collector.count("SESSION", `subscriber="home"`) }

// numbers gives the records that the collector has by their numbers, in the order in which they came; none comes twice with another event.
func (h *hanging) numbers() iter.Seq2[uint64, string] {
	return func(yield func(uint64, string) bool) {
		events := map[uint64]string{}
		for _, line := range h.collector.all() {
			m := seqOf.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			var seq uint64
			fmt.Sscan(m[1], &seq)
			event := param(line, "event")
			if was, known := events[seq]; known && was != event {
				h.t.Errorf("number %d came with event %s and with %s", seq, was, event)
			}
			if events[seq] = event; !yield(seq, line) {
				return
			}
		}
	}
}

// The process is killed while the disk under it hangs: the collector has records by then of which the disk knows nothing. The next one goes on with the number after the last of them, and says
// what did not reach the spool; no number comes twice with another event, and the chain at the collector is whole.
func TestNumbersGoOnAfterADeathWhileTheDiskHangs(t *testing.T) {
	h := newHanging(t)
	disk, b, tcp, sends, sessions := h.disk, h.box, h.collector, h.sends, h.sessions
	sends(5)
	await(t, 20*time.Second, "sessions from memory at the collector", func() bool { return sessions() >= 9 })
	last := func() (last uint64) {
		for seq := range h.numbers() {
			last = max(last, seq)
		}
		return last
	}
	had := last()
	cmd := b.cmd
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	disk.Thaw() // until then the kernel does not end a process that waits for the disk
	<-b.done
	b.cmd = nil
	b.start()
	sends(2)
	await(t, 30*time.Second, "what the next one says, and its sessions", func() bool {
		return tcp.has("HEALTH", `what="chain_restart"`) && last() > had+2 && tcp.count("SESSION", `subscriber="home"`) >= 11
	})
	b.stop()
	came, prev := map[uint64]bool{}, map[uint64]string{}
	for seq, line := range h.numbers() {
		came[seq] = true
		rec, err := records.ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		prev[seq+1] = rec.Hash()
		if before, known := prev[seq]; known && before != rec.Value("prev") {
			t.Errorf("record %d is not linked to the one before", seq)
		}
	}
	for seq := uint64(1); seq <= had; seq++ {
		if !came[seq] {
			t.Errorf("number %d is missing at the collector, which had %d before the death", seq, had)
		}
	}
}

// A stop does not wait for ever for a disk that hangs: mail passes, it says which file it waited for and how long, and the process fails, as soon as the kernel lets it go. What the disk had is
// there in the next life, and what waited in memory the collector got.
func TestAStopWhileTheDiskHangs(t *testing.T) {
	h := newHanging(t)
	disk, b, tcp, sends, sessions := h.disk, h.box, h.collector, h.sends, h.sessions
	sends(2)
	cmd := b.cmd
	b.cmd = nil
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, 100*time.Second, "the stop to end", func() bool { return strings.Contains(b.said(), "is not waited for any longer") })
	said := b.said()
	t.Logf("it said so after %v", time.Since(began).Round(time.Second))
	for _, words := range []string{filepath.Join(b.data, "spool") + ": the disk has not answered for", "records for collectors that wait in memory may not be written", filepath.Join(b.data, "budgets") + ": "} {
		if !strings.Contains(said, words) {
			t.Errorf("it does not say %q: %s", words, said)
		}
	}
	if sessions() != h.sent {
		t.Errorf("the collector has %d of %d sessions", sessions(), h.sent)
	}
	sends(1) // nobody is in the way any more, nor sees it
	h.sent--
	disk.Thaw() // until then the kernel does not end a process that waits for the disk
	<-b.done
	if exit, failed := errors.AsType[*exec.ExitError](b.err); !failed || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", b.err)
	}
	b.start()
	sends(1)
	distinct := func() int { // what was not proven to have arrived comes again
		seen := map[string]bool{}
		for _, line := range tcp.all() {
			if strings.Contains(line, " SESSION ") && strings.Contains(line, `subscriber="home"`) {
				seen[param(line, "event")] = true
			}
		}
		return len(seen)
	}
	await(t, 20*time.Second, "the next session at the collector", func() bool { return distinct() == h.sent })
	b.stop()
	for range h.numbers() { // which says what came twice
	}
}

package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
)

// deaf is a box without network: everything of it is there but the queues, the
// responder and the web admin. Its clock is set by hand.
type deaf struct {
	*Appliance
	t   testing.TB
	dir string // of the configuration, the list and the data
	log *strings.Builder

	image *Image // what process 1 of the image does for it; nil: there is none

	mu   sync.Mutex
	wall time.Time // guarded by mu; zero: the real one, as in a bubble of testing/synctest
}

const homePlans = `mode: enforce
identity: {unmapped_plan: strangers}
plans:
  - name: small
    highest_stage: defer
    budgets: [{of: sessions, limit: 2, per: 24h}]
    ladder: {pace_at: 100, pace_max: 0s}
  - name: large
    highest_stage: defer
    budgets: [{of: sessions, limit: 6, per: 24h}]
  - name: strangers
    highest_stage: defer
    budgets: [{of: sessions, limit: 2, per: 24h}]
`

const homeList = "subscriber,plan,prefixes\nhome,small,100.64.0.1\nother,small,100.64.0.2\n"

func newDeaf(t testing.TB, yaml, csv string) *deaf {
	t.Helper()
	d := &deaf{t: t, dir: t.TempDir(), wall: opened}
	d.write("mailweir.yaml", yaml)
	d.write("subscribers.csv", csv)
	d.start()
	t.Cleanup(func() { d.cut() })
	return d
}

func (d *deaf) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deaf) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wall.IsZero() {
		return time.Now()
	}
	return d.wall
}

// pass lets time pass; nothing happens by itself.
func (d *deaf) pass(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wall = d.wall.Add(by)
}

func (d *deaf) start() {
	d.t.Helper()
	d.log = &strings.Builder{}
	file := filepath.Join(d.dir, "mailweir.yaml")
	opt := Options{ConfigFile: file, DataDir: filepath.Join(d.dir, "data"), Now: d.time, Log: slog.New(slog.NewTextHandler(d.log, nil)), Image: d.image}
	reverted := revertPorts(opt)
	cfg, resumed, err := configuration(opt)
	if err = errors.Join(err, os.MkdirAll(opt.DataDir, 0o700)); err != nil {
		d.t.Fatal(err)
	}
	reverted.stays(cfg)
	a := &Appliance{opt: opt, now: opt.Now, log: opt.Log, start: d.time(), cases: newCasebook(), book: sources.New(), traffic: &traffic{}}
	a.since.Store(&a.start)
	d.Appliance = a
	if err := a.recall(cfg, readList(cfg)); err != nil {
		d.t.Fatal(err)
	}
	a.who.Follow()
	a.queues, a.lane = &nfq.Queues{}, &fastLane{}
	a.tellReverted(reverted)
	a.tellCards()
	a.tellResumed(resumed)
}

// cut ends it as a power cut does: nothing is saved that was not.
func (d *deaf) cut() {
	if d.Appliance == nil {
		return
	}
	d.queues = nil
	d.Appliance.close()
	d.Appliance = nil
}

// session is what a first SYN of a subscriber comes to.
func (d *deaf) session(id, plan string) governor.Decision {
	v := d.gov.Open(governor.Attempt{Subscriber: id, Plan: plan, Destination: netip.MustParsePrefix("192.0.2.0/24")}, d.time())
	if v.Change != nil {
		d.judge.changed(*v.Change, v.Mode)
	}
	if v.LetThrough() {
		d.gov.Close(id, d.time())
	}
	return v
}

// save is the second in which everything is saved.
func (d *deaf) save() {
	d.t.Helper()
	if err := d.saver.saveNow(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.keeper.save(); err != nil {
		d.t.Fatal(err)
	}
}

// told is what was recorded since the start, the oldest first, one line each.
func (d *deaf) told(kind records.Kind) []string {
	d.t.Helper()
	ctx, end := context.WithCancel(d.t.Context())
	end()
	if err := d.writer.Run(ctx); err != nil { // what is in the queue
		d.t.Fatal(err)
	}
	var lines []string
	for _, r := range d.recent.Select(recentRecords, func(r *records.Record) bool { return r.Kind == kind }) {
		lines = append([]string{fmt.Sprintf("%s | %s -> %s", r.Text, r.Value("before"), r.Value("after"))}, lines...)
	}
	return lines
}

// theProgram is mailweir, built of this tree.
func theProgram(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "mailweir")
	build := exec.Command("go", "build", "-o", path, "./cmd/mailweir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

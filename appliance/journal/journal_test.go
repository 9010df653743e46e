package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// world is a journal with the chain that its records come from.
type world struct {
	testing.TB
	*Journal
	chain *records.Chain
	opt   Options
}

func open(t testing.TB, b Bounds) *world {
	t.Helper()
	c, err := records.OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
	if err != nil {
		t.Fatal(err)
	}
	c.SetPolicy("enforce", "0123456789abcdef")
	w := &world{TB: t, chain: c, opt: Options{Dir: filepath.Join(t.TempDir(), "journal"), Bounds: b}}
	w.reopen()
	t.Cleanup(func() { w.Close() })
	return w
}

// reopen is the next life; it gives what was damaged.
func (w *world) reopen() []Damage {
	w.Helper()
	j, found, err := Open(w.opt)
	if err != nil {
		w.Fatal(err)
	}
	w.Journal = j
	return found
}

func (w *world) add(e records.Entry) records.Record {
	r := w.chain.Append(e, time.Time{})
	w.Add(r)
	return r
}

// session adds one of a subscriber, who is at an address.
func (w *world) session(sub, addr string, at time.Time) {
	w.add(records.Session(records.SessionFacts{Subscriber: sub, Plan: "residential", End: at, EndReason: "fin",
		Src: netip.AddrPortFrom(netip.MustParseAddr(addr), 4711), Dst: netip.MustParseAddrPort("192.0.2.25:25")}))
}

func (w *world) stage(sub, number string, at time.Time) {
	w.add(records.Stage(governor.StageChange{Subscriber: sub, From: governor.StageWarn, To: governor.StagePace, At: at, Case: number}))
}

// drain writes what waits.
func (w *world) drain() {
	w.Helper()
	ctx, end := context.WithCancel(context.Background())
	end()
	if err := w.Run(ctx); err != nil {
		w.Fatal(err)
	}
	if err := w.Status().Err; err != nil {
		w.Fatal(err)
	}
}

func (w *world) items(q Query) (all []Item) {
	w.Helper()
	r, err := Read(w.opt.Dir)
	if err != nil {
		w.Fatal(err)
	}
	if err := r.Each(q, func(it *Item) error { all = append(all, *it); return nil }); err != nil {
		w.Fatal(err)
	}
	return all
}

// whole checks the chain over all that is there, and gives how many records and how many stubs that is.
func (w *world) whole() (rows, stubs int) {
	w.Helper()
	var last uint64
	prev := ""
	for i, it := range w.items(Query{}) {
		first, p, hash := it.Record.Seq, "", ""
		switch {
		case it.Damage != "":
			w.Fatalf("%s:%d: %s", it.File, it.Offset, it.Damage)
		case it.Stub != nil:
			stubs++
			first, p, hash = it.Stub.First, hex.EncodeToString(it.Stub.Prev[:]), hex.EncodeToString(it.Stub.Hash[:])
		default:
			rows++
			sum := it.Record.Hash()
			p, hash = it.Record.Value("prev"), hex.EncodeToString(sum[:])
		}
		if i > 0 && (first != last+1 || p != prev) {
			w.Fatalf("%d follows %d: prev %s, want %s", first, last, p, prev)
		}
		if prev, last = hash, first; it.Stub != nil {
			last = it.Stub.Last
		}
	}
	return rows, stubs
}

// holding names the files in which an address is, in any form that it could have there.
func (w *world) holding(addr string) (found []string) {
	w.Helper()
	a := netip.MustParseAddr(addr)
	forms := [][]byte{[]byte(a.String()), []byte(a.StringExpanded()), a.AsSlice()}
	if a.Is4() {
		b := a.As4()
		slices.Reverse(b[:])
		m := a.As16()
		forms = append(forms, b[:], m[:], []byte(hex.EncodeToString(a.AsSlice())))
	}
	err := filepath.Walk(w.opt.Dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, f := range forms {
			if bytes.Contains(data, f) {
				found = append(found, fmt.Sprintf("%s (as %q)", filepath.Base(path), f))
			}
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return found
}

var month = Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 64 << 20}

// What was written is there after a clean stop and after a crash, in its order; a frame that a power cut tore is cut off,
// and what comes then goes on behind it.
func TestWhatWasWrittenIsThere(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 100 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Second))
	}
	w.drain()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	w.stage("S-1", "00001", noon.Add(2*time.Minute))
	w.drain()
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	if found := w.reopen(); found != nil {
		t.Errorf("%v, and nothing was torn", found)
	}
	w.session("S-2", "100.64.0.12", noon.Add(3*time.Minute))
	w.drain()
	if rows, stubs := w.whole(); rows != 102 || stubs != 0 {
		t.Fatalf("%d rows, %d stubs", rows, stubs)
	}
	last := w.Journal.records[len(w.Journal.records)-1]
	path, size := last.path, last.size
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size-3); err != nil {
		t.Fatal(err)
	}
	if rows, _ := w.whole(); rows != 101 { // nobody has mended it yet
		t.Errorf("%d rows beside a torn one", rows)
	}
	if found := w.reopen(); len(found) != 1 || !found[0].Torn || !strings.Contains(found[0].String(), "power cut") {
		t.Errorf("a torn frame is told as %v", found)
	}
	if rows, _ := w.whole(); rows != 101 {
		t.Errorf("%d rows after the torn one was cut off", rows)
	}
}

// Queries find what they ask for, page by page.
func TestQueries(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 50 {
		w.session(fmt.Sprintf("S-%d", i%5), "100.64.0.11", noon.Add(time.Duration(i)*time.Hour)) // in several files
		w.stage("S-1", "00001", noon.Add(time.Duration(i)*time.Hour+time.Minute))
	}
	w.drain()
	if n := len(w.Journal.records); n < 3 {
		t.Fatalf("all is in %d files", n)
	}
	for _, row := range []struct {
		why  string
		q    Query
		want int
	}{
		{"all", Query{}, 100},
		{"of a kind", Query{Kinds: []records.Kind{records.KindStage}}, 50},
		{"of a subscriber", Query{Subscriber: "S-1"}, 60},
		{"of a subscriber, of a kind", Query{Subscriber: "S-1", Kinds: []records.Kind{records.KindSession}}, 10},
		{"of nobody", Query{Subscriber: "S"}, 0},
		{"of a case", Query{Case: "00001"}, 50},
		{"of an hour, its end not included", Query{From: noon.Add(time.Hour), To: noon.Add(2 * time.Hour)}, 2},
		{"above a number", Query{Above: 90}, 10},
		{"below a number", Query{Below: 11}, 10},
	} {
		if got := len(w.items(row.q)); got != row.want {
			t.Errorf("%s: %d, want %d", row.why, got, row.want)
		}
	}
	r, err := Read(w.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	q := Query{Subscriber: "S-1"}
	var seqs []uint64
	for range 100 {
		page, below, err := r.Newest(q, 7, 1) // a file at a time
		if err != nil || len(page) > 7 {
			t.Fatal(len(page), err)
		}
		for _, it := range page {
			seqs = append(seqs, it.Record.Seq)
		}
		if q.Below = below; below == 0 {
			break
		}
	}
	if len(seqs) != 60 || !slices.IsSortedFunc(seqs, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("%d records in pages: %v", len(seqs), seqs)
	}
}

// After their time, sessions are in no byte of the journal, and neither are records after theirs; the chain over what is left
// can be checked all the while.
func TestNothingOutlivesItsTime(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: time.Hour, Records: 3 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	old, young := "203.0.113.77", "198.51.100.9"
	old6 := "2001:db8:dead:beef::77"
	for i := range 20 {
		w.session("S-1", old, noon.Add(time.Duration(i)*time.Second))
		w.session("S-6", old6, noon.Add(time.Duration(i)*time.Second))
	}
	w.add(records.Decision(records.DecisionFacts{Decision: governor.Decision{Subscriber: "S-1", At: noon.Add(20 * time.Second), Action: governor.ActionDefer},
		Src: netip.AddrPortFrom(netip.MustParseAddr(old), 4711)}))
	w.session("S-2", young, noon.Add(50*time.Minute))
	w.drain()
	for _, a := range []string{old, old6, young} {
		if w.holding(a) == nil {
			t.Fatalf("%s is nowhere", a)
		}
	}

	for _, row := range []struct {
		why              string
		at               time.Duration
		old, old6, young bool
		rows             int
	}{
		{"nothing is old", 50 * time.Minute, true, true, true, 42},
		{"an hour: the first sessions go, a decision of theirs stays", time.Hour, true, false, true, 2},
		{"the rest of the sessions", time.Hour + 50*time.Minute, true, false, false, 1},
		{"three hours: the decision, too", 3*time.Hour + 20*time.Second, false, false, false, 0},
		{"and then what told that there had been something", 4 * time.Hour, false, false, false, 0},
	} {
		w.tidy(noon.Add(row.at))
		if err := w.Status().Err; err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]bool{old: row.old, old6: row.old6, young: row.young} {
			if found := w.holding(addr); (found != nil) != want {
				t.Errorf("%s: %s is in %v, want %v", row.why, addr, found, want)
			}
		}
		if rows, _ := w.whole(); rows != row.rows {
			t.Errorf("%s: %d rows, want %d", row.why, rows, row.rows)
		}
	}
	if left := w.items(Query{}); len(left) != 0 {
		t.Errorf("%d stubs are left of nothing", len(left))
	}
}

// Times are kept to the second, not to the file: whatever the time of a sweep, nothing is older than its retention, and
// nothing goes that is younger than retention less the span of a file and what lies between two sweeps.
func TestRetentionIsKeptAtEverySweep(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: 2 * time.Hour, Records: 5 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	const every = 3 * time.Minute
	for n := range int(8 * time.Hour / every) {
		minute := n * int(every/time.Minute)
		now := noon.Add(time.Duration(n) * every)
		w.session("S-1", "100.64.0.11", now)
		w.stage("S-1", "00001", now)
		w.tidy(now)
		sessions, others := 0, 0
		for _, it := range w.items(Query{}) {
			if it.Stub != nil {
				continue
			}
			keep := b.Records
			if it.Record.Kind == records.KindSession {
				keep = b.Sessions
				sessions++
			} else {
				others++
			}
			if age := now.Sub(it.Record.Time); age > keep {
				t.Fatalf("minute %d: a %s is %v old", minute, it.Record.Kind, age)
			}
		}
		sure := b.Sessions - b.span() - ahead
		if want := min(n+1, int(sure/every)); sessions < want {
			t.Fatalf("minute %d: %d sessions, at least %d are young enough", minute, sessions, want)
		}
		if want := min(n+1, int((b.Records-b.span()-ahead)/every)); others < want {
			t.Fatalf("minute %d: %d other records, at least %d are young enough", minute, others, want)
		}
		w.whole()
	}
	if st := w.Status(); st.Held != 0 || !st.Since.After(noon) {
		t.Errorf("%+v", st)
	}
}

// What belongs to a held case stays beyond its time, and says so; when the hold ends, it goes.
func TestAHeldCaseStays(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	for i := range 10 {
		at := noon.Add(time.Duration(i) * time.Second)
		w.session("S-1", "203.0.113.77", at)
		w.session("S-2", "198.51.100.9", at)
	}
	w.stage("S-1", "00007", noon.Add(15*time.Second))
	w.stage("S-2", "00008", noon.Add(16*time.Second))
	w.session("S-1", "203.0.113.77", noon.Add(30*time.Minute)) // after the case
	w.drain()
	hold := Hold{Case: "00007", Subscriber: "S-1", From: noon, Reason: "file 12/26", By: "admin", Since: noon}
	if err := w.Hold(hold); err != nil {
		t.Fatal(err)
	}
	if err := w.Closed("00007", noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, life := range []string{"this life", "the next one"} {
		w.tidy(noon.Add(3 * time.Hour))
		if err := w.Status().Err; err != nil {
			t.Fatal(err)
		}
		held := w.items(Query{Case: "00007"})
		if len(held) != 11 || w.Status().Held != 11 {
			t.Fatalf("%s: %d records are held, status says %d", life, len(held), w.Status().Held)
		}
		for _, it := range held {
			if !slices.Equal(it.Held, []string{"00007"}) || it.Record.Value("subscriber") != "S-1" {
				t.Errorf("%s: %q held by %v", life, it.Record.Text, it.Held)
			}
		}
		if rows, _ := w.whole(); rows != 11 || w.holding("198.51.100.9") != nil {
			t.Errorf("%s: %d rows; the neighbour is in %v", life, rows, w.holding("198.51.100.9"))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.reopen()
	}
	was, ok, err := w.Unhold("00007")
	if err != nil || !ok || was.Reason != hold.Reason {
		t.Fatalf("%+v, %v, %v", was, ok, err)
	}
	if _, ok, _ := w.Unhold("00007"); ok {
		t.Error("the hold ended twice")
	}
	w.tidy(noon.Add(3*time.Hour + time.Minute))
	if found := w.holding("203.0.113.77"); found != nil || w.Status().Held != 0 {
		t.Errorf("after the hold: %v, %+v", found, w.Status())
	}
}

// All files together stay within the bound; the oldest go, but not what is held.
func TestTheBoundIsKept(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 1 << 20}
	w := open(t, b)
	w.stage("S-7", "00007", noon)
	if err := w.Hold(Hold{Case: "00007", Subscriber: "S-7", Reason: "x", From: noon, To: noon.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Second))
		if i%100 == 0 {
			w.drain()
			var all int64
			for _, s := range w.Journal.records {
				all += s.size
			}
			if all > b.Bytes || w.Status().Bytes != all {
				t.Fatalf("%d bytes after %d records, status says %d", all, i, w.Status().Bytes)
			}
		}
	}
	w.drain()
	rows, stubs := w.whole()
	if rows < 500 || stubs == 0 || len(w.items(Query{Case: "00007"})) != 1 {
		t.Errorf("%d rows, %d stubs, %d of the held case", rows, stubs, len(w.items(Query{Case: "00007"})))
	}
	for _, it := range w.items(Query{}) {
		if it.Stub != nil && it.Stub.Why != Bounded {
			t.Errorf("numbers %d to %d are gone because of %s", it.Stub.First, it.Stub.Last, it.Stub.Why)
		}
	}
}

// Whoever adds does not wait for a disk that takes nothing: what finds no room is counted and leaves a stub, so that the
// chain over what is there is whole.
func TestAFullDiskCostsRecordsAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	w := open(t, month)
	w.opt.Dir = filepath.Join(dir, "journal")
	w.reopen()
	w.session("S-1", "100.64.0.11", noon)
	w.drain()
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Fatalf("fill the disk: %v", err)
	}
	for i := range maxWaiting + 100 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Millisecond))
	}
	w.flush()
	st := w.Status()
	if st.Err == nil || !strings.Contains(st.Err.Error(), "no space left") || !strings.Contains(st.Err.Error(), ".seg") || st.Waiting == 0 {
		t.Errorf("on the full disk: %+v", st)
	}
	if st.Lost != 100 {
		t.Errorf("%d lost, 100 found no room", st.Lost)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	w.drain()
	w.session("S-1", "100.64.0.11", noon.Add(time.Hour))
	w.drain()
	rows, stubs := w.whole()
	if rows != maxWaiting+2 || stubs != 1 {
		t.Errorf("%d rows, %d stubs", rows, stubs)
	}
	for _, it := range w.items(Query{}) {
		if s := it.Stub; s != nil && (s.Why != Lost || s.Last-s.First+1 != 100) {
			t.Errorf("stub of %d to %d, %s", s.First, s.Last, s.Why)
		}
	}
}

// A byte that changed on the disk is found, with its place, and costs one row.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 10 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Second))
	}
	w.drain()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := w.Journal.records[0].path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte("100.64.0.11"))
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var bad []Item
	good := 0
	for _, it := range w.items(Query{}) {
		if it.Damage != "" {
			bad = append(bad, it)
		} else {
			good++
		}
	}
	if len(bad) != 1 || good != 9 || bad[0].File != path || bad[0].Offset > int64(at) || bad[0].Offset < int64(at)-2000 {
		t.Errorf("%d good, damage: %+v; the byte is at %d", good, bad, at)
	}
}

func FuzzFrames(f *testing.F) {
	r := appendFrame(appendFrame(nil, []byte(magic+"records\n")), appendStub(nil, &Stub{First: 1, Last: 2}))
	end, err := ending(&summary{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(r, end...))
	f.Add(r[:len(r)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, end, err := frames(b, func(at int, payload []byte, bad string) error {
			if bad == "" {
				decodeRow(payload)
			}
			return nil
		})
		if err != nil || whole > len(b) || end > len(b) {
			t.Errorf("%d, %d of %d, %v", whole, end, len(b), err)
		}
	})
}

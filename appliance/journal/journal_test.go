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
		f, err := r.Newest(t.Context(), q, 7, 1) // a file at a time
		if err != nil || len(f.Items) > 7 || len(f.Bad) > 0 || f.Back.IsZero() != (f.Below == 0) {
			t.Fatalf("%+v, %v", f, err)
		}
		for _, it := range f.Items {
			seqs = append(seqs, it.Record.Seq)
		}
		if q.Below = f.Below; f.Below == 0 {
			break
		}
	}
	if len(seqs) != 60 || !slices.IsSortedFunc(seqs, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("%d records in pages: %v", len(seqs), seqs)
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

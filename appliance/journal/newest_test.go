package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Searches find what records say, in files and, by Filter, in memory alike.
func TestSearches(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	var all []records.Record
	for i := range 40 {
		at := noon.Add(time.Duration(i) * time.Minute)
		all = append(all, w.add(records.Health(records.HealthFacts{Time: at, What: "store", Good: i%2 == 0, Detail: fmt.Sprintf("Disk %02d", i)})))
		all = append(all, w.add(records.Audit(records.AuditFacts{Time: at, Who: "anna", What: "release", Object: fmt.Sprintf("S-%d", i)})))
	}
	w.drain()
	for _, row := range []struct {
		why  string
		q    Query
		want int
	}{
		{"a warning or worse", Query{Severity: records.Warning}, 20},
		{"an error", Query{Severity: records.Error}, 0},
		{"anything down to a notice", Query{Severity: records.Notice}, 80},
		{"a text", Query{Text: "disk 0"}, 10},
		{"a text of a kind", Query{Text: "anna", Kinds: []records.Kind{records.KindHealth}}, 0},
		{"a text, a warning", Query{Text: "disk 0", Severity: records.Warning}, 5},
		{"an event", Query{Event: all[7].Value("event")}, 1},
		{"no event", Query{Event: "01930000-0000-7000-8000-000000000000"}, 0},
		{"a number", Query{Above: 6, Below: 8}, 1},
	} {
		r, err := Read(w.opt.Dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Newest(t.Context(), row.q, 100, 1<<20)
		if err != nil || len(f.Items) != row.want || f.Below != 0 {
			t.Errorf("%s: %d, %v, want %d; %+v", row.why, len(f.Items), err, row.want, f.Bad)
		}
		in, memory := row.q.Filter(), 0
		for i := range all {
			if in(&all[i]) {
				memory++
			}
		}
		if memory != row.want || len(w.items(row.q)) != row.want {
			t.Errorf("%s: %d in memory, %d one after the other, want %d", row.why, memory, len(w.items(row.q)), row.want)
		}
	}
}

// A file that cannot be read and a byte that changed cost what is there, and are said; what is around them is found.
func TestASearchGoesAroundWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 60 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Hour))
	}
	w.drain()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := w.Journal.records
	if len(files) < 5 {
		t.Fatalf("all is in %d files", len(files))
	}
	gone := files[2].sum
	if err := os.Remove(files[2].path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(files[2].path, 0o700); err != nil { // of which nobody can read a byte
		t.Fatal(err)
	}
	data, err := os.ReadFile(files[1].path)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.LastIndex(data, []byte("100.64.0.11"))] ^= 1
	if err := os.WriteFile(files[1].path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Read(w.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Newest(t.Context(), Query{Subscriber: "S-1"}, 1000, 1<<30)
	want := 60 - int(gone.LastSeq-gone.FirstSeq+1) - 1
	if err != nil || len(f.Items) != want || f.Below != 0 || len(f.Bad) != 2 || !strings.Contains(f.Bad[0], "directory") || !strings.Contains(f.Bad[1], "checksum") {
		t.Errorf("%d found, want %d; %q, %v", len(f.Items), want, f.Bad, err)
	}
}

// patient ends when it was asked so often.
type patient struct {
	context.Context
	times int
}

func (p *patient) Err() error {
	if p.times--; p.times < 0 {
		return context.Canceled
	}
	return nil
}

// Who does not wait any more is not worked for.
func TestASearchEndsWithWhoAsked(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 2000 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Second))
	}
	w.drain()
	r, err := Read(w.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Newest(t.Context(), Query{Text: "nobody"}, 10, 1<<30); err != nil {
		t.Fatal(err)
	}
	for times := range 6 { // before the first file, and at several places in it
		if f, err := r.Newest(&patient{t.Context(), times}, Query{Text: "nobody"}, 10, 1<<30); !errors.Is(err, context.Canceled) || f.Below != 0 {
			t.Errorf("asked %d times: %+v, %v", times, f, err)
		}
	}
}

// A page of a search through a large journal takes no more time and memory than a page of a small one, whatever it looks for.
func TestASearchOfALargeJournalIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 records")
	}
	b := month
	b.Bytes = 1 << 30
	w := open(t, b)
	const n, atOnce = 100_000, 16 << 20
	for i := range n {
		w.session(fmt.Sprintf("S-%04d", i%5000), fmt.Sprintf("100.64.%d.%d", i%5000/250, i%250), noon.Add(time.Duration(i)*500*time.Millisecond))
		if i%4000 == 0 {
			w.drain()
		}
	}
	w.drain()
	var size, largest int64
	for _, s := range w.Journal.records {
		size, largest = size+s.size, max(largest, s.size)
	}
	r, err := Read(w.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why  string
		q    Query
		want int
	}{
		{"a text that is nowhere", Query{Text: "nothing-of-this"}, 0},
		{"one subscriber", Query{Subscriber: "S-4321"}, n / 5000},
		{"an address of one", Query{Text: "100.64.3.7"}, 20},
		{"an event that is nowhere", Query{Event: "01930000-0000-7000-8000-000000000000"}, 0},
		{"the first record", Query{Below: 2}, 1},
	} {
		found, pages, slowest, most := 0, 0, time.Duration(0), uint64(0)
		began := time.Now()
		for q := row.q; ; pages++ {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			at := time.Now()
			f, err := r.Newest(t.Context(), q, 100, atOnce)
			slowest = max(slowest, time.Since(at))
			runtime.ReadMemStats(&after)
			most = max(most, after.TotalAlloc-before.TotalAlloc)
			if err != nil || len(f.Bad) > 0 {
				t.Fatal(row.why, err, f.Bad)
			}
			found += len(f.Items)
			if q.Below = f.Below; q.Below == 0 {
				break
			}
		}
		t.Logf("%s: %d found in %d pages of at most %v and %.1f MB allocated, %v in all; the journal has %.1f MB", row.why, found, pages+1, slowest.Round(100*time.Microsecond), float64(most)/1e6, time.Since(began).Round(time.Millisecond), float64(size)/1e6)
		if found < row.want || row.want == 0 && found > 0 {
			t.Errorf("%s: %d found", row.why, found)
		}
		if bound := uint64(atOnce + 2*largest + 8<<20); most > bound {
			t.Errorf("%s: a page allocates %d bytes, want at most %d", row.why, most, bound)
		}
	}
}

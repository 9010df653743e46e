package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

const url = "relp://192.0.2.1:2514"

// box makes records as the box does, and keeps them in a spool.
type box struct {
	t       testing.TB
	dir     string
	chain   *records.Chain
	spool   *Spool
	reader  *Reader
	at      time.Time
	losses  []Loss
	faults  []error
	unsaved []error
	damage  []error
	removed []string
	made    map[uint64]records.Record
}

func newBox(t testing.TB, o Options) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir(), at: time.Now().UTC().Truncate(time.Millisecond), made: map[uint64]records.Record{}}
	if o.Dir == "" {
		o.Dir = filepath.Join(b.dir, "spool")
	}
	b.open(o)
	return b
}

// open begins another life in the same directories.
func (b *box) open(o Options) {
	b.t.Helper()
	var err error
	if b.chain, err = records.OpenChain(filepath.Join(b.dir, "records.state"), "box-1"); err != nil {
		b.t.Fatal(err)
	}
	o.After, o.Facility = b.chain.Seq(), 20
	if o.Now == nil {
		o.Now = func() time.Time { return b.at }
	}
	if o.patience == 0 { // who has appended finds it given to the disk, however busy the machine is
		o.patience = time.Hour
	}
	o.OnLoss = func(l Loss) { b.losses = append(b.losses, l) }
	o.OnUnsaved = func(err error) { b.unsaved = append(b.unsaved, err) }
	o.OnDamage = func(err error) { b.damage = append(b.damage, err) }
	o.OnRemoved = func(f Aside, why string) { b.removed = append(b.removed, filepath.Base(f.Path)+": "+why) }
	o.OnFault = func(err error) { b.faults = append(b.faults, err) }
	if b.spool, err = Open(o); err != nil {
		b.t.Fatal(err)
	}
	b.chain.Resume(b.spool.Last())
	b.chain.Before(b.spool.Append)
	b.reader = b.spool.Reader(url)
}

func (b *box) say(kind records.Kind, n int) {
	for range n {
		var e records.Entry
		switch kind {
		case records.KindSession:
			e = records.Session(records.SessionFacts{Subscriber: "S-1001", Plan: "residential", SNI: `quo"te]\`, End: b.at, EndReason: "fin"})
		case records.KindHealth:
			e = records.Health(records.HealthFacts{Time: b.at, What: "test"})
		default:
			e = records.Audit(records.AuditFacts{Time: b.at, Who: "admin", What: "release", Object: "S-1001"})
		}
		r := b.chain.Append(e, b.at)
		b.made[r.Seq] = r
	}
}

// read is the numbers of everything that is there for the reader.
func (b *box) read() (seqs []uint64) {
	b.t.Helper()
	for {
		items, err := b.reader.Next(100)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(items) == 0 {
			return seqs
		}
		for _, it := range items {
			r := b.made[it.Seq]
			if string(it.Line) != string(r.AppendLine(nil, 20)) {
				b.t.Fatalf("record %d came back as %s", it.Seq, it.Line)
			}
			seqs = append(seqs, it.Seq)
		}
	}
}

func numbers(from, to uint64) (all []uint64) {
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

func same(t testing.TB, why string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d numbers %.100s, want %d %.100s", why, len(got), fmt.Sprint(got), len(want), fmt.Sprint(want))
	}
}

func TestRecordsAreReadWhenTheyAreOnTheDiskAndStayUntilAcknowledged(t *testing.T) {
	t.Parallel()
	o := Options{Limit: 2 << 20}
	b := newBox(t, o)
	b.say(records.KindSession, 500)
	same(t, "before the disk has them", b.read(), nil)
	b.spool.Sync()
	same(t, "when it has", b.read(), numbers(1, 500))
	b.reader.Ack(120)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	b.open(Options{Limit: 2 << 20, Dir: b.spool.opt.Dir})
	same(t, "after a clean stop", b.read(), numbers(121, 500))
	b.say(records.KindAudit, 10)
	b.spool.save(false)
	b.open(Options{Limit: 2 << 20, Dir: b.spool.opt.Dir}) // kill -9: nothing was closed
	same(t, "after kill -9", b.read(), numbers(121, 510))
	if n := b.spool.Behind(b.reader.Position()); n != 390 {
		t.Errorf("%d behind", n)
	}
	b.reader.Ack(510)
	b.say(records.KindAudit, 1)
	b.spool.Sync()
	b.spool.trim()
	if st := b.spool.Stat(); st.Records != 1 {
		t.Errorf("what everybody has is still there: %+v", st)
	}
	b.open(Options{Limit: 2 << 20, Dir: b.spool.opt.Dir})
	same(t, "in the end", b.read(), numbers(511, 511))
}

// The chain knows from the spool what its own state missed.
func TestTheChainGoesOnFromTheSpool(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 5)
	state := filepath.Join(b.dir, "records.state")
	old, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	for why, data := range map[string][]byte{"as it was five records ago": old, "damaged": []byte("x")} {
		if err := os.WriteFile(state, data, 0o600); err != nil {
			t.Fatal(err)
		}
		last, _ := b.spool.Last()
		b.open(Options{Dir: b.spool.opt.Dir})
		before := b.made[last]
		b.say(records.KindAudit, 1)
		b.spool.Sync()
		if r := b.made[last+1]; r.Value("prev") != before.HexHash() || !b.chain.Found().Resumed {
			t.Errorf("%s: record %d carries %s, want %s", why, r.Seq, r.Value("prev"), before.HexHash())
		}
	}
}

// A segment whose end a power cut took, at any byte, gives what is whole; the next life goes on behind that.
func TestATornEndIsCutOff(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 3)
	b.spool.Sync()
	names, _ := filepath.Glob(filepath.Join(b.spool.opt.Dir, "*"+suffix))
	whole, err := os.ReadFile(names[0])
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	for cut := range len(whole) {
		for why, rest := range map[string]string{"nothing": "", "zeroes": strings.Repeat("\x00", 700)} {
			dir := filepath.Join(t.TempDir(), "spool")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(names[0])), append(whole[:cut:cut], rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			want := strings.Count(string(whole[:cut]), "\n") - 1 // the first line is no record
			if seq, _ := s.Last(); int(seq) != max(want, 0) {
				t.Fatalf("cut at %d, then %s: the last is %d, want %d", cut, why, seq, want)
			}
		}
	}
}

func TestADamagedLineCostsItsRecordOnly(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		b := newBox(t, Options{})
		b.say(records.KindAudit, 20)
		if sealed {
			b.spool.seal(b.spool.segments[0])
		}
		b.spool.Sync()
		path := b.spool.segments[0].path
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[strings.Index(string(data), ` seq="7" `)+30] ^= 4
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b.open(Options{Dir: b.spool.opt.Dir})
		same(t, "the others", b.read(), append(numbers(1, 6), numbers(8, 20)...))
	}
}

func TestAPositionBeyondTheSpoolIsDropped(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 20)
	b.spool.Sync()
	path := positionPath(b.spool.opt.Dir, url)
	for why, bend := range map[string]func(*position){
		"beyond":  func(p *position) { p.seq = 1000 },
		"damaged": func(p *position) { p.file.WriteAt([]byte("9"), int64(len(positionMagic)+2)) },
	} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := &position{seq: 17, file: f}
		if bend(p); why == "beyond" {
			p.write(url, p.marks())
		}
		b.open(Options{Dir: b.spool.opt.Dir})
		same(t, why, b.read(), numbers(1, 20))
	}
}

// Readers, an appender and Run beside each other; then the next life has all.
func TestEverybodyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Limit: 4 << 20, SyncEvery: time.Millisecond, Now: time.Now})
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.spool.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const n = 3000
	for _, name := range []string{"a", "b", "c"} {
		r := b.spool.Reader(name)
		running.Go(func() {
			defer r.Close()
			next := uint64(1)
			for next <= n {
				more := r.Changed()
				items, err := r.Next(64)
				if err != nil {
					t.Error(err)
					return
				}
				for _, it := range items {
					if it.Seq != next {
						t.Errorf("%s got %d, want %d", name, it.Seq, next)
						return
					}
					next++
				}
				r.Ack(next - 1)
				if len(items) == 0 {
					select {
					case <-more:
					case <-time.After(20 * time.Second):
						t.Errorf("%s waits for %d", name, next)
						return
					}
				}
			}
		})
	}
	b.say(records.KindSession, n)
	end()
	running.Wait()
	if err := b.spool.Close(); err != nil {
		t.Error(err)
	}
	b.open(Options{Dir: b.spool.opt.Dir})
	same(t, "who never acknowledged", b.read(), numbers(1, n))
}

package spool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// lost are the numbers that were said to be lost, and why.
func (b *box) lost() (seqs []uint64, whys []string) {
	for _, l := range b.losses {
		for i := 0; i < len(l.Numbers); i += 2 {
			seqs = append(seqs, numbers(l.Numbers[i], l.Numbers[i+1])...)
		}
		if !slices.Contains(whys, l.Why) {
			whys = append(whys, l.Why)
		}
	}
	slices.Sort(seqs)
	return seqs, whys
}

// tellsDropped has the time pass after which what memory has no room for is told again.
func (b *box) tellsDropped() {
	b.at = b.at.Add(tellEvery)
	b.spool.mu.Lock()
	b.spool.tellDroppedAgain()
	b.spool.unlock()
}

// While the disk takes nothing and the memory is full, sessions go first, the oldest of them, and what is said of health last: as in a full spool. What is kept reaches the disk in the end.
func TestMemoryThatIsFullLosesSessionsFirst(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create, Limit: 64 << 20})
	d.write = syscall.EIO
	b.say(records.KindHealth, 100)
	b.say(records.KindAudit, 100)
	b.say(records.KindSession, MemoryRecords-200)
	b.say(records.KindHealth, 50)
	b.tellsDropped()
	lost, _ := b.lost()
	same(t, "the oldest sessions", lost, numbers(201, 250))
	b.say(records.KindHealth, MemoryRecords-100-50+10) // now without a session, and more than there is room for
	b.tellsDropped()
	lost, whys := b.lost()
	same(t, "all sessions, all audits, ten of health", lost, slices.Concat(numbers(1, 10), numbers(101, MemoryRecords)))
	if len(whys) != 1 || whys[0] != Unwritable {
		t.Errorf("said %v", whys)
	}
	b.say(records.KindSession, 1) // for which there is no room at all
	b.tellsDropped()
	lost, _ = b.lost()
	if last := b.chain.Seq(); lost[len(lost)-1] != last {
		t.Errorf("the last one said is %d, want %d", lost[len(lost)-1], last)
	}
	d.write = nil
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	if len(b.faults) != 2 || b.faults[1] != nil {
		t.Errorf("told %v", b.faults)
	}
	b.say(records.KindAudit, 1)
	b.spool.Sync()
	var want []uint64
	for seq := uint64(1); seq <= b.chain.Seq(); seq++ {
		if !slices.Contains(lost, seq) {
			want = append(want, seq)
		}
	}
	b.open(Options{Dir: b.spool.opt.Dir, Limit: 64 << 20})
	same(t, "what the disk has in the end", b.read(), want)
}

// A smaller limit holds without another record, and costs no more than it must.
func TestASmallerLimitHoldsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Limit: 64 << 20})
	b.say(records.KindSession, 10000)
	b.say(records.KindHealth, 500)
	b.spool.Sync()
	before := b.spool.Stat().Bytes
	const limit = 2 << 20
	if before < 2*limit {
		t.Fatalf("only %d bytes", before)
	}
	b.spool.Configure(20, limit, 0, 0)
	b.spool.shrink() // what Run does each second
	var sum int64
	all, _ := os.ReadDir(b.spool.opt.Dir)
	for _, e := range all {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	if sum > limit || sum < limit/2 {
		t.Errorf("%d bytes are left of %d, the limit is %d", sum, before, limit)
	}
	lost, whys := b.lost()
	same(t, "the oldest sessions", lost, numbers(1, uint64(len(lost))))
	if len(whys) != 1 || whys[0] != Full || len(lost) >= 10000 {
		t.Errorf("%d lost: %v", len(lost), whys)
	}
	same(t, "the others", b.read(), numbers(uint64(len(lost))+1, 10500))
	b.open(Options{Dir: b.spool.opt.Dir, Limit: limit})
	same(t, "in the next life", b.read(), numbers(uint64(len(lost))+1, 10500))
}

// Run applies a smaller limit while nobody says anything.
func TestRunAppliesASmallerLimit(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Limit: 64 << 20, Now: time.Now})
	b.say(records.KindSession, 3000)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.spool.Run(ctx) }()
	b.spool.Configure(20, minLimit, 0, 0)
	for deadline := time.Now().Add(time.Minute); b.spool.Stat().Bytes > minLimit; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still %d bytes", b.spool.Stat().Bytes)
		}
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What a segment says of the record before its first outlives a start and being written anew.
func TestTheHashBeforeASegmentIsKept(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Sessions: time.Hour, Records: 100 * time.Hour})
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	b.at = b.at.Add(2 * rotateAfter)
	b.say(records.KindSession, 5)
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	b.reader.Ack(5)
	b.spool.trim() // the first segment, which the second would be joined to
	if err := b.spool.seal(b.spool.segments[0]); err != nil {
		t.Fatal(err)
	}
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	for why, then := range map[string]func(){
		"after a start": func() {},
		"written anew":  func() { b.at = b.at.Add(2 * rotateAfter); b.spool.Expire(b.at); b.spool.Expire(b.at) },
	} {
		b.open(Options{Dir: b.spool.opt.Dir, Sessions: time.Hour, Records: 100 * time.Hour})
		then()
		r := b.made[5]
		found := false
		if err := Each(b.spool.opt.Dir, func(p Place) error {
			found = found || strings.HasSuffix(p.File, filepath.Base(segmentPath("", 5))) && p.Line == 1 && p.Seq == 5 && p.Hash == r.HexHash()
			return nil
		}); err != nil || !found || b.spool.segments[0].afterHash != r.HexHash() {
			t.Errorf("%s: the segment does not know record 5: %v", why, err)
		}
	}
}

// Without a collector nothing is kept, and what is there goes. The next one is told what it will never get; a box's first one has nothing coming.
func TestATimeWithoutAnyCollectorIsStated(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		b := newBox(t, Options{})
		b.say(records.KindAudit, 20)
		b.spool.Sync()
		b.reader.Seek(0)
		b.reader.Ack(15)
		if err := b.spool.Only(nil); err != nil {
			t.Fatal(err)
		}
		b.spool.clear()
		if n := b.spool.Stat().Records; n != 20 {
			t.Errorf("%d records are left for a reader that is still open", n)
		}
		b.reader.Close()
		b.spool.clear()
		if st := b.spool.Stat(); st.Records != 0 {
			t.Errorf("left for nobody: %+v", st)
		}
		lost, whys := b.lost()
		if same(t, "not got when it went", lost, numbers(16, 20)); len(whys) != 1 || whys[0] != Forgotten {
			t.Errorf("%v", whys)
		}
		b.stateLosses() // record 21
		b.spool.settle()
		b.say(records.KindAudit, 29)
		if again { // the process dies meanwhile
			b.open(Options{Dir: b.spool.opt.Dir})
		} else {
			b.reader = b.spool.Reader("tcp://192.0.2.9")
		}
		lost, whys = b.lost()
		if same(t, "not kept", lost, numbers(21, 50)); len(whys) != 1 || whys[0] != Unwanted {
			t.Errorf("%v", whys)
		}
		b.say(records.KindAudit, 5)
		b.spool.Sync()
		b.spool.trim()
		same(t, "the new one gets", b.read(), numbers(51, 55))
		b.losses = nil
		b.spool.Reader("tcp://192.0.2.10")
		b.open(Options{Dir: b.spool.opt.Dir})
		if !again { // then the first one comes back with it, which was away until now
			if len(b.losses) != 1 || b.losses[0].Why != Absent || b.losses[0].Numbers.String() != "21-55" {
				t.Errorf("the first one is told %+v", b.losses)
			}
		} else if len(b.losses) > 0 {
			t.Errorf("told again: %+v", b.losses)
		}
	}
	b := newBox(t, Options{})
	if len(b.losses) > 0 {
		t.Errorf("the first one of all: %+v", b.losses)
	}
}

// How old the oldest record is that a collector waits for: on the disk, in memory, and of none.
func TestTheOldestThatWaits(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create})
	began := b.at
	for range 5 {
		b.say(records.KindAudit, 1)
		b.spool.Sync()
		b.at = b.at.Add(2 * rotateAfter)
	}
	for seq := range uint64(5) {
		if got, want := b.spool.Oldest(seq), began.Add(time.Duration(seq)*2*rotateAfter); !got.Equal(want) {
			t.Errorf("after %d: %v, want %v", seq, got, want)
		}
	}
	if got := b.spool.Oldest(5); !got.IsZero() {
		t.Errorf("after the last: %v", got)
	}
	d.write = syscall.EIO
	b.say(records.KindAudit, 1)
	if got := b.spool.Oldest(5); !got.Equal(b.at) {
		t.Errorf("in memory: %v, want %v", got, b.at)
	}
	if st := b.spool.Stat(); st.Faults != 1 || len(st.Lost) > 0 {
		t.Errorf("%+v", st)
	}
	b.say(records.KindAudit, MemoryRecords)
	if st := b.spool.Stat(); st.Lost[Unwritable] == 0 || Whys[Unwritable] == "" {
		t.Errorf("%+v", st)
	}
}

// What every collector has is deleted only when the disk says that it has their positions: after a power cut that took one back its records would be missing.
func TestPositionsAreOnTheDiskBeforeWhatIsBehindThemGoes(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	first := b.spool.segments[0].path
	b.at = b.at.Add(2 * rotateAfter)
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	b.reader.Ack(20)
	if err := b.spool.save(true); err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe() // which cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	p := b.spool.positions[url]
	sound := p.file
	p.file = out
	b.spool.trim()
	if _, err := os.Stat(first); err != nil {
		t.Errorf("it is gone before the position is on the disk: %v", err)
	}
	if len(b.unsaved) != 1 || b.unsaved[0] == nil {
		t.Errorf("told %v", b.unsaved)
	}
	p.file = sound
	b.spool.trim()
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what every collector has is still there: %v", err)
	}
}

package spool

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// A disk that is slow, and does not hang, holds nobody up as long as there is room in memory; then whoever appends waits for it, and nothing is lost.
func TestASlowDiskLosesNothing(t *testing.T) {
	t.Parallel()
	h, told := &hanging{what: "write"}, &hangsTold{}
	o := h.options()
	o.Hangs, o.OnHang, o.Limit, o.patience = time.Hour, told.hear, 64<<20, patience
	b := newBox(t, o)
	dir := b.spool.opt.Dir
	b.say(records.KindAudit, 1)
	h.begin()
	atOnce(t, map[string]func(){"Append": func() { b.say(records.KindSession, MemoryRecords/2) }})
	full := make(chan struct{})
	go func() {
		defer close(full)
		b.say(records.KindSession, MemoryRecords)
	}()
	select {
	case <-full:
		t.Error("nobody waits for the disk though memory is half full")
	case <-time.After(500 * time.Millisecond):
	}
	if st := b.spool.Stat(); st.Waiting > MemoryRecords/2+2 || st.Fault != nil {
		t.Errorf("%d records wait in memory, fault %v", st.Waiting, st.Fault)
	}
	h.end()
	<-full
	if err := b.spool.Close(); err != nil {
		t.Error(err)
	}
	if said, _ := told.all(); len(b.losses) > 0 || len(b.faults) > 0 || len(said) > 0 {
		t.Errorf("lost %+v, told %v, %v", b.losses, b.faults, said)
	}
	last := b.chain.Seq()
	b.open(Options{Dir: dir, Limit: 64 << 20})
	same(t, "in the next life", b.read(), numbers(1, last))
}

// slowFile is a file each write to which takes a while.
type slowFile struct {
	*os.File
	each time.Duration
}

func (f slowFile) Write(b []byte) (int, error) {
	time.Sleep(f.each)
	return f.File.Write(b)
}

// While records come without a pause and each write takes longer than anybody waits for it, collectors get them, positions are saved, and what is in memory is bounded.
func TestASlowDiskThatIsNeverIdleStillServesCollectors(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Limit: 256 << 20, patience: patience, Now: time.Now, SyncEvery: 50 * time.Millisecond, create: func(path string) (file, error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		return slowFile{f, 150 * time.Millisecond}, err
	}})
	dir := b.spool.opt.Dir
	b.reader.Seek(0)
	end := b.running()
	most, acked, saved := 0, uint64(0), uint64(0)
	const wanted = 5000
	for deadline := time.Now().Add(60 * time.Second); saved < wanted; {
		if time.Now().After(deadline) {
			t.Fatalf("of %d records the reader has %d, and its file says %d; %d in memory", b.chain.Seq(), acked, saved, most)
		}
		b.say(records.KindSession, 10)
		time.Sleep(5 * time.Millisecond) // some 2000 a second: less than fills memory during a write, where whoever appends would wait
		most = max(most, b.spool.Stat().Waiting)
		if got := b.read(); len(got) > 0 {
			acked = got[len(got)-1]
			b.reader.Ack(acked)
		}
		if data, err := os.ReadFile(positionPath(dir, url)); err == nil {
			if seq, ok := parsePosition(string(data)); ok {
				saved = seq
			}
		}
	}
	if most > unsyncedMax {
		t.Errorf("%d records were in memory", most)
	}
	end()
	if err := b.spool.Close(); err != nil {
		t.Error(err)
	}
	if len(b.losses) > 0 || len(b.faults) > 0 {
		t.Errorf("lost %+v, told %v", b.losses, b.faults)
	}
}

// What waits in memory when a disk answers again, or takes something again, just before the box stops is on the disk after the stop.
func TestAStopWritesWhatWaits(t *testing.T) {
	t.Parallel()
	for _, hung := range []bool{true, false} {
		h, d := &hanging{what: "sync"}, &disk{}
		o := h.options()
		o.Limit = 64 << 20
		if !hung {
			o.create = d.create
		}
		b := newBox(t, o)
		end := b.running()
		b.say(records.KindAudit, 10)
		b.spool.Sync()
		if hung {
			h.begin()
			b.say(records.KindAudit, 10)
			b.hangs()
		} else {
			d.mu.Lock()
			d.write = syscall.EIO
			d.mu.Unlock()
		}
		b.say(records.KindAudit, 100)
		if hung {
			h.end()
		} else {
			d.mu.Lock()
			d.write = nil
			d.mu.Unlock()
		}
		end()
		if err := b.spool.Close(); err != nil {
			t.Errorf("hung %v: %v", hung, err)
		}
		last := b.chain.Seq()
		b.open(Options{Dir: b.spool.opt.Dir, Limit: 64 << 20})
		same(t, fmt.Sprintf("hung %v, in the next life", hung), b.read(), numbers(1, last))
	}
}

// What does not fit into memory while the disk takes nothing is told at once and then once in a while, so that telling, which makes records, too, does not go round in circles; all of it is told
// in the end.
func TestWhatMemoryHasNoRoomForIsToldOnceInAWhile(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create, Limit: 64 << 20})
	d.write = syscall.EIO
	b.say(records.KindAudit, MemoryRecords)
	answered := 0
	says := func(n int) { // each loss that is told is a record, as on a box
		for range n {
			b.say(records.KindAudit, 1)
			for ; answered < len(b.losses); answered++ {
				b.say(records.KindHealth, 1)
			}
		}
	}
	says(1000)
	if len(b.losses) != 1 || b.spool.Stat().Lost[Unwritable] != 1001 {
		t.Errorf("told %d times of %d", len(b.losses), b.spool.Stat().Lost[Unwritable])
	}
	b.at = b.at.Add(tellEvery)
	says(1000)
	if len(b.losses) != 2 {
		t.Errorf("told %d times", len(b.losses))
	}
	d.write = nil
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	lost, _ := b.lost()
	if n := len(lost); n != 2002 {
		t.Errorf("%d lost", n)
	}
	last := b.chain.Seq()
	b.open(Options{Dir: b.spool.opt.Dir, Limit: 64 << 20})
	got := b.read()
	for seq := uint64(1); seq <= last; seq++ {
		if slices.Contains(lost, seq) == slices.Contains(got, seq) {
			t.Fatalf("record %d is kept and lost, or neither", seq)
		}
	}
}

// What the disk has and has not synced yet is bounded, too, though nobody asks it to for long.
func TestWhatIsNotSyncedIsBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Limit: 64 << 20})
	most := 0
	for range unsyncedMax/4096 + 4 {
		b.say(records.KindSession, 4096)
		most = max(most, b.spool.Stat().Waiting)
	}
	if most > unsyncedMax+4096 || most < unsyncedMax/2 {
		t.Errorf("%d records were in memory", most)
	}
}

// What every collector has got from memory makes room there.
func TestWhatWasAcknowledgedFromMemoryNeedsNoRoomThere(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create})
	b.reader.Seek(0)
	d.write = syscall.EIO
	for range 30 {
		b.say(records.KindAudit, MemoryRecords/10)
		got := b.read()
		b.reader.Ack(got[len(got)-1])
	}
	if st := b.spool.Stat(); st.Waiting > 0 || len(b.losses) > 0 {
		t.Errorf("%d wait, lost %+v", st.Waiting, b.losses)
	}
}

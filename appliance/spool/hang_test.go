package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/frozentest"
	"github.com/mailweir/mailweir/appliance/records"
)

// hanging is a disk of which one thing hangs while it is told to.
type hanging struct {
	what string // write, sync or dir
	let  atomic.Pointer[chan struct{}]
}

func (h *hanging) begin() { c := make(chan struct{}); h.let.Store(&c) }

func (h *hanging) end() { close(*h.let.Swap(nil)) }

func (h *hanging) pass(what string) {
	if let := h.let.Load(); let != nil && what == h.what {
		<-*let
	}
}

func (h *hanging) options() Options {
	return Options{
		Hangs: 200 * time.Millisecond, SyncEvery: time.Millisecond,
		create: func(path string) (file, error) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			return &hangingFile{f, h}, err
		},
		syncDir: func(string) error { h.pass("dir"); return nil },
	}
}

type hangingFile struct {
	*os.File
	h *hanging
}

func (f *hangingFile) Write(b []byte) (int, error) { f.h.pass("write"); return f.File.Write(b) }
func (f *hangingFile) Sync() error                 { f.h.pass("sync"); return f.File.Sync() }

// hangsTold notes what OnHang is told.
type hangsTold struct {
	mu   sync.Mutex
	told []string
	took time.Duration // of the longest that was over
}

func (h *hangsTold) hear(took time.Duration, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, fmt.Sprint(over))
	if over {
		h.took = max(h.took, took)
	}
}

func (h *hangsTold) all() ([]string, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told), h.took
}

// running has Run beside the test, until the function that it gives.
func (b *box) running() (end func()) {
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(b.t.Context())
	go func() { done <- b.spool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
}

// hangs waits until it is noticed that the disk does not answer.
func (b *box) hangs() {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); b.spool.Stat().Hangs == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("it is not noticed")
		}
	}
}

// atOnce fails where one of these takes as long as somebody who waits for a disk that hangs.
func atOnce(t *testing.T, all map[string]func()) {
	t.Helper()
	for what, f := range all {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s waits for the disk", what)
		}
	}
}

// A disk that does not answer, whatever it is asked for, holds nobody up: how the spool stands can be read at any time, collectors get what is on the disk and what waits in memory, and
// acknowledge it; it is said when it begins and, with how long it was, when it is over; and in the end the disk has everything.
func TestADiskThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"write", "sync", "dir"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h, told := &hanging{what: what}, &hangsTold{}
			o := h.options()
			o.OnHang, o.Now = told.hear, time.Now
			hungDisk(t, o, told, h.begin, h.end)
		})
	}
}

// The same with a file system that the kernel has frozen.
func TestAFrozenFileSystemHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	disk, told := frozentest.New(t, 64), &hangsTold{}
	hungDisk(t, Options{Dir: filepath.Join(disk.Dir, "spool"), Hangs: 200 * time.Millisecond, OnHang: told.hear, Now: time.Now}, told, disk.Freeze, disk.Thaw)
}

func hungDisk(t *testing.T, o Options, told *hangsTold, begin, end func()) {
	b := newBox(t, o)
	dir := b.spool.opt.Dir
	b.reader.Seek(0)
	stop := b.running()
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	same(t, "before", b.read(), numbers(1, 10))
	begin()
	began := time.Now()
	if filepath.Base(filepath.Dir(dir)) != "disk" { // another file, so that there is a directory to be synced
		b.spool.lockDisk()
		b.spool.segments[0].began = began.Add(-2 * rotateAfter)
		b.spool.unlockDisk()
	}
	asked := func() map[string]func() {
		return map[string]func(){
			"Append": func() { b.say(records.KindAudit, 1) }, "Stat": func() { b.spool.Stat() }, "Behind": func() { b.spool.Behind(0) }, "Ack": func() { b.reader.Ack(5) },
			"Next": func() { b.reader.Seek(10); b.reader.Next(1) }, "Oldest": func() { b.spool.Oldest(0) }, "Position": func() { b.reader.Position() }, "Changed": func() { b.reader.Changed() },
			"Last": func() { b.spool.Last() }, "Configure": func() { b.spool.Configure(20, 64<<20, 0, 0) }, "Limit": func() { b.spool.Limit() },
		}
	}
	atOnce(t, asked())
	b.hangs()
	if st := b.spool.Stat(); st.Fault == nil || st.Faults != 1 {
		t.Errorf("%+v", st)
	}
	// While it is known to hang, nobody waits even for that long.
	before := time.Now()
	b.say(records.KindSession, 500)
	if took := time.Since(before); took > 4*time.Second {
		t.Errorf("500 records took %v", took)
	}
	last := b.chain.Seq()
	b.reader.Seek(5)
	same(t, "from the disk and from memory", b.read(), numbers(6, last))
	if st := b.spool.Stat(); st.Waiting < 500 {
		t.Errorf("%+v", st)
	}
	b.reader.Ack(8)
	hung := time.Since(began)
	end()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if st := b.spool.Stat(); st.Hangs == 0 && st.Waiting == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it is not over: %+v", st)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if said, took := told.all(); len(said) >= 2 && slices.Equal(said[:2], []string{"false", "true"}) && took > hung/2 { // a loaded disk may take its time once more
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("told %v, the last of %v, of a disk that hung for %v", said, took, hung)
		}
	}
	b.say(records.KindAudit, 1)
	stop()
	if err := b.spool.Close(); err != nil {
		t.Error(err)
	}
	if len(b.losses) > 0 || len(b.faults) > 0 {
		t.Errorf("lost %+v, told %v", b.losses, b.faults)
	}
	b.open(Options{Dir: dir})
	same(t, "in the next life", b.read(), numbers(9, last+1))
}

// What waits in memory while a disk hangs is bounded, and what was not kept is said with its numbers: sessions first. What is being written then is neither dropped nor said to be.
func TestMemoryIsBoundedWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"write", "sync"} {
		h := &hanging{what: what}
		o := h.options()
		o.Limit, o.Now = 64<<20, time.Now
		b := newBox(t, o)
		dir := b.spool.opt.Dir
		stop := b.running()
		b.say(records.KindAudit, 10)
		b.spool.Sync()
		h.begin()
		b.say(records.KindSession, 1)
		b.hangs()
		first := b.chain.Seq()
		b.say(records.KindSession, MemoryRecords)
		b.say(records.KindAudit, 100)
		if st := b.spool.Stat(); st.Waiting > MemoryRecords {
			t.Errorf("%s: %d records wait in memory", what, st.Waiting)
		}
		h.end()
		for deadline := time.Now().Add(20 * time.Second); b.spool.Stat().Waiting > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not written: %+v", what, b.spool.Stat())
			}
		}
		stop()
		if err := b.spool.Close(); err != nil {
			t.Error(err)
		}
		lost, whys := b.lost()
		if len(lost) < 100 || len(lost) > 130 || !slices.Equal(whys, []string{Unwritable}) {
			t.Errorf("%s: %d are said to be lost: %v", what, len(lost), whys)
		}
		same(t, what+": the oldest sessions", lost, numbers(first+1, first+uint64(len(lost))))
		last := b.chain.Seq()
		b.open(Options{Dir: dir, Limit: 64 << 20})
		same(t, what+": all others", b.read(), append(numbers(1, first), numbers(first+1+uint64(len(lost)), last)...))
	}
}

// A hang that ends with an error is a fault like any other: what may not be on the disk is written anew.
func TestAHangThatEndsWithAnError(t *testing.T) {
	t.Parallel()
	h := &hanging{what: "sync"}
	d := &disk{}
	told := &hangsTold{}
	b := newBox(t, Options{Hangs: 200 * time.Millisecond, Now: time.Now, OnHang: told.hear, create: func(path string) (file, error) {
		f, err := d.create(path)
		return &hangsFirst{f, h}, err
	}})
	dir := b.spool.opt.Dir
	stop := b.running()
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	h.begin()
	b.say(records.KindAudit, 10)
	b.hangs()
	b.say(records.KindAudit, 10)
	d.mu.Lock()
	d.sync = os.ErrDeadlineExceeded
	d.mu.Unlock()
	h.end()
	for deadline := time.Now().Add(20 * time.Second); b.spool.trouble() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the error is not noticed")
		}
	}
	d.mu.Lock()
	d.sync = nil
	d.mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); b.spool.Stat().Fault != nil || b.spool.Stat().Waiting > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not heal: %+v", b.spool.Stat())
		}
	}
	stop()
	if err := b.spool.Close(); err != nil {
		t.Error(err)
	}
	if said, _ := told.all(); len(said) < 2 || !slices.Equal(said[:2], []string{"false", "true"}) || len(b.faults) != 2 || b.faults[0] == nil || b.faults[1] != nil || len(b.losses) > 0 {
		t.Errorf("told %v and %v, lost %v", said, b.faults, b.losses)
	}
	b.open(Options{Dir: dir})
	same(t, "in the next life", b.read(), numbers(1, 30))
}

type hangsFirst struct {
	file
	h *hanging
}

func (f *hangsFirst) Sync() error { f.h.pass("sync"); return f.file.Sync() }

// Who is forgotten is decided when the disk answers: a reader that comes while Only waits for it stays, with its position.
func TestAReaderThatComesWhileOthersAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	const stays, comes = "relp://192.0.2.7", "relp://192.0.2.8"
	b.spool.Reader(stays)
	b.spool.Reader(comes)
	b.spool.lockDisk()
	done := make(chan error, 1)
	go func() { done <- b.spool.Only([]string{stays}) }()
	wanted := func() []string {
		b.spool.mu.Lock()
		defer b.spool.mu.Unlock()
		return b.spool.wanted
	}
	for deadline := time.Now().Add(20 * time.Second); !slices.Equal(wanted(), []string{stays}); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it wants %v", wanted())
		}
	}
	b.spool.want(comes) // as Reader does before it waits
	b.spool.unlockDisk()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stays, comes} {
		if _, err := os.Stat(positionPath(b.spool.opt.Dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

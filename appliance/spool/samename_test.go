package spool

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// kept checks that every segment has a file of its own that is there, and that another life finds the numbers.
func (b *box) kept(why string, want []uint64) {
	b.t.Helper()
	seen := map[string]bool{}
	for _, g := range b.spool.segments {
		if _, err := os.Stat(g.path); err != nil || seen[g.path] {
			b.t.Errorf("%s: segment %s, known before: %v: %v", why, g.path, seen[g.path], err)
		}
		seen[g.path] = true
	}
	b.open(Options{Dir: b.spool.opt.Dir})
	same(b.t, why, b.read(), want)
	if len(b.losses) > 0 {
		b.t.Errorf("%s: %+v", why, b.losses)
	}
}

// A segment that was never synced holds nothing after a failed fsync; the one that takes its place has its name, and must not be deleted for it.
func TestASegmentThatWasNeverSyncedGivesItsNameAway(t *testing.T) {
	t.Parallel()
	for why, before := range map[string]int{"the first segment": 0, "one after others": 5} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			d := &disk{}
			b := newBox(t, Options{create: d.create})
			b.say(records.KindAudit, before)
			b.spool.Sync()
			b.at = b.at.Add(2 * rotateAfter)
			d.sync = syscall.EIO
			b.say(records.KindAudit, 10)
			b.spool.Sync()
			d.sync = nil
			b.at = b.at.Add(retryEvery)
			b.spool.retry()
			b.reader.Ack(uint64(before))
			b.spool.trim()
			b.say(records.KindAudit, 10)
			b.spool.Sync()
			b.kept("after the fault", numbers(uint64(before)+1, uint64(before)+20))
		})
	}
}

// The same of several segments at once: none of them was on the disk.
func TestSeveralSegmentsThatWereNeverSynced(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create, Limit: minLimit})
	d.sync = syscall.EIO
	b.say(records.KindAudit, 400)
	if len(b.spool.segments) < 3 {
		t.Fatalf("%d segments", len(b.spool.segments))
	}
	b.spool.Sync()
	d.sync = nil
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	b.spool.trim()
	b.kept("after the fault", numbers(1, 400))
}

// One that holds nothing is not exchanged for its age: the next would have its name.
func TestAnEmptySegmentDoesNotAge(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create})
	d.write = syscall.ENOSPC
	b.say(records.KindAudit, 5)
	same(t, "out of memory", b.read(), numbers(1, 5))
	b.reader.Ack(5)
	d.write = nil
	b.at = b.at.Add(retryEvery)
	b.spool.retry() // everybody had all from memory: an empty segment shows that the disk takes something
	b.at = b.at.Add(rotateAfter + time.Second)
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	b.spool.trim()
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	b.reader.Ack(5)
	b.spool.save(true)
	b.kept("an hour later", numbers(6, 15))
}

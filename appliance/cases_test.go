package appliance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

var opened = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func moved(id string, from, to governor.Stage, at time.Time) governor.StageChange {
	return governor.StageChange{Subscriber: "S-1", Plan: "home", Case: id, From: from, To: to, At: at, Why: fmt.Sprintf("%s to %s", from, to)}
}

// shelved is a shelf in memory.
type shelved map[string][]byte

func (k shelved) take(changes []store.Change) {
	for _, c := range changes {
		if c.Delete {
			delete(k, string(c.Key))
		} else {
			k[string(c.Key)] = c.Value
		}
	}
}

func (k shelved) each(f func(key, value []byte) error) error {
	for key, value := range k {
		if err := f([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}

func save(t *testing.T, b *casebook, to shelved) {
	t.Helper()
	changes, bad, err := b.changes(b.pending())
	if err != nil || bad != nil {
		t.Fatal(bad, err)
	}
	to.take(changes)
}

// A case whose end was taken back goes on, wherever among those that ended it stood, and ends again in its turn.
func TestACaseGoesOn(t *testing.T) {
	for _, held := range []bool{false, true} {
		b := newCasebook()
		ids := []string{"00001", "00002", "00003"}
		for i, id := range ids {
			at := opened.Add(time.Duration(i) * time.Second)
			b.note(moved(id, governor.StageObserve, governor.StagePace, at))
			b.note(moved(id, governor.StagePace, governor.StageObserve, at))
		}
		for i, id := range ids {
			if held {
				b.hold(id)
				b.oldest(0) // which puts it aside
			}
			at := opened.Add(time.Duration(i+1) * time.Hour)
			b.reopen(id)
			b.reopen(id)
			b.note(moved(id, governor.StageObserve, governor.StagePace, at))
			if f, _ := b.file(id); !f.Closed.IsZero() || f.Stage != governor.StagePace || len(f.Changes) != 3 {
				t.Errorf("%+v", f)
			}
			b.forget(opened.Add(1000 * time.Hour)) // takes the others, and not this one
			if _, there := b.file(id); !there {
				t.Fatalf("%s was forgotten", id)
			}
			b.note(moved(id, governor.StagePace, governor.StageObserve, at.Add(time.Minute)))
			if !held {
				b.forget(at.Add(2 * time.Minute))
				if _, there := b.file(id); there {
					t.Errorf("%s stays", id)
				}
			}
			for _, rest := range ids[i+1:] { // they come again
				at := at.Add(10 * time.Minute)
				b.note(moved(rest, governor.StageObserve, governor.StagePace, at))
				b.note(moved(rest, governor.StagePace, governor.StageObserve, at))
			}
		}
		b.reopen("none")
		if b.missed() > 0 && !held {
			t.Errorf("%d changes are in no case", b.missed())
		}
	}
}

// A case is what happened from its opening to its end, and a restart forgets none
// of it.
func TestACaseIsKept(t *testing.T) {
	b, disk := newCasebook(), shelved{}
	b.note(moved("", governor.StageObserve, governor.StageWarn, opened)) // no case yet
	b.note(moved("00001", governor.StageWarn, governor.StagePace, opened.Add(time.Second)))
	b.note(moved("00001", governor.StagePace, governor.StageCut, opened.Add(2*time.Second)))
	save(t, b, disk)
	b = newCasebook()
	if damaged, err := b.load(disk.each); damaged != 0 || err != nil {
		t.Fatal(damaged, err)
	}
	b.reconcile(func(string) string { return "00001" }, opened.Add(time.Minute))
	b.note(moved("00001", governor.StageCut, governor.StageObserve, opened.Add(time.Hour)))
	b.note(moved("00001", governor.StageObserve, governor.StagePace, opened.Add(2*time.Hour))) // it has ended
	if b.missed() != 1 {
		t.Errorf("%d changes are in no case", b.missed())
	}
	b.note(moved("00001", governor.StagePace, governor.StageWarn, opened.Add(time.Minute))) // told late
	another := moved("00001", governor.StageWarn, governor.StagePace, opened.Add(time.Minute))
	another.Subscriber = "S-2"
	if b.note(another); b.missed() != 2 {
		t.Errorf("%d changes are in no case", b.missed())
	}
	save(t, b, disk)
	b = newCasebook()
	if damaged, err := b.load(disk.each); damaged != 0 || err != nil {
		t.Fatal(damaged, err)
	}
	f, ok := b.file("00001")
	if !ok || !f.Opened.Equal(opened.Add(time.Second)) || !f.Closed.Equal(opened.Add(time.Hour)) || f.Stage != governor.StageObserve ||
		f.Highest != governor.StageCut || f.Reason != "pace to cut" || len(f.Changes) != 3 || f.Subscriber != "S-1" {
		t.Errorf("%v %+v", ok, f)
	}
	b.forget(opened.Add(time.Hour))
	if _, ok := b.file("00001"); !ok {
		t.Error("forgotten before its time")
	}
	b.forget(opened.Add(time.Hour + time.Nanosecond))
	save(t, b, disk)
	if _, ok := b.file("00001"); ok || len(disk) != 0 {
		t.Errorf("not forgotten; on disk %v", disk)
	}
}

// What a power cut took from the governor ends here, too; damage is left out.
func TestAnOpenCaseThatNobodyKnowsEnds(t *testing.T) {
	b, disk := newCasebook(), shelved{}
	b.note(moved("00001", governor.StageWarn, governor.StagePace, opened))
	save(t, b, disk)
	disk["00002"] = []byte(`{"id":"00003"}`)
	disk["00004"] = []byte(`{`)
	b = newCasebook()
	if damaged, err := b.load(disk.each); damaged != 2 || err != nil {
		t.Fatal(damaged, err)
	}
	b.reconcile(func(string) string { return "" }, opened.Add(time.Minute))
	f, ok := b.file("00001")
	if !ok || !f.Closed.Equal(opened.Add(time.Minute)) || f.Stage != governor.StageObserve || len(f.Changes) != 2 {
		t.Errorf("%v %+v", ok, f)
	}
}

func TestTheCasebookIsBounded(t *testing.T) {
	b := newCasebook()
	for i := range maxCases + 10 {
		id := fmt.Sprintf("%05d", i)
		b.note(moved(id, governor.StageWarn, governor.StagePace, opened))
		for j := range 2 * maxCaseChanges {
			if i > 0 {
				break
			}
			b.note(moved(id, governor.StagePace, governor.StageDefer, opened.Add(time.Duration(j))))
		}
		if f, _ := b.file(id); len(f.Changes) > maxCaseChanges || i == 0 && (f.Left+len(f.Changes) != 1+2*maxCaseChanges || len(f.Changes) < maxCaseChanges/2 || f.Changes[0].To != governor.StagePace) {
			t.Fatalf("%d changes, %d left out", len(f.Changes), f.Left)
		}
		b.note(moved(id, governor.StageDefer, governor.StageObserve, opened.Add(time.Duration(i))))
	}
	if len(b.cases) != maxCases || b.missed() != 0 {
		t.Errorf("%d cases, %d lost", len(b.cases), b.missed())
	}
	if _, ok := b.file("00009"); ok {
		t.Error("one that ended first is still there")
	}
	if _, ok := b.file("00010"); !ok {
		t.Error("one that there is room for is not there")
	}
}

func opens(id, subscriber string) governor.StageChange {
	return governor.StageChange{Case: id, Subscriber: subscriber, From: governor.StageWarn, To: governor.StagePace, At: opened}
}

// However many strangers come, lines keep their cases; and a book of open cases
// takes no more.
func TestStrangersPushOutNobodysCase(t *testing.T) {
	b, disk := newCasebook(), shelved{}
	for i := range maxCases - maxStrangerCases {
		id := fmt.Sprintf("A%04d", i)
		b.note(opens(id, "S-1"))
		b.note(governor.StageChange{Case: id, Subscriber: "S-1", From: governor.StagePace, To: governor.StageObserve, At: opened})
	}
	for i := range maxCases {
		b.note(opens(fmt.Sprintf("B%04d", i), fmt.Sprintf("100.64.%d.%d/32", i>>8, i&255)))
	}
	if _, ok := b.file("A0000"); !ok || len(b.cases) != maxCases || b.missed() != maxCases-maxStrangerCases {
		t.Errorf("a line's first case is there: %v; %d cases, %d lost", ok, len(b.cases), b.missed())
	}
	save(t, b, disk)
	b = newCasebook()
	if damaged, err := b.load(disk.each); damaged != 0 || err != nil || b.strangers != maxStrangerCases {
		t.Fatal(damaged, err, b.strangers)
	}
	b.note(governor.StageChange{Case: "B0000", Subscriber: "100.64.0.0/32", From: governor.StagePace, To: governor.StageObserve, At: opened})
	b.note(opens("C0000", "100.65.0.0/32"))
	b.note(opens("C0001", "S-2"))
	for id, want := range map[string]bool{"A0000": false, "A0001": true, "B0000": false, "C0000": true, "C0001": true} {
		if _, ok := b.file(id); ok != want {
			t.Errorf("%s is there: %v", id, ok)
		}
	}
	for i := range maxCases {
		b.note(opens(fmt.Sprintf("D%04d", i), "S-3"))
	}
	if len(b.cases) != maxCases || b.missed() != maxStrangerCases+1 {
		t.Errorf("%d cases, %d lost", len(b.cases), b.missed())
	}
}

// What is copied for saving does not change under the encoder, and nothing of what
// is noted meanwhile is lost.
func TestACaseIsNotedWhileAllAreSaved(t *testing.T) {
	const cases = 500
	b, disk := newCasebook(), shelved{}
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		for range 2*maxCaseChanges + 7 {
			for i := range cases {
				b.note(opens(fmt.Sprintf("%05d", i), "S-1"))
			}
		}
	}()
	for done := false; !done; {
		select {
		case <-noted:
			done = true
		default:
		}
		save(t, b, disk)
	}
	b = newCasebook()
	if damaged, err := b.load(disk.each); damaged != 0 || err != nil || len(b.cases) != cases {
		t.Fatal(damaged, err, len(b.cases))
	}
	for id, f := range b.cases {
		if f.Left+len(f.Changes) != 2*maxCaseChanges+7 {
			t.Fatalf("%s: %d changes and %d left out", id, len(f.Changes), f.Left)
		}
	}
}

// The packet path waits while so many are copied, however many are saved and
// whatever happened to them. The least of many measurements is the machine's own.
func TestCopyingCasesHoldsThePacketPathForMicroseconds(t *testing.T) {
	b := newCasebook()
	for i := range maxCases {
		for range maxCaseChanges {
			b.note(opens(fmt.Sprintf("%05d", i), "S-1"))
		}
	}
	var into [casesAtOnce]caseFile
	least := time.Hour
	for some := range slices.Chunk(b.pending(), casesAtOnce) {
		began := time.Now()
		b.copy(some, into[:])
		least = min(least, time.Since(began))
	}
	t.Logf("%d cases are copied in %v", casesAtOnce, least)
	if least > 100*time.Microsecond {
		t.Error("too long")
	}
}

// A case that cannot be written holds up no other, and is tried again.
func TestACaseThatCannotBeWrittenHoldsUpNoOther(t *testing.T) {
	b, disk := newCasebook(), shelved{}
	bad := opens("00001", "S-1")
	bad.Until = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // no year that JSON has
	b.note(bad)
	b.note(opens("00002", "S-2"))
	changes, left, err := b.changes(b.pending())
	if disk.take(changes); err == nil || !slices.Equal(left, []string{"00001"}) || len(disk) != 1 {
		t.Error(err, left, disk)
	}
	b.redo(left)
	b.note(opens("00001", "S-1"))
	if save(t, b, disk); len(disk) != 2 {
		t.Error(disk)
	}
}

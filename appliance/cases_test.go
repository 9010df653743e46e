package appliance

import (
	"fmt"
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
	changes, err := b.changes()
	if err != nil {
		t.Fatal(err)
	}
	to.take(changes)
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
		if f, _ := b.file(id); len(f.Changes) > maxCaseChanges || i == 0 && (f.Left == 0 || f.Changes[0].To != governor.StagePace) {
			t.Fatalf("%d changes, %d left out", len(f.Changes), f.Left)
		}
		b.note(moved(id, governor.StageDefer, governor.StageObserve, opened.Add(time.Duration(i))))
	}
	if len(b.cases) != maxCases || len(b.ended) != maxCases {
		t.Errorf("%d cases, %d ended", len(b.cases), len(b.ended))
	}
	if _, ok := b.file("00000"); ok {
		t.Error("the one that ended first is still there")
	}
}

package records

import (
	"sync/atomic"
	"testing"
	"time"
)

// hungState is a state file whose writes hang until let go.
type hungState struct {
	stateFile
	let    chan struct{}
	writes atomic.Int64
}

func (h *hungState) WriteAt(b []byte, at int64) (int, error) {
	h.writes.Add(1)
	<-h.let
	return h.stateFile.WriteAt(b, at)
}

// While the disk does not answer, records are made all the same, and it is told; when it does, the newest state is written, and not each of those in between.
func TestRecordsAreMadeWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/records.state"
	c, err := OpenChain(path, "box-1")
	if err != nil {
		t.Fatal(err)
	}
	disk := &hungState{stateFile: c.kept.file, let: make(chan struct{})}
	c.kept.file, c.kept.hangs = disk, 100*time.Millisecond
	var made []Record
	began := time.Now()
	for range 50 {
		made = append(made, c.Append(samples()["audit"], at))
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("50 records took %v", took)
	}
	linked(t, made)
	if failed, err := c.Trouble(); err == nil || failed != 0 {
		t.Errorf("%d failures, %v", failed, err)
	}
	close(disk.let)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if seq, _, err := ReadState(path); err == nil && seq == 50 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the state knows %d: %v", seq, err)
		}
	}
	if n := disk.writes.Load(); n != 2 {
		t.Errorf("%d writes", n)
	}
	made = append(made, c.Append(samples()["audit"], at))
	if _, err := c.Trouble(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if c, err = OpenChain(path, "box-1"); err != nil || c.Found().How != FoundClosed || c.Seq() != 51 {
		t.Errorf("%+v, %v", c.Found(), err)
	}
	linked(t, append(made, c.Append(samples()["audit"], at)))
}

package records

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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

// What a disk that hangs did not take of the state is known to the mirror after kill -9: the chain goes on with the next number, linked to the last record. Nobody waits for that disk.
func TestTheMirrorKnowsWhatTheDiskDidNotTake(t *testing.T) {
	t.Parallel()
	for _, damaged := range []bool{false, true} {
		path, mirror := t.TempDir()+"/records.state", t.TempDir()+"/mirror"
		c, err := OpenMirrored(path, mirror, "box-1")
		if err != nil {
			t.Fatal(err)
		}
		made := []Record{c.Append(samples()["audit"], at)}
		disk := &hungState{stateFile: c.kept.file, let: make(chan struct{})}
		t.Cleanup(func() { close(disk.let) })
		c.kept.file, c.kept.hangs = disk, time.Hour
		for range 50 {
			made = append(made, c.Append(samples()["audit"], at))
		}
		want := FoundKilled
		if damaged {
			if err := os.WriteFile(path, make([]byte, stateSize), 0o600); err != nil {
				t.Fatal(err)
			}
			want = FoundDamaged
		}
		again, err := OpenMirrored(path, mirror, "box-1") // kill -9: nothing was closed
		if err != nil {
			t.Fatal(err)
		}
		if p := again.Found(); p.How != want || p.Last != 51 || again.Seq() != 51 {
			t.Errorf("found %+v, the last is %d", p, again.Seq())
		}
		linked(t, append(made, again.Append(samples()["audit"], at)))
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(mirror); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after a clean stop the mirror is left: %v", err)
		}
	}
}

// A mirror of another boot, one that is damaged or knows less than the disk, and one that cannot be written count for nothing.
func TestAMirrorThatCountsForNothing(t *testing.T) {
	t.Parallel()
	state := func(boot string, n int) []byte {
		dir := t.TempDir()
		c, err := openChain(dir+"/a", dir+"/b", "box-1", boot)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			c.Append(samples()["audit"], at)
		}
		data, err := os.ReadFile(dir + "/b")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	damaged := state("boot-1", 9)
	damaged[20] ^= 1
	for why, data := range map[string][]byte{"of another boot": state("boot-2", 9), "damaged": damaged, "empty": {}, "older": state("boot-1", 3), "nowhere": nil} {
		dir := t.TempDir()
		path, mirror := dir+"/records.state", dir+"/mirror"
		if err := os.WriteFile(path, state("boot-1", 5), 0o600); err != nil {
			t.Fatal(err)
		}
		if data == nil {
			mirror = filepath.Join(dir, "none", "mirror")
		} else if err := os.WriteFile(mirror, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := openChain(path, mirror, "box-1", "boot-1")
		if err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		if r := c.Append(samples()["audit"], at); r.Seq != 6 {
			t.Errorf("%s: the next number is %d", why, r.Seq)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
}

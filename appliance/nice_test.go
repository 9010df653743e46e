package appliance

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sliceOf asks the kernel; what one before 6.12 says is always 0.
func sliceOf(t *testing.T, tid int) time.Duration {
	t.Helper()
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(attr.Runtime)
}

func threads(t *testing.T) (tids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range all {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	return tids
}

// Every thread of ours runs for short, so that it wakes up before others; whoever computes beside packets runs as long as anybody.
func TestOurThreadsRunForShortAndThoseWhoComputeDoNot(t *testing.T) {
	usual := sliceOf(t, 0)
	if usual == 0 {
		t.Skip("this kernel is before 6.12: it grants no slices")
	}
	if err := shortenSlices(); err != nil {
		t.Fatal(err)
	}
	defer func() { // the tests after this one are as they were
		for range 2 { // a thread may have been started by one that was still to come
			for _, tid := range threads(t) {
				setSlice(tid, 0)
			}
		}
	}()
	for _, tid := range threads(t) {
		if got := sliceOf(t, tid); got != packetSlice {
			t.Errorf("thread %d runs for %v", tid, got)
		}
	}
	cmd := exec.Command("sleep", "60")
	if err := startNice(cmd, 7, 64<<20); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	attr, err := unix.SchedGetAttr(cmd.Process.Pid, 0)
	if err != nil || attr.Nice != 7 || time.Duration(attr.Runtime) != usual {
		t.Errorf("%+v, %v, want nice 7 and %v", attr, err, usual)
	}
}

// Who runs mailweir at a priority, or under a policy, of their own choice keeps it.
func TestAnotherPriorityIsLeftAlone(t *testing.T) {
	if sliceOf(t, 0) == 0 {
		t.Skip("this kernel is before 6.12: it grants no slices")
	}
	for _, want := range []unix.SchedAttr{{Nice: 3}, {Policy: unix.SCHED_BATCH, Nice: 4}, {Policy: unix.SCHED_FIFO, Priority: 5}, {Policy: unix.SCHED_IDLE}} {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want.Size = unix.SizeofSchedAttr
		err := unix.SchedSetAttr(cmd.Process.Pid, &want, 0)
		if err == nil {
			err = setSlice(cmd.Process.Pid, packetSlice)
		}
		got, failed := unix.SchedGetAttr(cmd.Process.Pid, 0)
		cmd.Process.Kill()
		cmd.Wait()
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		fair := want.Policy == unix.SCHED_NORMAL || want.Policy == unix.SCHED_BATCH
		if got.Policy != want.Policy || fair && got.Nice != want.Nice || got.Priority != want.Priority {
			t.Errorf("%+v became %+v", want, *got)
		}
		if (time.Duration(got.Runtime) == packetSlice) != fair {
			t.Errorf("policy %d: a slice of %v", want.Policy, time.Duration(got.Runtime))
		}
	}
}

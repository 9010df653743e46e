package appliance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// startNice starts a process at a lower priority than ours (nice, 1 to 19) and with a bound on its memory, in bytes. It is the first to go when memory is short.
func startNice(cmd *exec.Cmd, nice int, most uint64) error {
	done := make(chan error, 1)
	var start func()
	start = func() {
		runtime.LockOSThread()              // for good: the thread ends with this goroutine, and so does its priority,
		if unix.Gettid() == unix.Getpid() { // but for the main one, which is kept until another has done it
			another := make(chan struct{})
			go func() { defer close(another); start() }()
			<-another
			runtime.UnlockOSThread()
			return
		}
		err := errors.Join(unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice), setSlice(0, 0))
		if err == nil {
			err = cmd.Start() // which inherits that
		}
		done <- err
	}
	go start()
	if err := <-done; err != nil {
		return err
	}
	return limit(cmd, most)
}

// limit bounds the memory of a process that was just started, in bytes, and has it go first when memory is short; one that cannot be bounded is ended.
func limit(cmd *exec.Cmd, most uint64) error {
	data := unix.Rlimit{Cur: most, Max: most}
	err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &data, nil)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("1000"), 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// packetSlice is the shortest that the kernel grants (kernel/sched/syscalls.c).
const packetSlice = 100 * time.Microsecond

// shortenSlices has every thread of this process run for a short time at a time, and those that it starts from then on. By that a thread that wakes up
// for a packet goes before another process that computes, instead of waiting until that one has used up its slice, which ends with one of the clock's
// ticks; its share of the processors stays what it is. Linux before 6.12 takes no notice.
func shortenSlices() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := setSlice(tid, packetSlice); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("sched_setattr: %w", err)
		}
	}
	return nil
}

// setSlice sets a thread's slice (sched(7), sched_runtime), 0 to the kernel's usual one, and leaves all else of it as it is. A thread that somebody gave a
// policy other than the usual one has none.
func setSlice(tid int, slice time.Duration) error {
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL && attr.Policy != unix.SCHED_BATCH {
		return err
	}
	attr.Runtime = uint64(slice)
	return unix.SchedSetAttr(tid, attr, 0)
}

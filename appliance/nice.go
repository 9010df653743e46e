package appliance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

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
		err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice)
		if err == nil {
			err = cmd.Start() // which inherits that
		}
		done <- err
	}
	go start()
	if err := <-done; err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: most, Max: most}
	err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("1000"), 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

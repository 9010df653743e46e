package appliance

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// lesserThread is a thread of this process that starts others with a lower priority and without rights. It is one for all of them: the kernel ends a process
// that was started with Pdeathsig when the thread that started it ends.
type lesserThread struct {
	todo chan func() error
	done chan error
}

// newLesserThread starts it, at a priority (nice, 1 to 19) and with no capabilities but those of keep, a bit for each (capabilities(7)).
func newLesserThread(nice int, keep uint64) *lesserThread {
	t := &lesserThread{make(chan func() error), make(chan error)}
	go t.begin(func() error {
		return errors.Join(unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice), setSlice(0, 0), giveUpRights(keep))
	})
	return t
}

func (t *lesserThread) begin(lessen func() error) {
	runtime.LockOSThread()              // for good: the thread ends with this goroutine, and so does what it has less of,
	if unix.Gettid() == unix.Getpid() { // but for the main one, which is kept until another has begun
		begun := make(chan struct{})
		go func() { t.begin(func() error { defer close(begun); return lessen() }) }()
		<-begun
		runtime.UnlockOSThread()
		return
	}
	bad := lessen()
	for f := range t.todo {
		if bad != nil {
			t.done <- bad
			continue
		}
		t.done <- f()
	}
}

// do has f done by the thread. It has one user at a time.
func (t *lesserThread) do(f func() error) error {
	t.todo <- f
	return <-t.done
}

// end ends the thread, and whoever it started with Pdeathsig.
func (t *lesserThread) end() { close(t.todo) }

// keptRights are the capabilities without which a process that is started as we are cannot write in a directory: none where it is our own.
func keptRights(dir string) uint64 {
	if info, err := os.Stat(dir); err == nil && info.Sys().(*syscall.Stat_t).Uid == uint32(os.Geteuid()) {
		return 0
	}
	return 1 << unix.CAP_DAC_OVERRIDE
}

// giveUpRights takes all capabilities but those of keep from the calling thread, and from what it starts; neither gets any more, whatever programs they start.
func giveUpRights(keep uint64) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("no_new_privs", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("ambient capabilities", err)
	}
	for c := range uintptr(64) {
		if keep&(1<<c) != 0 {
			continue
		}
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err {
		case nil, unix.EINVAL: // the kernel knows no such one
		case unix.EPERM: // who may not drop it has no right to lend it
		default:
			return os.NewSyscallError("bounding capabilities", err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i].Effective, data[i].Permitted = uint32(keep>>(32*i)), uint32(keep>>(32*i))
	}
	return os.NewSyscallError("capset", unix.Capset(&header, &data[0]))
}

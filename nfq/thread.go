package nfq

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// thread is a thread for one goroutine alone, which gives way to all others: to the
// kernel's own, that forward packets when there are many, and to the queues' readers.
// Copies can wait.
type thread struct {
	id      int
	hurries bool
}

// niceness of a thread that gives way (sched(7)): it still gets a hundredth of a
// processor on which another one computes all the time.
const niceness = 19

// takeThread gives the calling goroutine such a thread, which ends with it.
func takeThread() *thread {
	runtime.LockOSThread()
	t := &thread{id: unix.Gettid()}
	t.nice(niceness)
	return t
}

// hurry says whether the thread is to be treated like any other for now.
func (t *thread) hurry(now bool) {
	if now == t.hurries {
		return
	}
	t.hurries = now
	if now {
		t.nice(0)
	} else {
		t.nice(niceness)
	}
}

// nice is for the better: where it is not allowed (setpriority(2), EACCES) the thread
// is as all others are.
func (t *thread) nice(n int) { _ = unix.Setpriority(unix.PRIO_PROCESS, t.id, n) }

// sleep is time.Sleep without the runtime, which would have another thread wake this one.
func (t *thread) sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // EINTR: a signal; then it was shorter
}

package bench

import (
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// burnTask is so many processors to be kept busy: 0.3 is three tenths of one, 1.5 all of one and half of another.
type burnTask struct{ Processors float64 }

type burnResult struct{ Processors float64 } // what it came to

// burnSlice is how long a burner is busy at a time: as long as Go lets a goroutine that does not pause.
const burnSlice = 10 * time.Millisecond

// burn is the control: it uses the processors as a load does, but shares nothing with mailweir but them.
func burn(task burnTask, stop <-chan struct{}) (burnResult, error) {
	threads := max(1, int(math.Ceil(task.Processors-0.05)))
	each := task.Processors / float64(threads)
	began := time.Now()
	used := make([]time.Duration, threads)
	var all sync.WaitGroup
	for i := range threads {
		all.Go(func() {
			runtime.LockOSThread()
			used[i] = burnThread(each, began, stop)
		})
	}
	all.Wait()
	sum := 0.0
	for _, u := range used {
		sum += u.Seconds()
	}
	return burnResult{sum / time.Since(began).Seconds()}, nil
}

func burnThread(part float64, began time.Time, stop <-chan struct{}) time.Duration {
	for {
		used := threadTime()
		for until := used + burnSlice; used < until; used = threadTime() {
			select {
			case <-stop:
				return used
			default:
			}
		}
		if part >= 1 {
			continue
		}
		// When so much of the time has passed that what was used is its part of it.
		select {
		case <-stop:
			return used
		case <-time.After(time.Until(began.Add(time.Duration(float64(used) / part)))):
		}
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // cannot fail
	return time.Duration(t.Nano())
}

package boot

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is a supervisor whose children are numbers, and the times at which they were started.
func quiet(fail error) (s *supervisor, starts *[]time.Duration) {
	starts = new([]time.Duration)
	begin := time.Now()
	s = newSupervisor(func([]string) (int, error) {
		*starts = append(*starts, time.Since(begin))
		return 100 + len(*starts), fail
	}, slog.New(slog.DiscardHandler))
	return s, starts
}

func TestAChildIsStartedAgainLaterEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(nil)
		s.add(&child{name: "net"})
		for n := range 4 {
			s.ended(101+n, 0)
			time.Sleep(lastPause)
			synctest.Wait()
		}
		var pauses []time.Duration
		for n, at := range *starts {
			pauses = append(pauses, at-time.Duration(n)*lastPause)
		}
		pauses = pauses[1:]
		// Each ended lastPause after the end before; it was started again firstPause, 2, 4, 8 after its end.
		if want := []time.Duration{firstPause - lastPause, 2*firstPause - lastPause, 4*firstPause - lastPause, 8*firstPause - lastPause}; !slices.Equal(pauses, want) {
			t.Errorf("%v, want %v", pauses, want)
		}
		s.ended(999, 0) // an orphan that was reaped
		time.Sleep(longLife)
		s.ended(105, 0)
		time.Sleep(firstPause)
		synctest.Wait()
		if len(*starts) != 6 {
			t.Errorf("after a long life it is started again at once: %d starts, want 6", len(*starts))
		}
	})
}

func TestWhoEndsAgainAndAgainIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(nil)
		given := make(chan struct{}, 1)
		s.add(&child{name: "govern", loop: func() { given <- struct{}{} }})
		for n := range loopEnds {
			select {
			case <-given:
				t.Fatalf("given up after %d ends", n)
			default:
			}
			s.ended(101+n, 0)
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		<-given
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(*starts) != loopEnds {
			t.Errorf("started %d times, want %d", len(*starts), loopEnds)
		}
	})
}

func TestWhoEndsOnceInAWhileIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(nil)
		s.add(&child{name: "govern", loop: func() { t.Error("given up") }})
		for n := range 3 * loopEnds {
			time.Sleep(loopTime / (loopEnds - 1))
			s.ended(101+n, 0)
			time.Sleep(firstPause)
			synctest.Wait()
		}
		if len(*starts) != 3*loopEnds+1 {
			t.Errorf("%d starts", len(*starts))
		}
	})
}

func TestABinaryThatCannotBeStartedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(errors.New("no memory"))
		s.add(&child{name: "net"})
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(*starts) < 5 {
			t.Errorf("%d starts in a minute", len(*starts))
		}
		s.mu.Lock()
		s.stopping = true // so that the timers end
		s.mu.Unlock()
	})
}

func TestRealChildrenAreReapedAndStopped(t *testing.T) {
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := newSupervisor(startProcess("/bin/sleep", out), slog.New(slog.DiscardHandler))
	c := &child{name: "sleep", argv: []string{"1000"}}
	s.add(c)
	first := c.pid
	if first <= 1 {
		t.Fatalf("process id %d", first)
	}
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Here it is waited for by its number: reap would take the children of other tests.
	end := func(pid int) {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			t.Error(err)
		}
		s.ended(pid, status)
	}
	end(first)
	var second int
	for second == 0 || second == first {
		s.mu.Lock()
		second = c.pid
		s.mu.Unlock()
		time.Sleep(firstPause)
	}
	go end(second)
	s.stop(time.Minute)
	if second <= 1 {
		t.Fatalf("process id %d", second)
	}
	if err := unix.Kill(second, 0); err != unix.ESRCH {
		t.Errorf("after stop: %v", err)
	}
}

func TestAChildThatIsHeldDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(nil)
		var killed []unix.Signal
		s.kill = func(_ int, sig unix.Signal) error { killed = append(killed, sig); return nil }
		s.add(&child{name: "govern", loop: func() { t.Error("given up") }})
		if s.hold("web", true) {
			t.Error("there is no such child, and it is held")
		}
		for n := range 2 * loopEnds { // whoever holds it often does not bring the box into safe mode
			if !s.hold("govern", true) {
				t.Fatal("it is not held")
			}
			s.ended(101+n, 0)
			time.Sleep(2 * lastPause)
			synctest.Wait()
			if len(*starts) != n+1 {
				t.Fatalf("%d starts while it is held for the %d. time", len(*starts), n+1)
			}
			s.hold("govern", false)
			s.hold("govern", false)
		}
		if len(*starts) != 2*loopEnds+1 || slices.Contains(killed, unix.SIGKILL) {
			t.Errorf("%d starts, killed with %v", len(*starts), killed)
		}
		s.hold("govern", true)
		time.Sleep(2 * stopTime)
		synctest.Wait()
		if killed[len(killed)-1] != unix.SIGKILL {
			t.Errorf("who does not end is killed with %v", killed)
		}
	})
}

// Who is renewed ends, at last by force, and is started again once what he did was taken back.
func TestAChildIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := quiet(nil)
		var killed []unix.Signal
		s.kill = func(_ int, sig unix.Signal) error { killed = append(killed, sig); return nil }
		took, startsThen := 0, 0
		s.add(&child{name: "govern", back: func() {
			time.Sleep(time.Minute) // it takes its time
			s.mu.Lock()
			defer s.mu.Unlock()
			took++
			startsThen = len(*starts)
		}})
		s.renew("web") // there is none
		s.renew("govern")
		time.Sleep(stopTime + time.Second)
		synctest.Wait()
		if !slices.Equal(killed, []unix.Signal{unix.SIGTERM, unix.SIGKILL}) {
			t.Errorf("who hangs is killed with %v", killed)
		}
		s.ended(101, 0)
		s.hold("govern", false) // somebody wants it to run meanwhile
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if took != 1 || startsThen != 1 || len(*starts) != 2 {
			t.Errorf("taken back %d times after %d starts, %d starts in all", took, startsThen, len(*starts))
		}
		s.renew("govern")
		s.ended(102, 0)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !slices.Equal(killed, []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGTERM}) || len(*starts) != 3 {
			t.Errorf("who ends is killed with %v; %d starts", killed, len(*starts))
		}
	})
}

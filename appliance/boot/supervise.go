package boot

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause = 100 * time.Millisecond // before a child is started again; doubled each time
	lastPause  = 30 * time.Second
	longLife   = time.Minute // who lived that long begins with firstPause again

	stopTime = 15 * time.Second // for a child that was asked to end

	loopEnds = 5 // so many ends
	loopTime = 5 * time.Minute
)

// child is a process that is to run for ever.
type child struct {
	name string
	argv []string
	not  string // the name of another one that it never runs beside; that has this one's. "": it may run beside all
	loop func() // called when it ended loopEnds times within loopTime; then it is held. nil: it is started again, whatever comes
	back func() // called after an end when it is to be started again, before that. nil: there is nothing to do
	tidy func() // called after an end when it is held: nobody will do for now what it did. It is not started meanwhile. nil: there is nothing to do

	pid     int // 0: it does not run
	started time.Time
	pause   time.Duration
	ends    []time.Time
	held    bool // it is not to run for now
	tidying bool // tidy or back runs
}

// supervisor starts children again when they end, and reaps all processes that have nobody else: it is process 1.
type supervisor struct {
	start func(argv []string) (pid int, err error)
	kill  func(pid int, sig unix.Signal) error
	log   *slog.Logger

	mu       sync.Mutex
	children []*child
	stopping bool
	gone     chan struct{} // gets one for each end of a child while stopping
}

func newSupervisor(start func([]string) (int, error), log *slog.Logger) *supervisor {
	return &supervisor{start: start, kill: unix.Kill, log: log, gone: make(chan struct{}, 16)}
}

// startProcess starts the binary with the given arguments. It is not waited for here: reap does that for all.
func startProcess(self string, out io.Writer) func([]string) (int, error) {
	return func(argv []string) (int, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer w.Close()
		null, err := os.Open(os.DevNull)
		if err != nil {
			r.Close()
			return 0, err
		}
		defer null.Close()
		p, err := os.StartProcess(self, append([]string{"mailweir"}, argv...), &os.ProcAttr{Env: []string{"PATH=/", "HOME=" + dataDir}, Files: []*os.File{null, w, w}})
		if err != nil {
			r.Close()
			return 0, err
		}
		go guard(func() { defer r.Close(); io.Copy(out, r) }) // ends with the child
		pid := p.Pid                                          // Release makes it -1, and who signals that signals every process there is
		return pid, p.Release()
	}
}

// add starts a child.
func (s *supervisor) add(c *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = append(s.children, c)
	s.run(c)
}

// run starts c; s.mu is held, so that its end cannot be noticed before its pid is known.
func (s *supervisor) run(c *child) {
	if s.stopping || c.held || c.tidying || c.pid != 0 || s.runs(c.not) {
		return
	}
	c.started = time.Now()
	pid, err := s.start(c.argv)
	if err == nil && pid <= 1 {
		err = fmt.Errorf("it got the process id %d", pid)
	}
	if err != nil {
		s.log.Error("start", "child", c.name, "err", err)
		s.again(c)
		return
	}
	c.pid = pid
}

// again starts c after a pause, or gives it up; s.mu is held.
func (s *supervisor) again(c *child) {
	now := time.Now()
	if now.Sub(c.started) >= longLife {
		c.pause = 0
	}
	c.pause = min(max(2*c.pause, firstPause), lastPause)
	c.ends = append(c.ends, now)
	if len(c.ends) > loopEnds {
		c.ends = c.ends[1:]
	}
	if c.loop != nil && len(c.ends) == loopEnds && now.Sub(c.ends[0]) < loopTime {
		c.held = true
		s.tidy(c)
		go guard(c.loop)
		return
	}
	pause := c.pause
	start := func() {
		time.AfterFunc(pause, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.run(c)
		})
	}
	if c.back == nil {
		start()
		return
	}
	c.tidying = true
	go func() {
		guard(c.back)
		s.mu.Lock()
		defer s.mu.Unlock()
		c.tidying = false
		start()
	}()
}

// renew ends a child, at last by force; it is started again.
func (s *supervisor) renew(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.child(name)
	if c == nil || c.pid <= 1 {
		return
	}
	pid := c.pid
	s.kill(pid, unix.SIGTERM)
	time.AfterFunc(stopTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.pid == pid {
			s.kill(pid, unix.SIGKILL)
		}
	})
}

// tidy has what c left taken away; s.mu is held.
func (s *supervisor) tidy(c *child) {
	if c.tidy == nil {
		return
	}
	c.tidying = true
	go func() {
		guard(c.tidy)
		s.mu.Lock()
		defer s.mu.Unlock()
		c.tidying = false
		s.run(c) // somebody may have wanted it meanwhile
	}()
}

// ended is told of each process that ended, ours or not.
func (s *supervisor) ended(pid int, status unix.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		if c.pid != pid {
			continue
		}
		c.pid = 0
		if s.stopping {
			s.gone <- struct{}{}
			return
		}
		if c.held {
			s.tidy(c)
			if other := s.child(c.not); other != nil {
				s.run(other) // it may have waited for this end
			}
			return
		}
		s.log.Error("ended", "child", c.name, "exit", status.ExitStatus(), "signal", status.Signal(), "after", time.Since(c.started).Round(time.Millisecond))
		s.again(c)
	}
}

// hold ends a child and does not start it again, or starts it, also one that was given up. It tells whether there is such a child.
func (s *supervisor) hold(name string, on bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.child(name)
	if c == nil {
		return false
	}
	if on && !c.held && c.pid == 0 && !c.started.IsZero() {
		s.tidy(c) // it ended by itself, and was to be started again after a pause
	}
	c.held = on
	if pid := c.pid; on && pid > 1 {
		s.kill(pid, unix.SIGTERM)
		time.AfterFunc(stopTime, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.held && c.pid == pid {
				s.kill(pid, unix.SIGKILL)
			}
		})
	}
	if !on && c.pid == 0 {
		c.pause, c.ends = 0, nil
		s.run(c)
	}
	return true
}

// child is the one of this name; nil: there is none. s.mu is held.
func (s *supervisor) child(name string) *child {
	for _, c := range s.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// runs tells whether a child of this name has not ended; s.mu is held.
func (s *supervisor) runs(name string) bool {
	c := s.child(name)
	return c != nil && c.pid != 0
}

// reap waits for all processes from now on, in the background, for ever.
func (s *supervisor) reap() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	go func() {
		for {
			for {
				var status unix.WaitStatus
				pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
				if err == unix.EINTR {
					continue
				}
				if err != nil || pid <= 0 {
					break
				}
				guard(func() { s.ended(pid, status) })
			}
			<-sig
		}
	}()
}

// alive returns when nobody holds the supervisor up.
func (s *supervisor) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return true
}

// stop asks all children to end, and kills those that have not after a while.
func (s *supervisor) stop(most time.Duration) {
	s.mu.Lock()
	s.stopping = true
	left := s.signal(unix.SIGTERM)
	s.mu.Unlock()
	deadline := time.After(most)
	for left > 0 {
		select {
		case <-s.gone:
			left--
		case <-deadline:
			s.mu.Lock()
			s.signal(unix.SIGKILL)
			s.mu.Unlock()
			return
		}
	}
}

func (s *supervisor) signal(sig unix.Signal) (n int) {
	for _, c := range s.children {
		if c.pid > 1 && s.kill(c.pid, sig) == nil {
			n++
		}
	}
	return n
}

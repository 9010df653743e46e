package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// stage is process 1 with its two children, who are played. Whoever is asked to end takes a second for it.
type stage struct {
	*governing
	t *testing.T

	mu       sync.Mutex
	pid      int
	running  map[int]string
	started  []string
	deaf     bool // to SIGTERM
	bypass   bool
	told     *standstill
	cleared  int
	clearing time.Duration // that it takes
	clears   bool
	begunFor int
}

func newStage(t *testing.T, page bool) *stage {
	st := &stage{t: t, pid: 100, running: map[int]string{}}
	log := slog.New(slog.DiscardHandler)
	s := newSupervisor(func(argv []string) (int, error) {
		st.mu.Lock()
		defer st.mu.Unlock()
		if len(st.running) > 0 {
			t.Errorf("%s is started while %v runs", argv[0], st.running)
		}
		if st.clears && argv[0] == runCommand {
			t.Error("who governs is started while the rules of before are taken away")
		}
		st.pid++
		st.running[st.pid] = argv[0]
		st.started = append(st.started, argv[0])
		return st.pid, nil
	}, log)
	s.kill = func(pid int, sig unix.Signal) error {
		st.mu.Lock()
		defer st.mu.Unlock()
		if sig == unix.SIGKILL || !st.deaf {
			time.AfterFunc(time.Second, func() { st.ends(pid) })
		}
		return nil
	}
	st.governing = &governing{s: s, log: log, say: func(string, ...any) {}, begun: func() { st.begunFor++ },
		bypassed: func() bool { st.mu.Lock(); defer st.mu.Unlock(); return st.bypass },
		write:    func(why *standstill) error { st.told = why; return errors.New("the disk is full") }, // which changes nothing
		back:     func() error { return errors.New("the kernel said no") },                             // which changes nothing
		clear: func() error {
			st.takes(true)
			time.Sleep(st.clearing)
			st.takes(false)
			return errors.New("the kernel said no") // which changes nothing
		}}
	st.children("mailweir.yaml", page)
	return st
}

// takes is the begin of taking the rules away, or its end.
func (st *stage) takes(begins bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.clears = begins; begins {
		st.cleared++
	}
}

func (st *stage) wants(bypass bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.bypass = bypass
}

// ends is the end of a process, whoever wanted it.
func (st *stage) ends(pid int) {
	st.mu.Lock()
	_, there := st.running[pid]
	delete(st.running, pid)
	st.mu.Unlock()
	if there {
		st.s.ended(pid, 0)
	}
}

// crash ends who governs, by itself.
func (st *stage) crash() {
	st.t.Helper()
	st.mu.Lock()
	pid := 0
	for p, name := range st.running {
		if name == runCommand {
			pid = p
		}
	}
	st.mu.Unlock()
	if pid == 0 {
		st.t.Fatal("nobody governs")
	}
	st.ends(pid)
}

// is looks who runs, once that is settled.
func (st *stage) is(why, want, state string) {
	st.t.Helper()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	who := ""
	for _, name := range st.running {
		who += name
	}
	told := ""
	if st.told != nil {
		told = st.told.State
	}
	if who != want || told != state {
		st.t.Errorf("%s: %q runs and the page is told %q; want %q, %q", why, who, told, want, state)
	}
}

const (
	theGovernor = runCommand
	thePage     = recoveryCommand
	inSafe      = webadmin.StateSafe
	inBypass    = webadmin.StateBypass
)

func TestSafeModeHasThePageUntilSomebodyTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.stop(standstill{Why: "It was started so.", Again: true})
		st.is("at first", thePage, inSafe)
		if st.told.Why != "It was started so." || st.told.Since <= 0 || st.begunFor != 0 {
			t.Errorf("%+v, begun %d", st.told, st.begunFor)
		}
		st.look(false)
		st.is("bypass that was not asked for changes nothing", thePage, inSafe)
		st.look(true)
		st.is("tried again", theGovernor, "")
		if !slices.Equal(st.started, []string{thePage, theGovernor}) || st.begunFor != 1 {
			t.Errorf("%v, begun %d", st.started, st.begunFor)
		}
	})
}

func TestWhatEndsAgainAndAgainHasThePageAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.begin()
		for round := range 2 {
			for n := range loopEnds {
				st.is(fmt.Sprintf("round %d, end %d", round, n), theGovernor, "")
				st.crash()
			}
			st.is("given up", thePage, inSafe)
			if st.cleared != round+1 || !strings.Contains(st.told.Why, "ended 5 times") || !st.told.Again {
				t.Errorf("cleared %d times, %+v", st.cleared, st.told)
			}
			time.Sleep(time.Hour)
			st.is("it stays so", thePage, inSafe)
			st.look(true)
		}
		st.is("and again", theGovernor, "")
	})
}

func TestBypassHasThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.begin()
		st.is("at first", theGovernor, "")
		st.wants(true)
		st.look(false)
		st.is("bypass", thePage, inBypass)
		since := st.told.Since
		st.look(false)
		if st.is("once more", thePage, inBypass); st.told.Since != since || since <= 0 {
			t.Errorf("since %v, then %v", since, st.told.Since)
		}
		st.wants(false)
		st.look(false)
		st.is("ended", theGovernor, "")
		for range 3 { // who cannot make up his mind
			st.wants(true)
			st.look(false)
			st.wants(false)
			st.look(false)
		}
		st.is("in the end", theGovernor, "")
		st.wants(true)
		st.look(false)
		st.wants(false)
		st.look(true) // as the page asks for it
		st.is("by the page", theGovernor, "")
	})
}

// Who governs hangs when bypass is wanted, and is killed: its rules do not stay. While they are taken away nobody makes new ones.
func TestNoRulesAreLeftInBypass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.begin()
		st.is("at first", theGovernor, "")
		st.deaf, st.clearing = true, 30*time.Second
		st.wants(true)
		st.look(false)
		st.is("it does not end", theGovernor, inBypass)
		time.Sleep(stopTime)
		st.is("it is killed", thePage, inBypass)
		if st.cleared != 1 || !st.clears {
			t.Errorf("the rules were taken away %d times", st.cleared)
		}
		st.deaf = false
		st.wants(false)
		st.look(false)
		st.is("the rules are still being taken away", "", "")
		time.Sleep(time.Minute)
		st.is("then it governs", theGovernor, "")
		if st.cleared != 1 {
			t.Errorf("the rules were taken away %d times", st.cleared)
		}
	})
}

// So it is when bypass is wanted just after who governs has crashed.
func TestNoRulesAreLeftInBypassAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.begin()
		st.is("at first", theGovernor, "")
		st.crash()
		st.wants(true)
		st.look(false)
		st.is("bypass", thePage, inBypass)
		st.look(false)
		if st.is("once more", thePage, inBypass); st.cleared != 1 {
			t.Errorf("the rules were taken away %d times", st.cleared)
		}
	})
}

func TestSafeModeForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		st := newStage(t, true)
		st.stopFor(ctx, safeTime, standstill{Why: "The box went down."})
		st.is("at first", thePage, inSafe)
		if st.told.Until <= st.told.Since {
			t.Errorf("%+v", st.told)
		}
		st.wants(true)
		st.look(false)
		time.Sleep(safeTime)
		st.is("the time is over, and somebody wants bypass", thePage, inBypass)
		st.wants(false)
		st.look(false)
		st.is("that is over, too", theGovernor, "")

		st = newStage(t, true)
		st.stopFor(ctx, safeTime, standstill{Why: "The box went down."})
		st.look(true) // somebody is faster
		for range loopEnds {
			st.is("tried at once", theGovernor, "")
			st.crash()
		}
		time.Sleep(safeTime)
		st.is("a time that was for another reason ends nothing", thePage, inSafe)
	})
}

func TestAPageThatDoesNotEndIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, true)
		st.stop(standstill{Why: "It was started so.", Again: true})
		st.is("at first", thePage, inSafe)
		st.deaf = true
		st.look(true)
		st.is("it does not end", thePage, "")
		time.Sleep(stopTime)
		st.is("it is killed", theGovernor, "")
	})
}

func TestWithoutAManagementPortThereIsNoPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, false)
		st.stop(standstill{Why: "It was started so.", Again: true})
		st.is("safe mode", "", inSafe)
		st.look(true)
		st.is("governing", theGovernor, "")
	})
}

package appliance

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// stopWait is how long a stop waits for a disk that does not answer, with each part, until one has not answered for so long; then it waits for soonAfter with each
// of the others, so that all of it ends within a minute. A disk that is only slow has what waits within that.
const (
	stopWait  = 20 * time.Second
	soonAfter = 3 * time.Second
)

// ending does the steps of a stop. One that the disk keeps goes on by itself, nobody waits for it any more, and nothing else is done to what it is at.
// The zero value is ready; it has one user.
type ending struct {
	wait, soon time.Duration // stopWait and soonAfter
	late       []string      // what was not waited for, as paths
}

// givenUp is the error of a step that was not waited for.
type givenUp struct {
	what, path string
	waited     time.Duration
}

func (g *givenUp) Error() string {
	return fmt.Sprintf("%s: the disk has not answered for %v, and is not waited for any longer: %s may not be written", g.path, g.waited, g.what)
}

// step has f write what is at a path. It does nothing where another step at that path, or below it, was not done in time, which was told.
func (e *ending) step(what, path string, f func() error) error {
	if e.lateAt(path) {
		return nil
	}
	limit := cmp.Or(e.wait, stopWait)
	if len(e.late) > 0 {
		limit = cmp.Or(e.soon, soonAfter)
	}
	return e.within(limit, what, path, f)
}

// within is step with a limit of its own.
func (e *ending) within(limit time.Duration, what, path string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	end := time.NewTimer(limit)
	defer end.Stop()
	select {
	case err := <-done:
		return err
	case <-end.C:
	}
	e.late = append(e.late, path)
	return &givenUp{what, path, limit}
}

// lateAt tells whether something at a path or below it was not done in time.
func (e *ending) lateAt(path string) bool {
	for _, l := range e.late {
		if l == path || strings.HasPrefix(l, path+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// at is the path of something in the data directory.
func (a *Appliance) at(name string) string { return filepath.Join(a.opt.DataDir, name) }

// closed ends a life that ran with an error: see close. Another one begins only where nothing hangs, which would have the files; what went wrong otherwise is logged then.
func (a *Appliance) closed(err error) error {
	bad := a.close()
	if !errors.Is(err, errAgain) {
		return errors.Join(err, bad)
	}
	if len(a.ending.late) > 0 {
		return bad
	}
	if bad != nil {
		a.log.Error("stop", "err", bad)
	}
	return err
}

// close gives back what open took; every part may be missing.
func (a *Appliance) close() error {
	end := &a.ending
	var errs []error
	if a.web != nil {
		errs = append(errs, end.step("that nobody answers there any more", a.at("mailweir.sock"), a.web.Close))
	}
	if a.queues != nil {
		a.queues.Close()
	}
	if a.lane != nil {
		errs = append(errs, a.lane.close())
	}
	errs = append(errs, a.tagged.close())
	if a.bridge != nil {
		errs = append(errs, end.step("how the bridge was set", a.at("bridge.json"), a.bridge.Close))
	}
	if a.observer != nil {
		errs = append(errs, end.step("the share", a.at("share.minutes"), a.observer.series.Abandon))
	}
	if a.syslog != nil {
		errs = append(errs, a.syslog.stop(end, a.at("spool")))
	}
	if a.chain != nil {
		errs = append(errs, end.step("the number of the last record", a.at("records.state"), a.chain.Close))
	}
	errs = append(errs, end.step("the end of the journal", a.at("journal"), a.journal.Abandon))
	if a.store != nil && !end.lateAt(a.opt.DataDir) { // while somebody writes it stays locked
		errs = append(errs, end.step("the store", a.at("mailweir.db"), a.store.Close))
	}
	return errors.Join(errs...)
}

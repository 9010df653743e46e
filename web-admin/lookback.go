package webadmin

import (
	"sync"
	"time"
)

const (
	lookbackEvery = time.Minute
	lookbackWaits = 250 * time.Millisecond // for which a page waits for the disk; what comes later is there for the next one
)

// series is the encrypted share of the last eight days by the hour, and of eight weeks by the day.
type series struct {
	hours, days []SharePoint
	fault       string // why they are not there, or are old
}

// lookback reads series now and then, for all pages together, so that the overview neither reads the disk each second nor hangs when
// that does not answer. One goroutine reads at a time; on a disk that hangs it ends when that answers.
type lookback struct {
	mu   sync.Mutex
	has  series
	at   time.Time     // when it was asked for
	busy chan struct{} // closed when it is there; nil: nobody reads
}

// see is what is known, read anew when it is older than a minute.
func (l *lookback) see(src Reader, now time.Time) series {
	l.mu.Lock()
	if age := now.Sub(l.at); l.busy == nil && (l.at.IsZero() || age < 0 || age >= lookbackEvery) {
		l.at, l.busy = now, make(chan struct{})
		go l.read(src, now)
	}
	busy := l.busy
	l.mu.Unlock()
	if busy != nil {
		late := time.NewTimer(lookbackWaits)
		defer late.Stop()
		select {
		case <-busy:
		case <-late.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	has := l.has
	if l.busy != nil {
		has.fault = "the disk has not answered yet"
	}
	return has
}

func (l *lookback) read(src Reader, now time.Time) {
	var has series
	var err error
	const days = weekDays + 1
	has.hours, _, err = src.Share(ShareQuery{Step: time.Hour, From: now.Add(-days * 24 * time.Hour), To: now, Limit: days*24 + 1})
	if err == nil {
		has.days, _, err = src.Share(ShareQuery{Step: 24 * time.Hour, From: now.Add(-shareDays * 24 * time.Hour), To: now, Limit: shareDays + 1})
	}
	if err != nil {
		has.fault = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.has = has
	close(l.busy)
	l.busy = nil
}

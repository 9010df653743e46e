package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	every    = 500 * time.Millisecond // between two looks
	settle   = 100 * time.Millisecond // dnsmasq's file is read when it was quiet for so long
	patience = time.Second            // after so long without a quiet moment it is read all the same, for new leases only
	restFor  = 4                      // after a look that took d the next comes restFor times d later at the earliest
)

// Options are what a Watcher needs.
type Options struct {
	Path   string
	Format Format
	Handle func(Set) // has every set that differs from the one before; called by Run, one at a time. Nil: nobody wants it
	Log    *slog.Logger
	Now    func() time.Time
}

// Status is how a lease file is doing.
type Status struct {
	Path     string
	Format   Format
	Read     time.Time // when the file last was read; zero: never
	Leases   int       // handed over last
	BadLines int       // of the present file, not understood
	FirstBad string    // FILE:LINE: what is wrong with the first of them
	Refused  int       // leases beyond MaxLeases
	Problem  string    // why the set may be out of date; empty: it is not
}

// Watcher follows one lease file. It belongs to whoever calls Run; Status is for everybody.
type Watcher struct {
	o Options

	mu     sync.Mutex
	status Status

	// Of Run alone.
	table   *table    // nil: nothing was read yet
	read    []file    // as they were when read
	sources []*source // those files
	seen    []file    // as the last look found them, when that was not what was read
	since   time.Time // when an unread change was first seen; zero: there is none
	missed  bool      // the last look found no file
	empty   bool      // the file has no lease any more, and table is what it had before
}

// New makes a watcher that has not looked yet.
func New(o Options) *Watcher {
	return &Watcher{o: o, status: Status{Path: o.Path, Format: o.Format}}
}

// Run looks until ctx ends. It uses a fifth of one processor at most, however large the file. A change is handed over within
// every + settle and the time that reading takes, when the machine is not busy.
func (w *Watcher) Run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		began := w.o.Now()
		wait := w.look(began)
		next.Reset(max(wait, restFor*w.o.Now().Sub(began)))
	}
}

// Status tells how the file is doing; FirstBad and Problem are one sentence each.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// look does one round and says how long to wait for the next.
func (w *Watcher) look(now time.Time) (wait time.Duration) {
	files, err := find(w.o.Format, w.o.Path)
	switch {
	case err == nil:
		w.missed = false
		wait, err = w.follow(files, now)
		w.say(err)
	case !w.missed && w.table != nil: // Kea renames its file before it makes a new one
		w.missed, wait = true, settle
	default:
		w.settled()
		w.say(err)
		wait = every
	}
	w.hand(now)
	return wait
}

// hand gives the set away when it is another one than the last.
func (w *Watcher) hand(now time.Time) {
	if w.table == nil {
		return
	}
	w.table.pass(now.Unix())
	if !w.table.dirty {
		return
	}
	set := Set{Path: w.o.Path, Leases: w.table.set()}
	if w.o.Handle != nil {
		w.o.Handle(set)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Leases = len(set.Leases)
}

// follow reads what is new. The error is what keeps the set from being up to date; nil also when the next look will do it.
func (w *Watcher) follow(files []file, now time.Time) (wait time.Duration, err error) {
	if same(files, w.read) {
		w.settled()
		return every, w.unfinished()
	}
	if last := len(files) - 1; w.o.Format == KeaCSV && grown(files, w.read) && !w.empty {
		w.table.pass(now.Unix())
		if err := w.sources[last].more(files[last], w.table); !errors.Is(err, errMoved) {
			if err != nil {
				return every, fmt.Errorf("%s: %w", w.o.Path, err)
			}
			w.took(files, w.sources, now)
			return every, nil
		}
	}
	if w.since.IsZero() {
		w.since = now
	}
	quiet := same(files, w.seen) || w.o.Format == KeaCSV
	w.seen = files
	if !quiet {
		if now.Sub(w.since) < patience {
			return settle, nil
		}
		w.since = now
		return settle, w.add(files, now)
	}
	t, sources, err := w.load(files, now)
	switch {
	case errors.Is(err, errMoved) && now.Sub(w.since) < 10*patience:
		return settle, nil
	case errors.Is(err, errMoved):
		return settle, fmt.Errorf("%s: changes faster than it can be read", w.o.Path)
	case err != nil:
		return every, err
	}
	w.settled()
	w.replace(t)
	w.took(files, sources, now)
	return every, w.hollow()
}

// load reads files into a new table. With errMoved the table has what could be read.
func (w *Watcher) load(files []file, now time.Time) (*table, []*source, error) {
	t := newTable(now.Unix())
	var sources []*source
	for _, f := range files {
		s := open(w.o.Format, f)
		if err := s.more(f, t); err != nil {
			if !errors.Is(err, errMoved) {
				err = fmt.Errorf("%s: %w", f.name, err)
			}
			return t, nil, err
		}
		sources = append(sources, s)
	}
	after, err := find(w.o.Format, w.o.Path)
	if err != nil || !(same(after, files) || w.o.Format == KeaCSV && grown(after, files)) {
		return t, nil, errMoved
	}
	return t, sources, nil
}

// add takes over the leases of a file that is always being written, whatever of it can be read. What it has no longer may
// just not be there yet, so that stays; an address that got another holder is in some line, and that counts.
func (w *Watcher) add(files []file, now time.Time) error {
	t, _, err := w.load(files, now)
	if err != nil && !errors.Is(err, errMoved) {
		return err
	}
	if w.table == nil {
		w.table = newTable(now.Unix())
	}
	w.table.pass(now.Unix())
	w.table.merge(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Read = now
	return nil
}

// replace makes t the table, unless it has nothing while there was something: a server whose leases all ended at once has
// more likely lost its file. Then they end one by one at their own time.
func (w *Watcher) replace(t *table) {
	if w.table != nil {
		w.table.pass(t.now)
		if w.empty = len(t.at) == 0 && w.table.live() > 0; w.empty {
			return
		}
		t.dirty = w.table.dirty || !t.equal(w.table)
	}
	w.table = t
}

func (w *Watcher) settled() { w.seen, w.since = nil, time.Time{} }

// took notes what was read.
func (w *Watcher) took(files []file, sources []*source, now time.Time) {
	w.read, w.sources = files, sources
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Read, w.status.Refused = now, w.table.refused
	w.status.BadLines, w.status.FirstBad = 0, ""
	for _, s := range sources {
		w.status.BadLines += s.bad
		if w.status.FirstBad == "" {
			w.status.FirstBad = s.first
		}
	}
}

// hollow is the error of a file without any lease.
func (w *Watcher) hollow() error {
	if w.empty {
		return fmt.Errorf("%s: has no lease any more", w.o.Path)
	}
	return nil
}

// unfinished is hollow for a file that has not changed since: then its last line is not being written either.
func (w *Watcher) unfinished() error {
	if s := w.sources[len(w.sources)-1]; s.broken {
		return fmt.Errorf("%s:%d: the last line has no end and is not read", s.file, s.lines+1)
	}
	return w.hollow()
}

// say keeps the present problem for Status, and logs when it is another one than before.
func (w *Watcher) say(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
		if w.table != nil {
			problem += "; the leases known before are kept until they end"
		}
	}
	w.mu.Lock()
	was := w.status.Problem
	w.status.Problem = problem
	w.mu.Unlock()
	switch {
	case problem == was:
	case problem == "":
		w.o.Log.Info("lease file is read again", "path", w.o.Path)
	default:
		w.o.Log.Warn("lease file is not read", "path", w.o.Path, "reason", problem)
	}
}

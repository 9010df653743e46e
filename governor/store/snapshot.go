package store

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/mailweir/mailweir/governor"
)

// syncEvery is how many bytes of a snapshot are written between two waits for the disk, so that none of them is long and
// a Save meanwhile does not wait for all that the snapshot has written.
const syncEvery = 512 << 10

// shrinkBy is how many bytes of a needless file are freed at once.
const shrinkBy = 4 << 20

// Snapshot is a snapshot that is being written. It is not safe for concurrent use, but Save may go on meanwhile.
type Snapshot struct {
	b      *budgets
	f      file // nil: it is over
	part   part
	at     int64
	synced int64
	state  governor.SavedState
	enc    framer
}

// begin begins a new log, unless the one before has had no snapshot yet, and the snapshot that bears its number.
func (b *budgets) begin() (*Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, fs.ErrClosed
	case b.running:
		return nil, errors.New("a snapshot is being written already")
	}
	if !b.waiting && (b.log.there || b.log.number == b.newest) {
		if err := b.log.finish(b.disk); err != nil {
			return nil, err
		}
		b.log = logFile{part: part{number: b.log.number + 1, salt: newSalt()}}
		b.begun = 0
	}
	b.waiting = true
	if err := b.sweep(); err != nil {
		return nil, err
	}
	w := &Snapshot{b: b, part: part{snapshot: true, number: b.log.number, salt: newSalt()}}
	f, err := b.disk.create(w.part.name() + beingWritten)
	if err != nil {
		return nil, err
	}
	w.f, b.running = f, true
	return w, nil
}

// Write adds some subscribers. After an error the snapshot is of no use: Abort it.
func (w *Snapshot) Write(some []governor.Saved, st governor.SavedState) error {
	w.state = st
	return w.enc.encode(w.part.salt, st, some, w.write)
}

func (w *Snapshot) write(p []byte) error {
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	w.b.written.Add(int64(n))
	if err == nil && w.at-w.synced >= syncEvery {
		err = w.f.Sync()
		w.synced = w.at
	}
	return err
}

// Commit makes the snapshot the one that counts, and then deletes the files that it makes needless. After an error the
// files before it count as they did, or the new one does; Abort does what is left to do.
func (w *Snapshot) Commit() error {
	if err := w.write(w.enc.end(w.part.salt, w.state)); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	err := w.f.Close()
	w.f = nil
	if err != nil {
		return errors.Join(err, w.abort())
	}
	d := w.b.disk
	if err := d.rename(w.part.name()+beingWritten, w.part.name()); err != nil {
		return errors.Join(err, w.abort())
	}
	if err := d.sync(); err != nil {
		w.b.over(nil)
		return err
	}
	w.b.over(w)
	return w.b.tidy(w.part)
}

// Abort gives up a snapshot; after Commit it does nothing.
func (w *Snapshot) Abort() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return errors.Join(err, w.abort())
}

func (w *Snapshot) abort() error {
	defer w.b.over(nil)
	return w.b.sweep()
}

// over ends a snapshot; w is nil if it came to nothing.
func (b *budgets) over(w *Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = false
	if w != nil {
		b.newest, b.snapshot, b.behind = w.part.number, w.at, b.begun
		b.damaged, b.waiting = false, false
	}
}

// tidy deletes what kept makes needless. Older snapshots lose their names first, and for sure: one without all the logs
// behind it would give a state that never was.
func (b *budgets) tidy(kept part) error {
	err := b.discard(func(p part) bool { return p.snapshot && p != kept && p.number <= kept.number })
	if err == nil {
		err = b.discard(func(p part) bool { return !p.snapshot && p.number < kept.number })
	}
	return errors.Join(err, b.sweep())
}

// discard renames what is needless so that it counts no more.
func (b *budgets) discard(needless func(part) bool) error {
	names, err := b.disk.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if p, ok := parsePart(name); ok && needless(p) {
			err = errors.Join(err, b.disk.rename(name, name+needlessNow))
		}
	}
	return errors.Join(err, b.disk.sync())
}

// sweep deletes what does not count, also what an earlier life has left: discarded parts, and snapshots that were never
// finished. A file goes piece by piece, because a file system that frees a large one at once lets every Save wait.
func (b *budgets) sweep() error {
	names, err := b.disk.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		of, unfinished := strings.CutSuffix(name, beingWritten)
		of, discarded := strings.CutSuffix(of, needlessNow)
		if _, ok := parsePart(of); ok && unfinished != discarded {
			err = errors.Join(err, b.shrink(name), b.disk.remove(name))
		}
	}
	return err
}

func (b *budgets) shrink(name string) (err error) {
	f, err := b.disk.open(name, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	for size > shrinkBy && err == nil {
		size -= shrinkBy
		if err = f.Truncate(size); err == nil {
			err = f.Sync()
		}
	}
	return err
}

package store

import "errors"

// logFile is the log that grows. Every append is on the disk before the next one begins; what could not be written
// whole is cut off before the next one, so that a log has no damage but what a power cut left at its end.
type logFile struct {
	part
	f     file // nil: not opened yet
	there bool // the file exists
	named bool // and its name is sure to outlive a power cut
	good  int64
	more  bool // there may be something behind good
}

// append writes what fill gives, in pieces, behind the good part, and waits for the disk. It returns by how much the
// log has grown: nothing after an error.
func (l *logFile) append(b *budgets, fill func(write func([]byte) error) error) (grown int64, err error) {
	if err := l.ready(b.disk); err != nil {
		return 0, err
	}
	at := l.good
	l.more = true
	err = fill(func(p []byte) error {
		n, err := l.f.WriteAt(p, at)
		at += int64(n)
		b.written.Add(int64(n))
		return err
	})
	if err == nil {
		err = l.f.Sync()
	}
	if err == nil && !l.named {
		if err = b.disk.sync(); err == nil {
			l.named = true
		}
	}
	if err != nil {
		return 0, errors.Join(err, l.cut())
	}
	grown, l.good, l.more = at-l.good, at, false
	return grown, nil
}

// ready opens the file, or makes it, and cuts off what is not good.
func (l *logFile) ready(d disk) (err error) {
	if l.f == nil {
		if l.there {
			if l.f, err = d.open(l.name(), true); err != nil {
				return err
			}
			l.more = true // what was there behind the good part when it was opened
		} else {
			if l.f, err = d.create(l.name()); err != nil {
				return err
			}
			l.there = true
		}
	}
	return l.cut()
}

func (l *logFile) cut() error {
	if !l.more {
		return nil
	}
	err := l.f.Truncate(l.good)
	l.more = err != nil
	return err
}

// finish cuts off for good what is not good, so that a log that others follow has no torn end, and closes it.
func (l *logFile) finish(d disk) error {
	if !l.there {
		return nil
	}
	if err := l.ready(d); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	return l.close()
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	err := errors.Join(l.cut(), l.f.Close())
	l.f = nil
	return err
}

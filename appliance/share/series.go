package share

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

const (
	maxPending = 1500   // minutes that wait for the disk: a day
	maxLooks   = 20_000 // places that one call of Points reads
	syncEvery  = 5 * time.Minute
)

var files = [steps]string{Minute: "share.minutes", Hour: "share.hours", Day: "share.days"}

// Series is safe for concurrent use. Add needs no disk; every other method may wait for it.
type Series struct {
	dir string

	disk   sync.Mutex // one writer or reader of the files; taken before mu
	rings  [steps]*ring
	keep   time.Duration
	synced time.Time

	mu      sync.Mutex      // guards all below, never held over the disk
	pending map[int64]Count // by minute, what is not in the files yet
	sum     Count           // of all since Open
	lost    uint64          // sessions for which there was no room in it
	written uint64          // bytes
}

// Open opens the files in dir, or makes them. aside names one that was damaged and has been put aside. The series is of use
// also beside an error: it counts, and whatever needs the files tries to open them again.
func Open(dir string, retention time.Duration, now time.Time) (s *Series, aside []string, err error) {
	s = &Series{dir: dir, pending: map[int64]Count{}, synced: now}
	if aside, err = s.open(retention, now); err == nil {
		err = s.mend(now)
	}
	return s, aside, err
}

func (s *Series) open(retention time.Duration, now time.Time) (all []string, err error) {
	s.keep = retention
	for step := range steps {
		r, aside, err := openRing(filepath.Join(s.dir, files[step]), step, retention, now)
		if err != nil {
			return all, errors.Join(fmt.Errorf("series of the encrypted share: %w", err), s.close())
		}
		if aside != "" {
			all = append(all, aside)
		}
		s.rings[step] = r
	}
	return all, nil
}

// Use keeps everything for another time from now on.
func (s *Series) Use(retention time.Duration, now time.Time) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if retention == s.keep {
		return nil
	}
	err := s.close()
	_, more := s.open(retention, now)
	return errors.Join(err, more)
}

// there opens the files if they are not. The caller holds s.disk.
func (s *Series) there(now time.Time) error {
	if s.rings[Minute] != nil {
		return nil
	}
	_, err := s.open(s.keep, now)
	return err
}

// mend makes the hour and the day that run as large as the minutes in them, of which a power cut may have left more.
func (s *Series) mend(now time.Time) error {
	for step := Hour; step <= Day; step++ {
		begin, finer := step.begin(now), step-1
		var sum Count
		for at := begin; at < begin+int64(step.Length()/time.Second); at += int64(finer.Length() / time.Second) {
			c, err := s.rings[finer].get(at)
			if err != nil {
				return err
			}
			sum.add(c)
		}
		c, err := s.rings[step].get(begin)
		if err != nil {
			return err
		}
		if sum.total() > c.total() {
			if err := s.rings[step].put(begin, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c Count) total() (n uint64) {
	for _, k := range c.Sessions {
		n += k
	}
	return n
}

// Add counts a session that ended at now.
func (s *Series) Add(k Kind, bytes int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begin := Minute.begin(now)
	s.sum.Sessions[k]++
	s.sum.Bytes[k] += uint64(max(bytes, 0))
	c, there := s.pending[begin]
	if !there && len(s.pending) >= maxPending {
		s.lost++
		return
	}
	c.Sessions[k]++
	c.Bytes[k] += uint64(max(bytes, 0))
	s.pending[begin] = c
}

// Flush writes the minutes that are over. It is to be called about once a minute.
func (s *Series) Flush(now time.Time) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := s.there(now); err != nil {
		return err
	}
	if err := s.flush(Minute.begin(now)); err != nil {
		return err
	}
	if passed := now.Sub(s.synced); passed >= 0 && passed < syncEvery {
		return nil
	}
	s.synced = now
	return s.sync()
}

// flush writes all minutes but the one that runs. The caller holds s.disk.
func (s *Series) flush(running int64) error {
	s.mu.Lock()
	var todo []int64
	for begin := range s.pending {
		if begin != running {
			todo = append(todo, begin)
		}
	}
	s.mu.Unlock()
	for _, begin := range todo {
		s.mu.Lock()
		c := s.pending[begin]
		delete(s.pending, begin)
		s.mu.Unlock()
		if err := s.write(begin, c); err != nil {
			return err
		}
	}
	return nil
}

// write adds a minute to the files; what is not in all of them stays to be tried again.
func (s *Series) write(begin int64, c Count) error {
	at := time.Unix(begin, 0)
	var before [steps]Count
	for step := range steps {
		var err error
		if before[step], err = s.rings[step].get(step.begin(at)); err != nil {
			s.back(begin, c)
			return err
		}
	}
	for step := range steps {
		sum := before[step]
		sum.add(c)
		if err := s.rings[step].put(step.begin(at), sum); err != nil {
			for undo := range step { // so that it is not added twice
				err = errors.Join(err, s.rings[undo].put(undo.begin(at), before[undo]))
			}
			s.back(begin, c)
			return err
		}
	}
	s.mu.Lock()
	s.written += uint64(steps) * place
	s.mu.Unlock()
	return nil
}

func (s *Series) back(begin int64, c Count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.add(s.pending[begin])
	s.pending[begin] = c
}

func (s *Series) sync() (err error) {
	for _, r := range s.rings {
		err = errors.Join(err, r.f.Sync())
	}
	return err
}

// Close writes everything and closes the files.
func (s *Series) Close() error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if s.rings[Minute] == nil {
		return nil
	}
	const none = -1 << 62
	err := s.flush(none)
	return errors.Join(err, s.sync(), s.close())
}

// Abandon closes the files as a power cut does.
func (s *Series) Abandon() error {
	s.disk.Lock()
	defer s.disk.Unlock()
	return s.close()
}

func (s *Series) close() (err error) {
	for i, r := range s.rings {
		if r != nil {
			err = errors.Join(err, r.f.Close())
		}
		s.rings[i] = nil
	}
	return err
}

// Sum is everything that was added since Open.
func (s *Series) Sum() Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

// Lost is how many sessions were not counted, because the disk did not take what waited.
func (s *Series) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Written is how many bytes were written since Open.
func (s *Series) Written() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// Points are the steps in [from, to) that had a session, oldest first, at most so many; what is older than the retention
// is not there. more is the begin of the step after the last one that was looked at; zero when that was all.
func (s *Series) Points(step Step, from, to time.Time, most int, now time.Time) (points []Point, more time.Time, err error) {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := s.there(now); err != nil {
		return nil, time.Time{}, err
	}
	if oldest := now.Add(-s.keep); from.Before(oldest) {
		from = oldest
	}
	if end := now.Add(step.Length()); to.After(end) {
		to = end
	}
	length := int64(step.Length() / time.Second)
	for begin, looked := step.begin(from), 0; begin < to.Unix(); begin, looked = begin+length, looked+1 {
		if len(points) == most || looked == maxLooks {
			return points, time.Unix(begin, 0).UTC(), nil
		}
		c, err := s.now(step, begin)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("series of the encrypted share: %w", err)
		}
		if c.total() > 0 {
			points = append(points, Point{time.Unix(begin, 0).UTC(), c})
		}
	}
	return points, time.Time{}, nil
}

// now is a step with what is not in the files yet. The caller holds s.disk.
func (s *Series) now(step Step, begin int64) (Count, error) {
	c, err := s.rings[step].get(begin)
	if err != nil {
		return c, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if step == Minute {
		c.add(s.pending[begin])
		return c, nil
	}
	for minute, d := range s.pending {
		if step.begin(time.Unix(minute, 0)) == begin {
			c.add(d)
		}
	}
	return c, nil
}

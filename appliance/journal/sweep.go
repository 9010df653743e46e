package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
)

// ahead is how much before its time a row may go at most, beside the span of its file: Sweep comes once a minute.
const ahead = 90 * time.Second

// disorder is how much older than the rows before it a row may be, in milliseconds, since some are written a while after they came about.
const disorder = 60_000

// due says which rows of a file go: the sessions and the others that are older, Unix milliseconds.
type due struct {
	sessions, others int64
	now, latest      int64 // a row that is stamped later than now is of latest at the latest: see writtenBy
	why              Why
}

func (d *due) goes(r *row) bool {
	if r.session {
		return d.at(r.ms) < d.sessions
	}
	return d.at(r.ms) < d.others
}

func (d *due) at(ms int64) int64 {
	if ms > d.now {
		return d.latest
	}
	return ms
}

// writtenBy is when file i of a family had been written, Unix milliseconds, whatever its rows say, which a clock that was ahead stamped: what
// was written behind them by a clock that was right is younger than they are. It is known as long as they are stamped later than now, and no file keeps it: behind that their time
// counts from their stamps, up to one retention longer.
func writtenBy(all []*segment, i int, now int64) int64 {
	by := now
	if all[i].sum.Newest <= now {
		return by
	}
	var before int64 // a clock that is back in 1970 is not right either
	for _, s := range all[:i] {
		if s.sum.Newest <= now {
			before = max(before, s.sum.Newest)
		}
	}
	for _, s := range all[i+1:] {
		if oldest := s.sum.Oldest; oldest > 0 && oldest+disorder >= before && oldest < by {
			by = oldest
		}
	}
	return by
}

// everything is due.
var everything = due{sessions: 1 << 62, others: 1 << 62, now: 1 << 62, why: Bounded}

// tidy deletes what is beyond its time at now, and then what is beyond the bound.
func (j *Journal) tidy(now time.Time) {
	j.flush() // what waits is older than now
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	b := j.bounds
	j.began = time.Now()
	j.mu.Unlock()
	j.learn()
	j.ended(errors.Join(j.expire(now, b), j.expireAside(now, b), j.bound(b)))
}

// expire writes every file anew that has something beyond its time, once for all that it will be of one retention. One that this cannot be done with keeps no other.
func (j *Journal) expire(now time.Time, b Bounds) (failed error) {
	cut := due{sessions: now.Add(ahead - b.Sessions).UnixMilli(), others: now.Add(ahead - b.Records).UnixMilli(), now: now.UnixMilli(), why: Expired}
	again, span := j.again, b.span().Milliseconds()
	for i := len(j.records) - 1; i >= 0; i-- { // from the end: one may go
		s := j.records[i]
		cut.latest = writtenBy(j.records, i, cut.now)
		sessions, others := s.sum.Sessions > 0 && cut.at(s.sum.OldestSession) < cut.sessions, s.sum.Others > 0 && cut.at(s.sum.OldestOther) < cut.others
		if !sessions && !others && !(again && s.sum.Held > 0) {
			continue
		}
		d := cut
		if sessions {
			d.sessions += span
		}
		if others {
			d.others += span
		}
		failed = errors.Join(failed, j.shrink(i, d))
	}
	j.again = failed != nil
	for i := 0; i < len(j.inputs); {
		s := j.inputs[i]
		cut.latest = writtenBy(j.inputs, i, cut.now)
		if s.sum.Sessions > 0 && cut.at(s.sum.OldestSession) < cut.sessions {
			err := j.remove(&j.inputs, i)
			if err == nil {
				continue
			}
			failed = errors.Join(failed, err)
		}
		i++
	}
	return errors.Join(failed, j.behead(cut))
}

// errNoRoom is that nothing may go to make room.
var errNoRoom = errors.New("the disk has no room for more of the journal beside what others need, and nothing may go, since it is not known what is held")

// bound deletes the oldest until all fits into the bound, or into what the disk has left, and what is held is all there is. While it is not known what is held the disk is the only
// bound, and there is none for records that may be of a case.
func (j *Journal) bound(b Bounds) error {
	most, disk, err := j.most(b)
	if err != nil {
		return err
	}
	all := func() int64 { return b.segment() + j.size() } // with what the next file will take
	if all() <= most {
		return nil
	}
	var failed error // with what could not be written anew
	holds := j.holdsNow()
	for i := 0; all() > most; {
		for i < len(j.records)-1 && j.records[i].sum.Sessions+j.records[i].sum.Others == 0 { // nothing more to be had there
			i++
		}
		free := slices.IndexFunc(j.aside, func(s *segment) bool { return s.family != holdsFile && !holds.mayHold(s) })
		switch records := i < len(j.records)-1; {
		case free >= 0:
			if err := j.remove(&j.aside, free); err != nil {
				return err
			}
		case len(j.inputs) > 1 && (!records || j.inputs[0].sum.Newest <= j.records[i].sum.Newest):
			if err := j.remove(&j.inputs, 0); err != nil {
				return err
			}
		case records:
			if err := j.shrink(i, everything); err != nil {
				failed = errors.Join(failed, err)
				i++
			}
		case holds.unknown != "" && all() > disk:
			return errNoRoom
		default: // what is held, and what is written to now
			return errors.Join(failed, j.behead(everything))
		}
	}
	return j.behead(everything)
}

// remove removes a file.
func (j *Journal) remove(of *[]*segment, i int) error {
	s := (*of)[i]
	if s.f != nil {
		if err := s.f.Close(); err != nil {
			return err
		}
		s.f = nil
	}
	if err := os.RemoveAll(s.path); err != nil { // also where it is none of ours
		return err
	}
	*of = slices.Delete(*of, i, i+1)
	return nil
}

// most is how large the journal may be, and how large where only the disk counts: no larger than would take the last of that, which the budgets need.
func (j *Journal) most(b Bounds) (bound, disk int64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(j.opt.Dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("space left at %s: %w", j.opt.Dir, err)
	}
	size := int64(fs.Bsize)
	reserve := min(int64(fs.Blocks)*size/10, 64<<20)
	least, disk := 2*b.segment(), j.size()+int64(fs.Bavail)*size-reserve
	return max(least, min(b.Bytes, disk)), max(least, disk), nil
}

// size is that of all files.
func (j *Journal) size() (all int64) {
	for _, s := range j.all() {
		all += s.size
	}
	return all
}

// behead removes the first files as long as they hold nothing but stubs of what is due, and writes down up to where the journal then forgot everything.
func (j *Journal) behead(d due) error {
	n := 0
	for n < len(j.records)-1 || n == len(j.records)-1 && j.records[n].f == nil {
		s := j.records[n]
		d.latest = writtenBy(j.records, n, d.now)
		if s.sum.rows() > 0 || d.at(s.sum.Newest) >= d.others {
			break
		}
		n++
	}
	if n == 0 {
		return nil
	}
	if err := j.forgotten(j.records[:n]); err != nil {
		return err
	}
	for range n {
		if err := j.remove(&j.records, 0); err != nil {
			return err
		}
	}
	return nil
}

// shrink writes file i anew without what is due and not held. Its rows become stubs, those beside each other one.
func (j *Journal) shrink(i int, d due) error {
	s := j.records[i]
	if s.f != nil {
		if err := s.seal(); err != nil {
			return fmt.Errorf("complete %s: %w", s.path, err)
		}
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return j.without(&j.records, i, cannotRead(err))
	}
	w := shrunk{out: appendFrame(nil, []byte(magic+s.family+"\n")), holds: j.holdsNow(), due: d}
	found, _, _ := s.sift(data, w.take, nil) // of what is damaged it cannot be told whether it is due: it goes
	j.noteDamage(found)
	w.flush()
	end, err := ending(&w.sum)
	if err != nil {
		return err
	}
	w.out = append(w.out, end...)
	if err := durable.Replace(s.path, w.out); err != nil {
		return fmt.Errorf("write %s anew: %w", s.path, err)
	}
	s.sum, s.size, s.dirty = w.sum, int64(len(w.out)), false
	j.wrote(len(w.out))
	return s.dated()
}

// shrunk is a file that is being written anew.
type shrunk struct {
	out   []byte
	sum   summary
	stub  *Stub // not written yet: the next may join it
	holds held
	due   due
}

// take takes a payload over, or what is left of it.
func (w *shrunk) take(payload []byte) {
	r, stub, err := decodeRow(payload)
	if err != nil {
		return
	}
	if stub == nil {
		due := w.due.goes(&r)
		held := due && w.held(&r)
		if !due || held {
			w.flush()
			w.sum.counted(&r, nil, held)
			w.out = appendFrame(w.out, payload)
			return
		}
		rec, err := r.record()
		if err != nil {
			return
		}
		left := stubOf(&rec, w.due.why)
		stub = &left
	}
	if w.stub != nil && w.stub.joins(stub) {
		w.stub.join(stub)
		return
	}
	w.flush()
	w.stub = stub
}

func (w *shrunk) flush() {
	if w.stub == nil {
		return
	}
	w.sum.counted(nil, w.stub, false)
	w.out = appendFrame(w.out, appendStub(nil, w.stub))
	w.stub = nil
}

// held tells whether somebody holds r, or may do so.
func (w *shrunk) held(r *row) bool {
	if w.holds.unknown != "" {
		return mayBeOfACase(r)
	}
	var rec *records.Record
	for i := range w.holds.all {
		if !w.holds.all[i].mayHold(r) {
			continue
		}
		if rec == nil {
			one, err := r.record()
			if err != nil {
				return false
			}
			rec = &one
		}
		if w.holds.all[i].holds(rec) {
			return true
		}
	}
	return false
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
)

const (
	flushEvery = 250 * time.Millisecond // what a crash may cost
	syncEvery  = 10 * time.Second       // what a power cut may cost
	maxWaiting = 8192                   // records that wait to be written; over it the newest are lost, and counted

	spans      = 64 // files in the shortest retention
	minSpan    = 10 * time.Second
	maxSpan    = 6 * time.Hour
	maxSegment = 8 << 20
	minSegment = 64 << 10
)

// Bounds are how long and how much is kept.
type Bounds struct {
	Sessions time.Duration // SESSION records, and inputs of the governor
	Records  time.Duration // all other records
	Bytes    int64         // of all files together
}

// span is how much time a file covers.
func (b Bounds) span() time.Duration {
	return max(minSpan, min(maxSpan, min(b.Sessions, b.Records)/spans))
}

// segment is how large a file becomes.
func (b Bounds) segment() int64 { return max(minSegment, min(maxSegment, b.Bytes/32)) }

// Options say where a journal is and how it is kept.
type Options struct {
	Dir    string
	Bounds Bounds
}

// Journal writes. Add never waits for the disk; whoever calls Run writes, and has to call Close when it has returned. To a nil
// Journal, where there could be none, everything but a hold may be said; it keeps nothing.
type Journal struct {
	opt  Options
	held atomic.Pointer[held]

	mu       sync.Mutex // never held over the disk; guards all down to the next mutex
	waiting  []item
	gap      *Stub // records lost since the last one in waiting
	lost     uint64
	trouble  error
	failed   uint64
	began    time.Time // when what is written now was begun; zero: nothing is
	bytes    int64     // of all files
	written  int64     // since Open
	since    int64     // the oldest thing there is, Unix milliseconds; 0: nothing
	bounds   Bounds
	heldRows int
	found    []Damage // that Damaged has not given yet

	disk    sync.Mutex // one writer at a time; guards all below
	records []*segment // in order; only the last may be open
	inputs  []*segment // the same
	aside   []*segment // that could not be read
	frames  []inputFrame
	again   bool // holds changed: files that hold something beyond its time are looked at again
	batch   []item
	buf     []byte
	synced  time.Time

	tape tape

	sweep chan time.Time // holds one
	wake  chan struct{}  // holds one
}

// item is a record to be written, or what is left of some.
type item struct {
	record records.Record
	stub   *Stub
}

// Open opens the journal of a directory, or makes it. It gives what could not be read: what is whole behind it is kept. What is held may be not known then, see Holds.
func Open(opt Options) (j *Journal, found []Damage, err error) {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	j = &Journal{opt: opt, bounds: opt.Bounds, sweep: make(chan time.Time, 1), wake: make(chan struct{}, 1), again: true}
	holds, bad := readHolds(opt.Dir)
	left, err := filepath.Glob(filepath.Join(opt.Dir, "*"+durable.Suffix))
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for _, path := range left { // of a replacement that was not finished
		if err := os.Remove(path); err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
	}
	if j.records, err = segmentsIn(opt.Dir, recordsFamily); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	if j.inputs, err = segmentsIn(opt.Dir, inputsFamily); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for _, of := range []*[]*segment{&j.records, &j.inputs} {
		here, err := j.recoverAll(of)
		if found = append(found, here...); err != nil {
			return nil, found, fmt.Errorf("journal: %w", err)
		}
	}
	j.around(found)
	if err := j.lookAside(); err != nil {
		return nil, found, fmt.Errorf("journal: %w", err)
	}
	switch {
	case bad != nil:
		holds = setHoldsAside(opt.Dir, bad, nil)
	case there(filepath.Join(opt.Dir, holdsFile)):
		if err := enough(markHolds(opt.Dir)); err != nil { // an earlier version did not
			return nil, found, fmt.Errorf("journal: %w", err)
		}
	case holds.unknown == "" && j.keepsMore():
		holds.unknown = fmt.Sprintf("there is no %s, and there are records beyond their time, which only a hold keeps", filepath.Join(opt.Dir, holdsFile))
	}
	j.held.Store(&holds)
	j.note()
	return j, found, nil
}

// keepsMore tells whether there is something beyond its time.
func (j *Journal) keepsMore() bool {
	return slices.ContainsFunc(j.records, func(s *segment) bool { return s.sum.Held > 0 })
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// all are the files of both families, and what was set aside of them.
func (j *Journal) all() []*segment { return slices.Concat(j.records, j.inputs, j.aside) }

// Add takes a record. It never blocks and is called in the order of seq.
func (j *Journal) Add(r records.Record) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.waiting) >= maxWaiting {
		s := stubOf(&r, Lost)
		if j.gap == nil {
			j.gap = &s
		} else if j.gap.joins(&s) {
			j.gap.join(&s)
		} else { // numbers began anew meanwhile
			j.waiting, j.gap = append(j.waiting, item{stub: j.gap}), &s
		}
		j.lost++
		return
	}
	if j.gap != nil {
		j.waiting, j.gap = append(j.waiting, item{stub: j.gap}), nil
	}
	if j.waiting = append(j.waiting, item{record: r}); len(j.waiting) == maxWaiting/8 {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// Use changes the bounds; what is beyond them goes with the next Sweep.
func (j *Journal) Use(b Bounds) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bounds = b
}

// Sweep has Run delete what is beyond its time at now. It does not wait for that.
func (j *Journal) Sweep(now time.Time) {
	if j == nil {
		return
	}
	select {
	case <-j.sweep: // one that is not done yet: this one takes more away
	default:
	}
	select {
	case j.sweep <- now:
	default: // somebody else's
	}
}

// Run writes until ctx ends, then what still waits, takes away what a Sweep before that was for, and returns nil: Status tells of trouble.
func (j *Journal) Run(ctx context.Context) error {
	if j == nil {
		return nil
	}
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			j.flush()
			select {
			case now := <-j.sweep:
				j.tidy(now)
			default:
			}
			return nil
		case now := <-j.sweep:
			j.tidy(now)
			continue
		case <-j.wake:
		case <-t.C:
		}
		j.flush()
	}
}

// flush writes what waits. What cannot be written waits on.
func (j *Journal) flush() {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	fresh := j.waiting
	if j.gap != nil {
		fresh = append(fresh, item{stub: j.gap})
	}
	j.waiting, j.gap = nil, nil
	if len(fresh) > 0 {
		j.began = time.Now()
	}
	b := j.bounds
	j.mu.Unlock()
	j.batch = append(j.batch, fresh...)
	// What the governor was told comes first, and is taken last: so there is no record of a decision whose inputs are missing.
	n, err := 0, j.writeInputs(b)
	if err == nil {
		n, err = j.writeAll(b)
	}
	j.batch = append(j.batch[:0], j.batch[n:]...)
	if err == nil && time.Since(j.synced) >= syncEvery {
		err = j.syncAll()
	}
	j.ended(err)
}

// ended notes how writing went. What is still to be written waits again, before what came meanwhile.
func (j *Journal) ended(err error) {
	j.note()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.began, j.trouble = time.Time{}, err
	if err != nil {
		j.failed++
	}
	if len(j.batch) > 0 {
		j.waiting = append(append([]item(nil), j.batch...), j.waiting...)
		j.batch = j.batch[:0]
	}
}

// note brings what Status says up to date. The caller holds j.disk.
func (j *Journal) note() {
	var bytes, since int64
	held := 0
	for _, s := range j.all() {
		bytes += s.size
		held += s.sum.Held
		if oldest := s.sum.oldestRow(); oldest > 0 && (since == 0 || oldest < since) {
			since = oldest
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bytes, j.since, j.heldRows = bytes, since, held
}

// writeAll writes the batch, and gives how many of it.
func (j *Journal) writeAll(b Bounds) (done int, err error) {
	for done < len(j.batch) {
		s, err := j.current(&j.records, recordsFamily, j.batch[done].ms(), b, false)
		if err != nil {
			return done, err
		}
		j.buf = j.buf[:0]
		sum, n := s.sum, 0
		for _, it := range j.batch[done:] {
			if n > 0 && sum.full(s.size+int64(len(j.buf)), it.ms(), b) {
				break
			}
			j.buf = it.append(j.buf, &sum)
			n++
		}
		if err := s.write(j.buf); err != nil {
			return done, fmt.Errorf("write %s: %w", s.path, err)
		}
		s.sum = sum
		j.wrote(len(j.buf))
		done += n
	}
	return done, nil
}

func (j *Journal) wrote(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written += int64(n)
}

// append writes the item as a frame and counts it.
func (it *item) append(b []byte, sum *summary) []byte {
	var payload []byte
	var r row
	if it.stub != nil {
		payload = appendStub(nil, it.stub)
	} else {
		payload = appendRecord(make([]byte, 0, len(it.record.Canonical())+len(it.record.Text)+32), &it.record)
		r = row{seq: it.record.Seq, ms: it.record.Time.UnixMilli(), session: it.record.Kind == records.KindSession}
	}
	sum.counted(&r, it.stub, false)
	return appendFrame(b, payload)
}

func (it *item) ms() int64 {
	if it.stub != nil {
		return it.stub.Oldest
	}
	return it.record.Time.UnixMilli()
}

// full tells whether a file of that size is not to take it: it would become too large, or span too much time.
func (s *summary) full(size, ms int64, b Bounds) bool {
	if size >= b.segment() {
		return true
	}
	away := ms - s.Oldest
	return s.Oldest > 0 && max(away, -away) >= b.span().Milliseconds()
}

// current is the file of a family that something of a time is to be written to; anew: at its begin.
func (j *Journal) current(of *[]*segment, family string, ms int64, b Bounds, anew bool) (*segment, error) {
	if n := len(*of); n > 0 && (*of)[n-1].f != nil {
		if s := (*of)[n-1]; !s.sum.full(s.size, ms, b) && !(anew && s.sum.rows() > 0) {
			return s, nil
		} else if err := s.seal(); err != nil {
			return nil, fmt.Errorf("complete %s: %w", s.path, err)
		}
	}
	if err := j.bound(b); err != nil {
		return nil, err
	}
	number := 1
	if n := len(*of); n > 0 {
		number = (*of)[n-1].number + 1
	}
	s, err := begin(j.opt.Dir, family, number)
	if err != nil {
		return nil, err
	}
	*of = append(*of, s)
	return s, nil
}

func (j *Journal) syncAll() error {
	for _, s := range j.all() {
		if err := s.sync(); err != nil {
			return fmt.Errorf("sync %s: %w", s.path, err)
		}
	}
	j.synced = time.Now()
	return nil
}

// Close completes the files, waits for the disk, and writes down what there is.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	if err := errors.Join(j.shut((*segment).seal), j.noteLast()); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// Abandon closes the files as a crash does.
func (j *Journal) Abandon() error {
	return j.shut(func(s *segment) error {
		f := s.f
		s.f = nil
		return f.Close()
	})
}

// shut has every file that is open closed in some way.
func (j *Journal) shut(how func(*segment) error) (err error) {
	if j == nil {
		return nil
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	for _, s := range j.all() {
		if s.f != nil {
			err = errors.Join(err, how(s))
		}
	}
	return err
}

// Status is how a journal stands.
type Status struct {
	Bytes   int64     // of all files
	Written int64     // since it was opened
	Since   time.Time // the oldest record; zero: there is none
	Waiting int
	Lost    uint64 // records that were not written, since it was opened
	Inputs  uint64 // inputs of the governor that were not written, since it was opened
	Held    int    // records beyond their time
	Unknown string // why it is not known what is held, so that nothing of any case goes; "": it is
	Limit   int64  // what Bytes may come to
	Failed  uint64 // how often writing, syncing or deleting failed, since it was opened
	Err     error  // why nothing can be written at present
}

// hangs is how long the disk may take before it is said to hang.
const hangs = 10 * time.Second

// Status never waits for the disk.
func (j *Journal) Status() Status {
	if j == nil {
		return Status{Unknown: noJournal}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Status{Bytes: j.bytes, Written: j.written, Waiting: len(j.waiting), Lost: j.lost, Inputs: j.tape.lostSoFar(), Held: j.heldRows, Unknown: j.holdsNow().unknown, Limit: j.bounds.Bytes, Failed: j.failed, Err: j.trouble}
	if j.since > 0 {
		s.Since = time.UnixMilli(j.since).UTC()
	}
	if took := time.Since(j.began); !j.began.IsZero() && took > hangs {
		s.Err = fmt.Errorf("the disk has not answered for %v", took.Round(time.Second))
	}
	if s.Err != nil {
		s.Err = errors.New(strings.ReplaceAll(s.Err.Error(), "\n", "; "))
	}
	return s
}

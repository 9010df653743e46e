package journal

import (
	"fmt"
	"sync"
	"time"

	"github.com/mailweir/mailweir/governor"
)

const (
	maxTape   = 2 << 20 // bytes of inputs that wait to be made a frame; over it they are lost, and counted
	maxFrames = 16      // frames that wait for a disk which takes nothing
	stateRoom = 16      // what is known when a life begins, or at a checkpoint, takes no more than this part of the bound
)

// tape takes the governor's inputs.
type tape struct {
	mu     sync.Mutex // held for some nanoseconds; guards all below
	e, old encoder
	here   uint64 // inputs that are missing behind the last one in e
	lost   uint64 // inputs that are missing before the first one in e: of frames that could not be written
	all    uint64 // inputs that are missing, since Open
	states int64  // bytes of them since the last begin of a life or checkpoint
	fed    int64  // bytes of all other inputs since then
	marked int64  // when that was, Unix milliseconds
	start  bool   // a life begins: nobody waits for us who has a packet
}

// inputFrame is a frame of inputs that is to be written.
type inputFrame struct {
	payload        []byte
	oldest, newest int64 // Unix milliseconds
	n              int   // inputs in it, and those that it says are missing
	begins         bool  // there is one from which a tape can be played
	older          bool  // its form is that of an earlier version, which this one does not read
}

var _ governor.Tape = (*Journal)(nil)

// Record takes an input of the governor. It never waits, but for what is known when a life begins: then nobody waits for it
// who has a packet.
func (j *Journal) Record(in *governor.Input) {
	t := &j.tape
	t.mu.Lock()
	before := len(t.e.b)
	switch {
	case in.Op.Begins():
		t.states, t.fed, t.marked, t.start = 0, 0, in.Now.UnixMilli(), in.Op == governor.OpBegin
	case in.Op == governor.OpState && t.states > j.opt.Bounds.Bytes/stateRoom, before >= maxTape:
		t.here++
		t.all++
		t.mu.Unlock()
		return
	}
	t.place()
	t.e.add(in)
	n := len(t.e.b)
	if in.Op == governor.OpState {
		t.states += int64(n - before)
	} else {
		t.fed += int64(n - before)
		t.start = t.start && (in.Op == governor.OpBegin || in.Op == governor.OpPolicy)
	}
	start := t.start
	t.mu.Unlock()
	if start {
		j.Room()
	}
}

// Room writes what waits if that is much. It is called during a checkpoint, by whoever holds up nobody by waiting.
func (j *Journal) Room() {
	j.tape.mu.Lock()
	n := len(j.tape.e.b)
	j.tape.mu.Unlock()
	if n >= maxTape/2 {
		j.flush()
	}
}

// checkpoints is how many there are at least in the time for which inputs are kept.
const checkpoints = 8

// CheckpointDue tells whether the governor is to make a checkpoint (governor.Governor.Checkpoint): when the time of a file has
// passed and it will be at most a fifth of what is written of inputs, and in any case some times in the time for which
// inputs are kept, so that what is left when the oldest files go can be played from early on.
func (j *Journal) CheckpointDue(now time.Time) bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	b := j.bounds
	j.mu.Unlock()
	t := &j.tape
	t.mu.Lock()
	defer t.mu.Unlock()
	since := time.Duration(now.UnixMilli()-t.marked) * time.Millisecond
	if t.marked == 0 || max(since, -since) < b.span() {
		return false
	}
	return since < 0 || since >= b.Sessions/checkpoints || t.fed >= 4*t.states
}

// place says what is missing where it is missing. The caller holds t.mu.
func (t *tape) place() {
	if t.here > 0 {
		t.e.miss(t.here)
		t.here = 0
	}
}

func (t *tape) lostSoFar() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// take is what was recorded since the last call; false: nothing was.
func (t *tape) take() (f inputFrame, any bool) {
	t.mu.Lock()
	t.place()
	t.e, t.old = t.old, t.e
	lost := t.lost
	t.lost = 0
	t.mu.Unlock()
	e := &t.old // nobody else's until the next call
	if len(e.b) == 0 && lost == 0 {
		return f, false
	}
	payload := e.frame(lost)
	f = inputFrame{payload: payload, oldest: e.oldest, newest: e.newest, n: e.n + e.missed + int(lost), begins: e.begins}
	e.reset()
	return f, true
}

// missed counts inputs that are not written after all.
func (t *tape) missed(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost += uint64(n)
	t.all += uint64(n)
}

// writeInputs writes what was recorded. What cannot be written waits. The caller holds j.disk.
func (j *Journal) writeInputs(b Bounds) error {
	if f, any := j.tape.take(); any {
		if len(j.frames) >= maxFrames {
			j.tape.missed(f.n)
		} else {
			j.frames = append(j.frames, f)
		}
	}
	for len(j.frames) > 0 {
		f := &j.frames[0]
		s, err := j.current(&j.inputs, inputsFamily, f.oldest, b, f.begins)
		if err != nil {
			return err
		}
		frame := appendFrame(nil, f.payload)
		if err := s.write(frame); err != nil {
			return fmt.Errorf("write %s: %w", s.path, err)
		}
		j.wrote(len(frame))
		s.sum.frame(f)
		j.frames = j.frames[1:]
	}
	return nil
}

// frame counts a frame of inputs, as sessions: they have the same retention.
func (sum *summary) frame(f *inputFrame) {
	if f.begins && sum.Sessions == 0 {
		sum.Begins = f.newest
	}
	sum.Sessions++
	sum.at(f.oldest)
	sum.at(f.newest)
	sum.OldestSession = sum.Oldest
}

// inputsOf is what can be told of a payload of inputs without reading them; false: it is none.
func inputsOf(p []byte) (f inputFrame, ok bool) {
	if len(p) == 0 {
		return f, false
	}
	switch p[0] {
	case rowInputs, rowBegin:
	case rowInputsOlder, rowBeginOlder:
		f.older = true
	default:
		return f, false
	}
	f.begins = p[0] == rowBegin // none of an older form can be played from
	c := cursor{b: p[1:]}
	f.oldest, f.newest = c.varint(), c.varint()
	return f, !c.bad
}

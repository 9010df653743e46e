package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// Why inputs are missing: what an OpLost has as its Reason. Its By names the file, where there is one.
const (
	unwritten = "they found no room when they were told, or were damaged and are gone since; the log and a HEALTH record of then say which"
	bent      = "they are damaged"
	gone      = "a file between two others is not there"
	older     = "they were written by an earlier version of mailweir, in a form that this one does not read"
	foreign   = "they are not understood, so another version of mailweir wrote them"
)

// Batch is some inputs, in their order.
type Batch struct{ In []governor.Input }

const (
	batchInputs = 512 // inputs of a batch, at most
	batchesFar  = 4   // batches of a frame that are decoded before anybody takes them
)

var batches = sync.Pool{New: func() any { return &Batch{In: make([]governor.Input, 0, batchInputs)} }}

// Reading is how far [Reader.Inputs] is.
type Reading struct {
	Bytes, Of int64     // of the files, those of whose frames all was given, and all that were there when it began
	From, To  time.Time // the oldest and the newest of what is wanted, as far as the files say; zero: they do not
	At        time.Time // the newest of what was given; zero: nothing was yet
}

// Free gives a batch back that nobody reads any more. What its inputs point to stays.
func (b *Batch) Free() {
	b.In = b.In[:0]
	batches.Put(b)
}

// Inputs gives what the governor was told, the oldest first: from the last begin of a life, or checkpoint, before a time on, or,
// where there is none, all of it; that time is not found by what is stamped after now, unless that is zero, since the clock was ahead then. Where something is damaged, of an older form or not understood, or a file between two others is not there,
// an OpLost says so and why, with the time up to which all is there. Frames are decoded beside whoever is given their inputs, on as many processors as
// there are. Whoever is given a batch calls its Free. It ends with the first error of give, or of reading.
func (r *Reader) Inputs(from, now time.Time, give func(*Batch) error) error {
	first, far, err := r.begins(from, now)
	if err != nil {
		return err
	}
	tell := func(bytes, newest int64) {
		far.Bytes = min(bytes, far.Of) // the last file may have grown meanwhile
		if newest > 0 {
			far.At = time.UnixMilli(newest)
		}
		if r.Tell != nil {
			r.Tell(far)
		}
	}
	tell(0, 0)
	d := decoders{todo: make(chan *decoding), order: make(chan *decoding, 2*runtime.GOMAXPROCS(0)), stop: make(chan struct{})}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(d.decode)
	}
	all.Go(func() {
		defer close(d.order)
		defer close(d.todo)
		d.err = r.play(first, &d)
	})
	for one := range d.order {
		for b := range one.out {
			if err == nil {
				if err = give(b); err != nil {
					close(d.stop)
				}
			}
		}
		if err == nil {
			tell(one.bytes, one.newest)
		}
	}
	all.Wait()
	if err == nil {
		err = d.err
	}
	if err == nil {
		tell(far.Of, 0)
	}
	return err
}

// begins is the number of the file to begin with, and how far that is. Behind the first thing of the time that is wanted none does: a clock that was set back
// makes a later begin look like one before it.
func (r *Reader) begins(from, now time.Time) (first int, far Reading, err error) {
	there := false
	sizes := map[int]int64{}
	var oldest, newest int64 // Unix milliseconds
	err = r.files(inputsFamily, func(s *segment, last bool) error {
		if last && s.sum == (summary{}) { // it is being written to
			data, err := os.ReadFile(s.path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("journal: %w", err)
			}
			s.sift(data, s.take, nil)
		}
		sizes[s.number] = s.size
		if s.sum.Oldest > 0 && (oldest == 0 || s.sum.Oldest < oldest) {
			oldest = s.sum.Oldest
		}
		newest = max(newest, s.sum.Newest)
		if s.sum.Begins > 0 && !from.IsZero() && s.sum.Begins <= from.UnixMilli() && !there {
			first = s.number
		}
		within := func(ms int64) bool { return ms >= from.UnixMilli() && (now.IsZero() || ms <= now.UnixMilli()) }
		there = there || within(s.sum.Newest) || within(s.sum.Begins)
		return nil
	})
	for number, size := range sizes {
		if number >= first {
			far.Of += size
		}
	}
	if oldest > 0 {
		far.From, far.To = time.UnixMilli(oldest), time.UnixMilli(newest)
		if far.From.Before(from) {
			far.From = from
		}
		if !now.IsZero() && far.To.After(now) {
			far.To = now
		}
	}
	return first, far, err
}

// decoders take frames in their order, and decode several at once.
type decoders struct {
	todo, order chan *decoding // the same ones: for whoever decodes, and for whoever is given what is decoded
	stop        chan struct{}  // closed: nobody wants more
	err         error          // of reading; for whoever has seen the end of order
}

// decoding is a frame that is being decoded, or a hole.
type decoding struct {
	payload []byte // nil: a hole
	lost    governor.Input
	bytes   int64 // of the files up to its end
	newest  int64 // of its inputs and those before, Unix milliseconds; 0: not known
	out     chan *Batch
}

var errStopped = errors.New("nobody wants more")

// add takes the next frame, or hole; errStopped: it is not wanted.
func (d *decoders) add(one *decoding) error {
	one.out = make(chan *Batch, batchesFar)
	select {
	case d.order <- one:
	case <-d.stop:
		return errStopped
	}
	select { // whoever waits for one.out waits until it is closed
	case d.todo <- one:
		return nil
	case <-d.stop:
		close(one.out)
		return errStopped
	}
}

func (d *decoders) decode() {
	met := &known{}
	for one := range d.todo {
		d.frame(one, met)
		close(one.out)
	}
}

// frame decodes one.
func (d *decoders) frame(one *decoding, met *known) {
	b := batches.Get().(*Batch)
	send := func() error {
		select {
		case one.out <- b:
			b = batches.Get().(*Batch)
			return nil
		case <-d.stop:
			return errStopped
		}
	}
	next := func() *governor.Input {
		b.In = b.In[:len(b.In)+1]
		return &b.In[len(b.In)-1]
	}
	if one.payload == nil {
		*next() = one.lost
	}
	var err error
	if one.payload != nil {
		err = decodeInputs(one.payload, met, next, func() error {
			if len(b.In) < batchInputs {
				return nil
			}
			return send()
		})
	}
	if err != nil && !errors.Is(err, errStopped) { // in its last input
		b.In[len(b.In)-1], err = one.lost, nil
	}
	if err == nil && len(b.In) > 0 {
		_ = send() // an error says that nobody wants more, and this was the last
	}
	b.Free()
}

// play gives the frames of the files from a number on.
func (r *Reader) play(first int, d *decoders) error {
	before := 0     // the number of the last file that was there
	var until int64 // the newest input of the last whole frame, Unix milliseconds
	var bytes int64 // of the files before
	lost := func(why, file string) governor.Input {
		in := governor.Input{Op: governor.OpLost, Cost: 1, Reason: why, By: filepath.Base(file)}
		if until > 0 {
			in.Now = time.UnixMilli(until)
		}
		return in
	}
	err := r.files(inputsFamily, func(s *segment, last bool) error {
		if s.number < first {
			return nil
		}
		data, err := os.ReadFile(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // where that is not the first one its number is missing
		} else if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		if before > 0 && s.number != before+1 {
			if err := d.add(&decoding{lost: lost(gone, segmentPath(r.dir, inputsFamily, before+1)), bytes: bytes}); err != nil {
				return err
			}
		}
		before = s.number
		_, _, err = frames(data, func(at int, payload []byte, bad string) error {
			f, ok := inputsOf(payload)
			switch {
			case last && bad != "" && at+len(payload) == len(data):
				return nil // it is being written
			case bad != "":
				return d.add(&decoding{lost: lost(bent, s.path), bytes: bytes + int64(at)})
			case !ok:
				return d.add(&decoding{lost: lost(foreign, s.path), bytes: bytes + int64(at)})
			case f.older:
				return d.add(&decoding{lost: lost(older, s.path), bytes: bytes + int64(at)})
			}
			err := d.add(&decoding{payload: payload, lost: lost(foreign, s.path), bytes: bytes + int64(at+frameHead+len(payload)), newest: f.newest})
			until = f.newest
			return err
		})
		bytes += int64(len(data))
		return err
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// Beside is Each, with several files read at once. begin is called for each of them, in their order: what it gives first is called for what is wanted of
// that file, beside those of others, and what it gives then, if there was no error, when all of it was given, again in their order.
func (r *Reader) Beside(q Query, begin func() (give func(*Item) error, end func())) error {
	q.sharpen()
	type reading struct {
		s    *segment
		last bool
		give func(*Item) error
		end  func()
		err  chan error
	}
	todo, order := make(chan *reading), make(chan *reading, 2*runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for one := range todo {
				one.err <- r.file(one.s, one.last, &q, one.give)
			}
		})
	}
	var err error
	all.Go(func() {
		defer close(order)
		defer close(todo)
		err = r.files(recordsFamily, func(s *segment, last bool) error {
			if q.passes(s) {
				return nil
			}
			one := &reading{s: s, last: last, err: make(chan error, 1)}
			one.give, one.end = begin()
			order <- one
			todo <- one
			return nil
		})
	})
	var bad error
	for one := range order {
		if e := <-one.err; bad == nil && e != nil {
			bad = e
		} else if bad == nil {
			one.end()
		}
	}
	all.Wait()
	return cmp.Or(bad, err)
}

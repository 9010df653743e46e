package remote

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Errors travel as their text and as what the web admin asks of them with errors.Is and errors.As.
var (
	sentinels = []error{
		webadmin.ErrUnknownSubscriber, webadmin.ErrNotExempt, webadmin.ErrNotReleased, webadmin.ErrNotBound, webadmin.ErrNoCase,
		webadmin.ErrBusy, webadmin.ErrNoJournal, webadmin.ErrConfigChanged, context.Canceled, context.DeadlineExceeded,
	}
	typed = []reflect.Type{
		reflect.TypeFor[webadmin.Refused](), reflect.TypeFor[webadmin.WrongConfig](), reflect.TypeFor[webadmin.NotSure](), reflect.TypeFor[webadmin.Busy](),
	}
)

// travelled is an error of the other process.
type travelled struct {
	text string
	is   []error
}

func (e *travelled) Error() string   { return e.text }
func (e *travelled) Unwrap() []error { return e.is }

// error writes err; readerFailed is what reading from the other process failed with, which has it as an error of its own.
func (w *writing) error(err, readerFailed error) error {
	if w.flag(err != nil); err == nil {
		return nil
	}
	w.text(err.Error())
	var found []reflect.Value
	var which []uint64
	for i, t := range typed {
		if to := reflect.New(t); errors.As(err, to.Interface()) {
			found, which = append(found, to.Elem()), append(which, uint64(i))
		}
	}
	w.number(uint64(len(found)))
	for i, v := range found {
		w.number(which[i])
		if err := w.value(v); err != nil {
			return err
		}
	}
	is := uint64(0)
	for i, s := range sentinels {
		if errors.Is(err, s) {
			is |= 1 << i
		}
	}
	w.number(is)
	w.flag(readerFailed != nil && errors.Is(err, readerFailed))
	return nil
}

// error reads an error of the other process, or that it is damaged; own is what reading for it failed with here.
func (r *reading) error(own error) (is, damaged error) {
	if !r.flag() {
		return nil, nil
	}
	e := &travelled{text: r.text()}
	n := r.number()
	if n > uint64(len(typed)) {
		return nil, errDamaged
	}
	for range n {
		at := r.number()
		if at >= uint64(len(typed)) {
			return nil, errDamaged
		}
		v := reflect.New(typed[at]).Elem()
		if err := r.value(v, nil); err != nil {
			return nil, err
		}
		e.is = append(e.is, v.Interface().(error))
	}
	flags := r.number()
	for i, s := range sentinels {
		if flags&(1<<i) != 0 {
			e.is = append(e.is, s)
		}
	}
	if r.flag() && own != nil {
		e.is = append(e.is, own)
	}
	if r.bad {
		return nil, errDamaged
	}
	for _, one := range e.is {
		if one.Error() == e.text {
			return one, nil
		}
	}
	return e, nil
}

var (
	errDamaged = errors.New("a damaged message")
	errLate    = errors.New("the process that governs has not answered in time; what was asked of it may still happen")
)

// broken is what a page panics with whose question cannot be answered with an error.
type broken struct {
	method string
	err    error
}

func (b *broken) Error() string { return fmt.Sprintf("%s: %v", b.method, b.err) }
func (b *broken) Unwrap() error { return b.err }

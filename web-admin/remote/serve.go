package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"sync/atomic"
)

// serving is a call that is being answered here.
type serving struct {
	cancel context.CancelFunc
	data   chan []byte
	told   atomic.Bool // something that has not been heard yet
	failed error       // what reading from the other side failed with there
}

func (l *link) serve(ctx context.Context, id uint64, s *serving, a *arrival) {
	w := l.answer(ctx, id, s, a)
	s.cancel()
	l.mu.Lock()
	delete(l.served, id)
	l.mu.Unlock()
	if !a.drop {
		l.held.Add(-int64(len(a.bytes)))
	}
	l.send(kindAnswer, kindAnswerMore, id, w) // a link that broke is over
}

var (
	contextType = reflect.TypeFor[context.Context]()
	readerType  = reflect.TypeFor[io.Reader]()
	errorType   = reflect.TypeFor[error]()
)

// answer calls what a question asks for.
func (l *link) answer(ctx context.Context, id uint64, s *serving, a *arrival) (w *writing) {
	method := "a method"
	failed := func(err error) *writing {
		w := &writing{}
		w.flag(false)
		w.error(err, nil) // texts travel
		return w
	}
	defer func() {
		if what := recover(); what != nil {
			l.log.Error("web admin: panic in what it asks for", "method", method, "panic", fmt.Sprint(what), "stack", string(debug.Stack()))
			w = failed(fmt.Errorf("%s broke", method))
		}
	}()
	if a.drop {
		return failed(fmt.Errorf("more than %d bytes at a time", l.most))
	}
	r := &reading{rest: a.bytes, room: roomOf}
	method = r.text()
	m, there := l.methods[method]
	if r.bad || !there {
		return failed(fmt.Errorf("there is no method %q", method))
	}
	functions := 0
	give := func(t reflect.Type) reflect.Value {
		functions++
		return l.note(id, s, t, functions-1)
	}
	in := make([]reflect.Value, 0, m.Type.NumIn())
	for i := range m.Type.NumIn() {
		switch t := m.Type.In(i); t {
		case contextType:
			in = append(in, reflect.ValueOf(ctx))
		case readerType:
			in = append(in, reflect.ValueOf(&far{link: l, ctx: ctx, id: id, s: s}))
		default:
			v := reflect.New(t).Elem()
			if err := r.value(v, give); err != nil {
				return failed(fmt.Errorf("%s: %w", method, err))
			}
			complete(v)
			in = append(in, v)
		}
	}
	if len(r.rest) > 0 {
		return failed(fmt.Errorf("%s: %w", method, errDamaged))
	}
	out := l.mine.MethodByName(method).Call(in)
	w = &writing{}
	w.flag(true)
	var err error
	for _, o := range out {
		if o.Type() == errorType {
			err, _ = o.Interface().(error)
		} else if bad := w.value(o); bad != nil {
			return failed(fmt.Errorf("%s: %w", method, bad))
		}
	}
	if bad := w.error(err, s.failed); bad != nil {
		return failed(bad)
	}
	return w
}

// note is a function of the arguments as it is here: it has that of who asked called. What comes while the last has not been heard is left out.
func (l *link) note(id uint64, s *serving, t reflect.Type, function int) reflect.Value {
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		w := &writing{}
		w.number(uint64(function))
		for _, a := range args {
			if err := w.value(a); err != nil {
				panic(err)
			}
		}
		if !s.told.Swap(true) {
			parts, _ := w.whole()
			l.write(kindTell, id, parts...) // a link that broke is over
		}
		return nil
	})
}

// far is a reader of the other side.
type far struct {
	link *link
	ctx  context.Context
	id   uint64
	s    *serving
	rest []byte
	err  error
}

func (f *far) Read(b []byte) (int, error) {
	for len(f.rest) == 0 && f.err == nil {
		f.err = f.fetch()
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	if n > 0 {
		return n, nil
	}
	return 0, f.err
}

// How what was read ends.
const (
	endNot  = 0 // there is more
	endFail = 1 // the text says why
	endAll  = 2
)

func (f *far) fetch() error {
	if err := f.link.write(kindWant, f.id); err != nil {
		return err
	}
	select {
	case <-f.ctx.Done():
		return f.ctx.Err()
	case b := <-f.s.data:
		r := &reading{rest: b}
		end, text := r.number(), r.text()
		f.rest = r.rest
		switch {
		case r.bad || end > endAll:
			return errDamaged
		case end == endAll:
			return io.EOF
		case end == endFail:
			f.s.failed = errors.New(text)
			return f.s.failed
		}
		return nil
	}
}

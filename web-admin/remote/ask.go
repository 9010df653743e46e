package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"time"
)

// call is one that was made from here.
type call struct {
	inbox  chan frame
	answer *arrival
}

func (c *call) put(f frame) error {
	select {
	case c.inbox <- f:
		return nil
	default:
		return fmt.Errorf("%w: too much for one call", errDamaged)
	}
}

// call calls a method of the other side; limit is how long it may say nothing, 0: for ever. Who reads or tells something meanwhile is at it. Of an argument that
// is a context the end is told there, and its error returned.
func (l *link) call(limit time.Duration, method string, args ...any) ([]reflect.Value, error) {
	m, ok := l.theirs.MethodByName(method)
	if !ok || len(args) != m.Type.NumIn() {
		return nil, fmt.Errorf("there is no method %q", method)
	}
	w := &writing{}
	w.text(method)
	ctx, from, functions := context.Background(), io.Reader(nil), []reflect.Value(nil)
	for i, a := range args {
		switch m.Type.In(i) {
		case contextType:
			ctx = a.(context.Context)
		case readerType:
			from = a.(io.Reader)
		default:
			v := reflect.ValueOf(a)
			if err := w.value(v); err != nil {
				return nil, err
			}
			functions = append(functions, functionsOf(v)...)
		}
	}
	var late <-chan time.Time
	again := func() {}
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late, again = timer.C, func() { timer.Reset(limit) }
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late:
		return nil, errLate
	case <-l.over:
		return nil, l.why()
	}
	c := &call{inbox: make(chan frame, 4)}
	l.mu.Lock()
	l.next++
	id := l.next
	l.calls[id] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.calls, id)
		l.mu.Unlock()
	}()
	if err := l.send(kindAsk, kindAskMore, id, w); err != nil {
		return nil, err
	}
	ended := ctx.Done()
	var own error
	for {
		select {
		case f := <-c.inbox:
			var err error
			switch f.kind {
			case kindAnswer:
				return l.result(method, m.Type, c.answer.bytes, own)
			case kindTell:
				if err = heard(f.payload, functions); err == nil {
					err = l.write(kindHeard, id)
				}
			case kindWant:
				if err = errDamaged; from != nil {
					own, err = l.feed(id, from)
				}
			}
			if err != nil {
				return nil, err
			}
			again()
		case <-ended:
			ended = nil
			if err := l.write(kindLeave, id); err != nil {
				return nil, err
			}
			timer := time.NewTimer(leaveMost)
			defer timer.Stop()
			late = timer.C
		case <-late:
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			l.write(kindLeave, id) // a link that broke is over
			return nil, errLate
		case <-l.over:
			return nil, l.why()
		}
	}
}

// result takes an answer apart: the results but for the error, and the error.
func (l *link) result(method string, t reflect.Type, b []byte, own error) (out []reflect.Value, err error) {
	room := math.MaxInt // who governs is trusted
	if l.most > 0 {
		room = roomOf
	}
	r := &reading{rest: b, room: room}
	made := r.flag()
	if made {
		for i := range t.NumOut() {
			if t.Out(i) == errorType {
				continue
			}
			v := reflect.New(t.Out(i)).Elem()
			if err := r.value(v, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", method, err)
			}
			out = append(out, v)
		}
	}
	err, bad := r.error(own)
	if bad != nil || r.bad || len(r.rest) > 0 || !made && err == nil {
		return nil, fmt.Errorf("%s: %w", method, errDamaged)
	}
	return out, err
}

// functionsOf are the functions of an argument that can be called from afar, in the order in which they travel.
func functionsOf(v reflect.Value) (all []reflect.Value) {
	if v.Kind() != reflect.Struct || v.Type() == timeType {
		return nil
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Func && telling(f) {
			all = append(all, f)
		}
	}
	return all
}

// heard calls a function of the arguments as the other side says.
func heard(b []byte, functions []reflect.Value) error {
	r := &reading{rest: b, room: roomOf}
	n := r.number()
	if r.bad || n >= uint64(len(functions)) {
		return errDamaged
	}
	f := functions[n]
	in := make([]reflect.Value, 0, f.Type().NumIn())
	for i := range f.Type().NumIn() {
		v := reflect.New(f.Type().In(i)).Elem()
		if err := r.value(v, nil); err != nil {
			return err
		}
		in = append(in, v)
	}
	f.Call(in)
	return nil
}

// feed sends what a reader of the arguments gives next; own is what it failed with.
func (l *link) feed(id uint64, from io.Reader) (own, err error) {
	b := make([]byte, dataMost)
	n := 0
	for n == 0 && own == nil {
		n, own = from.Read(b)
	}
	w := &writing{}
	switch {
	case own == nil:
		w.number(endNot)
		w.text("")
	case errors.Is(own, io.EOF):
		own = nil
		w.number(endAll)
		w.text("")
	default:
		w.number(endFail)
		w.text(own.Error()[:min(len(own.Error()), 200)])
	}
	return own, l.write(kindData, id, w.tail, b[:n])
}

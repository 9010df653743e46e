package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A web admin that is somebody else's by now may send what it likes: that is an error, and takes no memory to speak of.
func TestDamagedQuestionsAreErrors(t *testing.T) {
	t.Parallel()
	_, _, far := connected(t, func(string, ...any) ([]reflect.Value, error) { return nil, nil })
	rng := rand.New(rand.NewPCG(5, 6))
	box := reflect.TypeFor[Box]()
	ask := func(what string, b []byte) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		far.answer(t.Context(), 1, &serving{cancel: func() {}, data: make(chan []byte, 1)}, &arrival{bytes: b})
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s takes %d bytes", what, n)
		}
	}
	for range 1000 {
		m := box.Method(rng.IntN(box.NumMethod()))
		w := &writing{}
		w.text(m.Name)
		for i := range m.Type.NumIn() {
			if in := m.Type.In(i); in != contextType && in != readerType {
				if err := w.value(filled(in, rng, 3)); err != nil {
					t.Fatal(err)
				}
			}
		}
		parts, _ := w.whole()
		b := bytes.Join(parts, nil)
		if m.Type.NumIn() > 0 && m.Type.In(m.Type.NumIn()-1) == readerType {
			continue // it would be read
		}
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] ^= byte(1 + rng.IntN(255))
		}
		ask(m.Name, b[:rng.IntN(len(b)+1)])
	}
	w := &writing{}
	w.text("SetConfig")
	w.number(1 << 40)
	ask("a list that would be too long", append(w.tail, make([]byte, 1<<20)...))
}

// Frames that are none end the link, and nothing else.
func TestDamagedFramesEndTheLink(t *testing.T) {
	t.Parallel()
	for what, frame := range map[string][]byte{
		"too long":            {0xff, 0xff, 0xff, 0xff, kindAsk, 0, 0, 0, 0, 0, 0, 0, 1},
		"too short":           {0, 0, 0, 1, kindAsk, 0, 0, 0, 0, 0, 0, 0, 1},
		"no kind":             {0, 0, 0, 9, 99, 0, 0, 0, 0, 0, 0, 0, 1},
		"a part of nothing":   {0, 0, 0, 10, kindAskMore, 0, 0, 0, 0, 0, 0, 0, 1, 5},
		"no length":           {0, 0, 0, 10, kindAsk, 0, 0, 0, 0, 0, 0, 0, 1, 5},
		"less than it begins": {0, 0, 0, 18, kindAsk, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		a, b := sockets(t)
		l := newLink[Box](a, &source{}, reflect.TypeFor[Web](), 1<<20, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- l.run() }()
		if _, err := b.Write(frame); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		b.Close()
	}
}

// More than is allowed at a time is refused, and the link goes on.
func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	box, web, _ := connected(t, func(string, ...any) ([]reflect.Value, error) { return nil, nil })
	_, err := web.call(time.Minute, "SetSubscribers", bytes.Repeat([]byte{'x'}, 33<<20), "anna")
	if err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes at a time") {
		t.Errorf("%v", err)
	}
	if _, err := box.Config(); err != nil {
		t.Error(err)
	}
}

// Who leaves is missed at the other side.
func TestACancelTravels(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	seen := make(chan error, 1)
	box, _, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		ctx := args[0].(context.Context)
		close(began)
		<-ctx.Done()
		seen <- ctx.Err()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := box.Records(ctx, webadmin.RecordQuery{})
		ended <- err
	}()
	<-began
	cancel()
	if err := <-seen; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestACallHasALimit(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	box, web, _ := connected(t, func(string, ...any) ([]reflect.Value, error) { <-let; return nil, nil })
	defer close(let)
	if _, err := web.call(50*time.Millisecond, "Config"); !errors.Is(err, errLate) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := box.Records(ctx, webadmin.RecordQuery{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// slow is a reader that gives a byte at a time, and takes its time for it.
type slow struct {
	left  int
	pause time.Duration
}

func (s *slow) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause) // as a line that is slow
	s.left--
	return copy(b, "x"), nil
}

// An upload may take longer than an answer: the limit counts from what was read last.
func TestWhoReadsIsAtIt(t *testing.T) {
	t.Parallel()
	_, web, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		_, err := io.Copy(io.Discard, args[0].(io.Reader))
		return nil, err
	})
	const limit = 500 * time.Millisecond
	if _, err := web.call(limit, "Install", &slow{20, limit / 5}, "anna"); err != nil {
		t.Error(err)
	}
	// who waits for the other side in between is given up all the same
	let := make(chan struct{})
	_, web, _ = connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		args[0].(io.Reader).Read(make([]byte, 1))
		<-let
		return nil, nil
	})
	defer close(let)
	if _, err := web.call(limit, "Install", &slow{20, 0}, "anna"); !errors.Is(err, errLate) {
		t.Error(err)
	}
}

// All calls end with the link, on both sides; a page that cannot be told so ends.
func TestTheEndOfALinkEndsAll(t *testing.T) {
	t.Parallel()
	began, seen := make(chan struct{}), make(chan struct{})
	box, web, far := connected(t, func(method string, args ...any) ([]reflect.Value, error) {
		close(began)
		<-args[0].(context.Context).Done()
		close(seen)
		return nil, nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := box.Records(t.Context(), webadmin.RecordQuery{})
		ended <- err
	}()
	<-began
	web.end(io.ErrUnexpectedEOF)
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	<-seen
	<-far.over
	if _, err := box.Config(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	defer func() {
		var b *broken
		if err, _ := recover().(error); !errors.As(err, &b) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v", err)
		}
	}()
	box.Status()
}

// faulty is a reader that fails after some bytes.
type faulty struct {
	left int
	err  error
}

func (f *faulty) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	n := min(len(b), f.left)
	f.left -= n
	return n, nil
}

// A file travels as it is read at the other side; what reading it failed with is known at both.
func TestAStreamIsReadWhileItComes(t *testing.T) {
	t.Parallel()
	got := 0
	box, _, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		b, err := io.ReadAll(args[0].(io.Reader))
		if got = len(b); err != nil {
			return nil, fmt.Errorf("not written: %w", err)
		}
		return nil, nil
	})
	if _, err := box.Install(&faulty{5 << 20, io.EOF}, "anna"); err != nil || got != 5<<20 {
		t.Errorf("%d bytes, %v", got, err)
	}
	own := &http.MaxBytesError{Limit: 7}
	_, err := box.Install(&faulty{100000, own}, "anna")
	var is *http.MaxBytesError
	if !errors.As(err, &is) || is != own || !strings.HasPrefix(err.Error(), "not written: ") || got != 100000 {
		t.Errorf("%d bytes, %v", got, err)
	}
}

// A page is told how far the box is; what comes too fast for it is left out.
func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	box, _, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		v := reflect.ValueOf(args[1])
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Func && !f.IsNil() {
				for range 1000 {
					in := make([]reflect.Value, f.Type().NumIn())
					for i := range in {
						in[i] = reflect.Zero(f.Type().In(i))
					}
					f.Call(in)
				}
			}
		}
		return nil, nil
	})
	told := 0
	var try webadmin.WhatIfQuestion
	v := reflect.ValueOf(&try).Elem()
	functions := 0
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Func {
			functions++
			f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { told++; return nil }))
		}
	}
	if functions == 0 {
		t.Fatal("nothing is told")
	}
	if _, err := box.WhatIf(t.Context(), try); err != nil || told == 0 || told > functions*1000 {
		t.Errorf("told %d times, %v", told, err)
	}
}

// A panic in the governing process is an error of who asked, and nothing else ends.
func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	box, _, _ := connected(t, func(method string, _ ...any) ([]reflect.Value, error) {
		if method == "Config" {
			panic("it cannot be")
		}
		return nil, nil
	})
	if _, err := box.Config(); err == nil || err.Error() != "Config broke" {
		t.Errorf("%v", err)
	}
	box.Status()
}

func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	box, _, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		return []reflect.Value{reflect.ValueOf(webadmin.Subscriber{ID: args[0].(string)}), reflect.ValueOf(true)}, nil
	})
	var wg sync.WaitGroup
	for n := range 1000 {
		wg.Go(func() {
			id := fmt.Sprint(n)
			if s, ok := box.Subscriber(id); !ok || s.ID != id {
				t.Errorf("%s: %+v", id, s.ID)
			}
		})
	}
	wg.Wait()
}

package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

func sockets(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		a, err = connOf(fds[0])
	}
	if err == nil {
		b, err = connOf(fds[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// asked is what a box is asked in a test.
type asked func(method string, args ...any) ([]reflect.Value, error)

// connected are a web admin's side of a link and the box's, which is asked by a function; it may be asked for as much as the governing process allows.
func connected(t *testing.T, ask asked) (box *source, web, far *link) {
	t.Helper()
	a, b := sockets(t)
	log := slog.New(slog.DiscardHandler)
	far = newLink[Box](a, &source{ask}, reflect.TypeFor[Web](), 32<<20, log)
	web = newLink[Web](b, &idle{}, reflect.TypeFor[Box](), 0, log)
	var wg sync.WaitGroup
	wg.Go(func() { far.run() })
	wg.Go(func() { web.run() })
	t.Cleanup(func() {
		far.end(io.EOF)
		web.end(io.EOF)
		wg.Wait()
	})
	return sourceOver(web), web, far
}

// idle is a web admin that does nothing.
type idle struct{}

func (*idle) Begin(Setup) error            { return nil }
func (*idle) UseSentences([]byte) error    { return nil }
func (*idle) ShowPair(webadmin.Pair) error { return nil }
func (*idle) Certificate() Certificate     { return Certificate{} }
func (*idle) Alive()                       {}
func (*idle) End()                         {}

// filled is a value of a type with something in all of it.
func filled(t reflect.Type, rng *rand.Rand, depth int) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case timeType:
		zones := []*time.Location{time.UTC, time.Local, time.FixedZone("XYZ", 4711), time.FixedZone("", -3600)}
		v.Set(reflect.ValueOf(time.Unix(rng.Int64N(1<<34), rng.Int64N(1e9)).In(zones[rng.IntN(len(zones))])))
		return v
	case reflect.TypeFor[netip.Addr]():
		all := []string{"192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "2001:db8::1"}
		v.Set(reflect.ValueOf(netip.MustParseAddr(all[rng.IntN(len(all))])))
		return v
	case reflect.TypeFor[netip.Prefix]():
		all := []string{"192.0.2.0/24", "::/0", "2001:db8::/48"}
		v.Set(reflect.ValueOf(netip.MustParsePrefix(all[rng.IntN(len(all))])))
		return v
	case reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("[2001:db8::1]:25")))
		return v
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(`{"a": [1, null]}`))
		return v
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rng.Int64() >> rng.IntN(64) >> (64 - t.Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rng.Uint64() >> rng.IntN(64) >> (64 - t.Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rng.NormFloat64())
	case reflect.String:
		all := []string{"", "a", "ä\x00\xff\"<", strings.Repeat("long ", 1000)}
		v.SetString(all[rng.IntN(len(all))])
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(filled(t.Elem(), rng, depth-1))
		}
	case reflect.Slice:
		if n := rng.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(t, n-1, n-1))
			for i := range v.Len() {
				v.Index(i).Set(filled(t.Elem(), rng, depth-1))
			}
		}
	case reflect.Map:
		if n := rng.IntN(4); n > 0 {
			v.Set(reflect.MakeMap(t))
			for range n - 1 {
				v.SetMapIndex(filled(t.Key(), rng, depth-1), filled(t.Elem(), rng, depth-1))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() != reflect.Func {
				f.Set(filled(f.Type(), rng, depth))
			}
		}
	}
	return v
}

// told is a value as text, with times by their moment and zone.
func told(v any) string { return fmt.Sprintf("%#v", v) }

// Every method of the box comes with its arguments, and what it returns goes back, whatever is in them.
func TestEveryMethodIsServed(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	type question struct {
		method string
		args   []any
	}
	var got question
	var answer []reflect.Value
	_, web, _ := connected(t, func(method string, args ...any) ([]reflect.Value, error) {
		for i, a := range args {
			if r, ok := a.(io.Reader); ok {
				b, err := io.ReadAll(r)
				if err != nil {
					return nil, err
				}
				args[i] = string(b)
			}
		}
		got = question{method, args}
		return answer, nil
	})
	box := reflect.TypeFor[Box]()
	if box.NumMethod() < 50 {
		t.Fatalf("a box has %d methods", box.NumMethod())
	}
	for range 10 {
		for i := range box.NumMethod() {
			m := box.Method(i)
			var args, want []any
			for i := range m.Type.NumIn() {
				switch in := m.Type.In(i); in {
				case contextType:
					args, want = append(args, t.Context()), append(want, nil)
				case readerType:
					args, want = append(args, strings.NewReader("0123456789")), append(want, "0123456789")
				default:
					v := filled(in, rng, 3).Interface()
					args, want = append(args, v), append(want, v)
				}
			}
			answer = nil
			for i := range m.Type.NumOut() {
				if m.Type.Out(i) != errorType {
					answer = append(answer, filled(m.Type.Out(i), rng, 3))
				}
			}
			out, err := web.call(time.Minute, m.Name, args...)
			if err != nil || got.method != m.Name || len(got.args) != len(want) || len(out) != len(answer) {
				t.Fatalf("%s: %s was asked, %v", m.Name, got.method, err)
			}
			for i, w := range want {
				g := got.args[i]
				if _, ok := g.(context.Context); ok && w == nil {
					continue
				}
				if told(plain(g)) != told(plain(w)) {
					t.Errorf("%s: argument %d came as\n%#v\nwant\n%#v", m.Name, i, g, w)
				}
			}
			for i, w := range answer {
				if told(plain(out[i].Interface())) != told(plain(w.Interface())) {
					t.Errorf("%s: %#v came back, want %#v", m.Name, out[i], w)
				}
				a, _ := json.Marshal(out[i].Interface())
				b, _ := json.Marshal(w.Interface())
				if !bytes.Equal(a, b) {
					t.Errorf("%s: as JSON %s, want %s", m.Name, a, b)
				}
			}
		}
	}
}

// plain is a value by what it says: JSON has everything but pointers' addresses, and functions are left out.
func plain(v any) string {
	w := &writing{}
	if err := w.value(reflect.ValueOf(v)); err != nil {
		return err.Error()
	}
	parts, _ := w.whole()
	if rv := reflect.ValueOf(v); hasMap(rv.Type(), 5) { // their order is nobody's
		b, _ := json.Marshal(v)
		return string(b)
	}
	return string(bytes.Join(parts, nil))
}

func hasMap(t reflect.Type, depth int) bool {
	switch t.Kind() {
	case reflect.Map:
		return true
	case reflect.Slice, reflect.Pointer:
		return depth > 0 && hasMap(t.Elem(), depth-1)
	case reflect.Struct:
		for i := range t.NumField() {
			if depth > 0 && hasMap(t.Field(i).Type, depth-1) {
				return true
			}
		}
	}
	return false
}

// The order in which a viewer sees lines travels as its key, and is the same at the other side.
func TestAnOrderTravelsByItsKey(t *testing.T) {
	t.Parallel()
	var got webadmin.Query
	box, _, _ := connected(t, func(_ string, args ...any) ([]reflect.Value, error) {
		got = args[0].(webadmin.Query)
		return nil, nil
	})
	key := bytes.Repeat([]byte{7}, 32)
	box.Subscribers(webadmin.Query{Tie: webadmin.TieOf(key), TieKey: key})
	if got.Tie == nil || got.Tie("S-1") != webadmin.TieOf(key)("S-1") {
		t.Error("another order")
	}
	if box.Subscribers(webadmin.Query{}); got.Tie != nil {
		t.Error("an order that nobody asked for")
	}
}

func TestATimeKeepsItsMoment(t *testing.T) {
	t.Parallel()
	for _, was := range []time.Time{{}, time.Now(), time.Now().UTC(), time.Unix(-1<<40, 999999999), time.Unix(1<<40, 0).In(time.FixedZone("A", 86399))} {
		w := &writing{}
		w.time(was)
		r := &reading{rest: w.tail}
		if is := r.time(); r.bad || !is.Equal(was) || is.Format(time.RFC3339Nano) != was.Format(time.RFC3339Nano) || is.IsZero() != was.IsZero() {
			t.Errorf("%v after %v", is, was)
		}
	}
}

// What pages ask of an error it answers at the other side as well.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	var err error
	box, _, _ := connected(t, func(string, ...any) ([]reflect.Value, error) { return nil, err })
	all := append([]error{errors.New("any")}, sentinels...)
	for i := range typed {
		all = append(all, filled(typed[i], rand.New(rand.NewPCG(3, 4)), 3).Interface().(error))
	}
	for _, one := range all {
		for _, err = range []error{one, fmt.Errorf("around: %w", one), errors.Join(one, errors.New("and another"))} {
			_, got := box.SetConfig(webadmin.ConfigChange{}, "anna")
			if got == nil || got.Error() != err.Error() {
				t.Fatalf("%v came as %v", err, got)
			}
			for _, s := range sentinels {
				if errors.Is(got, s) != errors.Is(err, s) {
					t.Errorf("%v: is %v: %v", err, s, errors.Is(got, s))
				}
			}
			for _, ty := range typed {
				a, b := reflect.New(ty), reflect.New(ty)
				if errors.As(got, a.Interface()) != errors.As(err, b.Interface()) || !reflect.DeepEqual(a.Elem().Interface(), b.Elem().Interface()) {
					t.Errorf("%v: as %v: %v, want %v", err, ty, a.Elem(), b.Elem())
				}
			}
		}
	}
	if err = nil; true {
		if _, got := box.SetConfig(webadmin.ConfigChange{}, "anna"); got != nil {
			t.Error(got)
		}
	}
}

// An error comes beside what was returned with it.
func TestAnErrorComesBesideValues(t *testing.T) {
	t.Parallel()
	box, _, _ := connected(t, func(string, ...any) ([]reflect.Value, error) {
		return []reflect.Value{reflect.ValueOf([]byte("pack")), reflect.ValueOf(true)}, webadmin.ErrBusy
	})
	if b, found, err := box.Evidence("x", "anna"); string(b) != "pack" || !found || !errors.Is(err, webadmin.ErrBusy) {
		t.Errorf("%q, %v, %v", b, found, err)
	}
}

func TestAnUnknownMethodIsAnError(t *testing.T) {
	t.Parallel()
	_, web, far := connected(t, func(string, ...any) ([]reflect.Value, error) { return nil, nil })
	if _, err := web.call(time.Minute, "Ask"); err == nil {
		t.Error("called")
	}
	for _, name := range []string{"", "x", "Nothing", "ask", "must"} {
		w := &writing{}
		w.text(name)
		a := far.answer(t.Context(), 1, &serving{cancel: func() {}}, &arrival{bytes: w.tail})
		r := &reading{rest: a.tail}
		if r.flag() {
			t.Errorf("%q is answered", name)
		}
		if err, _ := r.error(nil); err == nil || !strings.Contains(err.Error(), "no method") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Metrics are those of the governing process, in the form that who fetches them wants.
func TestFiguresAreThoseOfTheHandler(t *testing.T) {
	t.Parallel()
	of := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			fmt.Fprintf(w, "%s %s", name, r.Header.Get("Authorization"))
		})
	}
	b := boxOf{metrics: of("all"), masked: of("masked")}
	for masked, want := range map[bool]string{false: "all ", true: "masked "} {
		f := b.Metrics(masked, http.Header{"Accept": {"text/x"}})
		if f.Status != 200 || string(f.Body) != want || f.Header.Get("Content-Type") != "text/x" {
			t.Errorf("%+v", f)
		}
	}
	if f := (boxOf{}).Metrics(false, nil); f.Status != http.StatusNotFound {
		t.Errorf("without metrics: %+v", f)
	}
}

// stuck is a web admin that does not say that it is alive.
type stuck struct {
	idle
	let chan struct{}
}

func (s *stuck) Alive() { <-s.let }

// A process that hangs is given up, and whoever waits for it is told so.
func TestAProcessThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	a, b := sockets(t)
	log := slog.New(slog.DiscardHandler)
	s := &stuck{let: make(chan struct{})}
	defer close(s.let)
	web := newLink[Web](b, s, reflect.TypeFor[Box](), 0, log)
	go web.run()
	p := newPeer(a, &source{}, 1<<20, log)
	if err := p.Run(); err == nil || !strings.Contains(err.Error(), "it hangs") {
		t.Errorf("%v", err)
	}
	if _, err := p.Certificate(); err == nil || !strings.Contains(err.Error(), "it hangs") {
		t.Errorf("%v", err)
	}
}

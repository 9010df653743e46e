package remote

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of frames. A frame is the length of what follows (4 bytes, big-endian), its kind (1), the number of the call (8) and what it carries. A question or
// an answer may take several; the first begins with the length of the whole (8 bytes).
const (
	kindAsk        = 1 // the method's name and its arguments
	kindAskMore    = 2
	kindLeave      = 3 // who asked does not want to know any more
	kindHeard      = 4 // an answer to kindTell: the next may come
	kindData       = 5 // an answer to kindWant
	kindAnswer     = 6 // whether it was made, and its values or why not
	kindAnswerMore = 7
	kindTell       = 8 // a function of the arguments is called
	kindWant       = 9 // a reader of the arguments is read from
)

const (
	frameMost  = 64 << 10         // of what a frame carries, beside the length of the whole
	dataMost   = frameMost - 1<<8 // of what is read at once
	headBytes  = 13               // of a frame
	askedMost  = 256              // calls at once; more wait
	servedMost = askedMost + 64   // of the other side, with those that are on their way
	writeMost  = 10 * time.Second // the other side takes what it is sent
	leaveMost  = 5 * time.Second  // an answer to who has left
)

// link is one end of a stream between two processes that call methods of each other. An argument may be a context, whose end is told, a reader, which is
// read from as far as the other side wants, and may have functions without results, which are called.
type link struct {
	conn    *net.UnixConn
	log     *slog.Logger
	mine    reflect.Value // what is called here
	methods map[string]reflect.Method
	theirs  reflect.Type // an interface: what is called there
	most    int64        // bytes of one question or answer; and twice that of all questions at once; 0: no bound
	held    atomic.Int64 // bytes of questions
	slots   chan struct{}

	out sync.Mutex // held by who writes a frame

	mu      sync.Mutex // guards what follows
	next    uint64
	calls   map[uint64]*call
	arrived map[uint64]*arrival
	served  map[uint64]*serving
	err     error // why it is over

	over chan struct{}
}

// call is one that was made from here.
type call struct {
	inbox  chan frame
	answer *arrival
}

type frame struct {
	kind    byte
	payload []byte
}

// arrival is a question or an answer that is coming in.
type arrival struct {
	bytes []byte
	want  uint64 // bytes that are missing
	drop  bool   // there is no room for it, or nobody wants it
}

// serving is a call that is being answered here.
type serving struct {
	cancel context.CancelFunc
	data   chan []byte
	told   atomic.Bool // something that has not been heard yet
	failed error       // what reading from the other side failed with there
}

// newLink has mine called by the other side, as M, and theirs, an interface, called there.
func newLink[M any](conn *net.UnixConn, mine M, theirs reflect.Type, most int64, log *slog.Logger) *link {
	l := &link{
		conn: conn, log: log, mine: reflect.ValueOf(mine), methods: map[string]reflect.Method{}, theirs: theirs, most: most, slots: make(chan struct{}, askedMost),
		calls: map[uint64]*call{}, arrived: map[uint64]*arrival{}, served: map[uint64]*serving{}, over: make(chan struct{}),
	}
	for t, i := reflect.TypeFor[M](), 0; i < t.NumMethod(); i++ {
		l.methods[t.Method(i).Name] = t.Method(i)
	}
	return l
}

// end is for good: all calls fail with why.
func (l *link) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = why
	close(l.over)
	l.conn.Close()
	for _, s := range l.served {
		s.cancel()
	}
}

func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// run reads what comes until the link is over, and returns why: io.EOF where the other side closed it.
func (l *link) run() error {
	in := bufio.NewReaderSize(l.conn, frameMost)
	for {
		if err := l.receive(in); err != nil {
			l.end(err)
			return l.why()
		}
	}
}

// receive takes one frame.
func (l *link) receive(in *bufio.Reader) error {
	var head [headBytes]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	size, kind, id := int64(binary.BigEndian.Uint32(head[:]))-headBytes+4, head[4], binary.BigEndian.Uint64(head[5:])
	if size < 0 || size > frameMost+8 || kind < kindAsk || kind > kindWant {
		return fmt.Errorf("%w: a frame of %d bytes, kind %d", errDamaged, size, kind)
	}
	switch kind {
	case kindAsk, kindAskMore, kindAnswer, kindAnswerMore:
		return l.piece(in, kind, id, uint64(size))
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == kindTell || kind == kindWant {
		if c := l.calls[id]; c != nil {
			return c.put(frame{kind, payload})
		}
		return nil // it has been given up
	}
	s := l.served[id]
	if s == nil {
		return nil // it has been answered
	}
	switch kind {
	case kindLeave:
		s.cancel()
	case kindHeard:
		s.told.Store(false)
	case kindData:
		select {
		case s.data <- payload:
		default:
			return fmt.Errorf("%w: more was sent than was asked for", errDamaged)
		}
	}
	return nil
}

func (c *call) put(f frame) error {
	select {
	case c.inbox <- f:
		return nil
	default:
		return fmt.Errorf("%w: too much for one call", errDamaged)
	}
}

// piece takes a part of a question or of an answer, of size bytes, and has the whole served, or given to who asked.
func (l *link) piece(in *bufio.Reader, kind byte, id, size uint64) error {
	var a *arrival
	asked := kind == kindAnswer || kind == kindAnswerMore
	l.mu.Lock()
	c := l.calls[id]
	if !asked {
		a = l.arrived[id]
	} else if c != nil {
		a = c.answer
	}
	l.mu.Unlock()
	if kind == kindAsk || kind == kindAnswer {
		var total [8]byte
		if size < 8 || a != nil {
			return fmt.Errorf("%w: it begins twice", errDamaged)
		}
		if _, err := io.ReadFull(in, total[:]); err != nil {
			return err
		}
		size -= 8
		a = &arrival{want: binary.BigEndian.Uint64(total[:])}
		large := l.most > 0 && a.want > uint64(l.most)
		if asked && large {
			return fmt.Errorf("%w: an answer of %d bytes", errDamaged, a.want)
		}
		if asked {
			a.drop = c == nil
		} else {
			a.drop = large || l.most > 0 && l.held.Load()+int64(a.want) > 2*l.most
		}
		if !a.drop {
			a.bytes = make([]byte, 0, a.want)
			if !asked {
				l.held.Add(int64(a.want))
			}
		}
		if err := l.begin(id, a, asked, c); err != nil {
			return err
		}
	}
	if asked && c == nil {
		_, err := io.CopyN(io.Discard, in, int64(size))
		return err
	}
	if a == nil || size > a.want {
		return fmt.Errorf("%w: a part of nothing", errDamaged)
	}
	a.want -= size
	var err error
	if a.drop {
		_, err = io.CopyN(io.Discard, in, int64(size))
	} else {
		at := len(a.bytes)
		a.bytes = a.bytes[:at+int(size)]
		_, err = io.ReadFull(in, a.bytes[at:])
	}
	if err != nil || a.want > 0 {
		return err
	}
	if asked {
		return c.put(frame{kind: kindAnswer})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.arrived, id)
	if l.err != nil {
		return l.err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{cancel: cancel, data: make(chan []byte, 1)}
	l.served[id] = s
	go l.serve(ctx, id, s, a)
	return nil
}

func (l *link) begin(id uint64, a *arrival, asked bool, c *call) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked {
		if c != nil {
			c.answer = a
		}
		return nil
	}
	if n := len(l.arrived) + len(l.served); l.served[id] != nil || n >= servedMost {
		return fmt.Errorf("%w: %d calls at once, or one twice", errDamaged, n)
	}
	l.arrived[id] = a
	return nil
}

// write sends one frame.
func (l *link) write(kind byte, id uint64, parts ...[]byte) error {
	size := headBytes - 4
	for _, p := range parts {
		size += len(p)
	}
	head := binary.BigEndian.AppendUint32(make([]byte, 0, headBytes), uint32(size))
	head = binary.BigEndian.AppendUint64(append(head, kind), id)
	all := append(net.Buffers{head}, parts...)
	l.out.Lock()
	defer l.out.Unlock()
	err := l.conn.SetWriteDeadline(time.Now().Add(writeMost))
	if err == nil {
		_, err = all.WriteTo(l.conn)
	}
	if err != nil { // half a frame may be on its way
		l.end(err)
		return l.why()
	}
	return nil
}

// send sends a whole message in as many frames as it takes.
func (l *link) send(begin, more byte, id uint64, w *writing) error {
	parts, size := w.whole()
	kind, room, frame := begin, frameMost, [][]byte{binary.BigEndian.AppendUint64(nil, uint64(size))}
	for _, p := range parts {
		for len(p) > 0 {
			n := min(len(p), room)
			frame, p = append(frame, p[:n]), p[n:]
			if room -= n; room > 0 {
				continue
			}
			if err := l.write(kind, id, frame...); err != nil {
				return err
			}
			kind, room, frame = more, frameMost, nil
		}
	}
	if len(frame) == 0 {
		return nil
	}
	return l.write(kind, id, frame...)
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

package remote

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
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

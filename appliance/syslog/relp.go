package syslog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/spool"
)

// Window is how many records are sent over RELP before the first of them has to be acknowledged.
const Window = 512

const (
	ackTimeout = 60 * time.Second
	maxTxn     = 999_999_999
	maxAnswer  = 64 << 10
	closeWait  = time.Second
	offers     = "relp_version=0\nrelp_software=mailweir\ncommands=syslog"
)

// relp sends records as the Reliable Event Logging Protocol does (librelp's relp.html): frames `TXNR SP COMMAND SP DATALEN [SP DATA] LF`, of
// which each is answered by one with the same TXNR and the command rsp, whose data begin with 200 when it was taken.
type relp struct {
	*wire
	in    *bufio.Reader
	buf   []byte
	txn   int
	moved chan struct{} // see news
	gone  chan struct{} // closed by the listening goroutine, which ends with the connection

	mu      sync.Mutex // guards all below
	waiting []sent     // in the order in which they were sent
	seq     uint64     // all up to here are acknowledged
	err     error      // why gone was closed
	leaving bool       // we have said close
}

type sent struct {
	txn  int
	seq  uint64
	done bool
}

// newRELP opens the session.
func newRELP(w *wire) (*relp, error) {
	r := &relp{wire: w, in: bufio.NewReaderSize(w.conn, 4096), txn: 1, moved: make(chan struct{}, 1), gone: make(chan struct{})}
	err := w.tcp.SetReadDeadline(time.Now().Add(dialTimeout))
	if err == nil {
		err = w.write(r.frame(nil, 1, "open", []byte(offers)))
	}
	if err == nil {
		var a answer
		a, err = r.answer()
		switch {
		case err != nil:
			err = &phaseError{"RELP", err}
		case a.command != "rsp" || a.txn != 1:
			err = fmt.Errorf("no RELP server: it answers %.40q", a.command)
		case !a.taken():
			err = fmt.Errorf("it refuses the session: %.200q", a.data)
		case !strings.Contains(string(a.data), "syslog"):
			err = errors.New("its RELP server takes no syslog")
		}
	}
	if err == nil {
		err = w.tcp.SetReadDeadline(time.Time{})
	}
	if err != nil {
		w.tcp.Close()
		return nil, err
	}
	go r.listen()
	return r, nil
}

func (r *relp) frame(b []byte, txn int, command string, data []byte) []byte {
	b = strconv.AppendInt(b, int64(txn), 10)
	b = append(append(append(b, ' '), command...), ' ')
	b = strconv.AppendInt(b, int64(len(data)), 10)
	if len(data) > 0 {
		b = append(append(b, ' '), data...)
	}
	return append(b, '\n')
}

type answer struct {
	txn     int
	command string
	data    []byte
}

func (a answer) taken() bool { return bytes.HasPrefix(a.data, []byte("200")) }

// answer reads one frame.
func (r *relp) answer() (a answer, err error) {
	word := func(ends string) (string, byte, error) {
		var w []byte
		for {
			c, err := r.in.ReadByte()
			if err != nil {
				return "", 0, err
			}
			if strings.IndexByte(ends, c) >= 0 {
				return string(w), c, nil
			}
			if w = append(w, c); len(w) > 32 {
				return "", 0, fmt.Errorf("not RELP: %q", w)
			}
		}
	}
	number, _, err := word(" ")
	if err != nil {
		return a, err
	}
	if a.txn, err = strconv.Atoi(number); err != nil {
		return a, fmt.Errorf("not RELP: transaction %q", number)
	}
	if a.command, _, err = word(" "); err != nil {
		return a, err
	}
	length, end, err := word(" \n")
	if err != nil {
		return a, err
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > maxAnswer {
		return a, fmt.Errorf("not RELP: length %q", length)
	}
	if end == '\n' {
		return a, nil
	}
	a.data = make([]byte, n)
	if _, err = io.ReadFull(r.in, a.data); err != nil {
		return a, err
	}
	c, err := r.in.ReadByte()
	if err == nil && c != '\n' {
		err = errors.New("not RELP: a frame that does not end")
	}
	return a, err
}

// listen takes acknowledgements until the connection ends.
func (r *relp) listen() {
	defer close(r.gone)
	for {
		a, err := r.answer()
		r.mu.Lock()
		switch {
		case errors.Is(err, io.EOF):
			err = errEnded
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("the collector has acknowledged nothing for %v", ackTimeout)
		case err == nil && a.command == "serverclose":
			err = errEnded
		case err == nil && a.command == "rsp":
			err = r.note(a)
		}
		r.err = err
		ahead := len(r.waiting)
		r.mu.Unlock()
		if err == nil && r.in.Buffered() > 0 {
			continue
		}
		select {
		case r.moved <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
		if ahead > 0 && ahead < Window/2 { // else somebody may wait for room in it
			time.Sleep(restFor)
		}
	}
}

// note takes one acknowledgement; mu is held.
func (r *relp) note(a answer) error {
	for i := range r.waiting {
		w := &r.waiting[i]
		if w.txn != a.txn {
			continue
		}
		if !a.taken() {
			return &refusedError{seq: w.seq, text: fmt.Sprintf("%.200q", a.data)}
		}
		w.done = true
		n := 0
		for n < len(r.waiting) && r.waiting[n].done {
			r.seq = r.waiting[n].seq
			n++
		}
		if r.waiting = r.waiting[n:]; n > 0 {
			return r.watch()
		}
		return nil
	}
	if r.leaving {
		return errEnded // the answer to our close
	}
	return fmt.Errorf("the collector acknowledges %d, which was not sent", a.txn)
}

// watch has the connection end when the collector acknowledges nothing for too long; mu is held.
func (r *relp) watch() error {
	until := time.Time{}
	if len(r.waiting) > 0 {
		until = time.Now().Add(ackTimeout)
	}
	return r.tcp.SetReadDeadline(until)
}

func (r *relp) send(items []spool.Item) (int, error) {
	r.buf = r.buf[:0]
	r.mu.Lock()
	if err := r.err; err != nil {
		r.mu.Unlock()
		return 0, err
	}
	idle := len(r.waiting) == 0
	n := 0
	for n < len(items) && len(r.waiting) < Window {
		if r.txn++; r.txn > maxTxn {
			r.txn = 1
		}
		r.buf = r.frame(r.buf, r.txn, "syslog", items[n].Line)
		r.waiting = append(r.waiting, sent{txn: r.txn, seq: items[n].Seq})
		n++
	}
	var err error
	if idle && n > 0 {
		err = r.watch()
	}
	r.mu.Unlock()
	if n > 0 && err == nil {
		err = r.write(r.buf)
	}
	return n, err
}

func (r *relp) due() bool { return false }

func (r *relp) news() <-chan struct{} { return r.moved }

func (r *relp) broken() <-chan struct{} { return r.gone }

func (r *relp) why() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *relp) acked() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

func (r *relp) safe() uint64 { return r.acked() }

// settle waits for the last acknowledgement and ends the session.
func (r *relp) settle(ctx context.Context) {
	for {
		r.mu.Lock()
		n := len(r.waiting)
		r.leaving = n == 0
		r.mu.Unlock()
		if n == 0 {
			break
		}
		select {
		case <-r.moved:
		case <-r.gone:
			return
		case <-ctx.Done():
			return
		}
	}
	if r.write(r.frame(nil, r.txn+1, "close", nil)) != nil {
		return
	}
	select { // it need not answer: everything is acknowledged
	case <-r.gone:
	case <-ctx.Done():
	case <-time.After(closeWait):
	}
}

func (r *relp) interrupt() { r.tcp.Close() }

func (r *relp) close() {
	r.tcp.Close()
	<-r.gone
}

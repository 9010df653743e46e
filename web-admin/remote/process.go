// Package remote has the web admin be a process of its own, without rights: what it needs of the box it asks the process that governs, by a pair of sockets, as
// if it called [webadmin.Source]. So nothing that a browser sends is read by the process through which packets go, and a web admin that breaks, hangs or takes
// memory is started again while mail flows.
//
// The governing process binds the addresses, reads the certificate's key, and hands both over; it also starts and ends the other one ([Peer]). Both are one
// program of one version: messages are not understood by another.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"syscall"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/sentences"
)

// Command is the only argument of the process.
const Command = "web-admin"

// Descriptors of the process.
const (
	fdLink   = 3
	fdSocket = 4
	fdTCP    = 5
)

// Box is what the web admin asks of the governing process.
type Box interface {
	webadmin.Source
	Audit(webadmin.AuditEvent)
	Metrics(masked bool, wanted http.Header) Figures
}

// Web is what the governing process asks of the web admin.
type Web interface {
	Begin(Setup) error
	UseSentences(file []byte) error
	ShowPair(webadmin.Pair) error
	Certificate() Certificate
	Alive()
	End()
}

// Setup is how the web admin is to be, as [webadmin.Options] has it.
type Setup struct {
	DataDir       string
	Network       bool // there is a TCP address
	Pair          webadmin.Pair
	Sentences     []byte // the file; nil: what the program brings
	Metrics       bool   // there are some
	MetricsPublic bool
	Zone          string
	ListBytes     int64
	Debug         bool // it logs debugging messages, too
}

// Certificate is what is known of the certificate's end.
type Certificate struct {
	State   webadmin.CertificateState
	Problem *webadmin.Problem
}

// Figures are an answer of the metrics.
type Figures struct {
	Status int
	Header http.Header
	Body   []byte
}

// Reexec returns at once in an ordinary process. In one that is to be the web admin it does not return.
func Reexec() {
	if len(os.Args) != 2 || os.Args[1] != Command {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // who governs says when it ends
	if err := serveWeb(); err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: web admin: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveWeb() error {
	debug.SetGCPercent(50)
	conn, err := connOf(fdLink)
	if err != nil {
		return fmt.Errorf("descriptor %d, by which the process that governs is asked: %w", fdLink, err)
	}
	level := new(slog.LevelVar)
	w := &web{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})), level: level, begun: make(chan struct{}), ended: make(chan error, 1)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	l := newLink[Web](conn, w, reflect.TypeFor[Box](), 0, w.log)
	w.box = sourceOver(l)
	gone := make(chan error, 1)
	go func() { gone <- l.run() }()
	select {
	case err = <-w.ended:
	case err = <-gone: // who governs has ended
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = nil
		}
	}
	return err
}

// web is the web admin as the governing process asks it.
type web struct {
	log    *slog.Logger
	level  *slog.LevelVar
	box    *source
	ctx    context.Context
	stop   context.CancelFunc
	begun  chan struct{}
	ended  chan error
	server *webadmin.Server
}

// memoryBeside is what the process may take beside a list of subscribers that is being looked at, which takes listTimes its length.
const (
	memoryBeside = 64 << 20
	listTimes    = 4
)

func (w *web) Begin(s Setup) (err error) {
	if w.server != nil {
		return errors.New("it has begun already")
	}
	if s.Debug {
		w.level.Set(slog.LevelDebug)
	}
	o := webadmin.Options{
		DataDir: s.DataDir, Doors: &webadmin.Doors{}, Pair: &s.Pair, MetricsPublic: s.MetricsPublic, Source: w.box, Audit: w.box.Audit, ListBytes: s.ListBytes, Log: w.log,
	}
	debug.SetMemoryLimit(memoryBeside + listTimes*o.LongestList())
	if s.Metrics {
		o.Metrics, o.MetricsMasked = w.box.figures(false), w.box.figures(true)
	}
	if s.Zone != "" {
		if o.Location, err = time.LoadLocation(s.Zone); err != nil {
			return err
		}
	}
	if len(s.Sentences) > 0 {
		var wrong []sentences.Problem
		if o.Sentences, _, wrong = sentences.Parse(s.Sentences); len(wrong) > 0 {
			return fmt.Errorf("what callers are told: %s", wrong[0].Message)
		}
	}
	l, err := listenerOf(fdSocket)
	if err != nil {
		return err
	}
	o.Doors.Socket = l.(*net.UnixListener)
	if s.Network {
		if o.Doors.TCP, err = listenerOf(fdTCP); err != nil {
			return err
		}
	}
	if w.server, err = webadmin.New(o); err != nil {
		return err
	}
	go func() { w.ended <- w.server.Run(w.ctx) }()
	<-w.server.Ready()
	close(w.begun)
	return nil
}

func (w *web) UseSentences(file []byte) error {
	<-w.begun
	set, _, wrong := sentences.Parse(file)
	if len(wrong) > 0 {
		return fmt.Errorf("what callers are told: %s", wrong[0].Message)
	}
	w.server.UseSentences(set)
	return nil
}

func (w *web) ShowPair(p webadmin.Pair) error {
	<-w.begun
	return w.server.ShowPair(p)
}

func (w *web) Certificate() Certificate {
	<-w.begun
	state, problem := w.server.CertificateEnd()
	return Certificate{state, problem}
}

func (w *web) Alive() {}

func (w *web) End() { w.stop() }

// connOf takes the descriptor of a unix socket over.
func connOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // FileConn duplicates it
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T where a unix socket was expected", c), c.Close())
	}
	return u, nil
}

// listenerOf takes the descriptor of a listening socket over.
func listenerOf(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return l, nil
}

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/remote"
	"github.com/mailweir/mailweir/web-admin/sentences"
)

// Bounds of the web admin's process. Its priority lets packets go first, and an operator log in all the same while the box is busy.
const (
	webNice    = 10
	webMemory  = 256 << 20        // bytes, beside six times the longest list that it takes
	webEnds    = 4 * time.Second  // of the process, once it was told to end
	webAgain   = time.Second / 4  // before it is started again; twice that at each time that it does not live for webLives,
	webSeldom  = 30 * time.Second // up to this
	webLives   = 10 * time.Second
	webLargest = whatIfAnswer + 2<<20 // bytes of one message from it or to it, where lists are not longer
)

// front is the web admin, in this process or in one of its own.
type front interface {
	Run(context.Context) error
	Ready() <-chan struct{}
	Close() error
	UseSentences(*sentences.Set)
	ShowPair(webadmin.Pair) error
	CertificateEnd() (webadmin.CertificateState, *webadmin.Problem)
}

// webProcess is the web admin as a process of its own, with no rights but to write in the data directory and a heap of its own: what people do there neither
// makes packets wait nor ends the process that judges them, whatever they send. It is bound here: a process after the one that ended listens at once.
type webProcess struct {
	exe    string // of mailweir
	opt    webadmin.Options
	zone   string // of the times on pages; "": the machine's
	health *health

	socket, tcp int    // what it listens on, to be duplicated for each; tcp is -1 where nothing listens on the network
	hide        func() // removes the path of the socket
	ready       chan struct{}

	mu     sync.Mutex
	setup  remote.Setup // for the next one
	peer   *remote.Peer // nil: none runs
	state  webadmin.CertificateState
	ends   *webadmin.Problem // of the certificate, both as they were last heard
	closed bool
}

// newWebProcess binds what the web admin listens on and reads its certificate; Run starts the process.
func newWebProcess(exe string, o webadmin.Options, zone string, h *health) (w *webProcess, err error) {
	pair, err := webadmin.ReadPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, err
	}
	doors, err := webadmin.Bind(o.DataDir, o.Listen)
	if err != nil {
		return nil, err
	}
	w = &webProcess{exe: exe, opt: o, zone: zone, health: h, hide: doors.Hide, tcp: -1, ready: make(chan struct{})}
	if w.socket, err = takenFrom(doors.Socket); err == nil && doors.TCP != nil {
		w.tcp, err = takenFrom(doors.TCP)
	}
	if err != nil {
		return nil, errors.Join(err, doors.Close())
	}
	w.setup = remote.Setup{DataDir: o.DataDir, Network: w.tcp >= 0, Pair: pair, Sentences: o.Sentences.File(), Metrics: o.Metrics != nil, MetricsPublic: o.MetricsPublic,
		Zone: zone, ListBytes: o.ListBytes, Debug: o.Log.Enabled(context.Background(), slog.LevelDebug)}
	return w, nil
}

// takenFrom is the socket of a listener, which is closed: Go has no hand in it any more.
func takenFrom(l net.Listener) (fd int, err error) {
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, bad := -1, error(nil)
	err = raw.Control(func(was uintptr) { fd, bad = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, bad, l.Close())
}

// Ready is closed once the web admin answers for the first time.
func (w *webProcess) Ready() <-chan struct{} { return w.ready }

// Run has a process there until ctx ends: one that ends is started again.
func (w *webProcess) Run(ctx context.Context) error {
	defer w.Close()
	thread := newLesserThread(webNice, keptRights(w.opt.DataDir))
	defer thread.end()
	pause := webAgain
	for {
		started := time.Now()
		err := w.live(ctx, thread)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(started) > webLives {
			pause = webAgain
		}
		w.opt.Log.Error("the web admin's process has ended and is started again; mail is not affected", "in", pause, "err", err)
		w.health.begin(records.HealthFacts{What: "web_admin", Detail: err.Error()})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, webSeldom)
	}
}

// live is one process, from its start until it has ended, which is an error also where ctx has. It ends with this one, whose death the kernel tells it of, and
// with the socket between them.
func (w *webProcess) live(ctx context.Context, thread *lesserThread) error {
	cmd := exec.Command(w.exe, "web-admin")
	cmd.Args[0] = "mailweir"
	cmd.Stderr = os.Stderr
	cmd.Env = []string{"GOMAXPROCS=1"}
	if zone, set := os.LookupEnv("TZ"); set {
		cmd.Env = append(cmd.Env, "TZ="+zone)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	socket, tcp, err := w.files()
	if err != nil {
		return err
	}
	peer, started, err := remote.Prepare(cmd, w.opt, socket, tcp, max(webLargest, w.opt.LongestList()+1<<20))
	if err == nil {
		err = thread.do(func() error { return cmd.Start() })
		started()
	}
	socket.Close()
	if tcp != nil {
		tcp.Close()
	}
	if err != nil {
		if peer != nil {
			peer.Close()
		}
		return fmt.Errorf("start %s: %w", w.exe, err)
	}
	if err := limit(cmd, webMemory+6*uint64(w.opt.LongestList())); err != nil {
		peer.Close()
		return err
	}
	w.mu.Lock()
	w.peer = peer
	setup := w.setup
	w.mu.Unlock()
	over := make(chan error, 1)
	go func() { over <- peer.Run() }()
	began := make(chan error, 1)
	go func() { began <- peer.Begin(setup) }()
	for {
		select {
		case err = <-began:
			if began = nil; err == nil {
				w.begun()
				continue
			}
		case err = <-over:
			over = nil
		case <-ctx.Done():
			err = nil
			w.hide()
			if peer.End() == nil {
				select {
				case <-over:
					over = nil
				case <-time.After(webEnds):
				}
			}
		}
		break
	}
	w.mu.Lock()
	w.peer = nil
	w.mu.Unlock()
	peer.Close()
	if over != nil {
		<-over
	}
	cmd.Process.Kill()
	ended := cmd.Wait()
	if err == nil || errors.Is(err, io.EOF) { // why it hung up is known to itself
		err = ended
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return err
}

// begun is called when a process answers.
func (w *webProcess) begun() {
	w.health.end("web_admin")
	select {
	case <-w.ready:
	default:
		close(w.ready)
	}
}

// files are what a process listens on, for it to have; tcp is nil where nothing listens on the network.
func (w *webProcess) files() (socket, tcp *os.File, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, net.ErrClosed
	}
	file := func(fd int) (*os.File, error) {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		return os.NewFile(uintptr(dup), "listener"), nil
	}
	if socket, err = file(w.socket); err != nil || w.tcp < 0 {
		return socket, nil, err
	}
	if tcp, err = file(w.tcp); err != nil {
		socket.Close()
	}
	return socket, tcp, err
}

// Close gives back what it listens on. It is called after Run, or in its place.
func (w *webProcess) Close() error {
	w.hide()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	err := unix.Close(w.socket)
	if w.tcp >= 0 {
		err = errors.Join(err, unix.Close(w.tcp))
	}
	return err
}

// use has change made for the processes to come, and tells the one that runs. Where that cannot be told the next one knows.
func (w *webProcess) use(change func(*remote.Setup), tell func(*remote.Peer) error) error {
	w.mu.Lock()
	change(&w.setup)
	peer := w.peer
	w.mu.Unlock()
	if peer == nil {
		return nil
	}
	return tell(peer)
}

// UseSentences has callers told other sentences.
func (w *webProcess) UseSentences(s *sentences.Set) {
	err := w.use(func(u *remote.Setup) { u.Sentences = s.File() }, func(p *remote.Peer) error { return p.UseSentences(s.File()) })
	if err != nil {
		w.opt.Log.Error("web admin: other sentences are not in use yet", "err", err)
	}
}

func (w *webProcess) ShowPair(pair webadmin.Pair) error {
	return w.use(func(u *remote.Setup) { u.Pair = pair }, func(p *remote.Peer) error { return p.ShowPair(pair) })
}

// CertificateEnd is how the certificate stands, as the process said when it last answered.
func (w *webProcess) CertificateEnd() (webadmin.CertificateState, *webadmin.Problem) {
	w.mu.Lock()
	peer := w.peer
	w.mu.Unlock()
	if peer != nil {
		if c, err := peer.Certificate(); err == nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.state, w.ends = c.State, c.Problem
			return c.State, c.Problem
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.ends
}

var _ front = (*webProcess)(nil)

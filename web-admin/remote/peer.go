package remote

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	beginMost  = 2 * time.Minute  // the web admin begins
	changeMost = 5 * time.Second  // and takes what is new
	endMost    = time.Second      // and is told to end
	askEvery   = 2 * time.Second  // whether it is alive
	aliveMost  = 10 * time.Second // it has not said so for so long: it hangs
)

// Peer is the web admin's process as the governing process sees it. Its methods may be called while Run runs.
type Peer struct{ link *link }

// served is what the web admin may ask.
func served(o webadmin.Options) Box {
	return boxOf{Source: o.Source, audit: o.Audit, metrics: o.Metrics, masked: o.MetricsMasked}
}

// Prepare gives a command what it needs to be the web admin's process ([Command]): the link, and the listening sockets, of which tcp may be nil. started is to be
// called once it has been started, or could not be. largest bounds what the process may ask in one message, in bytes.
func Prepare(cmd *exec.Cmd, o webadmin.Options, socket, tcp *os.File, largest int64) (p *Peer, started func(), err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "web admin")
	conn, err := connOf(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	cmd.ExtraFiles = []*os.File{theirs, socket}
	if tcp != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, tcp)
	}
	return newPeer(conn, served(o), largest, o.Log), func() { theirs.Close() }, nil
}

func newPeer(conn *net.UnixConn, box Box, largest int64, log *slog.Logger) *Peer {
	return &Peer{newLink(conn, box, reflect.TypeFor[Web](), largest, log)}
}

// Run answers the web admin until its process has ended, and returns why: io.EOF where it ended by itself.
func (p *Peer) Run() error {
	go func() {
		for {
			select {
			case <-p.link.over:
				return
			case <-time.After(askEvery):
			}
			if _, err := p.link.call(aliveMost, "Alive"); errors.Is(err, errLate) {
				p.link.end(fmt.Errorf("it has not answered for %v: it hangs", aliveMost))
			}
		}
	}()
	return p.link.run()
}

// Close ends the link, and so the process.
func (p *Peer) Close() { p.link.end(net.ErrClosed) }

// Begin has the web admin begin, and returns once it answers.
func (p *Peer) Begin(s Setup) error {
	_, err := p.link.call(beginMost, "Begin", s)
	return err
}

// UseSentences has callers told what is in a file from now on.
func (p *Peer) UseSentences(file []byte) error {
	_, err := p.link.call(changeMost, "UseSentences", file)
	return err
}

// ShowPair has another certificate shown from the next connection on.
func (p *Peer) ShowPair(pair webadmin.Pair) error {
	_, err := p.link.call(changeMost, "ShowPair", pair)
	return err
}

// Certificate says how much longer the certificate is good.
func (p *Peer) Certificate() (Certificate, error) {
	out, err := p.link.call(changeMost, "Certificate")
	return nth[Certificate](out, 0), err
}

// End has the web admin finish the requests that run, and its process end.
func (p *Peer) End() error {
	_, err := p.link.call(endMost, "End")
	return err
}

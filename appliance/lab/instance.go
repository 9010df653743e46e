package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// instance is one mail server's processes: namespaces of their own for
// processes, mounts, IPC and the host name, the network namespace of its
// line, and the packages' tree as root.
type instance struct {
	dir  string
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{} // closed when the first process, and so all of it, has ended

	mu      sync.Mutex
	in      io.WriteCloser
	last    int
	pending map[int]chan initReply
}

// startInstance starts the daemon; dir holds its own files.
func startInstance(ns *Namespace, tree *packageTree, dir, host string, daemon []string) (*instance, error) {
	i := &instance{dir: dir, done: make(chan struct{}), pending: map[int]chan initReply{}}
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	i.cmd = ns.Command(context.Background(), argInit)
	i.cmd.Stderr = &i.said
	i.cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid:     true, // Ctrl-C is for the lab, which then stops this in order
	}
	var err error
	if i.in, err = i.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := i.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", host, err)
	}
	go i.read(out)
	if err := i.write(initSpec{Host: host, Tree: tree.path, Dir: dir, Root: root, Daemon: daemon}); err != nil {
		return nil, errors.Join(err, i.stop())
	}
	return i, nil
}

func (i *instance) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = i.in.Write(append(b, '\n'))
	return err
}

// read hands replies to who waits for them; it ends with the instance.
func (i *instance) read(out io.Reader) {
	dec := json.NewDecoder(bufio.NewReader(out))
	for {
		var r initReply
		if dec.Decode(&r) != nil {
			break
		}
		i.mu.Lock()
		c := i.pending[r.ID]
		delete(i.pending, r.ID)
		i.mu.Unlock()
		if c != nil {
			c <- r
		}
	}
	_ = i.cmd.Wait() // how it ended does not matter; why stands in its logs
	close(i.done)
}

// ask sends a request and waits for the reply.
func (i *instance) ask(ctx context.Context, q initRequest) (initReply, error) {
	c := make(chan initReply, 1)
	i.mu.Lock()
	i.last++
	q.ID = i.last
	i.pending[q.ID] = c
	err := i.write(q)
	i.mu.Unlock()
	if err != nil {
		return initReply{}, err
	}
	select {
	case r := <-c:
		if r.Err != "" {
			return r, errors.New(r.Err)
		}
		return r, nil
	case <-i.done:
		return initReply{}, errors.New("the mail server has ended")
	case <-ctx.Done():
		return initReply{}, ctx.Err()
	}
}

// run runs a command inside and returns its output.
func (i *instance) run(ctx context.Context, argv ...string) (string, error) {
	r, err := i.ask(ctx, initRequest{Run: argv})
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("exit status %d: %s", r.Status, r.Output)
	}
	if err != nil {
		return r.Output, fmt.Errorf("%s: %w", argv[0], err)
	}
	return r.Output, nil
}

func (i *instance) signal(ctx context.Context, s unix.Signal) error {
	_, err := i.ask(ctx, initRequest{Signal: int(s)})
	return err
}

// stop ends the daemon and everything that it started.
func (i *instance) stop() error {
	err := i.in.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	<-i.done
	return err
}

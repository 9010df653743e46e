package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// readyLine is what `mailweir run` prints once it judges packets.
const readyLine = "mailweir: ready"

// Governor is a `mailweir run` in the box.
type Governor struct {
	Data string // its data directory
	cmd  *exec.Cmd
	http http.Client
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed

	mu   sync.Mutex
	last []string // the end of what it said on stderr
}

// Govern starts `SELF run` in the box with a configuration file and a data
// directory, and waits until it is ready. A lab may have one after the other,
// on the same data directory as well.
func (l *Lab) Govern(ctx context.Context, self, config, data string) (*Governor, error) {
	g := &Governor{Data: data, done: make(chan struct{})}
	g.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(data, "mailweir.sock"))
		},
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	g.cmd = l.Box.Command(context.Background(), self, "run", "--config", config, "--data", data)
	g.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C reaches the lab only, which stops this in its turn
	stderr, err := g.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", self, err)
	}
	ready := make(chan struct{})
	go g.listen(stderr, ready)
	select {
	case <-ready:
		return g, nil
	case <-g.done:
		return nil, fmt.Errorf("%s run ended before it was ready: %w\n%s", self, g.err, g.LastLines())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), g.Kill())
	}
}

// listen reads stderr to its end and then waits for the process.
func (g *Governor) listen(stderr io.Reader, ready chan struct{}) {
	for sc := bufio.NewScanner(stderr); sc.Scan(); {
		g.mu.Lock()
		g.last = append(g.last, sc.Text())
		if len(g.last) > 50 {
			g.last = g.last[1:]
		}
		g.mu.Unlock()
		if strings.HasPrefix(sc.Text(), readyLine) && ready != nil {
			close(ready)
			ready = nil
		}
	}
	_, _ = io.Copy(io.Discard, stderr) // a line too long for the scanner must not block it
	if g.err = g.cmd.Wait(); g.err == nil {
		g.err = errors.New("exit status 0")
	}
	close(g.done)
}

// Done is closed when the process has ended.
func (g *Governor) Done() <-chan struct{} { return g.done }

// LastLines is the end of what it said on stderr.
func (g *Governor) LastLines() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.last, "\n")
}

// PID is the process, to signal.
func (g *Governor) PID() int { return g.cmd.Process.Pid }

// Stop ends it with SIGTERM and waits for at most 20 s; the error says when it
// did not end cleanly.
func (g *Governor) Stop() error {
	select {
	case <-g.done:
		return fmt.Errorf("mailweir had ended before: %w\n%s", g.err, g.LastLines())
	default:
	}
	if err := g.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-g.done:
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("mailweir does not stop within 20 s"), g.Kill())
	}
	if !g.cmd.ProcessState.Success() {
		return fmt.Errorf("mailweir stopped with %w\n%s", g.err, g.LastLines())
	}
	return nil
}

// Kill is kill -9, and waits for the end.
func (g *Governor) Kill() error {
	err := g.cmd.Process.Kill()
	<-g.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Get asks the API over the data directory's socket, for example
// "/api/v1/status", and decodes the answer into v.
func (g *Governor) Get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mailweir"+path, nil)
	if err != nil {
		return err
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// Post sends body as JSON to a path of the API, over the socket.
func (g *Governor) Post(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mailweir"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	return nil
}

// Token is the admin token.
func (g *Governor) Token() (string, error) {
	b, err := os.ReadFile(filepath.Join(g.Data, "admin.token"))
	return strings.TrimSpace(string(b)), err
}

// Proxy listens on the host's loopback address, on port first or the next free
// one, and passes every connection on to an address inside the namespace. It
// ends with the context. The result is where it listens.
func (n *Namespace) Proxy(ctx context.Context, first int, to netip.AddrPort) (netip.AddrPort, error) {
	var lis net.Listener
	var err error
	for port := first; port < first+100; port++ {
		if lis, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("proxy to %s: %w", n.Name, err)
	}
	context.AfterFunc(ctx, func() { _ = lis.Close() })
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return // closed
			}
			go n.pass(ctx, c, to)
		}
	}()
	return lis.Addr().(*net.TCPAddr).AddrPort(), nil
}

// pass copies both ways until both have ended or the context has.
func (n *Namespace) pass(ctx context.Context, outer net.Conn, to netip.AddrPort) {
	defer outer.Close()
	inner, err := n.Dial(ctx, to)
	if err != nil {
		return
	}
	defer inner.Close()
	defer context.AfterFunc(ctx, func() { _ = outer.Close(); _ = inner.Close() })()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{inner, outer}, {outer, inner}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			if t, ok := way[0].(*net.TCPConn); ok {
				_ = t.CloseWrite()
			}
		})
	}
	wg.Wait()
}

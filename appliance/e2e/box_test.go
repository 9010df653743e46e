// Package e2e tries the whole of mailweir: the real binary in the lab's box, real
// packets through the kernel's queue, real Postfix and Exim on both sides. It
// needs root and network namespaces, and fails without them.
package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

var binary string // mailweir, built by TestMain from this tree

func TestMain(m *testing.M) {
	lab.Reexec()
	if ring := os.Getenv(ringEnv); ring != "" {
		os.Exit(runWithRing(ring))
	}
	if by := os.Getenv(clockEnv); by != "" {
		os.Exit(runWithClock(by))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mailweir-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "mailweir")
		build := exec.Command("go", "build", "-o", binary, "../cmd/mailweir")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build mailweir: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// startLab makes a network that is removed with the test.
func startLab(t *testing.T) (*lab.Lab, context.Context) {
	t.Helper()
	return startLabAt(t, lab.Routing)
}

func startLabAt(t *testing.T, place lab.Place) (*lab.Lab, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.Start(ctx, lab.Options{Log: slog.New(slog.DiscardHandler), Place: place})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l, ctx
}

func addServer(t *testing.T, ctx context.Context, l *lab.Lab, name string, o lab.ServerOptions) *lab.MailServer {
	t.Helper()
	s, err := l.AddMailServer(ctx, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func addHome(t *testing.T, l *lab.Lab, name string) *lab.Home {
	t.Helper()
	h, err := l.AddHome(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// box is one mailweir process in the lab's box.
type box struct {
	t      *testing.T
	ctx    context.Context
	lab    *lab.Lab
	config string // path
	data   string
	binary string   // another than mailweir's
	within []string // a command that runs the box's, if it is to run within something
	env    []string // of the box, beside ours

	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{}
	err   error

	mu     sync.Mutex
	stderr bytes.Buffer
}

// newBox writes the configuration and the subscribers; start runs it.
func newBox(t *testing.T, ctx context.Context, l *lab.Lab, config, subscribers string) *box {
	t.Helper()
	b := &box{t: t, ctx: ctx, lab: l, config: filepath.Join(l.Dir, "mailweir.yaml"), data: filepath.Join(l.Dir, "data")}
	b.write(config)
	if err := os.WriteFile(filepath.Join(l.Dir, "subscribers.csv"), []byte(subscribers), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.cmd != nil {
			b.stop()
		}
		if t.Failed() {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Logf("mailweir said:\n%s", b.stderr.String())
		}
	})
	return b
}

func (b *box) write(config string) {
	b.t.Helper()
	if err := os.WriteFile(b.config, []byte(config), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// start runs mailweir and waits until it says that it is ready.
func (b *box) start() {
	b.t.Helper()
	b.launch()
	select {
	case <-b.ready:
	case <-b.done:
		b.t.Fatalf("mailweir ended before it was ready: %v", b.err)
	case <-time.After(20 * time.Second):
		b.t.Fatal("mailweir was not ready within 20 s")
	}
}

func (b *box) launch() {
	b.t.Helper()
	argv := append(slices.Clone(b.within), cmp.Or(b.binary, binary), "run", "--config", b.config, "--data", b.data)
	b.cmd = b.lab.Box.Command(b.ctx, argv[0], argv[1:]...)
	b.cmd.Env = append(b.cmd.Env, b.env...)
	pipe, err := b.cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	b.ready, b.done = ready, done
	cmd := b.cmd
	go func() {
		defer close(done)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			b.mu.Lock()
			fmt.Fprintln(&b.stderr, s.Text())
			b.mu.Unlock()
			if s.Text() == "mailweir: ready" {
				close(ready)
			}
		}
		b.err = cmd.Wait()
	}()
}

// kill is kill -9; it returns when the process is gone.
func (b *box) kill() {
	b.t.Helper()
	if err := b.cmd.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	<-b.done
	b.cmd = nil
}

// stop asks it to end and holds it to a clean exit.
func (b *box) stop() {
	b.t.Helper()
	cmd := b.cmd
	b.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Error(err)
		return
	}
	select {
	case <-b.done:
		if b.err != nil {
			b.t.Errorf("mailweir ended with %v", b.err)
		}
	case <-time.After(20 * time.Second):
		b.t.Error("mailweir did not stop within 20 s")
		cmd.Process.Kill()
		<-b.done
	}
}

// cli runs a mailweir command against this box and decodes its JSON.
func (b *box) cli(out any, args ...string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.ctx, binary, append(args, "--data", b.data, "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("mailweir %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	if err := json.Unmarshal(answer, out); err != nil {
		b.t.Fatalf("mailweir %s: %v in %s", strings.Join(args, " "), err, answer)
	}
}

func (b *box) status() (s webadmin.Status) {
	b.t.Helper()
	b.cli(&s, "status")
	return s
}

func (b *box) subscriber(id string) (s webadmin.Subscriber) {
	b.t.Helper()
	b.cli(&s, "subscribers", id)
	return s
}

// budget is the first budget of that kind.
func budget(t *testing.T, s webadmin.Subscriber, of string) webadmin.Budget {
	t.Helper()
	for _, b := range s.Budgets {
		if b.Of == of {
			return b
		}
	}
	t.Fatalf("%s has no budget of %s: %+v", s.ID, of, s.Budgets)
	return webadmin.Budget{}
}

// await polls until ok, and fails the test after limit.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// config is a configuration in mode with the given plans; one ladder for all.
func config(mode, plans string) string {
	return fmt.Sprintf(`mode: %s
network:
  subscriber_interfaces: [lan0]
  upstream_interfaces: [wan0]
identity:
  subscribers_file: subscribers.csv
  unmapped_plan: free
plans:
  - name: free
    highest_stage: observe
    budgets:
      - {of: sessions, limit: 100000, per: 1h}
%s
defer:
  text: "{budget} exceeded; retry in {retry}; case {case}; help: https://isp.example/mail"
admin:
  listen: "127.0.0.1:8443"
  metrics_public: true
`, mode, plans)
}

// api is a client of the API over the socket in the data directory.
func (b *box) api() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(b.data, "mailweir.sock"))
		},
	}}
}

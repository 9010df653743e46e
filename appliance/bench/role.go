package bench

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
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Whoever measures or makes load is a process of its own, in the namespace where it belongs: its garbage collector, its
// priority and its CPU time are then nobody else's. It is this program once more, called with a role in its environment.
// It reads what it is to do as one line of JSON, works until its standard input ends, and says as JSON what it did.

const roleEnv = "MAILWEIR_BENCH_ROLE"

// roles are what a helper may be. Each works until stop is closed, or until it has nothing more to do.
var roles = map[string]func(task []byte, stop <-chan struct{}) (any, error){
	"probe":  role(probe),
	"burner": role(burn),
	"nas":    role(accounting),
	"reader": role(readPages),
}

func role[T, R any](do func(T, <-chan struct{}) (R, error)) func([]byte, <-chan struct{}) (any, error) {
	return func(task []byte, stop <-chan struct{}) (any, error) {
		var t T
		if err := json.Unmarshal(task, &t); err != nil {
			return nil, err
		}
		return do(t, stop)
	}
}

// Reexec is called first thing in main or TestMain, after lab.Reexec. It returns at once, except in a helper: there it
// never returns.
func Reexec() {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	if err := play(name, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(name string, in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	task, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	do := roles[name]
	if do == nil {
		return errors.New("there is no such role")
	}
	stop := make(chan struct{})
	go func() { // ends with the process, at the latest
		_, _ = io.Copy(io.Discard, r)
		close(stop)
	}()
	result, err := do(task, stop)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// helper is a running process of ours.
type helper struct {
	name      string
	cmd       *exec.Cmd
	in        io.Closer
	out, said bytes.Buffer
	end       func() error // once
}

// low is the priority of what stands for other machines: in earnest it would not run on the box's processors at all.
const low = 19

// start runs a role inside ns, at a priority from 0, as everybody, to 19, the lowest.
func start(ctx context.Context, ns *lab.Namespace, nice int, name string, task any) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	h := &helper{name: name, cmd: ns.Command(ctx, "nice", "-n", fmt.Sprint(nice), self)}
	h.cmd.Env = append(h.cmd.Env, roleEnv+"="+name)
	h.cmd.Stdout, h.cmd.Stderr = &h.out, &h.said
	in, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	h.in = in
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	h.end = sync.OnceValue(func() error { return errors.Join(h.in.Close(), h.wait()) })
	if _, err := in.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("tell %s what to do: %w", name, err), h.end())
	}
	return h, nil
}

func (h *helper) wait() error {
	if err := h.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", h.name, err, bytes.TrimSpace(h.said.Bytes()))
	}
	return nil
}

// result waits until the helper has done its task by itself.
func (h *helper) result(into any) error {
	err := h.wait()
	h.end = func() error { return err }
	if err != nil {
		return err
	}
	return h.decode(into)
}

// stop ends the helper and takes what it has to say.
func (h *helper) stop(into any) error {
	if err := h.end(); err != nil {
		return err
	}
	return h.decode(into)
}

func (h *helper) decode(into any) error {
	if err := json.Unmarshal(h.out.Bytes(), into); err != nil {
		return fmt.Errorf("what %s said: %w", h.name, err)
	}
	return nil
}

func (h *helper) pid() int { return h.cmd.Process.Pid }

// cpuTime is what a process has used of the processors so far, exactly and not in ticks (clock_getcpuclockid(3)).
func cpuTime(pid int) time.Duration {
	var t unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED, of all threads
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}

// Package helper runs whoever measures or makes load as a process of its own, in the namespace where it belongs: its
// garbage collector, its priority and its CPU time are then nobody else's. It is the same program once more, called with
// a role in its environment. It reads what it is to do as one line of JSON, works until its standard input ends, and says
// as JSON what it did.
package helper

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

const roleEnv = "MAILWEIR_BENCH_ROLE"

// Role is what a helper may be. It works until stop is closed, or until it has nothing more to do.
type Role func(task []byte, stop <-chan struct{}) (any, error)

// Of makes a role of a function with a task and a result that JSON can carry.
func Of[T, R any](do func(T, <-chan struct{}) (R, error)) Role {
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
func Reexec(roles map[string]Role) {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	if err := play(roles[name], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(do Role, in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	task, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
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

// Helper is a running process of ours.
type Helper struct {
	name      string
	cmd       *exec.Cmd
	in        io.Closer
	out, said bytes.Buffer
	end       func() error // once
}

// Low is the priority of what stands for other machines: in earnest it would not run on the box's processors at all.
const Low = 19

// Start runs a role inside ns, at a priority from 0, as everybody, to 19, the lowest.
func Start(ctx context.Context, ns *lab.Namespace, nice int, name string, task any) (*Helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	h := &Helper{name: name, cmd: ns.Command(ctx, "nice", "-n", fmt.Sprint(nice), self)}
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

func (h *Helper) wait() error {
	if err := h.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", h.name, err, bytes.TrimSpace(h.said.Bytes()))
	}
	return nil
}

// Result waits until the helper has done its task by itself.
func (h *Helper) Result(into any) error {
	err := h.wait()
	h.end = func() error { return err }
	if err != nil {
		return err
	}
	return h.decode(into)
}

// Stop ends the helper and takes what it has to say.
func (h *Helper) Stop(into any) error {
	if err := h.end(); err != nil {
		return err
	}
	return h.decode(into)
}

func (h *Helper) decode(into any) error {
	if err := json.Unmarshal(h.out.Bytes(), into); err != nil {
		return fmt.Errorf("what %s said: %w", h.name, err)
	}
	return nil
}

// End ends the helper, whatever it has to say. It may be called twice.
func (h *Helper) End() error { return h.end() }

// PID is the process.
func (h *Helper) PID() int { return h.cmd.Process.Pid }

// Used is what it used of the processors in all, once it has ended.
func (h *Helper) Used() time.Duration {
	return h.cmd.ProcessState.SystemTime() + h.cmd.ProcessState.UserTime()
}

// CPUTime is what a process has used of the processors so far, exactly and not in ticks (clock_getcpuclockid(3)).
func CPUTime(pid int) time.Duration {
	var t unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED, of all threads
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}

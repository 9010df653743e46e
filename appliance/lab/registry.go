package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// registryDir holds one file per lab: who owns it, and what is to be removed
// when the owner is gone.
const registryDir = "/run/mailweir-lab"

// entry is the content of a registry file.
type entry struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // of the process, clock ticks after boot: a pid may be used again
	Dir   string `json:"dir"`
}

// registration is a lab's own entry, and its keeper: a process that notices
// the lab's end at its standard input and removes what is left then.
type registration struct {
	id, dir string
	keeper  *exec.Cmd
	pipe    io.Closer
	said    bytes.Buffer // what the keeper could not remove
}

func register(id, dir string) (*registration, error) {
	start, err := processStart(os.Getpid())
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(entry{PID: os.Getpid(), Start: start, Dir: dir})
	if err != nil {
		return nil, err
	}
	for {
		if err := os.MkdirAll(registryDir, 0o700); err != nil {
			return nil, err
		}
		err := replace(registryFile(id), string(b))
		if err == nil {
			break
		}
		if !os.IsNotExist(err) { // otherwise the last other lab took the directory with it just now
			return nil, err
		}
	}
	r := &registration{id: id, dir: dir}
	r.keeper = exec.Command("/proc/self/exe")
	r.keeper.Args = []string{argKeeper, id, dir}
	r.keeper.Stderr = &r.said
	r.keeper.Dir = "/"
	// A session of its own: Ctrl-C is for the lab, the keeper outlives it.
	r.keeper.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if r.pipe, err = r.keeper.StdinPipe(); err != nil {
		return nil, errors.Join(err, remove(id, dir))
	}
	if err := r.keeper.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("keeper: %w", err), remove(id, dir))
	}
	return r, nil
}

// close lets the keeper tidy up and waits for it.
func (r *registration) close() error {
	err := r.pipe.Close()
	if werr := r.keeper.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("tidy up: %w: %s", werr, bytes.TrimSpace(r.said.Bytes())))
	}
	return err
}

// keeperMain waits until the lab closes the pipe, by will or by dying, and
// removes what it left.
func keeperMain(args []string) int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := remove(args[0], args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Sweep removes what dead labs left: their processes, their directory, their
// registry file. Labs whose owner lives are not touched. It returns the IDs.
func Sweep() ([]string, error) {
	files, err := filepath.Glob(registryFile("*"))
	if err != nil {
		return nil, err
	}
	var swept []string
	var errs []error
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			if !os.IsNotExist(err) { // another sweep was faster
				errs = append(errs, err)
			}
			continue
		}
		var e entry
		if err := json.Unmarshal(b, &e); err != nil || !strings.HasPrefix(filepath.Base(e.Dir), "mailweir-lab-") {
			errs = append(errs, fmt.Errorf("%s: not a registry file of a lab", f))
			continue
		}
		if start, err := processStart(e.PID); err == nil && start == e.Start {
			continue
		}
		id := strings.TrimSuffix(filepath.Base(f), ".json")
		if err := remove(id, e.Dir); err != nil {
			errs = append(errs, err)
			continue
		}
		swept = append(swept, id)
	}
	return swept, errors.Join(errs...)
}

func registryFile(id string) string { return filepath.Join(registryDir, id+".json") }

// remove kills what carries the lab's mark and deletes its directory, the
// registry file last. No mount of a lab is ever visible here, so deleting the
// directory deletes nothing else.
func remove(id, dir string) error {
	mark := []byte(markEnv + "=" + id)
	err := killAll(func(pid int) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) })
	})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Remove(registryFile(id)); err != nil && !os.IsNotExist(err) {
		return err
	}
	_ = os.Remove(registryDir) // goes when the last lab does
	return nil
}

// killInside kills every process whose network namespace is one of the lab's,
// which the caller still holds.
func killInside(spaces []*Namespace) error {
	return killAll(func(pid int) bool {
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) != nil {
			return false
		}
		return slices.ContainsFunc(spaces, func(n *Namespace) bool { return n.inode == st.Ino })
	})
}

// killAll sends SIGKILL to the processes that are ours until there is none,
// for at most 10 s. This process is never one of them.
func killAll(ours func(pid int) bool) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var found []int
		for _, pid := range processes() {
			if pid != os.Getpid() && ours(pid) {
				found = append(found, pid)
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if len(found) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", found)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// processes lists the pids there are, without zombies.
func processes() []int {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if f, err := statFields(pid); err == nil && f[0] != "Z" {
				out = append(out, pid)
			}
		}
	}
	return out
}

// processStart is when a process started, in clock ticks after boot.
func processStart(pid int) (uint64, error) {
	f, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// statFields are the fields of /proc/PID/stat from the third, the state, on;
// the second, the name, may hold anything but ends at the last parenthesis.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return nil, fmt.Errorf("/proc/%d/stat: no name", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) == 0 {
		return nil, fmt.Errorf("/proc/%d/stat: empty", pid)
	}
	return f, nil
}

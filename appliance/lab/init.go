package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initSpec is what the first process of a mail server's namespaces is told in
// the first line of its standard input; initRequests follow, one a line, each
// answered by an initReply on standard output. The end of input is the end of
// everything inside.
type initSpec struct {
	Host   string   `json:"host"`
	Tree   string   `json:"tree"`   // the unpacked packages, mounted read-only as /
	Dir    string   `json:"dir"`    // the instance's own files: Dir/etc is /etc and so on
	Root   string   `json:"root"`   // an empty directory to mount on
	Daemon []string `json:"daemon"` // the mail server, in the foreground
}

type initRequest struct {
	ID     int      `json:"id"`
	Run    []string `json:"run,omitempty"`    // a command to run inside
	Signal int      `json:"signal,omitempty"` // a signal for the daemon
}

type initReply struct {
	ID     int    `json:"id"`
	Output string `json:"output"` // standard output and standard error
	Status int    `json:"status"` // as a shell would say it
	Err    string `json:"err,omitempty"`
}

const maxFiles = 4096

// ownDirs are the instance's own directories, in Dir and in the tree alike.
var ownDirs = []string{"etc", "var/spool", "var/lib", "var/log", "var/mail"}

// jail is the first process of a mail server's process and mount namespaces.
type jail struct {
	root    string
	console *os.File
	daemon  int

	mu      sync.Mutex // held over fork and registration, so that no exit is missed
	waiting map[int]chan syscall.WaitStatus
	out     *json.Encoder
}

// initMain runs a jail; its result is the exit status.
func initMain() int {
	in := bufio.NewReader(os.Stdin)
	j := &jail{waiting: map[int]chan syscall.WaitStatus{}, out: json.NewEncoder(os.Stdout)}
	if err := j.start(in); err != nil {
		fmt.Fprintln(os.Stderr, "mailweir lab:", err)
		return 1
	}
	go func() {
		j.serve(in)
		_ = unix.Kill(j.daemon, unix.SIGTERM)
		time.Sleep(2 * time.Second)
		os.Exit(0) // the kernel kills whoever is left in this process namespace
	}()
	return j.reap()
}

func (j *jail) start(in *bufio.Reader) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read instructions: %w", err)
	}
	var spec initSpec
	if err := json.Unmarshal(line, &spec); err != nil {
		return err
	}
	if err := mountRoot(spec); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Host)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	// Postfix closes every number that a file could have, one by one: with a
	// limit of a million each of its processes takes a second to start.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: maxFiles, Max: maxFiles}); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	j.root = spec.Root
	if j.console, err = os.OpenFile(filepath.Join(spec.Dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	if j.daemon, err = j.fork(spec.Daemon, j.console); err != nil {
		return fmt.Errorf("start %s: %w", spec.Daemon[0], err)
	}
	return nil
}

// mountRoot puts the tree and the instance's own directories together. The
// mount namespace is ours alone; the host sees none of it.
func mountRoot(s initSpec) error {
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	mounts := []mount{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{s.Tree, s.Root, "", unix.MS_BIND},
		{"", s.Root, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
		{"proc", s.Root + "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", s.Root + "/dev", "tmpfs", unix.MS_NOSUID},
		{"tmpfs", s.Root + "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", s.Root + "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
	}
	for _, d := range ownDirs {
		mounts = append(mounts, mount{filepath.Join(s.Dir, d), filepath.Join(s.Root, d), "", unix.MS_BIND})
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, dev := range []string{"null", "zero", "random", "urandom"} {
		target := filepath.Join(s.Root, "dev", dev)
		if err := os.WriteFile(target, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+dev, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return nil
}

// fork starts a program inside the root.
func (j *jail) fork(argv []string, out *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "MAIL_CONFIG=/etc/postfix"},
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Chroot: j.root, Setsid: true},
	})
}

// reap collects every process that ends, as the first process has to, until
// the daemon does.
func (j *jail) reap() int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 1
		}
		j.mu.Lock()
		if c, ok := j.waiting[pid]; ok {
			delete(j.waiting, pid)
			c <- status
		}
		j.mu.Unlock()
		if pid == j.daemon {
			return shellStatus(status)
		}
	}
}

// serve answers requests until the input ends.
func (j *jail) serve(in *bufio.Reader) {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var q initRequest
		if json.Unmarshal(line, &q) != nil {
			return
		}
		if q.Signal != 0 {
			j.reply(initReply{ID: q.ID, Err: errorText(unix.Kill(j.daemon, syscall.Signal(q.Signal)))})
			continue
		}
		go func() { j.reply(j.run(q)) }() // ends with its command, at the latest with this process
	}
}

func (j *jail) reply(r initReply) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.out.Encode(r) // a lab that is gone needs no answer
}

func (j *jail) run(q initRequest) initReply {
	r, w, err := os.Pipe()
	if err != nil {
		return initReply{ID: q.ID, Err: err.Error()}
	}
	defer r.Close()
	done := make(chan syscall.WaitStatus, 1)
	j.mu.Lock()
	pid, err := j.fork(q.Run, w)
	if err == nil {
		j.waiting[pid] = done
	}
	j.mu.Unlock()
	_ = w.Close()
	if err != nil {
		return initReply{ID: q.ID, Err: err.Error()}
	}
	// A command's background children may keep the pipe: its own end counts.
	var out bytes.Buffer
	copied := make(chan struct{})
	go func() { _, _ = io.Copy(&out, r); close(copied) }()
	status := <-done
	select {
	case <-copied:
	case <-time.After(200 * time.Millisecond):
		_ = r.SetReadDeadline(time.Unix(1, 0))
		<-copied
	}
	return initReply{ID: q.ID, Output: out.String(), Status: shellStatus(status)}
}

func shellStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

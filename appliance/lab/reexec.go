package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// How this binary is called (argv[0]) when it is to be something else.
const (
	argExec   = "mailweir-lab-exec"   // NAMESPACE PARENT PROGRAM ARGS...: becomes PROGRAM inside
	argInit   = "mailweir-lab-init"   // first process of a mail server's process namespace
	argKeeper = "mailweir-lab-keeper" // ID DIR: waits for the lab's end and tidies up
)

// markEnv carries the lab's ID in the environment of what runs inside, so that
// what a killed lab left is recognised with certainty.
const markEnv = "MAILWEIR_LAB"

// reexecArmed says that Reexec ran in this process. Without it a lab would
// start the whole program again where it means to start a helper.
var reexecArmed atomic.Bool

// Reexec is called first thing in main or TestMain of a program that starts
// labs. It returns at once, except in the helper processes that a lab makes of
// the program's own binary: there it never returns.
func Reexec() {
	switch os.Args[0] {
	case argExec:
		fmt.Fprintln(os.Stderr, "mailweir lab:", execInside(os.Args[1:]))
		os.Exit(127)
	case argInit:
		os.Exit(initMain())
	case argKeeper:
		os.Exit(keeperMain(os.Args[1:]))
	}
	reexecArmed.Store(true)
}

// execInside enters the namespace and becomes the program; it returns only
// with an error. The thread that entered is the one that lives on in execve.
func execInside(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("%s: too few arguments", argExec)
	}
	runtime.LockOSThread()
	if err := dieWithParent(args[1]); err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	argv := args[2:]
	path := argv[0]
	if path == argInit {
		path = "/proc/self/exe"
	} else if path, err = exec.LookPath(path); err != nil {
		return err
	}
	if err := unix.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	return nil
}

// dieWithParent asks the kernel for SIGKILL at the parent's death, and looks
// whether it came too late to notice. In a process namespace of its own the
// parent is out of sight and its pid reads 0.
func dieWithParent(parent string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("death signal: %w", err)
	}
	want, err := strconv.Atoi(parent)
	if err != nil {
		return err
	}
	if got := os.Getppid(); got != want && got != 0 {
		return fmt.Errorf("the lab (pid %d) is gone", want)
	}
	return nil
}

package appliance

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a lesser thread starts has a lower priority and no rights but those that it keeps, and ends with the thread; this process keeps its own.
func TestALesserThreadGivesNoRights(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := t.TempDir(), t.TempDir()
	if err := os.Chown(theirs, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]uint64{mine: 0, theirs: 1 << unix.CAP_DAC_OVERRIDE} {
		keep := keptRights(dir)
		if keep != want {
			t.Errorf("%x are kept, want %x", keep, want)
		}
		thread := newLesserThread(7, keep)
		var said bytes.Buffer
		cmd := exec.Command("sh", "-c", "cat /proc/self/status; cut -d' ' -f19 /proc/self/stat")
		cmd.Stdout = &said
		if err := thread.do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		for name, bits := range map[string]uint64{"Inh": 0, "Amb": 0, "Prm": keep, "Eff": keep, "Bnd": keep} {
			if line := fmt.Sprintf("Cap%s:\t%016x\n", name, bits); !strings.Contains(said.String(), line) {
				t.Errorf("no %q in\n%s", line, said.String())
			}
		}
		if !strings.Contains(said.String(), "NoNewPrivs:\t1\n") || !strings.HasSuffix(said.String(), "\n7\n") {
			t.Errorf("it has\n%s", said.String())
		}
		long := exec.Command("sleep", "600")
		long.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := thread.do(long.Start); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() { gone <- long.Wait() }()
		thread.end()
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Error("it outlives its thread")
			long.Process.Kill()
		}
	}
	now, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{ours, now} {
		if strings.Contains(string(text), "CapEff:\t0000000000000000") || !strings.Contains(string(text), "NoNewPrivs:\t0\n") {
			t.Errorf("this process has given up rights:\n%s", text)
		}
	}
}

//go:build qemu

package imagetest

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// monitor speaks with QEMU.
type monitor struct {
	path string
	n    int // sticks so far
}

// usb are QEMU's arguments for a machine into which sticks can be put, and that may start itself again.
func (o *monitor) usb() []string {
	return []string{"-action", "reboot=reset", "-monitor", "unix:" + o.path + ",server=on,wait=off", "-device", "qemu-xhci"}
}

func newMonitor(t *testing.T) *monitor {
	t.Helper()
	return &monitor{path: filepath.Join(t.TempDir(), "qemu")}
}

// do gives commands of QEMU's human monitor, one after the other.
func (o *monitor) do(t *testing.T, commands ...string) {
	t.Helper()
	c, err := net.DialTimeout("unix", o.path, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	prompt := func() string {
		var said strings.Builder
		for !strings.HasSuffix(said.String(), "(qemu) ") {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatalf("QEMU's monitor: %v, after %q", err, said.String())
			}
			said.WriteByte(b)
		}
		return said.String()
	}
	prompt()
	for _, command := range commands {
		fmt.Fprintln(c, command)
		if said := prompt(); strings.Contains(said, "Error") || strings.Contains(said, "Could not") {
			t.Fatalf("QEMU: %s: %s", command, said)
		}
	}
}

// put puts in a stick with these files; pull takes it out.
func (o *monitor) put(t *testing.T, files ...string) (pull func()) {
	t.Helper()
	o.n++
	path := filepath.Join(t.TempDir(), "stick")
	for _, argv := range [][]string{{"mkfs.fat", "-C", path, "131072"}, append(append([]string{"mcopy", "-i", path}, files...), "::")} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	o.do(t, fmt.Sprintf("drive_add 0 if=none,id=drive%d,format=raw,readonly=on,file=%s", o.n, path), fmt.Sprintf("device_add usb-storage,drive=drive%d,id=stick%d", o.n, o.n))
	return func() { o.do(t, fmt.Sprintf("device_del stick%d", o.n)) }
}

// waitFor waits until the console has said text since it had said so much.
func (m *machine) waitFor(t *testing.T, from int, text string) {
	t.Helper()
	deadline := time.Now().Add(bootTime)
	for !strings.Contains(m.said()[from:], text) {
		select {
		case <-m.gone:
			t.Fatalf("the machine ended; the console said:\n%s", m.said()[from:])
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the console has not said %q in %v; it said:\n%s", text, bootTime, m.said()[from:])
		}
	}
}

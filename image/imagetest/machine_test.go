//go:build qemu

package imagetest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var image = flag.String("image", "", "image file for amd64, as make image makes it")

// bootTime bounds one start. The emulation has one slow processor, and shares it.
const bootTime = 10 * time.Minute

// disk is a copy of the image on a disk of 1 GiB.
func disk(t *testing.T) string {
	t.Helper()
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if out, err := exec.Command("cp", "--sparse=always", *image, path).CombinedOutput(); err != nil {
		t.Fatalf("copy the image: %v: %s", err, out)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is a box in QEMU.
type machine struct {
	cmd    *exec.Cmd
	since  time.Time // power-on
	serial string    // file with what the serial console said
	gone   chan struct{}
}

// powerOn starts a machine with 256 MB. Process emulation (TCG) of QEMU 7.2 gets cmpxchg16b wrong now and then, which the kernel's allocator
// uses; so the processor has none, and there is one.
func powerOn(t *testing.T, disk string, firmware []string, cables ...*os.File) *machine {
	t.Helper()
	m := &machine{serial: filepath.Join(t.TempDir(), "serial"), gone: make(chan struct{})}
	args := append([]string{
		"-accel", "tcg", "-cpu", "qemu64,-cx16", "-smp", "1", "-m", "256", "-display", "none", "-monitor", "none", "-serial", "file:" + m.serial, "-no-reboot",
		"-drive", "file=" + disk + ",format=raw,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk", "-device", "i6300esb",
	}, firmware...)
	for n := range cables {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=n%d,fd=%d", n, 3+n), "-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=52:54:00:00:00:0%d,romfile=", n, n+1))
	}
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	m.cmd.ExtraFiles = cables
	var said bytes.Buffer
	m.cmd.Stderr = &said
	m.since = time.Now()
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.cmd.Wait()
		if said.Len() > 0 {
			t.Logf("QEMU: %s", said.String())
		}
		close(m.gone)
	}()
	t.Cleanup(m.cut)
	return m
}

// cut takes the power away.
func (m *machine) cut() {
	m.cmd.Process.Kill()
	<-m.gone
}

// said is what the serial console said so far.
func (m *machine) said() string {
	b, err := os.ReadFile(m.serial)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(b), "\r", "")
}

// await waits until the serial console has said text, and calls meanwhile again and again.
func (m *machine) await(text string, meanwhile func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	for !strings.Contains(m.said(), text) {
		if meanwhile != nil {
			meanwhile()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the console has not said %q in %v", text, bootTime)
		case <-m.gone:
			return errors.New("the machine ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// twice gives a start a second chance, as the emulation needs; what failed the first time is told.
func twice(t *testing.T, start func() (*machine, error)) *machine {
	t.Helper()
	for n := 1; ; n++ {
		m, err := start()
		if err == nil {
			return m
		}
		t.Logf("start %d: %v; the console said:\n%s", n, err, m.said())
		m.cut()
		if n == 2 {
			t.FailNow()
		}
	}
}

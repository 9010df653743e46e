//go:build qemu

package imagetest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var image = flag.String("image", "", "image file, as make image makes it")

// board is a kind of machine that QEMU plays.
type board struct {
	program string
	args    []string
	slots   []int // the card in each slot, in the order of the bus; nil: one after the other
}

// cards are those of a machine with so many cables.
func (b board) cards(n int) (all []int) {
	if b.slots != nil {
		return b.slots
	}
	for i := range n {
		all = append(all, i)
	}
	return all
}

var (
	// Process emulation (TCG) of QEMU 7.2 gets cmpxchg16b wrong now and then, which the kernel's allocator uses; so the processor has none, and there is one.
	pc  = board{program: "qemu-system-x86_64", args: []string{"-cpu", "qemu64,-cx16", "-smp", "1", "-m", "256"}}
	arm = board{program: "qemu-system-aarch64", args: []string{"-M", "virt", "-cpu", "cortex-a53", "-m", "512"}} // with 256 MB UEFI has no room to put the kernel
)

// bootTime bounds one start, and patience what a box that governs does. The emulation has one slow processor, and shares it.
const (
	bootTime = 30 * time.Minute
	patience = 15 * time.Minute
)

// disk is a copy of the image of make image on a disk of 1 GiB, as QEMU's option -drive wants it.
func disk(t *testing.T) string {
	t.Helper()
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	return "format=raw,cache=unsafe,file=" + flash(t, *image)
}

// flash copies an image to a disk of 1 GiB.
func flash(t *testing.T, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if out, err := exec.Command("cp", "--sparse=always", image, path).CombinedOutput(); err != nil {
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
	line   net.Conn  // the serial line
	gone   chan struct{}
}

// powerOn starts a machine.
func powerOn(t *testing.T, b board, drive string, firmware []string, cables ...*os.File) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{serial: filepath.Join(dir, "serial"), gone: make(chan struct{})}
	line, err := net.Listen("unix", filepath.Join(dir, "line"))
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	args := slices.Concat(b.args, []string{
		// The machine's clock counts what its processor does, at 4 ns an instruction, and runs on by itself only while that has nothing to do: how much of the
		// host's processor the emulation gets is nothing that the machine could notice by timers that are late.
		"-accel", "tcg", "-icount", "shift=2", "-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "socket,id=line,path=" + line.Addr().String(), "-serial", "chardev:line",
		"-drive", drive + ",if=none,id=disk", "-device", "virtio-blk-pci,drive=disk", "-device", "i6300esb",
	}, firmware)
	for _, n := range b.cards(len(cables)) {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=n%d,fd=%d", n, 3+n), "-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=52:54:00:00:00:0%d,romfile=", n, n+1))
	}
	m.cmd = exec.Command(b.program, args...)
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
	line.(*net.UnixListener).SetDeadline(time.Now().Add(time.Minute))
	if m.line, err = line.Accept(); err != nil {
		t.Fatalf("QEMU does not come to its serial line: %v", err)
	}
	log, err := os.Create(m.serial)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer log.Close()
		defer m.line.Close()
		io.Copy(log, m.line) // until the machine is off
	}()
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

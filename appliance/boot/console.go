package boot

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// console writes to every console that the kernel has, the serial line and the screen, and to the log that its menu shows.
type console struct {
	mu  sync.Mutex
	out []io.Writer
}

// consoles are the kernel's, by their names in /dev.
func consoles() []string { return strings.Fields(readString("/sys/class/tty/console/active")) }

func openConsole() *console {
	c := &console{}
	for _, name := range consoles() {
		if f, err := os.OpenFile("/dev/"+name, os.O_WRONLY, 0); err == nil {
			c.out = append(c.out, newRelay(f))
		}
	}
	if len(c.out) == 0 {
		c.out = append(c.out, os.Stderr)
	}
	if os.MkdirAll(runDir, 0o700) == nil {
		c.out = append(c.out, &logFile{path: filepath.Join(runDir, "log")})
	}
	return c
}

// Write writes to all; one that takes nothing does not keep the others from it.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.out {
		w.Write(b)
	}
	return len(b), nil
}

// say writes lines that begin with the time since the kernel's start.
func (c *console) say(format string, args ...any) {
	up, _, _ := strings.Cut(readString("/proc/uptime"), " ")
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintf(c, "[%ss] %s\n", up, line)
	}
}

// drain waits until all was written, but not for long.
func (c *console) drain() {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		waiting := false
		for _, w := range c.out {
			if r, ok := w.(*relay); ok && r.waiting.Load() > 0 {
				waiting = true
			}
		}
		if !waiting {
			return
		}
	}
}

// relay writes to a terminal that may be stopped (Scroll Lock), so that nobody waits for it: who governs writes here, too. What finds no room is lost.
type relay struct {
	queue   chan []byte
	waiting atomic.Int64
}

const relayRoom = 256 // writes

func newRelay(w io.Writer) *relay {
	r := &relay{queue: make(chan []byte, relayRoom)}
	go guard(func() {
		for b := range r.queue {
			w.Write(b)
			r.waiting.Add(-1)
		}
	})
	return r
}

func (r *relay) Write(b []byte) (int, error) {
	r.waiting.Add(1)
	select {
	case r.queue <- bytes.Clone(b):
	default:
		r.waiting.Add(-1)
	}
	return len(b), nil
}

// logFile keeps the last of what was written, in memory like all of /run.
type logFile struct{ path string }

const logMost = 64 << 10

func (l *logFile) Write(b []byte) (int, error) {
	was, err := os.ReadFile(l.path)
	if err == nil && len(was)+len(b) > logMost {
		keep := was[len(was)/2:]
		if n := bytes.IndexByte(keep, '\n'); n >= 0 {
			keep = keep[n+1:]
		}
		return len(b), os.WriteFile(l.path, append(keep, b...), 0o600)
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(b)
}

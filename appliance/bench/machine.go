package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what a reader has to know to make something of the figures.
type machine struct{ processor, kernel, memory, disk, goVersion, revision string }

func look(ctx context.Context, o Options) machine {
	m := machine{processor: fmt.Sprintf("%d x %s", runtime.NumCPU(), fieldOf("/proc/cpuinfo", "model name")), kernel: "unknown", disk: "unknown"}
	m.memory = fieldOf("/proc/meminfo", "MemTotal")
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.kernel = unix.ByteSliceToString(u.Release[:])
	}
	if d := mountOf(o.Dir); d != "" {
		m.disk = d
	}
	m.goVersion = said(ctx, o.Tree, o.Go, "env", "GOVERSION")
	m.revision = said(ctx, o.Tree, "git", "describe", "--tags", "--always", "--dirty")
	return m
}

// fieldOf is the first value of a name in a file of lines "name: value".
func fieldOf(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// mountOf is the file system of dir and what it is on.
func mountOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	text, _ := os.ReadFile("/proc/self/mounts")
	longest, found := -1, ""
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		rel, err := filepath.Rel(f[1], dir)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") && len(f[1]) >= longest {
			longest, found = len(f[1]), f[2]+" on "+f[0]
		}
	}
	return found
}

func said(ctx context.Context, dir, name string, args ...string) string {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

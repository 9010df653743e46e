package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/bundle"
)

// stickCommand is the first argument of the child that looks for updates on USB sticks.
const stickCommand = "image-stick"

const (
	stickPause = 3 * time.Second
	// stickLeft: what is found so soon after the start may have been left in over it. USB is slow to wake up.
	stickLeft = 2 * time.Minute
)

// sticks is the child. It returns an exit code.
func sticks() int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "mailweir: USB stick: %s\n", fmt.Sprintf(format, args...))
	}
	b, err := Machine()
	if err != nil {
		say("%v", err)
		wait(ctx, time.Hour) // it is no better when this is started again at once
		return 1
	}
	w := &stickWatch{sys: "/sys", dev: "/dev", own: readString(diskFile), seen: map[string]bool{}}
	begun := time.Now()
	for ctx.Err() == nil {
		for _, d := range w.look() {
			if err := fromStick(b, d, time.Since(begun) < stickLeft, say); err != nil {
				say("%s: %v", d, err)
			}
		}
		wait(ctx, stickPause)
	}
	return 0
}

// stickWatch finds the disks and partitions at USB that came since the last look.
type stickWatch struct {
	sys, dev string
	own      string // disk that the box was started from, which may be at USB, too
	seen     map[string]bool
}

func (w *stickWatch) look() (fresh []string) {
	all, err := filepath.Glob(filepath.Join(w.sys, "class/block/*"))
	if err != nil {
		return nil
	}
	now := map[string]bool{}
	for _, p := range all {
		where, err := filepath.EvalSymlinks(p)
		if err != nil || !strings.Contains(where, "/usb") || readString(filepath.Join(p, "size")) == "0" {
			continue
		}
		if own := filepath.Base(w.own); filepath.Base(where) == own || filepath.Base(filepath.Dir(where)) == own {
			continue
		}
		// A stick that was pulled and put in again has a new number.
		key := where + " " + readString(filepath.Join(p, "diskseq")) + readString(filepath.Join(filepath.Dir(where), "diskseq"))
		now[key] = true
		if !w.seen[key] {
			fresh = append(fresh, filepath.Join(w.dev, filepath.Base(p)))
		}
	}
	w.seen = now
	return fresh
}

// onStick has what is on a stick looked at, which is mounted for reading meanwhile. dir is empty when there is no FAT on it: it is something
// else, a disk with partitions for one.
func onStick(dev string, look func(dir string) error) (err error) {
	dir, err := os.MkdirTemp("/run", "stick-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if unix.Mount(dev, dir, "vfat", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") != nil {
		return look("")
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }()
	return look(dir)
}

// fromStick applies the newest update that lies on a stick; left: it may have been in since before the start.
func fromStick(b *update.Box, dev string, left bool, say func(string, ...any)) error {
	return onStick(dev, func(dir string) error {
		if dir == "" {
			return nil
		}
		file, err := newest(b, dir, left, say)
		if file == nil || err != nil {
			return err
		}
		defer file.Close()
		say("%s is taken, for slot %s if it is sound", filepath.Base(file.Name()), b.Idle())
		o, err := b.Install(file, stateDir, Links(), time.Now)
		if err != nil {
			return err
		}
		say("%s; the box is started again now", o)
		return unix.Kill(1, unix.SIGTERM)
	})
}

// newest looks at the manifests of all updates in a directory, and opens the newest that is for this box now; nil: none is. One that is
// alone and refused is left to whoever installs it, so that it is told.
func newest(b *update.Box, dir string, left bool, say func(string, ...any)) (best *os.File, err error) {
	all, err := filepath.Glob(filepath.Join(dir, "*"+bundle.Suffix))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	last, err := update.Load(stateDir)
	if err != nil {
		return nil, err
	}
	var build int64
	for _, name := range all {
		f, err := os.Open(name)
		if err != nil {
			return best, err
		}
		m, bad := b.Peek(f)
		why := passOver(b, m, bad, last, left, len(all) == 1)
		if why == "" && (best == nil || m.Build > build) {
			best, f, build = f, best, m.Build
		}
		if f != nil {
			f.Close()
		}
		if why != "" {
			say("%s: %s", filepath.Base(name), why)
		}
	}
	if best == nil {
		return nil, nil
	}
	_, err = best.Seek(0, io.SeekStart)
	return best, err
}

// passOver says why an update that lies on a stick is not for now; bad is what its manifest was refused for. "": it is.
func passOver(b *update.Box, m bundle.Manifest, bad error, last *update.Outcome, left, alone bool) string {
	switch {
	case bad != nil && !alone:
		return bad.Error()
	case bad == nil && m.Build == b.About.Build:
		return fmt.Sprintf("build %d runs already", m.Build)
	case bad == nil && left && last != nil && last.State == update.RolledBack && last.To.Build == m.Build:
		return fmt.Sprintf("build %d was given up here; pull the stick and put it in again to try it once more", m.Build)
	}
	return ""
}

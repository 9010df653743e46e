package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountAll mounts what every Linux program expects. What is mounted already stays.
func mountAll() (errs []error) {
	for _, m := range []struct {
		what, where, kind, options string
		flags                      uintptr
	}{
		{"proc", "/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "sysfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"devtmpfs", "/dev", "devtmpfs", "mode=755", unix.MS_NOSUID},
		{"tmpfs", "/run", "tmpfs", "mode=755,size=16m", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777,size=32m", unix.MS_NOSUID | unix.MS_NODEV},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	} {
		err := os.MkdirAll(m.where, 0o755)
		if err == nil {
			err = unix.Mount(m.what, m.where, m.kind, m.flags, m.options)
		}
		if err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("%s: %w", m.where, err))
		}
	}
	return errs
}

// settings are sysctls: path below /proc/sys, and value. The bridged ports have no addresses and take none from the network.
var settings = [][2]string{
	{"kernel/panic", "10"},
	{"kernel/panic_on_oops", "1"},
	{"net/ipv4/ip_forward", "0"},
	{"net/ipv6/conf/all/forwarding", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/default/autoconf", "0"},
	{"net/ipv4/conf/all/arp_ignore", "1"},
	{"net/ipv4/conf/all/accept_redirects", "0"},
	{"net/ipv6/conf/all/accept_redirects", "0"},
}

func sysctls(all [][2]string) (errs []error) {
	for _, s := range all {
		if err := os.WriteFile(filepath.Join("/proc/sys", s[0]), []byte(s[1]), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("%s = %s: %w", strings.ReplaceAll(s[0], "/", "."), s[1], err))
		}
	}
	return errs
}

// clockFile bears the time when the box last ran, as its time of modification.
const clockFile = "clock"

// floor is the earliest that it can be: the time of the source, or when the box last ran. Zero: now is later.
func floor(now, built time.Time, dir string) (t time.Time) {
	if built.After(now) {
		t = built
	}
	if s, err := os.Stat(filepath.Join(dir, clockFile)); err == nil && s.ModTime().After(now) && s.ModTime().After(t) {
		t = s.ModTime()
	}
	return t
}

// clockFloor puts the clock forward to the floor. A box without a battery starts in 1970, where no certificate is valid.
func clockFloor(built time.Time, dir string) error {
	t := floor(time.Now(), built, dir)
	if t.IsZero() {
		return nil
	}
	tv := unix.NsecToTimeval(t.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("set the clock to %v: %w", t.UTC(), err)
	}
	return nil
}

func saveClock(dir string) error {
	return os.WriteFile(filepath.Join(dir, clockFile), nil, 0o600)
}

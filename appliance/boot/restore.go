package boot

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/web-admin/sealed"
)

// mostBackups bounds the list on the console.
const mostBackups = 20

// restore puts back a backup that lies on a stick, after it was said what that changes.
func (m *menu) restore() error {
	var ended error // of the console
	err := m.box.backups(func(files []string) error {
		ended = m.pick(files)
		return nil
	})
	if err != nil {
		m.say("%v", err)
	}
	return ended
}

func (m *menu) pick(files []string) error {
	if len(files) == 0 {
		m.say("No backup was found. Put in a USB stick (FAT) with a file NAME.zip or NAME.zip.age, not in a folder, and choose this again.")
		return nil
	}
	for i, f := range files {
		m.say("%2d  %s", i+1, filepath.Base(f))
	}
	said, err := m.read("Number, or Enter to go back: ")
	if err != nil || said == "" {
		return err
	}
	n, err := strconv.Atoi(said)
	if err != nil || n < 1 || n > len(files) {
		m.say("There is no %q in the list.", said)
		return nil
	}
	args, passphrase := []string{"restore", files[n-1], "--data", stateDir}, ""
	switch locked, err := isLocked(files[n-1]); {
	case err != nil:
		m.say("%v", err)
		return nil
	case locked:
		if passphrase, err = m.secret("Its passphrase: "); err != nil {
			return err
		}
		args = append(args, "--passphrase-file", "-")
	}
	if m.fed(passphrase, append(args, "--dry-run")...) != nil {
		return nil
	}
	sure, err := m.confirm("restore")
	if err == nil && sure {
		m.fed(passphrase, args...)
	}
	return err
}

// isLocked tells whether a backup has a passphrase.
func isLocked(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [64]byte
	n, err := f.Read(head[:])
	if n == 0 && err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return sealed.Is(head[:n]), nil
}

// onSticks has the backups on all sticks that are in looked at, the newest first.
func onSticks(look func(files []string) error) error {
	w := &stickWatch{sys: "/sys", dev: "/dev", own: readString(diskFile), seen: map[string]bool{}}
	return withAll(w.look(), nil, look)
}

// withAll mounts one stick after the other.
func withAll(devs, files []string, look func(files []string) error) error {
	if len(devs) == 0 {
		return look(backupsOf(files))
	}
	return onStick(devs[0], func(dir string) error {
		if dir != "" {
			for _, suffix := range []string{"zip", "age"} {
				found, err := filepath.Glob(filepath.Join(dir, "*."+suffix))
				if err != nil {
					return err
				}
				files = append(files, found...)
			}
		}
		return withAll(devs[1:], files, look)
	})
}

// backupsOf are what may be backups, the newest first and not too many.
func backupsOf(files []string) (some []string) {
	made := map[string]int64{}
	for _, f := range files {
		var st unix.Stat_t
		hidden := strings.HasPrefix(filepath.Base(f), ".")
		if unix.Lstat(f, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && !hidden {
			made[f] = st.Mtim.Nano()
			some = append(some, f)
		}
	}
	slices.SortFunc(some, func(a, b string) int { return cmp.Or(cmp.Compare(made[b], made[a]), cmp.Compare(a, b)) })
	return some[:min(len(some), mostBackups)]
}

package webadmin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// listenOwnerOnly binds a unix socket that only its owner may open, from its first moment on: it is made in a directory that nobody
// else may enter, and renamed. A socket that a killed process left behind is replaced; one that answers is not.
func listenOwnerOnly(path string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s answers: another mailweir runs on this data directory", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		if len(made) > 107 {
			err = errors.New("the data directory's path is too long for a socket in it (the system allows about 85 characters)")
		}
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it would unlink the name it was made under
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

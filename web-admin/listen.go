package webadmin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Doors are where the web admin listens.
type Doors struct {
	Socket *net.UnixListener // of the machine's own: DATA/mailweir.sock
	TCP    net.Listener      // nil: there is none

	hide func() // removes the socket's path, once: later it may be somebody else's
}

// Bind binds the addresses of a web admin; of listen "" only the socket.
func Bind(dataDir, listen string) (*Doors, error) {
	path := filepath.Join(dataDir, "mailweir.sock")
	socket, err := listenOwnerOnly(path)
	if err != nil {
		return nil, err
	}
	d := &Doors{Socket: socket, hide: sync.OnceFunc(func() { os.Remove(path) })}
	if listen == "" {
		return d, nil
	}
	if d.TCP, err = net.Listen("tcp", listen); err != nil {
		d.Close()
		return nil, fmt.Errorf("admin.listen %s: %w", listen, err)
	}
	return d, nil
}

// Hide takes the socket's path away, while it is still answered there: nobody takes the path for one left behind.
func (d *Doors) Hide() {
	if d.hide != nil {
		d.hide()
	}
}

// Close gives the addresses back. It may be called again.
func (d *Doors) Close() error {
	d.Hide()
	again := func(err error) error {
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	}
	err := again(d.Socket.Close())
	if d.TCP != nil {
		err = errors.Join(err, again(d.TCP.Close()))
	}
	return err
}

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

package radius

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// Bounds of a secret, in bytes.
const (
	minSecret = 8
	maxSecret = 1024
)

// ReadSecret reads the shared secret from a file: all of it, less one line end behind it. warning is something to tell the
// operator although the secret is good, or "".
func ReadSecret(path string) (secret []byte, warning string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, "", fmt.Errorf("RADIUS secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("RADIUS secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("RADIUS secret: %s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return nil, "", fmt.Errorf("RADIUS secret: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case len(text) < minSecret:
		return nil, "", fmt.Errorf("RADIUS secret: %s holds %d bytes, at least %d are needed", path, len(text), minSecret)
	case len(text) > maxSecret:
		return nil, "", fmt.Errorf("RADIUS secret: %s holds more than %d bytes", path, maxSecret)
	case strings.ContainsAny(text, "\r\n\x00"):
		return nil, "", fmt.Errorf("RADIUS secret: %s holds more than one line", path)
	}
	if mode := info.Mode().Perm(); mode&^0o640 != 0 {
		warning = fmt.Sprintf("RADIUS secret: others may read or change %s (mode %#o); 0640 is enough", path, mode)
	}
	return []byte(text), warning, nil
}

package radius

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe or a device would hold the start up for ever.
func TestTheSecretIsARegularFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "secret")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", t.TempDir()} {
		if _, _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

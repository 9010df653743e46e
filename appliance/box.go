package appliance

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailweir/mailweir/appliance/durable"
)

// boxID is the name that this box has in its records: made once and kept in a
// file of its own beside the state of the chain, so that a damaged database does
// not make another box of it.
func boxID(dir string) (string, error) {
	path := filepath.Join(dir, "box.id")
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the box's id: %w", err)
	}
	if id := strings.TrimSpace(string(known)); strings.HasPrefix(id, "box-") && len(id) < 64 && !strings.ContainsAny(id, " \n\"\\]") {
		return id, nil
	}
	var random [5]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make the box's id: %w", err)
	}
	id := "box-" + hex.EncodeToString(random[:])
	if err := durable.Replace(path, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("keep the box's id: %w", err)
	}
	return id, nil
}

package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailweir/mailweir/appliance/durable"
)

// None says that a box has no journal, since it could not be opened: what is made meanwhile is nowhere in it.
type None struct {
	After uint64 // the last record before that
	Why   string
}

func nonePath(data string) string { return filepath.Join(data, "journal.none") }

// SetNone writes into a data directory that there is no journal, until EndNone. Where that is said already it stays.
func SetNone(data string, n None) error {
	if _, said, err := NoneOf(data); said || err != nil {
		return err
	}
	return durable.Replace(nonePath(data), fmt.Appendf(nil, "%d %s\n", n.After, strings.ReplaceAll(n.Why, "\n", "; ")))
}

// NoneOf is what SetNone wrote.
func NoneOf(data string) (n None, said bool, err error) {
	b, err := os.ReadFile(nonePath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	} else if err != nil {
		return n, false, err
	}
	_, n.Why, _ = strings.Cut(strings.TrimSpace(string(b)), " ")
	if _, err := fmt.Sscanf(string(b), "%d", &n.After); err != nil {
		return None{}, false, fmt.Errorf("%s does not begin with a number: %w", nonePath(data), err)
	}
	return n, true, nil
}

// EndNone takes it back.
func EndNone(data string) error {
	if err := os.Remove(nonePath(data)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

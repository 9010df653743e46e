package appliance

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mailweir/mailweir/governor/store"
)

const boxKey = "box"

// boxID is the name that this box has in its records: made once, kept with the
// budgets, and never told to mean anything.
func boxID(s *store.Store) (string, error) {
	known, err := s.Meta(boxKey)
	if err != nil {
		return "", fmt.Errorf("read the box's id: %w", err)
	}
	if id := string(known); strings.HasPrefix(id, "box-") {
		return id, nil
	}
	var random [5]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make the box's id: %w", err)
	}
	id := "box-" + hex.EncodeToString(random[:])
	if err := s.PutMeta(boxKey, []byte(id)); err != nil {
		return "", fmt.Errorf("keep the box's id: %w", err)
	}
	return id, nil
}

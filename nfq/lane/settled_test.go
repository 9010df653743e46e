package lane

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// A link that is just being made is looked at again; every other error is told at once, and one that never ends at last.
func TestALinkThatIsBeingMadeIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	busy := fmt.Errorf("get link for ID 7: %w", unix.EAGAIN)
	for _, row := range []struct {
		why   string
		err   []error // of one try after another; the last of all that follow
		tries int
		want  error
	}{
		{"none", []error{nil}, 1, nil},
		{"made meanwhile", []error{busy, busy, nil}, 3, nil},
		{"not allowed", []error{unix.EPERM}, 1, unix.EPERM},
		{"not allowed at last", []error{busy, unix.EPERM}, 2, unix.EPERM},
		{"for ever", []error{busy}, 8, unix.EAGAIN},
	} {
		tries := 0
		err := settled(func() error {
			tries++
			return row.err[min(tries, len(row.err))-1]
		})
		if !errors.Is(err, row.want) || tries != row.tries {
			t.Errorf("%s: %v after %d tries, want %v after %d", row.why, err, tries, row.want, row.tries)
		}
	}
}

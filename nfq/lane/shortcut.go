package lane

import (
	"errors"
	"sync/atomic"
	"time"
)

// ShortCut allows the program to forward packets by itself for so long from now; not
// positive: from now on it does not. Who does not look any more whether somebody else
// wants to see the packets does not call it, and then all take the kernel's way.
func (l *Lane) ShortCut(for_ time.Duration) {
	until := uint64(0)
	if for_ > 0 {
		until = uint64(monotonic() + int64(for_))
	}
	atomic.StoreUint64(&l.control.ShortUntil, until)
}

// Uncut is why the program cannot forward packets by itself: it is not to route, or the
// kernel did not take it with the short cut in it. nil: it can.
func (l *Lane) Uncut() error {
	if !l.o.Routed {
		return errors.New("the box does not route")
	}
	return l.uncut
}

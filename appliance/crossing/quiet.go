package crossing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// quiet waits until no client has a session any more.
func (r *Rig) quiet(ctx context.Context) error {
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, quiet(ctx, c.line(), r.Servers...))
	}
	return errors.Join(errs...)
}

// quiet waits until a machine has no session with the servers any more: what comes next is not to go into one that is
// still open.
func quiet(ctx context.Context, l lab.Line, with ...*Server) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		open, err := openSessions(l, with)
		if err != nil || open == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s keeps %d sessions open", l.Name, open)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openSessions is how many connections a machine has with the servers that are not over. /proc/net/tcp says so, "sl local
// remote state ...", in hexadecimal (tcp_states.h), addresses in words of the machine's byte order.
func openSessions(l lab.Line, with []*Server) (n int, err error) {
	const timeWait = "06"
	err = l.Namespace.Do(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) < 4 || f[3] == timeWait {
					continue
				}
				address, ok := procAddress(f[2])
				if ok && slices.ContainsFunc(with, func(s *Server) bool { return s.has(address) }) {
					n++
				}
			}
		}
		return nil
	})
	return n, err
}

// procAddress reads the address of ADDRESS:PORT in /proc/net/tcp.
func procAddress(s string) (netip.Addr, bool) {
	text, _, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, false
	}
	for word := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

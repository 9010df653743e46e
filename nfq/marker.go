package nfq

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// marker changes the marks of connections where no packet is in hand whose verdict could
// (ctnetlink, CONFIG_NF_CT_NETLINK).
type marker struct {
	mu   sync.Mutex
	conn *netlink.Conn
}

// markTime bounds one conversation with the kernel, which answers within the call.
const markTime = time.Second

// openMarker connects in the network namespace of the calling thread, and finds out whether the kernel can.
func openMarker(marks ruleset.Marks) (*marker, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a socket for conntrack: %w", err)
	}
	m := &marker{conn: conn}
	if err := m.set(nobody, marks, ruleset.See); !errors.Is(err, unix.ENOENT) {
		m.close()
		return nil, fmt.Errorf("change the mark of a connection (CONFIG_NF_CT_NETLINK): the kernel answers %w to a connection that is none", err)
	}
	return m, nil
}

func (m *marker) close() { _ = m.conn.Close() } // nothing was buffered

// set puts s into the mark of f's connection and leaves the bits of others alone; ENOENT: there is no such connection.
func (m *marker) set(f Flow, marks ruleset.Marks, s ruleset.State) error {
	b, err := markMessage(f, marks, s)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.conn.SetDeadline(time.Now().Add(markTime)); err != nil {
		return err
	}
	_, err = m.conn.Execute(netlink.Message{Header: netlink.Header{Type: messageConntrack, Flags: netlink.Request | netlink.Acknowledge}, Data: b})
	return err
}

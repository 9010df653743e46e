package nfq

import (
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// A WayBack leads what the local responder says to its client, where routes do not.
type WayBack interface {
	// Learn is told, before a session is deferred, from which neighbour its first packet
	// came; the zero MAC is not known. With an error the session is reset
	// instead. Workers call it while they hold the lock of their flow table.
	Learn(client netip.Addr, mac [6]byte, now time.Time) error
}

// deferring is the state of a session that is to be deferred: a reset needs no way back.
func (w *worker) deferring(p *queued, key Flow, now time.Time) ruleset.State {
	if back := w.q.cfg.WayBack; back != nil && back.Learn(key.Client.Addr(), p.mac, now) != nil {
		w.count.unanswered++
		return ruleset.Cut
	}
	return ruleset.Deferred
}

// forgedBy tells whether the server's packet p cannot be its own: a bridge sends nothing
// back by the port from which it came, so f's server is behind another one.
func (f *flow) forgedBy(p *queued) bool { return f != nil && p.port != 0 && p.port == f.port }

// cameBy notes the port by which the client's packet in hand came.
func (w *worker) cameBy(port uint32) {
	if w.current != nil {
		w.current.port = port
	}
}

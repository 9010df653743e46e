// Package ruleset writes mailweir's nftables table: which packets are queued,
// which pass in the kernel, and who is cut.
package ruleset

import (
	"errors"
	"net/netip"
	"time"
)

var errSkeleton = errors.New("ruleset: skeleton, not built yet")

// Options is what the table depends on.
type Options struct {
	Marks
	SubscriberIfs          []string // interfaces behind which the subscribers are
	Ports                  []uint16 // governed TCP ports of the servers
	QueueFirst, QueueCount uint16   // NFQUEUE numbers QueueFirst .. QueueFirst+QueueCount-1
	FailOpen               bool     // a queue without a reader lets packets pass
	ResponderPort          uint16   // local port that answers deferred sessions; 0: no defer rules
}

// Kernel is what Probe found out by doing.
type Kernel struct {
	QueueForm QueueForm
}

// QueueForm is the way in which this kernel lets a rule queue a packet.
type QueueForm string

// The forms; the zero value is not known.
const (
	QueueExpression QueueForm = "expression" // nft queue (CONFIG_NFT_QUEUE)
	QueueXT         QueueForm = "xt"         // xt NFQUEUE through nft compat
)

// Ruleset is our table in the kernel. Safe for concurrent use.
type Ruleset struct{}

// Counter is what one named rule has seen.
type Counter struct{ Packets, Bytes uint64 }

// Counters are the counters of our rules since Apply.
type Counters struct {
	CutReset, PureACK, Released, QueuedUp, QueuedDown, Deferred Counter
}

// Probe tries out what the kernel can do and leaves nothing behind.
func Probe() (Kernel, error) { return Kernel{}, errSkeleton }

// Apply writes the table.
func Apply(o Options, k Kernel) (*Ruleset, error) { return nil, errSkeleton }

// Remove deletes the table; it is no error when there is none.
func Remove() error { return errSkeleton }

// Present says whether the table is there.
func Present() (bool, error) { return false, errSkeleton }

// Cut resets everything from addr (IPv6: from its /64) on the governed ports for d.
func (r *Ruleset) Cut(addr netip.Addr, d time.Duration) error { return errSkeleton }

// Uncut ends a Cut early.
func (r *Ruleset) Uncut(addr netip.Addr) error { return errSkeleton }

// UncutAll ends every Cut.
func (r *Ruleset) UncutAll() error { return errSkeleton }

// Counters reads the counters.
func (r *Ruleset) Counters() (Counters, error) { return Counters{}, errSkeleton }

// Close ends the connection to the kernel; the table stays.
func (r *Ruleset) Close() error { return errSkeleton }

// Package leases follows the lease files of DHCP servers: which line holds which address or prefix now.
//
// A Watcher looks at one file twice a second and hands over the whole set of leases whenever it changes. Two formats are
// read, each as its server really writes it.
//
// dnsmasq rewrites its file in place: it is empty, then half, then whole. So a change counts only when the file has been
// quiet for a moment, and a file that never is quiet adds leases, but takes none away. Kea appends to its CSV file, the last
// row of an address wins, and now and then a cleanup moves rows to files beside it (.1, .2, .completed), which are read by the
// same rules by which Kea itself starts.
//
// A lease is named by circuits: what the network or the client called itself. They are in the order of how far they are to be
// believed: what a relay added (circuit id, remote id, subscriber id) before the hardware address, that before the client's
// own id. A client chooses the last two freely, so none of its ids is ever written in a form that a relay's could have: see
// circuits. Host names are not read at all.
//
// What happens when: a file that vanishes, cannot be read or suddenly holds no lease keeps the last set, and the Status says
// so; leases still end at their time. A line that is not understood is counted and the first one told; the rest of the file
// counts. A last line without its end waits for it. Nothing here blocks anybody but the watcher's own goroutine.
package leases

import (
	"net/netip"
	"time"
)

// Format is how a lease file is written.
type Format uint8

// The formats, by the words of the configuration. The zero value is none of them.
const (
	FormatUnknown Format = iota
	Dnsmasq              // dnsmasq: its lease file, IPv4 and IPv6
	KeaCSV               // kea-csv: the memfile backend of kea-dhcp4 and kea-dhcp6
)

// Usual are the lease files of DHCP servers as distributions have them, where only root and the server write.
var Usual = []struct {
	Path   string
	Format Format
}{
	{"/var/lib/misc/dnsmasq.leases", Dnsmasq}, {"/var/lib/dnsmasq/dnsmasq.leases", Dnsmasq},
	{"/var/lib/kea/kea-leases4.csv", KeaCSV}, {"/var/lib/kea/kea-leases6.csv", KeaCSV},
}

// ParseFormat reads the configuration's word for a format.
func ParseFormat(s string) (Format, bool) {
	for _, f := range []Format{Dnsmasq, KeaCSV} {
		if f.String() == s {
			return f, true
		}
	}
	return FormatUnknown, false
}

func (f Format) String() string {
	switch f {
	case Dnsmasq:
		return "dnsmasq"
	case KeaCSV:
		return "kea-csv"
	}
	return "unknown"
}

// Lease is one address, or one delegated prefix, and who holds it. It is not changed once it was handed over.
type Lease struct {
	Prefix   netip.Prefix // /32 or /128 for an address
	Circuits []string     // what the holder's line is called, the most trustworthy first
	Expires  time.Time    // zero: no end is known. A renewal alone is no change, so it may be older than the file's
}

// Set is every lease of a file that has not expired, in no order, each prefix once.
type Set struct {
	Path   string
	Leases []Lease
}

// Bounds. A box that needs more has more subscribers than it is made for.
const (
	MaxLeases = 1 << 20       // of one file; further ones are refused and counted
	MaxSize   = 1 << 30       // bytes of one file; a larger one is not read
	maxLine   = 64 << 10      // bytes; a longer line is a bad one
	maxID     = 255           // bytes of an id; a longer one is left out
	maxIDs    = 16            // circuits of one lease; further ones are left out
	sane      = 1_000_000_000 // Unix seconds (September 2001): an end before it is none, see ending
)

// ending reads the end of a lease. An end long ago comes from a server without a clock: dnsmasq built for such machines writes
// the lease's length instead. The server takes such a lease out of its file itself, so for us it has no end.
func ending(unix int64) int64 {
	if unix < sane {
		return 0
	}
	return unix
}

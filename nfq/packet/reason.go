package packet

// Reason says why a packet is not a usable TCP segment. The zero value is OK: there is a segment.
type Reason uint8

// The reasons. Their String is fit for a metric label.
const (
	OK                 Reason = iota
	TooShort                  // ends inside a header, whatever the headers claim
	BadVersion                // neither IPv4 nor IPv6
	BadHeaderLength           // IPv4 header length below 20 bytes
	BadTotalLength            // the IP length field ends inside the headers
	NotTCP                    // some other protocol, ESP included
	Fragment                  // a fragment that is not the whole packet
	BadExtensionHeader        // IPv6 hop-by-hop options anywhere but first
	BadTCPOffset              // TCP data offset below 20 bytes or beyond the packet
	reasons                   // how many there are
)

// Reasons is the number of reasons, OK included: the size of an array of counters indexed by Reason.
const Reasons = int(reasons)

// String is the reason in words, with underscores.
func (r Reason) String() string {
	switch r {
	case OK:
		return "ok"
	case TooShort:
		return "too_short"
	case BadVersion:
		return "bad_version"
	case BadHeaderLength:
		return "bad_header_length"
	case BadTotalLength:
		return "bad_total_length"
	case NotTCP:
		return "not_tcp"
	case Fragment:
		return "fragment"
	case BadExtensionHeader:
		return "bad_extension_header"
	case BadTCPOffset:
		return "bad_tcp_offset"
	}
	return "unknown"
}

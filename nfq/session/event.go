package session

import "github.com/mailweir/mailweir/nfq/tlshello"

// Direction says who sent a segment.
type Direction uint8

// The two directions of a session.
const (
	Up   Direction = iota // client to server
	Down                  // server to client
)

// String names the direction as records and tests do.
func (d Direction) String() string {
	if d == Up {
		return "up"
	}
	return "down"
}

// Kind is what happened in a session.
type Kind uint8

// The kinds of events, in about the order in which a session brings them.
const (
	// None is no event; the zero value never leaves the tracker.
	None Kind = iota
	// Established: the server answered our client's SYN with a SYN, or the
	// first server bytes of a session whose SYN we saw.
	Established
	// Greeting: the server's first reply; Code is 220, 421, 554 ...
	Greeting
	// StartTLSOffered: an EHLO reply lists STARTTLS (once per session).
	StartTLSOffered
	// StartTLSAsked: the client sent STARTTLS.
	StartTLSAsked
	// StartTLSAccepted: the server answered it 220.
	StartTLSAccepted
	// StartTLSRefused: the server answered it otherwise; Code says how.
	StartTLSRefused
	// ClientHello: the client began a TLS handshake, once for each. Hello is what
	// it sent, which may be kept, and nil where that was not readable: longer than
	// tlshello.MaxHello, malformed, in the framing of SSL 2.0 or with a hole in it.
	ClientHello
	// HandshakeComplete: both sides went on to encrypted records.
	HandshakeComplete
	// HandshakeFailed: an alert ended the handshake; Text is the alert's name
	// in RFC 8446 section 6 spelling, empty where it was not readable.
	HandshakeFailed
	// Message: the server took a message; Code is its reply to the end of data
	// and Recipients how many RCPT of it were accepted. Estimated says that it was
	// inside TLS, where nobody reads: it is told when nothing plausible speaks against it.
	Message
	// Rejected: a 4xx or 5xx to MAIL, RCPT, DATA, BDAT or the end of data. Code says which.
	Rejected
	// Gap: bytes of one direction never came by; Text is "up" or "down".
	Gap
	// Ended: the session is over; Text is the EndReason. It is the last event,
	// but that of a RST may be followed by Revived.
	Ended
	// Revived: the session goes on after an Ended by RST, which was none.
	Revived
)

var kindNames = [...]string{
	None: "none", Established: "established", Greeting: "greeting", StartTLSOffered: "starttls_offered",
	StartTLSAsked: "starttls_asked", StartTLSAccepted: "starttls_accepted", StartTLSRefused: "starttls_refused",
	ClientHello: "client_hello", HandshakeComplete: "handshake_complete", HandshakeFailed: "handshake_failed",
	Message: "message", Rejected: "rejected", Gap: "gap", Ended: "ended", Revived: "revived",
}

// String gives the kind's name, usable as a metric label.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Event is one thing that a segment told us. Fields beyond Kind are set only
// where the Kind's text says so. The caller may keep an Event.
type Event struct {
	Kind       Kind
	Code       int             // SMTP reply code, 200..599
	Recipients int             // accepted recipients of the message
	Hello      *tlshello.Hello // never changed after it is handed out
	Text       string
	Estimated  bool // a Message inside TLS: neither its reply nor its recipients are known
}

// Release says what the kernel may pass without us from now on. Packets with
// SYN, FIN or RST always come to us, whatever it says.
type Release uint8

// Release values; the zero value lets nothing pass unseen.
const (
	SeeAll      Release = iota // every segment with payload must come to us
	ReleaseUp                  // the client's segments may pass, the server's must come
	ReleaseBoth                // nothing more is to be learnt from payload
)

var releaseNames = [...]string{SeeAll: "see_all", ReleaseUp: "up", ReleaseBoth: "both"}

// String gives the release's name, usable as a metric label.
func (r Release) String() string {
	if int(r) < len(releaseNames) {
		return releaseNames[r]
	}
	return "unknown"
}

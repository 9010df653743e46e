package session

import "time"

// StartTLS is how far STARTTLS (RFC 3207) went in clear.
type StartTLS uint8

// StartTLS values. The zero value means that it was not seen.
const (
	StartTLSNone StartTLS = iota
	Offered
	Asked
	Accepted
	Refused
)

var startTLSNames = [...]string{StartTLSNone: "none", Offered: "offered", Asked: "asked", Accepted: "accepted", Refused: "refused"}

// String gives the word of the SESSION record.
func (s StartTLS) String() string { return name(startTLSNames[:], int(s)) }

// Offer is what the server said of STARTTLS in its answers to EHLO in clear (RFC 5321, section
// 4.1.1.1; RFC 3207, section 2): its own word, whatever the client then asks for or does not.
// An answer counts that was read whole and is certainly one to EHLO; where a line of the client's ended without a CR one of a
// single line is not: the server may have read an EHLO behind it as part of that line, and answered something else.
type Offer uint8

// Offer values. Of several answers in a session the highest counts.
const (
	OfferUnknown Offer = iota // no answer to EHLO was read, or it was refused
	NotOffered                // it listed what it can do, perhaps nothing, and STARTTLS was not in it
	IsOffered
)

// TLS says whether and how the session turned to TLS.
type TLS uint8

// TLS values; TLSNone is also what an unknown protocol has.
const (
	TLSNone     TLS = iota
	TLSImplicit     // the client began with a handshake, and the server did not answer in clear
	TLSStartTLS     // after an accepted STARTTLS
)

var tlsNames = [...]string{TLSNone: "none", TLSImplicit: "implicit", TLSStartTLS: "starttls"}

// String gives the word of the SESSION record.
func (t TLS) String() string { return name(tlsNames[:], int(t)) }

// Handshake is how the TLS handshake came out.
type Handshake uint8

// Handshake values. While it is still under way the value is HandshakeNone.
const (
	HandshakeNone Handshake = iota
	Complete                // both sides went on to encrypted records
	Failed                  // an alert, or bytes that are not TLS
	Abandoned               // the session ended before it was decided
)

var handshakeNames = [...]string{HandshakeNone: "none", Complete: "complete", Failed: "failed", Abandoned: "abandoned"}

// String gives the word of the SESSION record.
func (h Handshake) String() string { return name(handshakeNames[:], int(h)) }

// EndReason is how a session ended.
type EndReason uint8

// EndReason values; the zero value says that it has not ended, or nobody knows how.
const (
	EndUnknown  EndReason = iota
	EndFIN                // both sides closed
	EndRST                // either side reset it
	EndTimeout            // idle for longer than the flow table keeps it
	EndCut                // we ended it
	EndShutdown           // we stopped while it ran
)

var endNames = [...]string{EndUnknown: "unknown", EndFIN: "fin", EndRST: "rst", EndTimeout: "timeout", EndCut: "cut", EndShutdown: "shutdown"}

// String gives the word of the SESSION record.
func (e EndReason) String() string { return name(endNames[:], int(e)) }

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// Facts are what a session told so far, in the words of the SESSION record.
type Facts struct {
	Start, End time.Time // first segment; last segment, or the time given to Tracker.End

	Offer          Offer
	StartTLS       StartTLS
	TLS            TLS
	TLSVersion     string // "TLS1.3" ...: the server's choice where its ServerHello was readable, else the highest offered
	SNI            string // safe to log, see tlshello
	JA4, JA3       string
	Handshake      Handshake
	Resumed        bool   // the handshake went on from one of before: an abbreviated one, or one by a pre-shared key
	Alert          string // name of a readable alert (RFC 8446 section 6)
	HandshakeBytes int64  // TLS record bytes of both directions from the ClientHello until the handshake was decided

	Messages   int // accepted by the server in clear, for certain
	MessagesLo int // at least so many: Messages, and an estimate inside TLS
	MessagesHi int // at most so many; -1: no bound is known (mid-air, not SMTP, TLS that could not be followed)
	Recipients int // accepted RCPT of the accepted messages, as far as they are certain
	Rejected   int // 4xx and 5xx replies to MAIL, RCPT, DATA, BDAT or an end of data

	// TCP payload bytes by sequence number, retransmissions not counted, also over
	// stretches that the kernel passed, up to 4 GiB each. Without a FIN the last
	// such stretch counts as far as it was acknowledged.
	BytesUp, BytesDown int64

	EndReason EndReason
	Unknown   bool // found in mid-air, or not SMTP: counts are what we saw, not what was
	Gaps      int  // holes in either direction that were never filled
}

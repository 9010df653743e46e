package lab

import (
	"net/netip"
	"time"
)

// Traffic is what a light client sends: Sessions sessions to one server, at a
// rate, so many at once.
type Traffic struct {
	To       netip.AddrPort
	Source   netip.Addr // the machine's address to send from; zero: its IPv4 or its IPv6
	From     string     // envelope sender
	Rcpt     string     // envelope recipient; a message has one
	StartTLS bool       // ask for STARTTLS; where it is not offered the session fails
	Sessions int        // how many; 0 means until the context ends
	Messages int        // per session; 0 means 1
	Size     int        // bytes of a message's body; 0 means 1 KiB
	// Rate is sessions a second; 0 means as fast as Concurrency lets.
	Rate float64
	// Concurrency bounds the sessions that run at once; 0 means 1.
	Concurrency int
	// Linger is how long a message's body takes, sent in ten parts.
	Linger time.Duration
	// Timeout bounds one reply; 0 means 60 s.
	Timeout time.Duration
	// Stop, when closed, keeps new sessions from starting; running ones go on
	// to their end. nil: only the context stops anything.
	Stop <-chan struct{}
}

// Result is how a light client's session ended.
type Result uint8

// What may become of a session.
const (
	Failed   Result = iota // anything that is none of the others: see Session.Err
	Sent                   // all its messages were accepted
	Deferred               // a 4xx reply
	Rejected               // a 5xx reply
	Reset                  // refused or cut by a TCP reset
	TimedOut               // no answer within Traffic.Timeout
)

func (r Result) String() string {
	return [...]string{"failed", "sent", "deferred", "rejected", "reset", "timed out"}[r]
}

// Session is a light client's report of one session.
type Session struct {
	Start      time.Time
	Connect    time.Duration // until the TCP connection stood
	Greeting   time.Duration // from then until the server's greeting was complete
	Took       time.Duration
	Result     Result
	Err        error    // what ended it before its time; nil when Sent
	Replies    []string // every reply line of the server, as sent, without CRLF
	Accepted   []MessageID
	TLSVersion string // "TLS 1.3"; "" in clear
	// Fingerprint is the SHA-256 of the server's certificate, lower-case hex.
	Fingerprint string
}

// MessageID is a message's Message-ID without the angle brackets.
type MessageID string

package radius

// Reason is why a request was not taken.
type Reason uint8

// Reasons; the zero value is that of a request that was taken.
const (
	None        Reason = iota
	NotAllowed         // its source is not in the list of clients
	Malformed          // its lengths do not fit together
	UnknownCode        // neither Accounting-Request nor Status-Server
	WrongSecret        // authenticator or Message-Authenticator are not made with our secret
	Incomplete         // no Acct-Status-Type, or a session without Acct-Session-Id
	OtherStatus        // an Acct-Status-Type that says nothing about addresses
	Old                // it happened more than MaxAge ago
	Ahead              // it is more than MaxAhead to come: one of two clocks is wrong
	Undated            // it does not say when it happened, and has to
	QueueFull          // no room before its worker
	reasons
)

var reasonNames = [reasons]string{
	None: "none", NotAllowed: "not_allowed", Malformed: "malformed", UnknownCode: "unknown_code", WrongSecret: "wrong_secret",
	Incomplete: "incomplete", OtherStatus: "other_status", Old: "old", Ahead: "ahead", Undated: "undated", QueueFull: "queue_full",
}

// String gives the word of metrics and health: "wrong_secret".
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// answered tells whether a request that is not taken for this reason is answered all the same; see the package's comment.
func (r Reason) answered() bool {
	return r == Incomplete || r == OtherStatus || r == Old || r == Undated
}

package crossing

import "encoding/json"

// Case says what a client does in one session, or what a mail server is given to send. Its zero value is a session of
// one short message to one recipient.
type Case struct {
	Kind       Kind     `json:"kind"`
	Implicit   bool     `json:"implicit,omitempty"`   // port 465
	IPv6       bool     `json:"ipv6,omitempty"`       //
	Messages   int      `json:"messages,omitempty"`   // offered; 0 is 1
	Recipients int      `json:"recipients,omitempty"` // of each message; 0 is 1
	Size       int      `json:"size,omitempty"`       // of a message's body; 0 is 500
	Sizes      []int    `json:"sizes,omitempty"`      // if there are any, in turns
	Refused    int      `json:"refused,omitempty"`    // so many recipients more, which the server refuses
	Unwanted   int      `json:"unwanted,omitempty"`   // the server refuses each so many-th message after its content
	Why        string   `json:"why,omitempty"`        // what it says then; "" is its own words
	Reset      bool     `json:"reset,omitempty"`      // RSET after each message
	Broken     bool     `json:"broken,omitempty"`     // each message is begun once more before, and given up by RSET
	Login      bool     `json:"login,omitempty"`      // AUTH first
	Pipelining bool     `json:"pipelining,omitempty"` // the client uses it
	Chunking   int      `json:"chunking,omitempty"`   // the client sends BDAT with chunks of so many bytes
	Resume     bool     `json:"resume,omitempty"`     // the TLS session is resumed, if both ends do
	Noise      bool     `json:"noise,omitempty"`      // NOOP and VRFY between
	AtOnce     int      `json:"at_once,omitempty"`    // of a burst: so many messages go out before an answer is read; 0 is all. Of attempts: so many commands; 0 is one
	Lines      []string `json:"lines,omitempty"`      // of attempts: what is said, again and again
	Pieces     bool     `json:"pieces,omitempty"`     // of a burst: each command and each content is a record of its own
}

// Kind is what a session is for.
type Kind string

// The kinds. All but Mail and Burst are to bring no message.
const (
	Mail       Kind = "mail"
	Burst      Kind = "burst"      // whole messages at once, DATA not waited for either
	Leave      Kind = "quit"       // QUIT after EHLO
	Hangup     Kind = "hangup"     // the connection is closed after EHLO
	BadLogin   Kind = "bad-login"  // AUTH that fails
	Verify     Kind = "vrfy"       // VRFY only
	Envelope   Kind = "envelope"   // MAIL, RCPT, RSET
	NoOne      Kind = "no-one"     // all recipients are refused
	NotWanted  Kind = "not-wanted" // the message is refused after its content
	LookAtCert Kind = "finger"     // posttls-finger
	Empty      Kind = "empty"      // closed after the handshake
	Attempts   Kind = "attempts"   // commands that lead to no message, again and again
)

func (c Case) messages() int   { return max(1, c.Messages) }
func (c Case) recipients() int { return max(1, c.Recipients) }

// size is the size of the i-th message.
func (c Case) size(i int) int {
	if len(c.Sizes) > 0 {
		return c.Sizes[i%len(c.Sizes)]
	}
	if c.Size == 0 {
		return 500
	}
	return c.Size
}

func (c Case) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

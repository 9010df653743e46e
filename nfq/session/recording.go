package session

import (
	"bytes"
	"strconv"
)

// Recording is all that is estimated from: what a session inside TLS looks like, without addresses and without a word of it.
// A tracker fills it in if Options has one; its text form is a line of the corpus that the estimate is tested with.
type Recording struct {
	framing framing
	doubt   bool // nothing in clear shows that it is SMTP
	begin   int64
	heard   []heard
	hungUp  bool // the server closed first
	inOrder bool // one side closed, rather than reset or went away
	holes   bool // some of the server's bytes were not seen
}

// heard is a record of application data.
type heard struct {
	length int   // of its body, bytes
	ack    int64 // bytes of the client that the server had received when it sent it
}

// Sealed reports whether the session came as far as to speak inside TLS.
func (r *Recording) Sealed() bool { return r.framing.add > 0 }

// MarshalText gives one line of fields, each behind a blank but the first: what every record has beside its plaintext and, where the
// cipher pads, the block ("33/16"); "465" where nothing was said in clear; the server's records as flights, "+" and how many more
// bytes of the client the server had received ("+-64": fewer, in front of the last of the handshake), a colon, and the lengths of the records' bodies with commas between,
// "31*20" for twenty in a row; and how it ended: "closed" or "hung-up" (the server first) in order, "left" without; "holes" if bytes
// were missing, of which nothing can be told.
func (r *Recording) MarshalText() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(strconv.Itoa(int(r.framing.add)))
	if r.framing.block > 0 {
		out.WriteString("/" + strconv.Itoa(int(r.framing.block)))
	}
	if r.doubt {
		out.WriteString(" 465")
	}
	ack := r.begin
	for i := 0; i < len(r.heard); {
		h := r.heard[i]
		n := 1
		for i+n < len(r.heard) && r.heard[i+n] == h {
			n++
		}
		if i == 0 || h.ack != ack {
			out.WriteString(" +" + strconv.FormatInt(h.ack-ack, 10) + ":")
			ack = h.ack
		} else {
			out.WriteByte(',')
		}
		out.WriteString(strconv.Itoa(h.length))
		if n > 1 {
			out.WriteString("*" + strconv.Itoa(n))
		}
		i += n
	}
	switch {
	case r.holes:
		out.WriteString(" holes")
	case !r.inOrder:
		out.WriteString(" left")
	case r.hungUp:
		out.WriteString(" hung-up")
	default:
		out.WriteString(" closed")
	}
	return out.Bytes(), nil
}

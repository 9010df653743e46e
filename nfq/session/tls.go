package session

import "github.com/mailweir/mailweir/nfq/tlshello"

// TLS record types (RFC 8446, section 5.1; RFC 5246, section 6.2.1).
const (
	recordChangeCipher = 20
	recordAlert        = 21
	recordHandshake    = 22
	recordData         = 23
	recordHeartbeat    = 24 // RFC 6520
)

const (
	recordHeader = 5
	// maxRecord is the longest record body: 2^14 and what TLS 1.2 lets encryption add.
	maxRecord = 1<<14 + 2048
	// maxServerHello is how much of a server's handshake record is read for its
	// ServerHello; one with an X25519MLKEM768 key share is below 1300 bytes.
	maxServerHello = 2 << 10
	// maxHandshake is how many bytes a handshake may have before we stop following it.
	maxHandshake = 256 << 10
)

// recordType reports whether b can start a TLS record.
func recordType(b byte) bool { return b >= recordChangeCipher && b <= recordHeartbeat }

// records follows the record headers of one direction.
type records struct {
	head  [recordHeader]byte
	have  int // bytes of head
	left  int // bytes of the body to come
	size  int // of the body
	alert [2]byte
	ccs   bool // ChangeCipherSpec came by
	crypt bool // ... and a record that can be the encrypted end of the handshake
}

func (r *records) kind() byte { return r.head[0] }

// handshake follows a TLS handshake until it is decided.
type handshake struct {
	hello   tlshello.Assembler
	said    tlshello.Status // of hello
	side    [2]records
	begun   bool   // the client sent something
	told    bool   // ClientHello was emitted
	heard   bool   // the server sent something
	guessed bool   // no word of the server's told that TLS comes
	garbled bool   // ... and what the client says is not TLS, or not whole: the server will tell what it is
	version uint16 // the server's choice, 0: not known yet
	suite   uint16 // the same
	end     int64  // offset behind the client's last record
	message []byte // start of the server's handshake record
}

// unconfirmed reports whether the server may still turn out to speak in clear.
func (h *handshake) unconfirmed() bool { return h.guessed && !h.heard }

// beginTLS: what comes next in both directions are TLS records. Where nobody
// asked for them the session counts as TLS only once the client speaks.
func (t *Tracker) beginTLS(how TLS) {
	t.mode = inTLS
	t.tls = &handshake{begun: how == TLSStartTLS, guessed: t.opt.ImplicitTLS && how == TLSImplicit}
	if how == TLSStartTLS {
		t.facts.TLS = how
	}
	t.client.dropHold()
}

// foundAtHello reports whether a session found in mid-air, where TLS comes from the start on, was found before all that
// matters: nobody was heard yet, and the client's first byte is that of a handshake.
func (t *Tracker) foundAtHello(off int64, first byte) bool {
	return t.facts.Unknown && t.opt.ImplicitTLS && t.mode == undecided && off == 0 && !t.down.seen && first == recordHandshake
}

// decideEarly: the client began as TLS does before the server said anything. The
// server's first byte tells whether that was a handshake or a command line.
func (t *Tracker) decideEarly(first byte) {
	c := &t.client
	c.early = false
	if first != recordHandshake && first != recordAlert {
		t.resume(atCommand)
		return
	}
	held, n, holdLost := c.hold, c.held, c.holdLost
	c.hold = nil
	t.beginTLS(TLSImplicit)
	t.tls.guessed = true // what is rubbish to us is for the server to judge, whose first record is in hand
	t.server.waiting.drop(t.server.waiting.len)
	if held != nil {
		t.tlsBytes(Up, held[:n])
		holds.Put(held)
	}
	if holdLost && t.mode == inTLS {
		t.tlsHole(Up, t.up.off-c.holdAt-int64(n))
	}
}

// backToClear: the server speaks in clear. What the client said so far were
// commands that nobody knows.
func (t *Tracker) backToClear() {
	f := &t.facts
	if f.TLS == TLSStartTLS {
		f.StartTLS = Asked
	} else {
		t.server.waiting.push(greeting, 0)
	}
	if t.tls.begun {
		t.client.miss(missed, 0, t.client.pos)
		t.client.state = atCommand
		t.client.partial = true
	}
	t.mode, t.tls, f.TLS = undecided, nil, TLSNone
	f.TLSVersion, f.SNI, f.JA4, f.JA3, f.HandshakeBytes = "", "", "", "", 0
}

// garble: the client's bytes cannot be followed. It reports whether that is for
// the server to decide, which has said nothing yet.
func (t *Tracker) garble() bool {
	if !t.tls.unconfirmed() {
		return false
	}
	t.tls.garbled = true
	return true
}

// tlsBytes reads record bytes in order.
func (t *Tracker) tlsBytes(dir Direction, p []byte) {
	h := t.tls
	if dir == Up && !h.begun {
		h.begun = true
		t.facts.TLS = TLSImplicit
	}
	switch {
	case h.garbled && dir == Up:
		return
	case h.garbled && p[0] == recordHandshake && h.unconfirmed(): // it understood the client, we did not
		t.helloTold(nil)
		t.giveUp()
		return
	}
	h.heard = h.heard || dir == Down
	r := &h.side[dir]
	off := t.server.pos
	if dir == Up {
		off = t.client.pos
	}
	for len(p) > 0 && t.mode == inTLS && !(h.garbled && dir == Up) {
		n := min(r.left, len(p))
		if r.left == 0 {
			n = copy(r.head[r.have:], p[:1]) // one by one: what is no header is known by its first wrong byte
		}
		part := p[:n]
		p, off = p[n:], off+int64(n)
		t.facts.HandshakeBytes += int64(n)
		if dir == Up && h.said == tlshello.NeedMore && r.kind() != recordAlert { // a warning may come before
			t.clientHello(part)
		}
		if t.mode != inTLS || h.garbled && dir == Up {
			return
		}
		if dir == Up {
			h.end = off
		}
		if r.left == 0 {
			r.have += n
			t.recordHead(dir, r)
		} else {
			t.recordBody(dir, r, part)
		}
	}
	if t.mode == inSeal && dir == Down && len(p) > 0 {
		t.sealedBytes(off, p)
		return
	}
	if t.mode == inTLS && t.facts.HandshakeBytes > maxHandshake && !t.garble() {
		t.helloTold(nil)
		t.giveUp()
	}
}

// clientHello gives the client's bytes to the assembler.
func (t *Tracker) clientHello(p []byte) {
	h := t.tls
	switch h.said = h.hello.Write(p); h.said {
	case tlshello.Done:
		hello := h.hello.Hello()
		t.facts.SNI, t.facts.JA4, t.facts.JA3 = hello.SNI, hello.JA4, hello.JA3
		if h.version == 0 {
			t.facts.TLSVersion = tlshello.VersionName(hello.Version)
		}
		t.helloTold(hello)
	case tlshello.TooLong, tlshello.Malformed:
		t.helloTold(nil)
	case tlshello.NotTLS:
		t.failed("")
	}
}

// helloTold tells once of the handshake that the client begins; hello is nil
// where it was not readable. The server may have read it.
func (t *Tracker) helloTold(hello *tlshello.Hello) {
	if !t.tls.told {
		t.tls.told = true
		t.emit(Event{Kind: ClientHello, Hello: hello})
	}
}

// recordHead judges a record's header as far as it came.
func (t *Tracker) recordHead(dir Direction, r *records) {
	if !recordType(r.head[0]) || r.have > 1 && r.head[1] != 3 {
		t.failed("")
		return
	}
	if r.have < recordHeader {
		return
	}
	r.have = 0
	r.left = int(r.head[3])<<8 | int(r.head[4])
	r.size = r.left
	switch {
	case r.left > maxRecord:
		t.failed("")
	case r.left == 0:
		t.recordEnd(dir, r)
	}
}

// recordBody takes the next part of a record's body.
func (t *Tracker) recordBody(dir Direction, r *records, p []byte) {
	h := t.tls
	switch {
	case r.kind() == recordAlert && r.size == len(r.alert):
		copy(r.alert[r.size-r.left:], p)
	case r.kind() == recordHandshake && dir == Down && h.version == 0:
		if r.left == r.size {
			h.message = h.message[:0]
		}
		h.message = append(h.message, p[:min(len(p), maxServerHello-len(h.message))]...)
	}
	r.left -= len(p)
	if r.left == 0 {
		t.recordEnd(dir, r)
	}
}

// recordEnd takes a whole record and decides the handshake if it can.
//
// Up to TLS 1.2 a side is done with ChangeCipherSpec and a handshake record
// after it. In TLS 1.3 the server is done with its first encrypted record and
// the client with its first after that; a record that can only hold an alert
// means that it refused instead (RFC 8446, section 5.2: content, one byte of type, tag).
func (t *Tracker) recordEnd(dir Direction, r *records) {
	h := t.tls
	old := h.version != 0 && h.version < 0x0304
	switch r.kind() {
	case recordChangeCipher:
		r.ccs = true
		if dir == Down && old && !h.side[Up].ccs {
			t.facts.Resumed = true // it speaks last in a full handshake (RFC 5246, section 7.3)
		}
	case recordHandshake:
		if dir == Down && h.version == 0 {
			if c, ok := serverChoice(h.message); ok {
				h.version, h.suite, h.message = c.version, c.suite, nil
				t.facts.Resumed = c.resumed
				t.facts.TLSVersion = tlshello.VersionName(c.version)
			}
		} else if old && r.ccs {
			r.crypt = true
		}
	case recordAlert:
		t.alert(r, old)
	case recordData:
		switch {
		case old:
			r.crypt = r.ccs
		case r.size == alertSize || r.size == alertSizeCCM8:
			if dir == Down || h.side[Down].crypt {
				t.failed("")
				return
			}
		case dir == Down || h.side[Down].crypt: // else it is early data
			r.crypt = true
		}
	}
	if t.mode == inTLS && h.side[Up].crypt && h.side[Down].crypt {
		t.facts.Handshake = Complete
		t.helloTold(nil)
		if estimating {
			t.seal()
		} else {
			t.giveUp()
			t.tls = nil
		}
		t.emit(Event{Kind: HandshakeComplete})
	}
}

// Sizes of an encrypted TLS 1.3 record that holds nothing but an alert. No
// handshake message has them: Finished is 53 bytes and more (45 with CCM_8), an
// empty Certificate 25 (17), EndOfEarlyData 21 (13).
const (
	alertSize     = 2 + 1 + 16
	alertSizeCCM8 = 2 + 1 + 8
)

// alert takes an alert record.
func (t *Tracker) alert(r *records, old bool) {
	const fatal = 2
	level, code := r.alert[0], r.alert[1]
	switch {
	case r.size != len(r.alert) || old && r.ccs:
		t.failed("") // encrypted
	case code == closeNotify:
		t.facts.Alert = alertName(code) // the one who said it is about to close
	case level == fatal || t.tls.version == 0x0304 && code != userCanceled:
		t.failed(alertName(code))
	}
}

// failed decides the handshake.
func (t *Tracker) failed(alert string) {
	if t.garble() {
		return
	}
	if alert != "" {
		t.facts.Alert = alert
	}
	t.facts.Handshake = Failed
	if k := t.tls.side[Up].kind(); k == recordHandshake || k&0x80 != 0 { // what may be a hello, that of SSL 2.0 too
		t.helloTold(nil)
	}
	t.giveUp()
	t.tls = nil
	t.emit(Event{Kind: HandshakeFailed, Text: alert})
}

// tlsHole: n bytes of records were not seen. That does no harm inside the body
// of a record that we do not read.
func (t *Tracker) tlsHole(dir Direction, n int64) {
	h := t.tls
	r := &h.side[dir]
	if h.garbled && dir == Up {
		return
	}
	needed := dir == Up && h.said == tlshello.NeedMore ||
		dir == Down && h.version == 0 && r.kind() == recordHandshake || r.kind() == recordAlert
	if needed || int64(r.left) < n {
		if dir == Up && t.garble() {
			return
		}
		if h.begun {
			t.helloTold(nil)
		}
		t.giveUp()
		return
	}
	t.facts.HandshakeBytes += n
	if r.left -= int(n); r.left == 0 {
		t.recordEnd(dir, r)
	}
}

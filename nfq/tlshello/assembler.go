package tlshello

import "encoding/binary"

const (
	recordHeader    = 5       // type, version, length
	messageHeader   = 4       // type, 24-bit length
	maxRecord       = 1 << 14 // RFC 8446, section 5.1: plaintext of one record
	recordHandshake = 22
	typeClientHello = 1
	firstBuffer     = 2 << 10 // what most hellos fit in
)

// Assembler collects one ClientHello from the client's bytes, from the first byte of the first TLS record on. The zero
// value is ready. Its buffer holds at most MaxHello+4 bytes, comes with the hello's first byte and goes once the hello
// is decided. Not safe for concurrent use.
type Assembler struct {
	status  Status
	framing framing
	header  [recordHeader]byte
	have    int    // bytes in header
	left    int    // bytes of the record still to come
	message []byte // the handshake message so far, its header included
	hello   *Hello
}

type framing uint8

const (
	unknownFraming framing = iota
	tlsRecords
	sslv2
)

// Write takes the next bytes in order and says where that leads. Once the state is other than NeedMore,
// bytes are ignored: what follows the hello is not for this package. p is not kept.
func (a *Assembler) Write(p []byte) Status {
	for len(p) > 0 && a.status == NeedMore {
		if a.left > 0 {
			n := min(a.left, len(p))
			a.left -= n
			if a.framing == sslv2 {
				a.messageV2(p[:n])
			} else {
				a.fragment(p[:n])
			}
			p = p[n:]
			continue
		}
		n := copy(a.header[a.have:], p)
		a.have += n
		p = p[n:]
		a.judgeHeader()
	}
	return a.status
}

// Hello is the hello once Write said Done, nil before and in every other case.
func (a *Assembler) Hello() *Hello { return a.hello }

// judgeHeader looks at the header as far as it is there, so that what is not TLS is known by its first bytes.
func (a *Assembler) judgeHeader() {
	if a.framing == unknownFraming {
		a.framing = tlsRecords
		if a.header[0]&0x80 != 0 {
			a.framing = sslv2
		}
	}
	if a.framing == sslv2 {
		a.headerV2()
		return
	}
	if a.header[0] != recordHandshake || a.have >= 2 && a.header[1] != 3 {
		if len(a.message) > 0 { // RFC 8446, section 5.1: nothing may come between the parts of a message
			a.end(Malformed)
		} else {
			a.end(NotTLS)
		}
		return
	}
	if a.have < recordHeader {
		return
	}
	a.have = 0
	a.left = int(binary.BigEndian.Uint16(a.header[3:]))
	if a.left == 0 || a.left > maxRecord {
		a.end(Malformed)
	}
}

// fragment takes handshake bytes out of a record. What follows the ClientHello in the same record is ignored.
func (a *Assembler) fragment(p []byte) {
	if len(a.message) == 0 && p[0] != typeClientHello {
		a.end(NotTLS)
		return
	}
	if n := messageHeader - len(a.message); n > 0 {
		n = min(n, len(p))
		a.keep(p[:n])
		p = p[n:]
		if len(a.message) < messageHeader {
			return
		}
	}
	length := int(a.message[1])<<16 | int(a.message[2])<<8 | int(a.message[3])
	if length > MaxHello {
		a.end(TooLong)
		return
	}
	whole := messageHeader + length
	a.keep(p[:min(whole-len(a.message), len(p))])
	if len(a.message) == whole {
		a.decide(Parse(a.message))
	}
}

func (a *Assembler) headerV2() {
	if !beginsV2(a.header[:a.have]) {
		a.end(NotTLS)
		return
	}
	if a.have < recordHeader {
		return
	}
	whole := lengthV2(a.header[:])
	if whole < v2Fixed || whole > v2Max {
		a.end(NotTLS)
		return
	}
	a.keep(a.header[v2Header:])
	a.left = whole - len(a.message)
}

func (a *Assembler) messageV2(p []byte) {
	a.keep(p)
	if a.left == 0 {
		a.decide(parseV2(a.message))
	}
}

// keep appends to the message. The callers see to it that it stays within MaxHello and its header, and so does the
// buffer: it grows with what was sent, not with what was announced.
func (a *Assembler) keep(p []byte) {
	if need := len(a.message) + len(p); need > cap(a.message) {
		size := min(max(firstBuffer, 2*cap(a.message), need), MaxHello+messageHeader)
		a.message = append(make([]byte, 0, size), a.message...)
	}
	a.message = append(a.message, p...)
}

func (a *Assembler) decide(h *Hello, err error) {
	if err != nil {
		a.end(Malformed)
		return
	}
	a.hello = h
	a.end(Done)
}

func (a *Assembler) end(s Status) { a.status, a.message = s, nil }

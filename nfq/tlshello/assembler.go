package tlshello

import "encoding/binary"

const (
	recordHeader    = 5       // type, version, length
	messageHeader   = 4       // type, 24-bit length
	maxRecord       = 1 << 14 // RFC 8446, section 5.1: plaintext of one record
	recordHandshake = 22
	typeClientHello = 1
)

// Assembler collects one ClientHello from the client's bytes, from the first byte of the first TLS record
// on. The zero value is ready. It holds at most MaxHello+4 bytes, and none once the hello is decided. Not safe for
// concurrent use.
type Assembler struct {
	status  Status
	header  [recordHeader]byte
	have    int    // bytes of header
	left    int    // bytes of the record still to come
	message []byte // the handshake message so far, its header included
	hello   *Hello
}

// Write takes the next bytes in order and says where that leads. Once the state is other than NeedMore,
// bytes are ignored: what follows the hello is not for this package. p is not kept.
func (a *Assembler) Write(p []byte) Status {
	for len(p) > 0 && a.status == NeedMore {
		if a.left == 0 {
			n := copy(a.header[a.have:], p)
			a.have += n
			p = p[n:]
			a.recordHeader()
			continue
		}
		n := min(a.left, len(p))
		a.left -= n
		a.fragment(p[:n])
		p = p[n:]
	}
	return a.status
}

// Hello is the hello once Write said Done, nil before and in every other case.
func (a *Assembler) Hello() *Hello { return a.hello }

// recordHeader judges the header as far as it is there, so that what is not TLS is known by its first bytes.
func (a *Assembler) recordHeader() {
	first := len(a.message) == 0
	if a.have >= 1 && a.header[0] != recordHandshake || a.have >= 2 && a.header[1] != 3 {
		a.fail(first, NotTLS)
		return
	}
	if a.have < recordHeader {
		return
	}
	a.have = 0
	a.left = int(binary.BigEndian.Uint16(a.header[3:]))
	if a.left == 0 || a.left > maxRecord {
		a.fail(false, Malformed)
	}
}

// fail ends the work: with status if this is still the first record, as Malformed afterwards.
func (a *Assembler) fail(first bool, status Status) {
	if !first {
		status = Malformed
	}
	a.status, a.message = status, nil
}

// fragment takes handshake bytes out of a record.
func (a *Assembler) fragment(p []byte) {
	if len(a.message) == 0 && p[0] != typeClientHello {
		a.fail(true, NotTLS)
		return
	}
	for len(p) > 0 {
		want := messageHeader
		if len(a.message) >= messageHeader {
			want += messageLength(a.message)
		}
		n := min(want-len(a.message), len(p))
		if a.message == nil {
			a.message = make([]byte, 0, max(messageHeader, min(len(p)+a.left, 2048)))
		}
		a.message = append(a.message, p[:n]...)
		p = p[n:]
		if len(a.message) < messageHeader {
			return
		}
		length := messageLength(a.message)
		if length > MaxHello {
			a.fail(true, TooLong)
			return
		}
		if len(a.message) == messageHeader+length {
			a.decide()
			return
		}
	}
}

func (a *Assembler) decide() {
	h, err := Parse(a.message)
	a.message = nil
	if err != nil {
		a.status = Malformed
		return
	}
	a.status, a.hello = Done, h
}

// messageLength is the length in a handshake message's header, which must be whole.
func messageLength(message []byte) int {
	return int(message[1])<<16 | int(message[2])<<8 | int(message[3])
}

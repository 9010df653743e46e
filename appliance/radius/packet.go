package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
)

// Codes of the packets that are known here (RFC 2866 section 3, RFC 5997 section 3).
const (
	codeAccountingRequest  = 4
	codeAccountingResponse = 5
	codeStatusServer       = 12
)

// Sizes in octets (RFC 2865 section 3).
const (
	headerSize = 20   // code, identifier, length, authenticator
	maxSize    = 4096 // of a whole packet
)

// packet is one datagram whose frame is sound: each attribute has its whole length inside.
type packet struct {
	code, id      byte
	authenticator [16]byte
	attributes    []byte // in the datagram's own memory
}

// frame takes the frame of datagram b apart. What lies behind the length in the header is padding (RFC 2865 section 3).
func frame(b []byte) (packet, Reason) {
	if len(b) < headerSize {
		return packet{}, Malformed
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length < headerSize || length > maxSize || length > len(b) {
		return packet{}, Malformed
	}
	p := packet{code: b[0], id: b[1], authenticator: [16]byte(b[4:headerSize]), attributes: b[headerSize:length]}
	for rest := p.attributes; len(rest) > 0; {
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			return packet{}, Malformed
		}
		rest = rest[rest[1]:]
	}
	return p, None
}

// each calls f with every attribute, in order.
func (p packet) each(f func(kind byte, value []byte)) {
	for rest := p.attributes; len(rest) > 0; rest = rest[rest[1]:] {
		f(rest[0], rest[2:rest[1]])
	}
}

// genuine tells whether p was made by somebody who has the secret.
func (p packet) genuine(secret []byte) Reason {
	switch p.code {
	case codeAccountingRequest:
		if sum := p.sum([16]byte{}, secret); !hmac.Equal(sum[:], p.authenticator[:]) {
			return WrongSecret
		}
		if signed, ok := p.signature([16]byte{}, secret); signed && !ok {
			return WrongSecret
		}
		return None
	case codeStatusServer:
		if _, ok := p.signature(p.authenticator, secret); !ok {
			return WrongSecret
		}
		return None
	}
	return UnknownCode
}

// sum is the MD5 of p, with another authenticator in its place, and the secret (RFC 2866 section 3).
func (p packet) sum(authenticator [16]byte, secret []byte) [16]byte {
	h := md5.New()
	h.Write(p.header())
	h.Write(authenticator[:])
	h.Write(p.attributes)
	h.Write(secret)
	return [16]byte(h.Sum(nil))
}

func (p packet) header() []byte {
	b := []byte{p.code, p.id, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(headerSize+len(p.attributes)))
	return b
}

// signature tells whether there is a Message-Authenticator, and whether it is right (RFC 3579 section 3.2, RFC 5997 section
// 3): it is made with sixteen zero octets in its own place, and with the given authenticator in the header.
func (p packet) signature(authenticator [16]byte, secret []byte) (signed, ok bool) {
	at, n := 0, 0
	for i := 0; i < len(p.attributes); i += int(p.attributes[i+1]) {
		if p.attributes[i] == attrMessageAuthenticator {
			at, n = i+2, n+1
		}
	}
	if n == 0 {
		return false, false
	}
	if n > 1 || p.attributes[at-1] != 2+md5.Size {
		return true, false
	}
	h := hmac.New(md5.New, secret)
	h.Write(p.header())
	h.Write(authenticator[:])
	h.Write(p.attributes[:at])
	h.Write(make([]byte, md5.Size))
	h.Write(p.attributes[at+md5.Size:])
	return true, hmac.Equal(h.Sum(nil), p.attributes[at:at+md5.Size])
}

// proxyState is every Proxy-State of p as it stands, to be sent back (RFC 2865 section 5.33). It is a copy.
func (p packet) proxyState() []byte {
	var all []byte
	p.each(func(kind byte, value []byte) {
		if kind == attrProxyState {
			all = append(append(all, kind, byte(2+len(value))), value...)
		}
	})
	return all
}

// response is the Accounting-Response to the request with this identifier and authenticator (RFC 2866 section 4.2).
func response(id byte, authenticator [16]byte, proxyState, secret []byte) []byte {
	p := packet{code: codeAccountingResponse, id: id, attributes: proxyState}
	sum := p.sum(authenticator, secret)
	return append(append(p.header(), sum[:]...), proxyState...)
}

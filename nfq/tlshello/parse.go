package tlshello

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"
)

// Extension types (IANA TLS ExtensionType Values) that are looked into.
const (
	extServerName          = 0
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extSupportedVersions   = 43
)

// Errors of Parse: what is wrong with the message.
var (
	ErrNotClientHello = errors.New("not a ClientHello")
	ErrLength         = errors.New("message length does not match its header")
	ErrTruncated      = errors.New("a field of the ClientHello ends early")
	ErrTrailing       = errors.New("bytes after the last field of the ClientHello")
)

// Parse reads one handshake message, its four-byte header included (RFC 8446, sections 4 and 4.1.2; the same since
// SSL 3.0). The message is not kept.
//
// The frame must be right: lengths that do not add up are an error. What an extension holds need not be: one that
// cannot be read counts for the fingerprint and says nothing else, for servers differ in what they refuse.
func Parse(handshake []byte) (*Hello, error) {
	message := cryptobyte.String(handshake)
	var kind uint8
	var body cryptobyte.String
	if !message.ReadUint8(&kind) || kind != typeClientHello {
		return nil, ErrNotClientHello
	}
	if !message.ReadUint24LengthPrefixed(&body) || !message.Empty() {
		return nil, ErrLength
	}
	h := new(Hello)
	var session, ciphers, compressions cryptobyte.String
	if !body.ReadUint16(&h.LegacyVersion) || !body.Skip(32) ||
		!body.ReadUint8LengthPrefixed(&session) ||
		!body.ReadUint16LengthPrefixed(&ciphers) || len(ciphers)%2 != 0 ||
		!body.ReadUint8LengthPrefixed(&compressions) {
		return nil, ErrTruncated
	}
	h.Ciphers = uint16s(ciphers)
	h.Version = h.LegacyVersion
	if !body.Empty() { // extensions as a whole are optional before TLS 1.3
		var extensions cryptobyte.String
		if !body.ReadUint16LengthPrefixed(&extensions) {
			return nil, ErrTruncated
		}
		if !body.Empty() {
			return nil, ErrTrailing
		}
		if !h.readExtensions(extensions) {
			return nil, ErrTruncated
		}
	}
	h.JA4, h.JA3 = h.ja4(), h.ja3()
	return h, nil
}

func (h *Hello) readExtensions(extensions cryptobyte.String) bool {
	h.Extensions = make([]uint16, 0, min(len(extensions)/4, 24)) // today's clients send up to about 20
	for !extensions.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&data) {
			return false
		}
		h.Extensions = append(h.Extensions, kind)
		switch kind {
		case extServerName:
			h.sniSent = true
			h.SNI = safeName(serverName(data))
		case extALPN:
			h.alpn = firstProtocol(data)
			h.ALPN = safeName(h.alpn)
		case extSignatureAlgorithms:
			h.Signatures = list16(data)
		case extSupportedGroups:
			h.Groups = list16(data)
		case extPointFormats:
			var list cryptobyte.String
			if data.ReadUint8LengthPrefixed(&list) {
				h.points = append([]byte(nil), list...)
			}
		case extSupportedVersions:
			var list cryptobyte.String
			if data.ReadUint8LengthPrefixed(&list) && len(list)%2 == 0 {
				h.Version = highest(uint16s(list), h.LegacyVersion)
			}
		}
	}
	return true
}

// serverName is the first host_name in a server_name extension (RFC 6066, section 3), nil if there is none.
func serverName(data cryptobyte.String) []byte {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return nil
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return nil
		}
		if kind == 0 {
			return name
		}
	}
	return nil
}

// firstProtocol is the first name in an ALPN extension (RFC 7301, section 3.1), nil if there is none. It is a copy.
func firstProtocol(data cryptobyte.String) []byte {
	var list, name cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !list.ReadUint8LengthPrefixed(&name) {
		return nil
	}
	return append([]byte(nil), name...)
}

// highest is the greatest of versions, GREASE left out; otherwise is the answer when nothing remains.
func highest(versions []uint16, otherwise uint16) uint16 {
	var top uint16
	for _, v := range versions {
		if !grease(v) {
			top = max(top, v)
		}
	}
	if top == 0 {
		return otherwise
	}
	return top
}

// grease reports whether v is one of the reserved values 0x0a0a, 0x1a1a, ... 0xfafa (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// list16 reads an extension that is one list of 16-bit values behind its length, nil if it is not.
func list16(data cryptobyte.String) []uint16 {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || len(list)%2 != 0 {
		return nil
	}
	return uint16s(list)
}

// uint16s reads a list of an even number of bytes.
func uint16s(list cryptobyte.String) []uint16 {
	if len(list) == 0 {
		return nil
	}
	values := make([]uint16, len(list)/2)
	for i := range values {
		values[i] = uint16(list[2*i])<<8 | uint16(list[2*i+1])
	}
	return values
}

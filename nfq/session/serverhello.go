package session

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
)

// retryRandom is the random of a ServerHello that is a HelloRetryRequest
// (RFC 8446, section 4.1.3): SHA-256 of "HelloRetryRequest".
var retryRandom = []byte{
	0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
	0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
}

// choice is what a ServerHello chose.
type choice struct {
	version, suite uint16
	resumed        bool // by a key of before (RFC 8446, section 4.2.11); up to TLS 1.2 it does not say so
}

// serverChoice reads a ServerHello at the start of p. It is not ok for anything
// else, for a HelloRetryRequest too: after that another ServerHello comes.
func serverChoice(p []byte) (c choice, ok bool) {
	const serverHello, preSharedKey, supportedVersions = 2, 41, 43
	s := cryptobyte.String(p)
	var kind uint8
	var body, session cryptobyte.String
	var random []byte
	if !s.ReadUint8(&kind) || kind != serverHello || !s.ReadUint24LengthPrefixed(&body) ||
		!body.ReadUint16(&c.version) || !body.ReadBytes(&random, 32) || bytes.Equal(random, retryRandom) ||
		!body.ReadUint8LengthPrefixed(&session) || !body.ReadUint16(&c.suite) || !body.Skip(1) { // compression
		return choice{}, false
	}
	if body.Empty() {
		return c, true
	}
	var extensions cryptobyte.String
	if !body.ReadUint16LengthPrefixed(&extensions) {
		return choice{}, false
	}
	for !extensions.Empty() {
		var kind uint16
		var content cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&content) {
			return choice{}, false
		}
		if kind == supportedVersions && !content.ReadUint16(&c.version) {
			return choice{}, false
		}
		c.resumed = c.resumed || kind == preSharedKey
	}
	return c, true
}

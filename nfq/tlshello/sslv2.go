package tlshello

import "golang.org/x/crypto/cryptobyte"

// The ClientHello in SSL 2.0 framing (RFC 5246, appendix E.2): no TLS record, no extensions, but old libraries, and spam
// bots built on them, still open a TLS 1.0 handshake with it. Its header is two bytes, the first with its top bit set.
const (
	v2Header = 2
	v2Fixed  = 9   // type, version and three lengths
	v2Max    = 512 // more than any list of ciphers of its time needs
)

// beginsV2 judges the first bytes of a stream, as many as are there: false as soon as they cannot be such a hello.
func beginsV2(p []byte) bool {
	return p[0]&0x80 != 0 &&
		(len(p) < 3 || p[2] == typeClientHello) &&
		(len(p) < 4 || p[3] == 3 || p[3] == 0) &&
		(len(p) < 5 || p[3] == 3 || p[4] == 2)
}

// lengthV2 is the length of the message behind the two-byte header p.
func lengthV2(p []byte) int { return int(p[0]&0x7f)<<8 | int(p[1]) }

// parseV2 reads the message behind the header. JA3 and JA4 do not speak of such hellos and stay empty.
func parseV2(message []byte) (*Hello, error) {
	body := cryptobyte.String(message)
	h := new(Hello)
	var kind uint8
	var specs, session, challenge uint16
	var list, rest []byte
	if !body.ReadUint8(&kind) || !body.ReadUint16(&h.LegacyVersion) || !body.ReadUint16(&specs) ||
		!body.ReadUint16(&session) || !body.ReadUint16(&challenge) ||
		specs%3 != 0 || !body.ReadBytes(&list, int(specs)) || !body.ReadBytes(&rest, int(session)+int(challenge)) {
		return nil, ErrTruncated
	}
	if !body.Empty() {
		return nil, ErrTrailing
	}
	h.Version = h.LegacyVersion
	for ; len(list) > 0; list = list[3:] {
		if list[0] == 0 { // a cipher suite of TLS; the others are SSL 2.0's own
			h.Ciphers = append(h.Ciphers, uint16(list[1])<<8|uint16(list[2]))
		}
	}
	return h, nil
}

package tlshello

import (
	"encoding/hex"
	"fmt"
)

// maxName is the longest name kept as sent, in bytes: what DNS allows in text form.
const maxName = 253

// safeName makes a name from the wire fit for logs, records and pages. Up to 253 bytes of letters, digits,
// '.', '-', '_' and '/' are kept as sent (a host name; the slash occurs in ALPN names such as http/1.1).
// Anything else becomes "hex:" and the first 64 bytes in hexadecimal, which no name kept as sent can look
// like, since a colon is not among those characters.
func safeName(name []byte) string {
	if len(name) > maxName {
		return hexName(name)
	}
	for _, c := range name {
		if !alphanumeric(c) && c != '.' && c != '-' && c != '_' && c != '/' {
			return hexName(name)
		}
	}
	return string(name)
}

func hexName(name []byte) string { return "hex:" + hex.EncodeToString(name[:min(len(name), 64)]) }

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// VersionName is the usual name of a protocol version: "SSL3.0", "TLS1.0" ... "TLS1.3", "TLS1.3-draft28" for the
// drafts that were deployed (0x7f00 and up), otherwise its hexadecimal value: "0x0a0a".
func VersionName(v uint16) string {
	switch v {
	case 0x0002:
		return "SSL2.0"
	case 0x0300:
		return "SSL3.0"
	case 0x0301:
		return "TLS1.0"
	case 0x0302:
		return "TLS1.1"
	case 0x0303:
		return "TLS1.2"
	case 0x0304:
		return "TLS1.3"
	}
	if v>>8 == 0x7f && v&0xff <= 28 {
		return fmt.Sprintf("TLS1.3-draft%d", v&0xff)
	}
	return fmt.Sprintf("0x%04x", v)
}

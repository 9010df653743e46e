package tlshello

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// ja4 is JA4 as FoxIO's technical_details/JA4.md words it (BSD-3-Clause), for TLS over TCP.
func (h *Hello) ja4() string {
	ciphers := withoutGREASE(h.Ciphers)
	slices.Sort(ciphers)
	extensions := withoutGREASE(h.Extensions)
	count := len(extensions)
	extensions = slices.DeleteFunc(extensions, func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(extensions)
	destination := 'i'
	if h.sniSent {
		destination = 'd'
	}

	var room [512]byte // what today's lists need
	third := "000000000000"
	if len(extensions) > 0 {
		list := hexList(room[:0], extensions)
		if signatures := withoutGREASE(h.Signatures); len(signatures) > 0 {
			list = hexList(append(list, '_'), signatures)
		}
		third = hash12(list)
	}
	second := "000000000000"
	if len(ciphers) > 0 {
		second = hash12(hexList(room[:0], ciphers))
	}
	return fmt.Sprintf("t%s%c%02d%02d%s_%s_%s", ja4Version(h.Version), destination,
		min(len(ciphers), 99), min(count, 99), ja4ALPN(h.alpn), second, third)
}

func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case 0xfeff:
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

// ja4ALPN is the first and last character of the first protocol, of its hexadecimal form if one of them is not alphanumeric.
func ja4ALPN(protocol []byte) string {
	if len(protocol) == 0 {
		return "00"
	}
	first, last := protocol[0], protocol[len(protocol)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return string([]byte{first, last})
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[first>>4], digits[last&15]})
}

func withoutGREASE(list []uint16) []uint16 {
	return slices.DeleteFunc(slices.Clone(list), grease)
}

// hexList appends the values as four lower-case hexadecimal digits each, with commas between.
func hexList(to []byte, values []uint16) []byte {
	for i, v := range values {
		if i > 0 {
			to = append(to, ',')
		}
		to = hex.AppendEncode(to, []byte{byte(v >> 8), byte(v)})
	}
	return to
}

func hash12(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

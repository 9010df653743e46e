package leases

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
)

// circuits collects what a line is called: texts, each with a zero byte behind it, so that a million leases are a million
// strings and not a million slices of them. Each source has a form of its own, so that a client cannot choose an id that reads
// like what only the network may say:
//
//	a relay's id   as text where it is printable ASCII, spaces written as _ (a list of circuits is separated by them),
//	               and always as 0x and hexadecimal digits; six other bytes as a hardware address too: cable modems
//	hardware       02:00:5e:00:53:01
//	client id      01:02:00:5e:00:53:01, hexadecimal with colons, DUIDs too; one of six bytes, which would read like a hardware
//	               address, and one of a single byte, which would read like a text, are left out
type circuits []byte

// add takes what was written behind c[:from] as one more circuit, unless there is no place for it or it is there already.
func (c *circuits) add(from int) {
	text := (*c)[from:]
	n := 0
	for rest := (*c)[:from]; len(rest) > 0; n++ {
		end := bytes.IndexByte(rest, 0)
		if bytes.Equal(rest[:end], text) {
			n = maxIDs
		}
		rest = rest[end+1:]
	}
	if len(text) == 0 || n >= maxIDs {
		*c = (*c)[:from]
		return
	}
	*c = append(*c, 0)
}

// relay adds an id that a relay agent put in.
func (c *circuits) relay(id []byte) {
	if len(id) == 0 || len(id) > maxID {
		return
	}
	if len(id) == 6 && !printable(id) {
		c.hardware(id)
	}
	if text := bytes.TrimSpace(id); printable(text) {
		from := len(*c)
		*c = append(*c, text...)
		for i, b := range (*c)[from:] {
			if b == ' ' {
				(*c)[from+i] = '_'
			}
		}
		c.add(from)
	}
	from := len(*c)
	*c = hex.AppendEncode(append(*c, "0x"...), id)
	c.add(from)
}

func (c *circuits) hardware(id []byte) {
	if len(id) > maxID {
		return
	}
	from := len(*c)
	for i := range id {
		if i > 0 {
			*c = append(*c, ':')
		}
		*c = hex.AppendEncode(*c, id[i:i+1])
	}
	c.add(from)
}

func (c *circuits) client(id []byte) {
	if len(id) > 1 && len(id) != 6 {
		c.hardware(id) // both servers write both alike
	}
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// splitCircuits appends to out the circuits of a lease as table keeps them.
func splitCircuits(out []string, names string) []string {
	for names != "" {
		end := strings.IndexByte(names, 0)
		out, names = append(out, names[:end]), names[end+1:]
	}
	return out
}

// uncolon appends to b the bytes of 02:00:5e, in either case; the first digit of each may be missing. ok is false for anything
// else, and for more than maxID bytes.
func uncolon(b []byte, s string) (_ []byte, ok bool) {
	for n := 0; n < maxID; n++ {
		part, rest, more := strings.Cut(s, ":")
		if len(part) < 1 || len(part) > 2 {
			return b, false
		}
		var value byte
		for i := range len(part) {
			digit := strings.IndexByte("0123456789abcdef", part[i]|0x20)
			if part[i] < '0' || digit < 0 {
				return b, false
			}
			value = value<<4 | byte(digit)
		}
		b = append(b, value)
		if !more {
			return b, true
		}
		s = rest
	}
	return b, false
}

// relayInfo4 adds the ids of a Relay Agent Information option (RFC 3046): circuit id, remote id, and subscriber id (RFC 3993).
// One that does not parse says nothing at all.
func (c *circuits) relayInfo4(b []byte) {
	var ids [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return
		}
		if code := b[0]; code == 1 || code == 2 || code == 6 {
			ids = append(ids, b[2:2+b[1]])
		}
		b = b[2+int(b[1]):]
	}
	for _, id := range ids {
		c.relay(id)
	}
}

// relayInfo6 adds the ids among the options of a DHCPv6 relay: Interface-Id (RFC 8415 section 21.18), Remote-Id (RFC 4649, its
// four bytes of enterprise number left away) and Subscriber-Id (RFC 4580). Options that do not parse say nothing at all.
func (c *circuits) relayInfo6(b []byte) {
	var ids [][]byte
	for len(b) > 0 {
		if len(b) < 4 {
			return
		}
		code, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return
		}
		body := b[4 : 4+n]
		switch {
		case code == 18, code == 38:
			ids = append(ids, body)
		case code == 37 && n > 4:
			ids = append(ids, body[4:])
		}
		b = b[4+n:]
	}
	for _, id := range ids {
		c.relay(id)
	}
}

// single is the prefix that has addr alone.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

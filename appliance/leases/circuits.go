package leases

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// circuits collects what a line is called. Each source has a form of its own, so that a client cannot choose an id that reads
// like what only the network may say:
//
//	a relay's id   as text where it is printable ASCII, spaces written as _ (a list of circuits is separated by them),
//	               and always as 0x and hexadecimal digits; one of six bytes also as a hardware address: cable modems
//	hardware       02:00:5e:00:53:01
//	client id      01:02:00:5e:00:53:01, hexadecimal with colons, DUIDs too; one of six bytes, which would read like a hardware
//	               address, and one of a single byte, which would read like a text, are left out
type circuits []string

func (c *circuits) add(s string) {
	if s != "" && len(*c) < maxIDs && !slices.Contains(*c, s) {
		*c = append(*c, s)
	}
}

// relay adds an id that a relay agent put in.
func (c *circuits) relay(id []byte) {
	if len(id) == 0 || len(id) > maxID {
		return
	}
	if text := bytes.TrimSpace(id); len(text) > 0 && printable(text) {
		c.add(strings.ReplaceAll(string(text), " ", "_"))
	}
	if len(id) == 6 {
		c.add(colons(id))
	}
	c.add("0x" + hex.EncodeToString(id))
}

func (c *circuits) hardware(id []byte) {
	if len(id) > 0 && len(id) <= maxID {
		c.add(colons(id))
	}
}

func (c *circuits) client(id []byte) {
	if len(id) > 1 && len(id) != 6 && len(id) <= maxID {
		c.add(colons(id))
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

// colons writes bytes as both servers do: 02:00:5e.
func colons(b []byte) string {
	out := make([]byte, 0, 3*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = hex.AppendEncode(out, []byte{c})
	}
	return string(out)
}

// uncolon reads what colons writes, in either case; the first number of each byte may be missing. ok is false for anything else.
func uncolon(s string) (b []byte, ok bool) {
	if s == "" || len(s) > 3*maxID {
		return nil, false
	}
	b = make([]byte, 0, len(s)/3+1)
	for part := range strings.SplitSeq(s, ":") {
		if len(part) == 1 {
			part = "0" + part
		}
		if len(part) != 2 {
			return nil, false
		}
		n, err := hex.AppendDecode(b, []byte(part))
		if err != nil {
			return nil, false
		}
		b = n
	}
	return b, true
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

// packed is c with all its strings in one allocation: a file may have a million leases.
func (c circuits) packed() []string {
	if len(c) == 0 {
		return nil
	}
	all, out := strings.Join(c, ""), make([]string, len(c))
	for i, s := range c {
		out[i], all = all[:len(s)], all[len(s):]
	}
	return out
}

// single is the prefix that has addr alone.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

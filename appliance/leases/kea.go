package leases

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kea reads one file of Kea's memfile backend, DHCPv4 or DHCPv6, of every version since 1.0: columns go by the header. Rows are
// appended, the last one of an address counts, and one with a valid_lifetime of 0 takes the lease away. A state other than 0
// (declined, expired and reclaimed, released, registered) is nobody's lease either. A lifetime of 2^32-1 has no end.
//
// Kea writes a comma within a field as &#x2c. With store-extended-info its user_context tells what relays put in:
//
//	{"ISC": {"relay-agent-info": "0x0104..."}}                    DHCPv4, to 2.2
//	{"ISC": {"relay-agent-info": {"sub-options": "0x0104..."}}}   DHCPv4, later
//	{"ISC": {"relays": [{"hop": 0, "options": "0x0012..."}]}}     DHCPv6, to 2.2; later relay-info
//
// The hardware address of a DHCPv6 lease counts only where hwaddr_source says that Kea saw it on the wire or had it from a
// relay: mostly it is a piece of the DUID, which the client writes as it likes.
type kea struct {
	width  int // columns of the header; 0 before it
	column [len(keaColumns)]int

	fields []string // of one line; these three are used again for every line
	names  circuits
	bytes  []byte
}

// The columns that are read, by their place in keaColumns.
const (
	kAddress = iota
	kLifetime
	kExpire
	kHardware
	kClient
	kDUID
	kType
	kPrefixLen
	kState
	kContext
	kSource
)

var keaColumns = [...]string{"address", "valid_lifetime", "expire", "hwaddr", "client_id", "duid", "lease_type", "prefix_len", "state", "user_context", "hwaddr_source"}

const (
	keaNoEnd    = math.MaxUint32                   // valid_lifetime
	keaPrefix   = 2                                // lease_type: a delegated prefix
	minPrefix   = 16                               // bits; a shorter delegated prefix is no customer's
	seenSources = 0x01 | 0x08 | 0x10 | 0x20 | 0x40 // raw, client-link-addr-option, remote-id, subscriber-id, docsis-cmts
)

func (k *kea) line(text string, into *table) error {
	if text == "" {
		return nil
	}
	if k.width == 0 {
		return k.header(strings.Split(text, ","))
	}
	if n := 1 + strings.Count(text, ","); n != k.width {
		return fmt.Errorf("has %d fields, the header %d", n, k.width)
	}
	fields := k.fields[:0]
	for field := range strings.SplitSeq(text, ",") {
		fields = append(fields, field)
	}
	k.fields = fields
	addr, err := address(k.field(fields, kAddress))
	if err != nil {
		return err
	}
	lifetime, err := k.number(fields, kLifetime, keaNoEnd)
	if err != nil {
		return err
	}
	state, err := k.number(fields, kState, math.MaxUint32)
	if err != nil {
		return err
	}
	if lifetime == 0 || state != 0 {
		into.drop(addr)
		return nil
	}
	expires, err := k.number(fields, kExpire, 1<<40)
	if err != nil {
		return err
	}
	if expires = ending(expires); lifetime == keaNoEnd {
		expires = 0
	}
	prefix, err := k.prefix(fields, addr)
	if err != nil {
		return err
	}
	if err := k.name(fields, addr); err != nil {
		return err
	}
	into.put(prefix, expires, k.names)
	return nil
}

func (k *kea) header(fields []string) error {
	for i, name := range keaColumns {
		k.column[i] = slices.Index(fields, name)
	}
	for _, i := range []int{kAddress, kLifetime, kExpire} {
		if k.column[i] < 0 {
			return fmt.Errorf("is no header of a Kea lease file: no column %s", keaColumns[i])
		}
	}
	if k.column[kHardware] < 0 && k.column[kDUID] < 0 {
		return errors.New("is no header of a Kea lease file: neither a column hwaddr nor duid")
	}
	k.width = len(fields)
	return nil
}

// field is empty where the file has no such column.
func (k *kea) field(fields []string, column int) string {
	if i := k.column[column]; i >= 0 {
		return fields[i]
	}
	return ""
}

// number is 0 where the file has no such column, and hwaddr_source also where there is no hardware address.
func (k *kea) number(fields []string, column int, most int64) (int64, error) {
	s := k.field(fields, column)
	if k.column[column] < 0 || s == "" && column == kSource {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s %.40q is not a number from 0 to %d", keaColumns[column], s, most)
	}
	return n, nil
}

func (k *kea) prefix(fields []string, addr netip.Addr) (netip.Prefix, error) {
	kind, err := k.number(fields, kType, 255)
	if err != nil || kind != keaPrefix {
		return single(addr), err
	}
	bits, err := k.number(fields, kPrefixLen, int64(addr.BitLen()))
	if err != nil {
		return netip.Prefix{}, err
	}
	p := netip.PrefixFrom(addr, int(bits))
	if bits < minPrefix || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%v is not a prefix that is delegated", p)
	}
	return p, nil
}

// name fills k.names.
func (k *kea) name(fields []string, addr netip.Addr) error {
	k.names = k.names[:0]
	if err := k.names.context(unescape(k.field(fields, kContext))); err != nil {
		return err
	}
	source, err := k.number(fields, kSource, math.MaxUint32)
	if err != nil {
		return err
	}
	for _, column := range []int{kHardware, kClient, kDUID} {
		s := k.field(fields, column)
		if s == "" {
			continue
		}
		var ok bool
		if k.bytes, ok = uncolon(k.bytes[:0], s); !ok {
			return fmt.Errorf("%s %.60q is not hexadecimal with colons", keaColumns[column], s)
		}
		switch {
		case column != kHardware:
			k.names.client(k.bytes)
		case addr.Is4() || source&seenSources != 0:
			k.names.hardware(k.bytes)
		}
	}
	return nil
}

// context adds what relays said, the relay nearest to the server first: it stands in the operator's own network, while a
// customer may claim to be a relay himself.
func (c *circuits) context(text string) error {
	if text == "" {
		return nil
	}
	type relay struct {
		Hop     int    `json:"hop"`
		Options string `json:"options"`
	}
	var known struct {
		ISC struct {
			Agent  json.RawMessage `json:"relay-agent-info"`
			Relays []relay         `json:"relays"`
			Info   []relay         `json:"relay-info"`
		} `json:"ISC"`
	}
	if err := json.Unmarshal([]byte(text), &known); err != nil {
		return fmt.Errorf("user_context: %w", err)
	}
	if agent := known.ISC.Agent; len(agent) > 0 {
		var options string
		if json.Unmarshal(agent, &options) != nil {
			var object struct {
				Options string `json:"sub-options"`
			}
			if err := json.Unmarshal(agent, &object); err != nil {
				return fmt.Errorf("user_context: relay-agent-info: %w", err)
			}
			options = object.Options
		}
		b, err := zeroX(options)
		if err != nil {
			return err
		}
		c.relayInfo4(b)
	}
	relays := append(known.ISC.Relays, known.ISC.Info...)
	slices.SortStableFunc(relays, func(a, b relay) int { return b.Hop - a.Hop })
	for _, r := range relays {
		b, err := zeroX(r.Options)
		if err != nil {
			return err
		}
		c.relayInfo6(b)
	}
	return nil
}

// zeroX reads bytes as Kea writes them into JSON: 0x0104.
func zeroX(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	digits, ok := strings.CutPrefix(s, "0x")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return nil, fmt.Errorf("user_context: %.60q is not hexadecimal with 0x", s)
	}
	return b, nil
}

// unescape undoes &#xHH, as Kea writes what a field of its CSV must not have.
func unescape(s string) string {
	if !strings.Contains(s, "&#x") {
		return s
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "&#x")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if len(after) >= 2 {
			if c, err := hex.DecodeString(after[:2]); err == nil {
				b.Write(c)
				s = after[2:]
				continue
			}
		}
		b.WriteString("&#x")
		s = after
	}
}

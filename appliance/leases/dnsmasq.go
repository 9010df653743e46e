package leases

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// dnsmasq reads the file that dnsmasq's lease.c writes (2.40 to 2.92), words separated by spaces:
//
//	END HARDWARE ADDRESS HOSTNAME CLIENT-ID    IPv4; HARDWARE 02:00:..., or 06-02:00:... with a type other than Ethernet
//	duid SERVER-DUID                           once, before the IPv6 leases
//	END IAID ADDRESS HOSTNAME DUID             IPv6; T before the IAID of a temporary address
//	agent-info ADDRESS HEX                     the relay's option 82, written with --leasequery
//	vendorclass ADDRESS HEX                    not read
//
// END is in Unix seconds, 0 without end; HOSTNAME and CLIENT-ID may be *. dnsmasq delegates no prefixes.
type dnsmasq struct{}

func (dnsmasq) line(text string, into *table) error {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil
	}
	switch words[0] {
	case "duid", "vendorclass":
		return nil
	case "agent-info":
		return agentInfo(words, into)
	}
	if len(words) < 5 {
		return fmt.Errorf("has %d words; a lease has 5: END HARDWARE ADDRESS HOSTNAME CLIENT-ID", len(words))
	}
	expires, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || expires < 0 || expires > 1<<40 {
		return fmt.Errorf("%.40q is not the time of an end", words[0])
	}
	addr, err := address(words[2])
	if err != nil {
		return err
	}
	var names circuits
	if addr.Is4() {
		hardware := words[1]
		if typ, rest, ok := strings.Cut(hardware, "-"); ok && len(typ) == 2 {
			hardware = rest
		}
		if hardware != "*" && hardware != "" { // empty after the type: no hardware address, as on IPoIB
			b, ok := uncolon(nil, hardware)
			if !ok {
				return fmt.Errorf("%.60q is not a hardware address", words[1])
			}
			names.hardware(b)
		}
	}
	if id := words[4]; id != "*" {
		b, ok := uncolon(nil, id)
		if !ok {
			return fmt.Errorf("%.60q is not a client id", id)
		}
		names.client(b)
	}
	into.put(single(addr), ending(expires), names)
	return nil
}

func agentInfo(words []string, into *table) error {
	if len(words) != 3 {
		return errors.New("agent-info has not two words behind it")
	}
	addr, err := address(words[1])
	if err != nil {
		return err
	}
	b, ok := uncolon(nil, words[2])
	if !ok {
		if b, err = hex.DecodeString(words[2]); err != nil || len(b) > maxID {
			return fmt.Errorf("%.60q is not the hexadecimal form of an option", words[2])
		}
	}
	var names circuits
	names.relayInfo4(b)
	into.name(addr, names)
	return nil
}

// address reads a plain address. One that a lease cannot be of is refused, so that no file makes the box or everybody
// somebody's.
func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%.60q is not an address", s)
	}
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("%v is not an address that is leased", a)
	}
	return a, nil
}

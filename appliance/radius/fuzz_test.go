package radius

import (
	"bytes"
	"crypto/md5"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzDatagram: no datagram panics, and none that was not made with the secret is taken or answered.
func FuzzDatagram(f *testing.F) {
	f.Add(begin(1))
	f.Add(statusServer(testSecret))
	f.Add(begin(1, attr(attrMessageAuthenticator, make([]byte, 16)...))[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		_, why := judge(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the datagram was changed")
		}
		if why == None || why.answered() {
			length := int(b[2])<<8 | int(b[3])
			over := append(append(bytes.Clone(b[:4]), make([]byte, 16)...), b[headerSize:length]...)
			if sum := md5.Sum(append(over, testSecret...)); b[0] != codeStatusServer && !bytes.Equal(sum[:], b[4:headerSize]) {
				t.Fatalf("taken without the secret: % x", b)
			}
		}
	})
}

// FuzzRequest: whatever a genuine request says, what is made of it is bounded, printable, and such that a line can have it.
func FuzzRequest(f *testing.F) {
	for _, b := range [][]byte{
		begin(1, text(attrUserName, "a|b"), prefix6(attrDelegatedIPv6Prefix, "2001:db8:100::/56"), address(attrFramedIPAddress, "100.64.0.1"), stamp(testNow)),
		begin(3, vendor(vendorADSLForum, append(text(1, "olt1/3/7:12"), attr(2, 2, 0, 0x5e, 0, 0x53, 1)...)...), text(attrProxyState, "p"), text(attrNASIdentifier, "b|r")),
		begin(8, address(attrFramedIPv6Address, "2001:db8::1"), number(attrAcctDelayTime, 1<<31)),
	} {
		f.Add(b[headerSize:])
	}
	f.Fuzz(func(t *testing.T, attributes []byte) {
		if len(attributes) > maxSize-headerSize {
			return
		}
		b := signed(testSecret, 1, attributes)
		o, why := judge(b)
		if why == WrongSecret && bytes.IndexByte(attributes, attrMessageAuthenticator) < 0 || why == NotAllowed || why == UnknownCode {
			t.Fatalf("%v: % x", why, b)
		}
		if why != None {
			return
		}
		e := o.event
		for i := range b { // nothing is kept of the datagram's memory
			b[i] = 0xff
		}
		again, _ := judge(signed(testSecret, 1, attributes))
		if !reflect.DeepEqual(e, again.event) || !bytes.Equal(o.proxyState, again.proxyState) {
			t.Fatalf("%+v\nand then\n%+v", e, again.event)
		}
		for _, s := range append([]string{e.NAS, e.Session, e.UserName}, e.Circuits...) {
			if len(s) > 2*253+1+2*253 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Fatalf("%q in %+v", s, e)
			}
		}
		if slices.Contains(e.Circuits, "") || len(e.Circuits) > 5 || len(e.Prefixes) > MaxPrefixes || e.Kind == Unknown || strings.Contains(e.NAS, "|") || !strings.HasPrefix(e.Session, e.NAS+"|") {
			t.Fatalf("%+v", e)
		}
		if age := testNow.Sub(e.At); age > MaxAge || age < -MaxAhead {
			t.Fatalf("%v old", age)
		}
		for i, p := range e.Prefixes {
			if p != p.Masked() || p.Addr().Is4In6() || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().Is6() && p.Bits() < minBits6 || p.Addr().Is4() && p.Bits() != 32 ||
				i > 0 && netip.Prefix.Compare(e.Prefixes[i-1], p) >= 0 {
				t.Fatalf("%v", e.Prefixes)
			}
		}
		r, bad := frame(response(1, o.sum, o.proxyState, testSecret))
		if bad != None || len(r.attributes) > len(attributes) {
			t.Fatalf("the answer is %v, with %d octets of attributes to %d", bad, len(r.attributes), len(attributes))
		}
	})
}

// BenchmarkRequest is what the reading goroutine does with one request of some 230 octets, besides the system calls.
func BenchmarkRequest(b *testing.B) {
	request := begin(3, text(attrUserName, "acct-1002"), text(attrCallingStationID, "02:00:5e:00:53:01"), text(attrNASPortID, "ge-0/0/1:12"),
		vendor(vendorADSLForum, append(text(1, "olt1/3/7:12"), text(2, "remote 7")...)...), stamp(testNow.Add(-time.Minute)),
		address(attrFramedIPAddress, "100.64.0.12"), prefix6(attrFramedIPv6Prefix, "2001:db8:1:2::/64"), prefix6(attrDelegatedIPv6Prefix, "2001:db8:100::/56"))
	forged := bytes.Clone(request)
	forged[5]++
	b.Run("genuine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			judge(request)
		}
	})
	b.Run("forged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			judge(forged)
		}
	})
}

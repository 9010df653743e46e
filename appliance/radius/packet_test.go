package radius

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	testSecret = []byte("correct horse")
	testPeer   = netip.MustParseAddrPort("192.0.2.1:40000")
	testNow    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func attr(kind byte, value ...byte) []byte {
	return append([]byte{kind, byte(2 + len(value))}, value...)
}

func text(kind byte, value string) []byte { return attr(kind, []byte(value)...) }

func number(kind byte, value uint32) []byte {
	return attr(kind, binary.BigEndian.AppendUint32(nil, value)...)
}

func stamp(at time.Time) []byte { return number(attrEventTimestamp, uint32(at.Unix())) }

// vendor is a Vendor-Specific.
func vendor(id uint32, value ...byte) []byte {
	return attr(attrVendorSpecific, append(binary.BigEndian.AppendUint32(nil, id), value...)...)
}

func prefix6(kind byte, p string) []byte {
	prefix := netip.MustParsePrefix(p)
	addr := prefix.Addr().As16()
	return attr(kind, append([]byte{0, byte(prefix.Bits())}, addr[:(prefix.Bits()+7)/8]...)...)
}

func address(kind byte, a string) []byte { return attr(kind, netip.MustParseAddr(a).AsSlice()...) }

// signed is an Accounting-Request.
func signed(secret []byte, id byte, attributes ...[]byte) []byte {
	all := bytes.Join(attributes, nil)
	b := binary.BigEndian.AppendUint16([]byte{codeAccountingRequest, id}, uint16(headerSize+len(all)))
	b = append(append(b, make([]byte, 16)...), all...)
	sum := md5.Sum(append(bytes.Clone(b), secret...))
	copy(b[4:], sum[:])
	return b
}

// begin is what every session's request has.
func begin(status uint32, more ...[]byte) []byte {
	return signed(testSecret, 7, append([][]byte{number(attrAcctStatusType, status), text(attrAcctSessionID, "s1"), address(attrNASIPAddress, "10.0.0.1")}, more...)...)
}

func judge(b []byte, clients ...string) (opened, Reason) {
	t := trust{secret: testSecret}
	for _, c := range clients {
		t.clients = append(t.clients, netip.MustParsePrefix(c))
	}
	return t.open(b, testPeer, testNow)
}

func prefixes(all ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range all {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func TestWhatASessionSays(t *testing.T) {
	t.Parallel()
	mac := []byte{0x02, 0, 0x5e, 0, 0x53, 1}
	for _, c := range []struct {
		why    string
		packet []byte
		want   Event
		bad    int
	}{
		{"all there is", begin(1,
			text(attrUserName, "acct-1002"), text(attrCallingStationID, "02:00:5e:00:53:01"), text(attrNASPortID, "ge-0/0/1:12"),
			vendor(vendorADSLForum, append(text(1, "olt1/3/7:12"), text(2, "remote 7")...)...), stamp(testNow.Add(-time.Minute)),
			address(attrFramedIPAddress, "100.64.0.12"), address(attrFramedIPAddress+1, "255.255.255.0"),
			prefix6(attrFramedIPv6Prefix, "2001:db8:1:2::/64"), prefix6(attrDelegatedIPv6Prefix, "2001:db8:100::/56"), address(attrFramedIPv6Address, "2001:db8::9")),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", UserName: "acct-1002",
				Circuits: []string{"acct-1002", "olt1/3/7:12", "remote 7", "ge-0/0/1:12", "02:00:5e:00:53:01"},
				Prefixes: prefixes("100.64.0.12/32", "2001:db8::9/128", "2001:db8:1:2::/64", "2001:db8:100::/56"), At: testNow.Add(-time.Minute), Dated: true}, 0},
		{"nothing but the session", begin(2), Event{Kind: Stop, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow}, 0},
		{"late, without a time of its own", begin(3, number(attrAcctDelayTime, 90)), Event{Kind: Interim, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow.Add(-90 * time.Second)}, 0},
		{"late, with a time of its own: that is not late", begin(3, number(attrAcctDelayTime, 90), stamp(testNow)), Event{Kind: Interim, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow, Dated: true}, 0},
		{"two prefixes of one kind, one of them twice", begin(3, prefix6(attrDelegatedIPv6Prefix, "2001:db8:2::/48"), prefix6(attrDelegatedIPv6Prefix, "2001:db8:1::/48"), prefix6(attrDelegatedIPv6Prefix, "2001:db8:2::/48")),
			Event{Kind: Interim, NAS: "10.0.0.1", Session: "10.0.0.1|s1", Prefixes: prefixes("2001:db8:1::/48", "2001:db8:2::/48"), At: testNow}, 0},
		{"a prefix whose zeros are sent, and one with bits beyond its length", begin(3,
			attr(attrFramedIPv6Prefix, append([]byte{0, 64}, netip.MustParseAddr("2001:db8:5::").AsSlice()...)...),
			attr(attrFramedIPv6Prefix, append([]byte{0, 64}, netip.MustParseAddr("2001:db8:6::1").AsSlice()...)...)),
			Event{Kind: Interim, NAS: "10.0.0.1", Session: "10.0.0.1|s1", Prefixes: prefixes("2001:db8:5::/64", "2001:db8:6::/64"), At: testNow}, 0},
		{"addresses that are none are nobody's fault", begin(1, address(attrFramedIPAddress, "0.0.0.0"), address(attrFramedIPAddress, "255.255.255.254"), address(attrFramedIPAddress, "255.255.255.255"), address(attrFramedIPv6Address, "::")),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow}, 0},
		{"addresses that no line can hold", begin(1, address(attrFramedIPAddress, "127.0.0.1"), address(attrFramedIPAddress, "224.0.0.5"), address(attrFramedIPAddress, "250.0.0.5"), address(attrFramedIPAddress, "169.254.1.1"),
			address(attrFramedIPv6Address, "fe80::1"), address(attrFramedIPv6Address, "::ffff:192.0.2.1"), prefix6(attrFramedIPv6Prefix, "2000::/3"), prefix6(attrFramedIPv6Prefix, "::/0")),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow}, 8},
		{"values of a wrong size, and one that is right", begin(1, attr(attrFramedIPAddress, 1, 2, 3), attr(attrFramedIPAddress, 1, 2, 3, 4, 5), attr(attrFramedIPv6Address, 1), attr(attrFramedIPv6Prefix), attr(attrFramedIPv6Prefix, 0, 64, 1),
			attr(attrFramedIPv6Prefix, 0, 129), attr(attrEventTimestamp, 1), attr(attrAcctDelayTime), attr(attrUserName), attr(attrVendorSpecific, 0, 0), attr(attrNASIPv6Address, 1, 2, 3, 4), address(attrFramedIPAddress, "100.64.0.9")),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", Prefixes: prefixes("100.64.0.9/32"), At: testNow}, 11},
		{"a vendor's attributes that overrun, after one that does not", begin(1, vendor(vendorADSLForum, append(text(1, "port 3"), 2, 9, 'x')...)),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", Circuits: []string{"port 3"}, At: testNow}, 1},
		{"another vendor's, which look the same", begin(1, vendor(9, text(1, "port 3")...)), Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", At: testNow}, 0},
		{"strings that are bytes, end with NUL, or say the same", begin(1, text(attrUserName, "line-7\x00"), text(attrCallingStationID, "line-7"), vendor(vendorADSLForum, append(attr(2, mac...), text(1, "a\r\nb")...)...)),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", UserName: "line-7", Circuits: []string{"line-7", "610d0a62", "02005e005301"}, At: testNow}, 0},
		{"what stands once by right: the first", begin(1, text(attrUserName, "one"), text(attrUserName, "two"), text(attrAcctSessionID, "s2"), address(attrNASIPAddress, "10.0.0.2"), number(attrAcctStatusType, 2)),
			Event{Kind: Start, NAS: "10.0.0.1", Session: "10.0.0.1|s1", UserName: "one", Circuits: []string{"one"}, At: testNow}, 0},
	} {
		got, why := judge(c.packet)
		c.want.Peer = testPeer
		if why != None || !got.take || !reflect.DeepEqual(got.event, c.want) || got.bad != c.bad {
			t.Errorf("%s: %v, %d bad\n got %+v\nwant %+v, %d bad", c.why, why, got.bad, got.event, c.want, c.bad)
		}
	}
}

func TestWhoTheNASIs(t *testing.T) {
	t.Parallel()
	id := text(attrNASIdentifier, "bras|1")
	for _, c := range []struct {
		why, nas   string
		attributes [][]byte
	}{
		{"its address, also where it has a name", "10.0.0.9", [][]byte{id, address(attrNASIPAddress, "10.0.0.9")}},
		{"its IPv6 address", "2001:db8::1", [][]byte{id, address(attrNASIPv6Address, "2001:db8::1")}},
		{"IPv4 before IPv6", "10.0.0.9", [][]byte{address(attrNASIPv6Address, "2001:db8::1"), address(attrNASIPAddress, "10.0.0.9")}},
		{"its name, when it does not know its address", "bras_1", [][]byte{id, address(attrNASIPAddress, "0.0.0.0"), address(attrNASIPv6Address, "::1")}},
		{"who sent it", "192.0.2.1", nil},
	} {
		for kind, session := range map[uint32]string{1: c.nas + "|a|b", 7: c.nas + "|", 8: c.nas + "|"} {
			got, why := judge(signed(testSecret, 1, append(c.attributes, number(attrAcctStatusType, kind), text(attrAcctSessionID, "a|b"))...))
			if why != None || got.event.NAS != c.nas || got.event.Session != session || got.nas != c.nas {
				t.Errorf("%s, status %d: %v, NAS %q and %q, session %q, want %q and %q", c.why, kind, why, got.event.NAS, got.nas, got.event.Session, c.nas, session)
			}
		}
	}
}

func TestANASThatStartsOrStopsNeedsNoSession(t *testing.T) {
	t.Parallel()
	for status, kind := range map[uint32]Kind{7: On, 8: Off} {
		got, why := judge(signed(testSecret, 1, number(attrAcctStatusType, status), address(attrNASIPAddress, "10.0.0.1"), text(attrUserName, "x"), address(attrFramedIPAddress, "10.1.1.1")))
		want := Event{Kind: kind, Peer: testPeer, NAS: "10.0.0.1", Session: "10.0.0.1|", At: testNow}
		if why != None || !reflect.DeepEqual(got.event, want) {
			t.Errorf("%v %+v, want %+v", why, got.event, want)
		}
	}
}

func TestTooManyPrefixes(t *testing.T) {
	t.Parallel()
	var all [][]byte
	for i := range byte(40) {
		all = append(all, attr(attrFramedIPAddress, 100, 64, 0, 40-i))
	}
	got, why := judge(begin(1, all...))
	if why != None || len(got.event.Prefixes) != MaxPrefixes || got.bad != 40-MaxPrefixes || got.event.Prefixes[0] != netip.MustParsePrefix("100.64.0.9/32") {
		t.Errorf("%v, %d prefixes from %v, %d bad", why, len(got.event.Prefixes), got.event.Prefixes[0], got.bad)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	good := begin(1, address(attrFramedIPAddress, "100.64.0.9"))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	status := func(n uint32) []byte {
		return signed(testSecret, 1, number(attrAcctStatusType, n), text(attrAcctSessionID, "s"))
	}
	for _, c := range []struct {
		why      string
		packet   []byte
		clients  string
		want     Reason
		answered bool
	}{
		{"a client of the list", good, "192.0.2.0/24", None, true},
		{"padding behind it", edit(func(b []byte) []byte { return append(b, 1, 2, 3) }), "", None, true},
		{"a stranger", good, "192.0.3.0/24", NotAllowed, false},
		{"nothing", nil, "", Malformed, false},
		{"less than a header", good[:19], "", Malformed, false},
		{"less than its length", good[:len(good)-1], "", Malformed, false},
		{"a length below a header's", edit(func(b []byte) []byte { b[2], b[3] = 0, 19; return b }), "", Malformed, false},
		{"a length beyond any packet's", edit(func(b []byte) []byte { b[2], b[3] = 16, 1; return append(b, make([]byte, 4096)...) }), "", Malformed, false},
		{"an attribute that overruns", signed(testSecret, 1, []byte{1, 9, 'x'}), "", Malformed, false},
		{"an attribute without end", signed(testSecret, 1, []byte{1, 1}), "", Malformed, false},
		{"half an attribute", signed(testSecret, 1, []byte{1}), "", Malformed, false},
		{"an Access-Request", edit(func(b []byte) []byte { b[0] = 1; return b }), "", UnknownCode, false},
		{"a response", edit(func(b []byte) []byte { b[0] = 5; return b }), "", UnknownCode, false},
		{"another secret", signed([]byte("correct house"), 1, number(attrAcctStatusType, 1)), "", WrongSecret, false},
		{"an edited packet", edit(func(b []byte) []byte { b[len(b)-1]++; return b }), "", WrongSecret, false},
		{"an edited identifier", edit(func(b []byte) []byte { b[1]++; return b }), "", WrongSecret, false},
		{"a wrong Message-Authenticator", begin(1, attr(attrMessageAuthenticator, make([]byte, 16)...)), "", WrongSecret, false},
		{"half a Message-Authenticator", begin(1, attr(attrMessageAuthenticator, make([]byte, 8)...)), "", WrongSecret, false},
		{"no status", signed(testSecret, 1, text(attrAcctSessionID, "s")), "", Incomplete, true},
		{"half a status", signed(testSecret, 1, attr(attrAcctStatusType, 1), text(attrAcctSessionID, "s")), "", Incomplete, true},
		{"no session", signed(testSecret, 1, number(attrAcctStatusType, 1)), "", Incomplete, true},
		{"no status at all", status(0), "", OtherStatus, true},
		{"a tunnel's start", status(9), "", OtherStatus, true},
		{"a failure", status(15), "", OtherStatus, true},
		{"a day old", begin(1, stamp(testNow.Add(-MaxAge))), "", None, true},
		{"older", begin(1, stamp(testNow.Add(-MaxAge-time.Second))), "", Old, true},
		{"late for more than a day", begin(1, number(attrAcctDelayTime, 86401)), "", Old, true},
		{"late for longer than anybody lives", begin(1, number(attrAcctDelayTime, 1<<32-1)), "", Old, true},
		{"a little ahead", begin(1, stamp(testNow.Add(MaxAhead))), "", None, true},
		{"too far ahead", begin(1, stamp(testNow.Add(MaxAhead+time.Second))), "", Ahead, false},
	} {
		got, why := judge(c.packet, strings.Fields(c.clients)...)
		if why != c.want || got.take != (why == None) || (why == None || why.answered()) != c.answered {
			t.Errorf("%s: %v, taken %v, answered %v; want %v, answered %v", c.why, why, got.take, why.answered(), c.want, c.answered)
		}
	}
}

// statusServer is a Status-Server, whose authenticator is random and signed with the rest.
func statusServer(secret []byte) []byte {
	b := append([]byte{codeStatusServer, 3, 0, 38}, bytes.Repeat([]byte{9}, 16)...)
	b = append(b, attr(attrMessageAuthenticator, make([]byte, 16)...)...)
	h := hmac.New(md5.New, secret)
	h.Write(b)
	copy(b[22:], h.Sum(nil))
	return b
}

func TestStatusServerNeedsASignature(t *testing.T) {
	t.Parallel()
	if got, why := judge(statusServer(testSecret)); why != None || got.take {
		t.Errorf("%v, taken %v; want an answer and no event", why, got.take)
	}
	unsigned := statusServer(testSecret)[:headerSize]
	unsigned[3] = headerSize
	for why, b := range map[string][]byte{"unsigned": unsigned, "another secret": statusServer([]byte("another one"))} {
		if _, got := judge(b); got != WrongSecret {
			t.Errorf("%s: %v, want %v", why, got, WrongSecret)
		}
	}
}

func TestTheAnswerCarriesTheProxiesState(t *testing.T) {
	t.Parallel()
	b := begin(1, text(attrProxyState, "first"), text(attrUserName, "x"), attr(attrProxyState, 0, 255))
	got, _ := judge(b)
	r := response(got.id, got.sum, got.proxyState, testSecret)
	p, why := frame(r)
	if want := append(text(attrProxyState, "first"), attr(attrProxyState, 0, 255)...); why != None || p.code != codeAccountingResponse || p.id != b[1] || !bytes.Equal(p.attributes, want) {
		t.Fatalf("%v, %d %d, % x; want % x", why, p.code, p.id, p.attributes, want)
	}
	// RFC 2866 section 4.2: MD5 over code, identifier, length, the request's authenticator, the attributes and the secret.
	over := append(bytes.Clone(r[:4]), b[4:headerSize]...)
	over = append(append(over, p.attributes...), testSecret...)
	if sum := md5.Sum(over); sum != p.authenticator {
		t.Errorf("authenticator % x, want % x", p.authenticator, sum)
	}
}

func TestCopiesAreKnownForAWhile(t *testing.T) {
	t.Parallel()
	c := copies{keep: copyTime, most: maxCopies}
	key := func(i int) copyKey {
		k := copyKey{nas: 1}
		binary.BigEndian.PutUint64(k.authenticator[:], uint64(i))
		return k
	}
	c.add(key(0), testNow)
	other := key(0)
	other.nas = 2
	for _, row := range []struct {
		why  string
		key  copyKey
		at   time.Duration
		want bool
	}{
		{"at once", key(0), 0, true},
		{"nearly 30 s later", key(0), copyTime - 1, true},
		{"30 s later", key(0), copyTime, false},
		{"after the clock was set back", key(0), -1, false},
		{"another packet", key(256), 0, false},
		{"another NAS", other, 0, false},
	} {
		if got := c.has(row.key, testNow.Add(row.at)); got != row.want {
			t.Errorf("%s: %v", row.why, got)
		}
	}
	for i := 1; i < 3*maxCopies; i++ {
		c.add(key(i), testNow)
		if !c.has(key(max(0, i-maxCopies+1)), testNow) {
			t.Fatalf("of the last %d requests, number %d is forgotten after %d", maxCopies, i-maxCopies+1, i)
		}
		if n := len(c.young) + len(c.old); n > 2*maxCopies {
			t.Fatalf("%d are kept", n)
		}
	}
}

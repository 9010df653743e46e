package leases

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is the now of the tests: before every end that they write but the ones said to have passed.
var noon = time.Unix(1795300000, 0)

// parse reads a whole file and returns its leases by address, one line each: PREFIX END CIRCUITS.
func parse(t testing.TB, f Format, text string) (lines []string, r *reading) {
	t.Helper()
	r = &reading{parser: newParser(f), file: "f"}
	tab := newTable(noon.Unix())
	if err := r.read(strings.NewReader(text), tab); err != nil {
		t.Fatal(err)
	}
	return written(tab.set()), r
}

func written(set []Lease) []string {
	slices.SortFunc(set, func(a, b Lease) int { return a.Prefix.Compare(b.Prefix) })
	lines := []string{}
	for _, l := range set {
		until := "-"
		if !l.Expires.IsZero() {
			until = fmt.Sprint(l.Expires.Unix())
		}
		lines = append(lines, strings.Join(append([]string{l.Prefix.String(), until}, l.Circuits...), " "))
	}
	return lines
}

func same2(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestDnsmasqFile(t *testing.T) {
	t.Parallel()
	got, r := parse(t, Dnsmasq, `1795301338 02:00:5e:00:53:02 10.9.0.159 mailhost *
1795301338 02:00:5E:00:53:01 10.9.0.158 * 01:02:00:5e:00:53:01
0 02:00:5e:00:53:03 10.9.0.3 * ff:5e:00:53:03:00:03:00:01
43200 02:00:5e:00:53:04 10.9.0.4 * *
1795299999 02:00:5e:00:53:05 10.9.0.5 * *
1795301338 06-02:00:5e:00:53:06 10.9.0.6 * *
1795301338 20- 10.9.0.7 * ff:00:00:00:53
duid 00:01:00:01:32:94:db:e2:9e:b7:c6:0c:ed:6b
1795301338 7 2001:db8:9::119 * 00:03:00:01:02:00:5e:00:53:01
1795301338 T8 2001:db8:9::11a phone 00:04:1:2:3
agent-info 10.9.0.159 010b6f6c74312f332f373a3132020602005e0053ff
vendorclass 10.9.0.159 4d534654
agent-info 10.9.0.99 010b6f6c74312f332f373a3132
`)
	same2(t, got,
		"10.9.0.3/32 - 02:00:5e:00:53:03 ff:5e:00:53:03:00:03:00:01",
		"10.9.0.4/32 - 02:00:5e:00:53:04", // a server without a clock
		"10.9.0.6/32 1795301338 02:00:5e:00:53:06",
		"10.9.0.7/32 1795301338 ff:00:00:00:53",
		"10.9.0.158/32 1795301338 02:00:5e:00:53:01 01:02:00:5e:00:53:01",
		"10.9.0.159/32 1795301338 olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:53:ff 0x02005e0053ff 02:00:5e:00:53:02",
		"2001:db8:9::119/128 1795301338 00:03:00:01:02:00:5e:00:53:01",
		"2001:db8:9::11a/128 1795301338 00:04:01:02:03",
	)
	if r.bad != 0 || r.broken || r.lines != 13 {
		t.Errorf("%+v", r)
	}
}

func TestDnsmasqLinesThatAreNoLeases(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"1795301338 02:00:5e:00:53:02 10.9.0.159 *":                     "has 4 words",
		"soon 02:00:5e:00:53:02 10.9.0.159 * *":                         `"soon" is not the time`,
		"-1 02:00:5e:00:53:02 10.9.0.159 * *":                           "is not the time",
		"99999999999999999999 02:00:5e:00:53:02 10.9.0.159 * *":         "is not the time",
		"1795301338 02:00:5g:00:53:02 10.9.0.159 * *":                   "is not a hardware address",
		"1795301338 02:00:5e:00:53:02 10.9.0.300 * *":                   "is not an address",
		"1795301338 02:00:5e:00:53:02 ::ffff:10.9.0.1 * *":              "is not an address",
		"1795301338 1 fe80::1%eth0 * 00:01":                             "is not an address",
		"1795301338 02:00:5e:00:53:02 0.0.0.0 * *":                      "is not an address that is leased",
		"1795301338 02:00:5e:00:53:02 127.0.0.1 * *":                    "is not an address that is leased",
		"1795301338 1 ff02::1 * 00:01":                                  "is not an address that is leased",
		"1795301338 02:00:5e:00:53:02 10.9.0.1 * client":                "is not a client id",
		"agent-info 10.9.0.1":                                           "agent-info",
		"agent-info 10.9.0.1 xyz":                                       "hexadecimal",
		"1795301338 02:00:5e:00:53:02 10.9\x000.1 * *":                  "is not an address",
		"\x1b[2J1795301338 02 10.9.0.1 * *":                             "is not the time",
		strings.Repeat("x", maxLine+1):                                  "is longer than 65536 bytes",
		"1795301338 " + strings.Repeat("00:", 300) + "00 10.9.0.1 * * ": "is not a hardware address",
	} {
		good := "1795301338 02:00:5e:00:53:07 10.9.0.7 * *\n"
		got, r := parse(t, Dnsmasq, good+line+"\r\n"+strings.Replace(good, "0.7", "0.8", 1)+line+"\n")
		if len(got) != 2 || r.bad != 2 || !strings.HasPrefix(r.first, "f:2: ") || !strings.Contains(r.first, want) || strings.ContainsAny(r.first, "\x00\x1b") || len(r.first) > 200 {
			t.Errorf("%.80q: %d leases, %d bad, %s", line, len(got), r.bad, r.first)
		}
	}
}

const (
	keaHeader4 = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
	keaHeader6 = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source\n"
)

// TestKeaFile4 has rows of Kea 2.2 with what later versions write otherwise.
func TestKeaFile4(t *testing.T) {
	t.Parallel()
	got, r := parse(t, KeaCSV, strings.TrimSuffix(keaHeader4, "\n")+",pool_id\n"+
		`10.9.0.100,02:00:5e:00:53:01,01:02:00:5e:00:53:01,600,1795301225,1,0,0,host.example,0,{ "ISC": { "relay-agent-info": "0x010B6F6C74312F332F373A3132020602005E0053FF" } },0
10.9.0.101,02:00:5e:00:53:02,,600,1795301225,1,0,0,,0,{ "ISC": { "relay-agent-info": { "remote-id": "0xAA"&#x2c "sub-options": "0x010A4F4C542C203120782F32" } }&#x2c "note": "by hand" },0
10.9.0.102,02:00:5e:00:53:03,,4294967295,1795299000,1,0,0,,0,,0
10.9.0.103,02:00:5e:00:53:04,,600,1795301225,1,0,0,,0,,0
10.9.0.103,02:00:5e:00:53:04,,0,1795300700,1,0,0,,0,,0
10.9.0.104,,,86400,1795386400,1,0,0,,1,,0
10.9.0.105,02:00:5e:00:53:05,,600,1795301225,1,0,0,,0,,0
10.9.0.105,02:00:5e:00:53:05,,600,1795301225,1,0,0,,2,,0
10.9.0.106,02:00:5e:00:53:06,,600,1795301225,1,0,0,,0,,0
10.9.0.106,02:00:5e:00:53:07,,600,1795301825,1,0,0,,0,,0
10.9.0.107,02:00:5e:00:53:08,,600,1795299999,1,0,0,,0,,0
10.9.0.108,02:00:5e:00:53:09,,600,700,1,0,0,,0,{ "ISC": { "relay-agent-info": "0x010B6F" } },0
`)
	same2(t, got,
		"10.9.0.100/32 1795301225 olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:53:ff 0x02005e0053ff 02:00:5e:00:53:01 01:02:00:5e:00:53:01",
		"10.9.0.101/32 1795301225 OLT,_1_x/2 0x4f4c542c203120782f32 02:00:5e:00:53:02",
		"10.9.0.102/32 - 02:00:5e:00:53:03",
		"10.9.0.106/32 1795301825 02:00:5e:00:53:07",
		"10.9.0.108/32 - 02:00:5e:00:53:09", // in 1970, and an option that breaks off
	)
	if r.bad != 0 || r.broken {
		t.Errorf("%+v", r)
	}
}

func TestKeaFile6(t *testing.T) {
	t.Parallel()
	got, r := parse(t, KeaCSV, keaHeader6+
		`2001:db8:9::100,00:03:00:01:02:00:5e:00:53:01,100,1795301364,1,100,0,7,128,0,0,,02:00:5e:00:53:01,0,{ "ISC": { "relays": [ { "hop": 0&#x2c "link": "2001:db8:9::2"&#x2c "options": "0x0012000B6F6C74312F332F373A31320025000A0000000902005E0053FF"&#x2c "peer": "fe80::5eff:fe00:5301" } ] } },1,2
2001:db8:f000::,00:03:00:01:02:00:5e:00:53:01,100,1795301364,1,100,2,7,56,0,0,,02:00:5e:00:53:01,0,{ "ISC": { "relay-info": [ { "hop": 0&#x2c "options": "0x0012000163" }&#x2c { "hop": 1&#x2c "options": "0x001200016200260004532D3437" } ] } },1,8
2001:db8:9::102,00:03:00:01:02:00:5e:00:53:02,100,1795301364,1,100,1,8,128,0,0,,,0,,,
2001:db8:f000:200::,00:03:00:01:02:00:5e:00:53:03,100,1795301364,1,100,2,8,56,0,0,,,4,,,
`)
	same2(t, got,
		"2001:db8:9::100/128 1795301364 olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:53:ff 0x02005e0053ff 00:03:00:01:02:00:5e:00:53:01",
		"2001:db8:9::102/128 1795301364 00:03:00:01:02:00:5e:00:53:02",
		"2001:db8:f000::/56 1795301364 b 0x62 S-47 0x532d3437 c 0x63 02:00:5e:00:53:01 00:03:00:01:02:00:5e:00:53:01",
	)
	if r.bad != 0 {
		t.Errorf("%+v", r)
	}
}

func TestKeaLinesThatAreNoLeases(t *testing.T) {
	t.Parallel()
	row := func(address, hwaddr, lifetime, expire, state, context string) string {
		return strings.Join([]string{address, hwaddr, "", lifetime, expire, "1", "0", "0", "", state, context}, ",")
	}
	good := row("10.9.0.1", "02:00:5e:00:53:01", "600", "1795301225", "0", "")
	for line, want := range map[string]string{
		good + ",": "has 12 fields, the header 11",
		"10.9.0.9": "has 1 fields",
		row("10.9.0", "02:00:5e:00:53:01", "600", "1795301225", "0", ""):                                                        "is not an address",
		row("10.9.0.2", "0200.5e00.5301", "600", "1795301225", "0", ""):                                                         "hwaddr",
		row("10.9.0.2", "02:00:5e:00:53:01", "-1", "1795301225", "0", ""):                                                       "valid_lifetime",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "", "0", ""):                                                                "expire",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "1795301225", "zero", ""):                                                   "state",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "1795301225", "0", "{"):                                                     "user_context",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "1795301225", "0", `{"ISC": {"relay-agent-info": "6f"}}`):                   "hexadecimal with 0x",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "1795301225", "0", `{"ISC": {"relay-agent-info": 7}}`):                      "relay-agent-info",
		row("10.9.0.2", "02:00:5e:00:53:01", "600", "1795301225", "0", `{"ISC": {"relays": [{"hop": 0&#x2c "options": "x"}]}}`): "hexadecimal with 0x",
	} {
		got, r := parse(t, KeaCSV, keaHeader4+good+"\n"+line+"\n"+strings.Replace(good, "0.1,", "0.8,", 1)+"\n")
		if len(got) != 2 || r.bad != 1 || !strings.HasPrefix(r.first, "f:3: ") || !strings.Contains(r.first, want) {
			t.Errorf("%.120q: %d leases, %d bad, %s", line, len(got), r.bad, r.first)
		}
	}
	for header, want := range map[string]string{
		good:                              "no column address",
		"address,hwaddr,client_id,expire": "no column valid_lifetime",
		"address,valid_lifetime,expire,subnet_id": "neither a column hwaddr nor duid",
	} {
		if got, r := parse(t, KeaCSV, header+"\n"+good+"\n"); len(got) != 0 || r.bad != 2 || !strings.HasPrefix(r.first, "f:1: ") || !strings.Contains(r.first, want) {
			t.Errorf("%q: %d leases, %s", header, len(got), r.first)
		}
	}
	for prefix, want := range map[string]string{"2001:db8:f000::,12": "not a prefix that is delegated", "2001:db8:f000::1,56": "not a prefix that is delegated", "2001:db8::,129": "prefix_len"} {
		address, bits, _ := strings.Cut(prefix, ",")
		_, r := parse(t, KeaCSV, keaHeader6+address+",00:03:00:01,100,1795301364,1,100,2,7,"+bits+",0,0,,,0,,,\n")
		if r.bad != 1 || !strings.Contains(r.first, want) {
			t.Errorf("%s: %s", prefix, r.first)
		}
	}
}

// TestClientsCannotSpeakAsTheNetwork: whatever a client sends as its own id, no circuit of it reads like a relay's id, and a
// client id never reads like a hardware address.
func TestClientsCannotSpeakAsTheNetwork(t *testing.T) {
	t.Parallel()
	var relay circuits
	for _, id := range []string{"olt1/3/7:12", "41", "02:00:5e:00:53:01", "\x02\x00\x5e\x00\x53\x01", "\x00\x04\x00\x0a", "S-1004"} {
		relay.relay([]byte(id))
	}
	for _, id := range []string{"olt1/3/7:12", "41", "\x41", "02:00:5e:00:53:01", "\x02\x00\x5e\x00\x53\x01", "\x00\x04\x00\x0a", "0x0004000a", "S-1004", "A"} {
		var client circuits
		client.client([]byte(id))
		for _, s := range splitCircuits(nil, string(client)) {
			if slices.Contains(splitCircuits(nil, string(relay)), s) {
				t.Errorf("client id %q is written %q, as a relay's could be", id, s)
			}
			if len(s) == len("02:00:5e:00:53:01") {
				t.Errorf("client id %q is written %q, as a hardware address", id, s)
			}
		}
	}
}

func TestCircuitsAreBounded(t *testing.T) {
	t.Parallel()
	var c circuits
	c.relay(make([]byte, maxID+1))
	c.client(make([]byte, maxID+1))
	c.hardware(nil)
	c.relay([]byte("   "))
	if want := "0x202020\x00"; string(c) != want {
		t.Errorf("%q", c)
	}
	for i := range 100 {
		c.relay(fmt.Appendf(nil, "line %d", i))
		c.relay(fmt.Appendf(nil, "line %d", i))
	}
	if got := splitCircuits(nil, string(c)); len(got) != maxIDs || got[1] != "line_0" || got[3] != "line_1" {
		t.Errorf("%q", got)
	}
}

// FuzzLeases: whatever a file has, reading ends without a panic, every lease can be one, and reading it in two pieces comes to
// the same.
func FuzzLeases(f *testing.F) {
	f.Add(true, "1795301338 02:00:5e:00:53:02 10.9.0.159 host *\nduid 00:01\n0 T7 2001:db8::1 * 00:03\nagent-info 10.9.0.159 01026f6c\n", 17)
	f.Add(false, keaHeader4+`10.9.0.100,02:00:5e:00:53:01,01:02,600,1795301225,1,0,0,h,0,{ "ISC": { "relay-agent-info": "0x01026F6C" } }`+"\n", 120)
	f.Add(false, keaHeader6+`2001:db8::,00:03,100,1795301364,1,100,2,7,56,0,0,,02:00,0,{ "ISC": { "relays": [ { "hop": 0&#x2c "options": "0x0012000163" } ] } },1,8`+"\n", 300)
	f.Fuzz(func(t *testing.T, dnsmasq bool, text string, cut int) {
		format := KeaCSV
		if dnsmasq {
			format = Dnsmasq
		}
		got, whole := parse(t, format, text)
		for _, line := range got {
			words := strings.Split(line, " ")
			p, err := netip.ParsePrefix(words[0])
			if err != nil || p != p.Masked() || p.Bits() < minPrefix || len(words) > 2+maxIDs {
				t.Fatalf("lease %q", line)
			}
		}
		if whole.bad > whole.lines || whole.offset > int64(len(text)) || strings.Contains(whole.first, "\n") {
			t.Fatalf("%+v", whole)
		}
		if cut < 0 || cut > len(text) {
			return
		}
		parts, tab := &reading{parser: newParser(format), file: "f"}, newTable(noon.Unix())
		for _, end := range []int{cut, len(text)} {
			if err := parts.read(strings.NewReader(text[parts.offset:end]), tab); err != nil {
				t.Fatal(err)
			}
		}
		if again := written(tab.set()); !slices.Equal(again, got) || parts.bad != whole.bad || parts.offset != whole.offset {
			t.Fatalf("in two pieces %q, in one %q", again, got)
		}
	})
}

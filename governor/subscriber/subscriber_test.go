package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const contract = `subscriber,plan,prefixes,circuits,name,note
# one line a subscriber
S-1001,residential,100.64.0.11 2001:db8:100::/56,,Example Home,
S-1002,office,100.64.0.12/32,acct-1002,Example Office,
S-1003,mailserver,100.64.1.0/29 2001:db8:200::/48,,Example Hosting,
S-1004,residential,,02:00:5e:00:53:01 olt1/3/7:12,Example by lease,
`

func parse(t *testing.T, text string) *Table {
	t.Helper()
	tab, err := Parse("s.csv", strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestContractFile(t *testing.T) {
	t.Parallel()
	tab := parse(t, contract)
	for addr, want := range map[string]string{
		"100.64.0.11": "S-1001", "2001:db8:100:ff::1": "S-1001", "2001:db8:100:100::1": "", "100.64.0.12": "S-1002",
		"100.64.1.7": "S-1003", "100.64.1.8": "", "::ffff:100.64.1.7": "S-1003", "2001:db8:200:ffff::": "S-1003", "10.0.0.1": "",
	} {
		s, ok := tab.Lookup(netip.MustParseAddr(addr))
		if ok != (want != "") || s.ID != want {
			t.Errorf("%s is %q, want %q", addr, s.ID, want)
		}
	}
	s, ok := tab.ByID("S-1004")
	if !ok || fmt.Sprint(s.Circuits) != "[02:00:5e:00:53:01 olt1/3/7:12]" || s.Name != "Example by lease" || s.Line != 6 {
		t.Errorf("S-1004: %v %+v", ok, s)
	}
	if tab.Len() != 4 || tab.All()[3].ID != "S-1004" {
		t.Errorf("all: %v", tab.All())
	}
	if _, ok := tab.ByID("S-1"); ok {
		t.Error("S-1 is nobody")
	}
}

func TestColumnsGoByTheHeader(t *testing.T) {
	t.Parallel()
	tab := parse(t, "\ufeff# ours\r\n\r\nnote, plan ,name,subscriber\r\n\"said: \"\"no, never\"\"\",home,\"A, B\", x \r\n")
	if s, _ := tab.ByID("x"); s.Note != `said: "no, never"` || s.Plan != "home" || s.Name != "A, B" || s.Line != 4 {
		t.Errorf("%+v", s)
	}
}

func TestZeroTableKnowsNobody(t *testing.T) {
	t.Parallel()
	var tab Table
	if _, ok := tab.Lookup(netip.MustParseAddr("10.0.0.1")); ok || tab.Len() != 0 || !tab.Alone(netip.MustParseAddr("2001:db8::1")) {
		t.Error("somebody is there")
	}
}

func TestWhatIsWrongIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	known := func(p string) bool { return p == "home" }
	const h = "subscriber,plan,prefixes,circuits\n"
	for _, c := range []struct{ why, text, want string }{
		{"empty", "", "s.csv:1:1: no header line: subscriber,plan,prefixes,circuits,name,note"},
		{"only comments", "# x\n", "s.csv:1:1: no header line: subscriber,plan,prefixes,circuits,name,note"},
		{"no header", "S-1,home\n", `s.csv:1:1: unknown column "S-1"; allowed: subscriber, plan, prefixes, circuits, name, note` + "\n" +
			`s.csv:1:1: column "subscriber" is missing` + "\n" + `s.csv:1:1: column "plan" is missing` + "\n" + `s.csv:1:5: unknown column "home"; allowed: subscriber, plan, prefixes, circuits, name, note`},
		{"unknown column", "subscriber,plan,prefix\n", `s.csv:1:17: unknown column "prefix"; allowed: subscriber, plan, prefixes, circuits, name, note`},
		{"column twice", "subscriber,plan,plan\n", `s.csv:1:17: column "plan" stands here twice`},
		{"column missing", "# x\nsubscriber,name\n", `s.csv:2:1: column "plan" is missing`},
		{"no name", h + ",home\n", `s.csv:2:1: subscriber "": the name is empty`},
		{"name with a blank", h + "a b,home\n", `s.csv:2:1: subscriber "a b": blanks and control characters are not allowed`},
		{"name with a control character", h + "a\x07,home\n", `s.csv:2:1: subscriber "a\a": blanks and control characters are not allowed`},
		{"name too long", h + strings.Repeat("a", 129) + ",home\n", `s.csv:2:1: subscriber "` + strings.Repeat("a", 129) + `": longer than 128 bytes`},
		{"name of an unmapped source", h + "10.0.0.1/32,home\n", `s.csv:2:1: subscriber "10.0.0.1/32": a prefix is the name of an unmapped source; choose another`},
		{"name that a URL cannot hold", h + ".,home\n..,home\n...,home\n", `s.csv:2:1: subscriber ".": "." and ".." stand for a directory in a URL; choose another` + "\n" +
			`s.csv:3:1: subscriber "..": "." and ".." stand for a directory in a URL; choose another`},
		{"name twice", h + "a,home\n#\na,home\n", `s.csv:4:1: subscriber "a" is already on line 2`},
		{"no plan", h + "a,\n", `s.csv:2:3: subscriber "a" has no plan`},
		{"no plan at all", h + "a\n", `s.csv:2:1: subscriber "a" has no plan`},
		{"unknown plan", h + "a,Home\n", `s.csv:2:3: unknown plan "Home" of subscriber "a"`},
		{"not an address", h + "a,home,10.0.0.256\n", `s.csv:2:8: prefix "10.0.0.256" of subscriber "a": neither an address nor a prefix`},
		{"not a prefix", h + "a,home,10.0.0.0/33\n", `s.csv:2:8: prefix "10.0.0.0/33" of subscriber "a": neither an address nor a prefix`},
		{"host bits", h + "a,home,10.0.0.1/24\n", `s.csv:2:8: prefix "10.0.0.1/24" of subscriber "a": it has bits beyond /24: write 10.0.0.0/24, or 10.0.0.1 for the one address`},
		{"zone", h + "a,home,fe80::1%eth0\n", `s.csv:2:8: prefix "fe80::1%eth0" of subscriber "a": a zone is not allowed`},
		{"mapped address", h + "a,home,::ffff:10.0.0.1\n", `s.csv:2:8: prefix "::ffff:10.0.0.1" of subscriber "a": write 10.0.0.1`},
		{"mapped prefix", h + "a,home,::ffff:10.0.0.0/120\n", `s.csv:2:8: prefix "::ffff:10.0.0.0/120" of subscriber "a": an IPv4 address in IPv6 form: write it as IPv4`},
		{"everybody", h + "a,home,::/0\n", `s.csv:2:8: prefix "::/0" of subscriber "a": it covers everybody`},
		{"comma for a blank", h + "a,home,10.0.0.1;10.0.0.2\n", `s.csv:2:8: prefix "10.0.0.1;10.0.0.2" of subscriber "a": neither an address nor a prefix`},
		{"prefix twice", h + "a,home,10.0.0.1\nb,home,10.0.0.2 10.0.0.1/32\n", `s.csv:3:8: prefix 10.0.0.1/32 of subscriber "b" is already that of "a" on line 2`},
		{"prefix twice on a line", h + "a,home,10.0.0.1 10.0.0.1\n", `s.csv:2:8: prefix 10.0.0.1/32 of subscriber "a" is already that of "a" on line 2`},
		{"circuit twice", h + "a,home,,c1\nb,home,,c1\n", `s.csv:3:9: circuit "c1" is already that of "a" on line 2`},
		{"too many fields", h + "a,home,,,x\n", `s.csv:2:10: more fields than the header has columns (4)`},
		{"quote", h + "a\"b,home\nc,home,x\n", `s.csv:2:1: bare " in non-quoted-field (a field with a quote is written "like ""this""")` + "\n" +
			`s.csv:3:8: prefix "x" of subscriber "c": neither an address nor a prefix`},
		{"quote not closed", h + "a,\"home\nc,home\n", `s.csv:2:1: extraneous or missing " in quoted-field (a field with a quote is written "like ""this""")`},
		{"not UTF-8", h + "a,home\nb\xff,home\n", `s.csv:3:2: not UTF-8: byte 0xff`},
		{"all at once", h + "a,nohome,x\n,home,::/0\n", `s.csv:2:3: unknown plan "nohome" of subscriber "a"` + "\n" + `s.csv:2:10: prefix "x" of subscriber "a": neither an address nor a prefix` + "\n" +
			`s.csv:3:1: subscriber "": the name is empty` + "\n" + `s.csv:3:7: prefix "::/0" of subscriber "": it covers everybody`},
	} {
		tab, err := Parse("s.csv", strings.NewReader(c.text), known)
		if err == nil || err.Error() != c.want || tab != nil {
			t.Errorf("%s: table %v, error\n%v\nwant\n%s", c.why, tab != nil, err, c.want)
		}
	}
}

func TestErrorsAreCapped(t *testing.T) {
	t.Parallel()
	_, err := Parse("s.csv", strings.NewReader("subscriber,plan\n"+strings.Repeat(",\n", 50)), nil)
	var errs *Errors
	if !errors.As(err, &errs) || len(errs.List) != MaxErrors || errs.More != 80 || !strings.HasSuffix(err.Error(), "\nand 80 more") {
		t.Errorf("%v", err)
	}
}

func TestUnmapped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr   string
		v4, v6 int
		want   string
	}{
		{"100.64.9.9", 32, 56, "100.64.9.9/32"},
		{"100.64.9.9", 24, 56, "100.64.9.0/24"},
		{"::ffff:100.64.9.9", 32, 56, "100.64.9.9/32"},
		{"2001:db8:0:1234::9", 32, 56, "2001:db8:0:1200::/56"},
		{"fe80::1%eth0", 32, 64, "fe80::/64"},
		{"100.64.9.9", 33, 56, "100.64.9.9/32"},
		{"2001:db8::1", 32, -1, "2001:db8::1/128"},
	} {
		if got := Unmapped(netip.MustParseAddr(c.addr), c.v4, c.v6); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if got := Unmapped(netip.Addr{}, 32, 56); got != "invalid" {
		t.Error(got)
	}
}

func TestAlone(t *testing.T) {
	t.Parallel()
	tab := parse(t, `subscriber,plan,prefixes
wide,home,2001:db8:1::/56 192.0.2.0/24
guest,home,2001:db8:1:5::7
half,home,2001:db8:2::/65
both,home,2001:db8:3::/65 2001:db8:3:0:8000::/65
within,home,2001:db8:4::/56 2001:db8:4:0:1::/80
net,home,2001:db8:5::/64
`)
	for addr, want := range map[string]bool{
		"2001:db8:1::1": true, "2001:db8:1:5::1": false /* guest lives there */, "2001:db8:1:5::7": false, /* in wide's */
		"2001:db8:2::1": false /* the other half is nobody's */, "2001:db8:4::1": true, "2001:db8:4:0:1::1": true,
		"2001:db8:5::1": true, "2001:db8:9::1": true /* unmapped */, "2001:db8:2:0:8000::1": false, /* unmapped beside half */
		"192.0.2.1": true, "10.9.9.9": true, "::ffff:192.0.2.1": true,
		"2001:db8:3::1": false, // both halves are its own, but nothing says so: better not
	} {
		if got := tab.Alone(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s alone: %v", addr, got)
		}
	}
	if tab.Alone(netip.Addr{}) != true {
		t.Error("no address at all")
	}
}

// The oracle looks at every prefix.
func TestLookupAgreesWithASlowLoop(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			if rapid.Bool().Draw(t, "six") {
				b := netip.MustParseAddr("2001:db8::").As16()
				for _, i := range []int{5, 7, 8, 15} {
					b[i] = byte(rapid.IntRange(0, 3).Draw(t, "byte") * 85)
				}
				return netip.AddrFrom16(b)
			}
			return netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 2).Draw(t, "b")), byte(rapid.IntRange(0, 255).Draw(t, "c"))})
		})
		text := "subscriber,plan,prefixes\n"
		all := map[netip.Prefix]string{}
		for i := range rapid.IntRange(0, 30).Draw(t, "n") {
			id := fmt.Sprintf("s%d", i)
			text += id + ",home,"
			for range rapid.IntRange(0, 3).Draw(t, "prefixes") {
				a := addr.Draw(t, "addr")
				p, _ := a.Prefix(rapid.IntRange(1, a.BitLen()).Draw(t, "bits"))
				if _, ok := all[p]; !ok {
					all[p] = id
					text += p.String() + " "
				}
			}
			text += "\n"
		}
		tab, err := Parse("x", strings.NewReader(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			a := addr.Draw(t, "look")
			want, bits := "", -1
			for p, id := range all {
				if p.Contains(a) && p.Bits() > bits {
					want, bits = id, p.Bits()
				}
			}
			if s, _ := tab.Lookup(a); s.ID != want {
				t.Fatalf("%s is %q, want %q\n%s", a, s.ID, want, text)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(contract))
	f.Add([]byte("subscriber,plan\n\"a\n\"\"b\",x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tab, err := Parse("x", strings.NewReader(string(data)), nil)
		if (tab == nil) == (err == nil) {
			t.Fatalf("table %v, error %v", tab, err)
		}
		if err != nil {
			for _, e := range err.(*Errors).List {
				if strings.ContainsRune(e.Error(), '\n') {
					t.Fatalf("an error of two lines: %q", e.Error())
				}
			}
			return
		}
		for _, s := range tab.All() {
			if got, ok := tab.ByID(s.ID); !ok || got.Line != s.Line {
				t.Fatalf("%q is not found", s.ID)
			}
			for _, p := range s.Prefixes {
				if got, ok := tab.prefixes.LookupPrefix(p); !ok || got.ID != s.ID {
					t.Fatalf("%s is not %q's", p, s.ID)
				}
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	var sb strings.Builder
	sb.WriteString("subscriber,plan,prefixes\n")
	for i := range 100_000 {
		fmt.Fprintf(&sb, "s%d,home,10.%d.%d.%d 2001:db8:%x:%x00::/56\n", i, i>>16, i>>8&255, i&255, i>>8, i&255)
	}
	tab, err := Parse("x", strings.NewReader(sb.String()), nil)
	if err != nil {
		b.Fatal(err)
	}
	a4, a6 := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8:102:300::9")
	b.ReportAllocs()
	for b.Loop() {
		tab.Lookup(a4)
		tab.Lookup(a6)
	}
}

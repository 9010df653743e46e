package subscriber

import (
	"errors"
	"fmt"
	"io"
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
		{"quote", h + "a\"b,home\nc,home,x\n", `s.csv:2:1: a quote in the middle of a field (a field with a quote is written "like ""this""")` + "\n" +
			`s.csv:3:8: prefix "x" of subscriber "c": neither an address nor a prefix`},
		{"quote not closed", h + "a,\"home\nc,home\n", `s.csv:2:3: this quote is not closed (a field with a quote is written "like ""this""")`},
		{"quote not closed, more lines", h + "a,home\n\"b,home\nc,nohome\nd,home\n", `s.csv:3:1: this quote is not closed (a field with a quote is written "like ""this""")` + "\n" +
			`s.csv:4:3: unknown plan "nohome" of subscriber "c"`},
		{"text after a quoted field", h + "a,\"home\"x\nb,nohome\n", `s.csv:2:3: a quote in the middle of a field (a field with a quote is written "like ""this""")` + "\n" +
			`s.csv:3:3: unknown plan "nohome" of subscriber "b"`},
		{"a quoted field of two lines, then an error", "subscriber,plan,note\na,home,\"x\ny\"\nb,nohome\n", `s.csv:4:3: unknown plan "nohome" of subscriber "b"`},
		{"an error after a field of two lines", "subscriber,note,plan\na,\"x\r\ny\",nohome\r\n", `s.csv:3:4: unknown plan "nohome" of subscriber "a"`},
		{"zero byte", h + "a,home\nb\x00,home\nc,nohome\n", "s.csv:3:2: a zero byte\n" + `s.csv:4:3: unknown plan "nohome" of subscriber "c"`},
		{"UTF-16", "\xff\xfes\x00u\x00b\x00\n", "s.csv:1:4: a zero byte"},
		{"bare carriage return", h + "a,home\rb,home\nc,nohome\r\n", "s.csv:2:7: a carriage return without a line feed; lines end in LF or CR LF\n" +
			`s.csv:3:3: unknown plan "nohome" of subscriber "c"`},
		{"a line of 1 MB", h + "a,home\nb,home,,," + strings.Repeat("x", 1<<20) + "\nc,nohome\n", "s.csv:3:1: longer than 64 KiB; lines end in LF or CR LF\n" +
			`s.csv:4:3: unknown plan "nohome" of subscriber "c"`},
		{"a comment of 1 MB", h + "#" + strings.Repeat("x", 1<<20) + "\nc,nohome", "s.csv:2:1: longer than 64 KiB; lines end in LF or CR LF\n" +
			`s.csv:3:3: unknown plan "nohome" of subscriber "c"`},
		{"a quote of 1 MB", h + "a,\"home\n" + strings.Repeat("\n", 1<<20) + "c,nohome", "s.csv:2:3: this quote is not closed (a field with a quote is written \"like \"\"this\"\"\")\n" +
			`s.csv:1048579:3: unknown plan "nohome" of subscriber "c"`},
		{"a line of 1 MB after a quote that is not closed", h + "a,\"home\nb,home\n" + strings.Repeat("x", 1<<20) + "\nc,nohome", "s.csv:2:3: this quote is not closed (a field with a quote is written \"like \"\"this\"\"\")\n" +
			"s.csv:4:1: longer than 64 KiB; lines end in LF or CR LF\n" + `s.csv:5:3: unknown plan "nohome" of subscriber "c"`},
		{"control characters", "subscriber,plan,circuits,name,note\na,home,c\x1b,\"x\ny\",z\x07\n", `s.csv:2:8: circuit "c\x1b": control characters are not allowed` + "\n" +
			`s.csv:2:11: name "x\ny" of subscriber "a": control characters are not allowed` + "\n" + `s.csv:3:4: note of subscriber "a": control characters are not allowed`},
		{"a name that we give", h + "radius:x,home\n", `s.csv:2:1: subscriber "radius:x": "radius:" begins the names of lines that are in no list; choose another`},
		{"one hardware address twice", h + "a,home,,02:00:5e:00:53:01\nb,home,,02-00-5E-00-53-01\nc,home,,0200.5e00.5301 02005E005301\n",
			`s.csv:3:9: circuit "02-00-5E-00-53-01" is already that of "a" on line 2 (as "02:00:5e:00:53:01")` + "\n" +
				`s.csv:4:9: circuit "0200.5e00.5301" is already that of "a" on line 2 (as "02:00:5e:00:53:01")` + "\n" +
				`s.csv:4:9: circuit "02005E005301" is already that of "a" on line 2 (as "02:00:5e:00:53:01")`},
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

func TestWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, text, want string }{
		{"BOM and CRLF", "\ufeffsubscriber,plan\r\na,home\r\n", "a@2"},
		{"BOM before a quote", "\ufeff\"subscriber\",plan\na,home", "a@2"},
		{"BOM before a comment", "\ufeff# x\nsubscriber,plan\na,home", "a@3"},
		{"only a BOM line before", "\ufeff\nsubscriber,plan\na,home", "a@3"},
		{"blank lines, and one of blanks", "subscriber,plan\n\n \t\r\na,home\n\n", "a@4"},
		{"no end of the last line, with a carriage return", "subscriber,plan\na,home\r", "a@2"},
		{"blanks around quotes", "subscriber,plan\n \"a\" , \"home\" \n", "a@2"},
		{"a quoted field of many lines", "subscriber,note,plan\na,\"" + strings.Repeat("x\n", 1000) + "\",home\nb,,home\n", "a@2 b@1003"},
		{"an own id as circuit", "subscriber,plan,circuits\na,home,a\n", "a@2"},
		{"a header and nothing", "subscriber,plan", ""},
	} {
		tab, err := Parse("s.csv", strings.NewReader(c.text), nil)
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		var got []string
		for _, s := range tab.All() {
			got = append(got, fmt.Sprintf("%s@%d", s.ID, s.Line))
			if s.Plan != "home" {
				t.Errorf("%s: plan %q", c.why, s.Plan)
			}
		}
		if list, more := tab.Warnings(); strings.Join(got, " ") != c.want || len(list)+more > 0 {
			t.Errorf("%s: %v, want %s; %v", c.why, got, c.want, list)
		}
	}
}

func TestWhatMayNotBeMeantIsToldButAllowed(t *testing.T) {
	t.Parallel()
	tab := parse(t, `subscriber,plan,prefixes,circuits
a,home,10.0.0.0/24 10.0.0.7,b
b,home,10.0.0.0/25,
c,home,10.0.0.1 10.0.0.200,
`)
	list, more := tab.Warnings()
	var got []string
	for _, e := range list {
		got = append(got, e.Error())
	}
	want := []string{
		`s.csv:2:1: prefix 10.0.0.7/32 of subscriber "a" lies inside 10.0.0.0/25 of "b" on line 3: of both, the longer one decides`,
		`s.csv:2:1: circuit "b" of subscriber "a" is the name of the subscriber on line 3: as a RADIUS User-Name it is "a"`,
		`s.csv:3:1: prefix 10.0.0.0/25 of subscriber "b" lies inside 10.0.0.0/24 of "a" on line 2: of both, the longer one decides`,
		`s.csv:4:1: prefix 10.0.0.1/32 of subscriber "c" lies inside 10.0.0.0/25 of "b" on line 3: of both, the longer one decides`,
		`s.csv:4:1: prefix 10.0.0.200/32 of subscriber "c" lies inside 10.0.0.0/24 of "a" on line 2: of both, the longer one decides`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || more != 0 {
		t.Errorf("%d more and\n%s", more, strings.Join(got, "\n"))
	}
}

// endless gives the same line for ever.
type endless struct {
	line string
	at   int
	err  error
	left int
}

func (e *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		if e.left == 0 {
			return n, e.err
		}
		k := copy(b[n:], e.line[e.at:])
		n, e.at = n+k, (e.at+k)%len(e.line)
		if e.at == 0 {
			e.left--
		}
	}
	return n, nil
}

func TestFilesThatDoNotEnd(t *testing.T) {
	t.Parallel()
	line := "#" + strings.Repeat("x", 30<<10) + "\n"
	if _, err := Parse("s.csv", &endless{line: line, left: -1}, nil); err == nil || err.Error() != "s.csv: larger than 256 MiB" {
		t.Errorf("%v", err)
	}
	gone := errors.New("the disk is gone")
	if _, err := Parse("s.csv", &endless{line: line, left: 100, err: gone}, nil); !errors.Is(err, gone) || err.Error() != "read s.csv: the disk is gone" {
		t.Errorf("%v", err)
	}
	_, err := Parse("s.csv", io.MultiReader(strings.NewReader("subscriber,plan\n"), &endless{line: "a b,\n", left: -1}), nil)
	var errs *Errors
	if !errors.As(err, &errs) || len(errs.List) != MaxErrors || errs.More < manyErrors {
		t.Errorf("%v", err)
	}
}

func TestErrorsAreCapped(t *testing.T) {
	t.Parallel()
	_, err := Parse("s.csv", strings.NewReader("subscriber,plan\n"+strings.Repeat(",\n", MaxErrors/2+40)), nil)
	var errs *Errors
	if !errors.As(err, &errs) || len(errs.List) != MaxErrors || errs.More != 80 || !strings.HasSuffix(err.Error(), "\nand 80 more") {
		t.Errorf("%v", err)
	}
	if last := errs.List[MaxErrors-1]; last.Line != 1+MaxErrors/2 {
		t.Errorf("the last that is listed is on line %d", last.Line)
	}
	_, err = Parse("s.csv", strings.NewReader("subscriber,plan\n"+strings.Repeat("a", 60<<10)+",p\n"), nil)
	if !errors.As(err, &errs) || len(errs.List) != 1 || len(err.Error()) > 2*longestMessage {
		t.Errorf("%.200s", err)
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
				if got, ok := tab.prefixes.LookupPrefix(p); !ok || tab.ID(tab.owners[got]) != s.ID {
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

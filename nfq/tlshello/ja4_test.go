package tlshello_test

import (
	"slices"
	"testing"

	"github.com/mailweir/mailweir/nfq/tlshello"
)

// bare are extensions of which only the type matters.
func bare(kinds ...uint16) []extension {
	all := []extension{}
	for _, k := range kinds {
		all = append(all, extension{kind: k})
	}
	return all
}

// The example that FoxIO's JA4.md works through, and what it says of the odd cases.
func TestJA4ByTheText(t *testing.T) {
	t.Parallel()
	ciphers := []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035}
	algorithms := signatures(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
	chrome := slices.Concat(bare(0x001b), []extension{sni("a.example")}, bare(0x0033), []extension{alpn("h2", "http/1.1")},
		bare(0x4469, 0x0017, 0x002d), []extension{algorithms}, bare(0x0005, 0x0023, 0x0012), []extension{versions(0x0304, 0x0303)},
		bare(0xff01, 0x000b, 0x000a, 0x0015))
	greased := slices.Concat(bare(0x3a3a), chrome, bare(0xdada))
	for i := range greased {
		switch greased[i].kind {
		case 13:
			greased[i] = signatures(0x1a1a, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
		case 43:
			greased[i] = versions(0xbaba, 0x0304, 0x0303)
		}
	}
	unsigned := slices.Clone(chrome)
	for i := range unsigned {
		if unsigned[i].kind == 13 {
			unsigned[i].data = nil
		}
	}
	many := make([]uint16, 120)
	for i := range many {
		many[i] = 0xc000 + uint16(i)
	}
	tests := []struct {
		why   string
		hello hello
		want  string
	}{
		{"the worked example", hello{ciphers: ciphers, extensions: chrome}, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"GREASE counts nowhere", hello{ciphers: append([]uint16{0xeaea}, ciphers...), extensions: greased}, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"no signature algorithms: no underscore", hello{ciphers: ciphers, extensions: unsigned}, "t13d1516h2_8daaf6152771_6d807ffa2a79"},
		{"no ciphers, no extensions", hello{}, "t12i000000_000000000000_000000000000"},
		{"an empty extensions block", hello{extensions: []extension{}}, "t12i000000_000000000000_000000000000"},
		{"only what is left out of the third part", hello{ciphers: ciphers, extensions: []extension{sni("a"), alpn("h2")}}, "t12d1502h2_8daaf6152771_000000000000"},
		{"more than 99 ciphers", hello{ciphers: many}, "t12i990000_b53fbdfabeae_000000000000"},
		{"an unknown version", hello{version: 0x0399}, "t00i000000_000000000000_000000000000"},
		{"TLS 1.1", hello{version: 0x0302}, "t11i000000_000000000000_000000000000"},
		{"SSL 3.0", hello{version: 0x0300}, "ts3i000000_000000000000_000000000000"},
		{"SSL 2.0", hello{version: 0x0002}, "ts2i000000_000000000000_000000000000"},
		{"DTLS versions, where they do not belong", hello{version: 0xfeff}, "td1i000000_000000000000_000000000000"},
		{"and the next", hello{version: 0xfefd}, "td2i000000_000000000000_000000000000"},
		{"and the last", hello{version: 0xfefc}, "td3i000000_000000000000_000000000000"},
	}
	for _, test := range tests {
		h, err := tlshello.Parse(test.hello.message())
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
		} else if h.JA4 != test.want {
			t.Errorf("%s: %s, want %s", test.why, h.JA4, test.want)
		}
	}
}

// The two counts have two digits: 99 stands for all that is more.
func TestJA4CountsTo99(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{9: "09", 98: "98", 99: "99", 100: "99", 120: "99"} {
		many := make([]uint16, n)
		for i := range many {
			many[i] = 0xc000 + uint16(i)
		}
		h, err := tlshello.Parse(hello{ciphers: many, extensions: bare(many...)}.message())
		if err != nil {
			t.Fatal(err)
		}
		if got := h.JA4[:10]; got != "t12i"+want+want+"00" {
			t.Errorf("%d ciphers, %d extensions: %s", n, n, h.JA4)
		}
	}
}

// Where FoxIO's text and its test data part (a first protocol that is not ASCII), this is the text.
func TestJA4ALPNByTheText(t *testing.T) {
	t.Parallel()
	for protocol, want := range map[string]string{
		"":                 "00",
		"h2":               "h2",
		"http/1.1":         "h1",
		"x":                "xx",
		"Zz":               "Zz",
		"\xab":             "ab",
		"\x20":             "20",
		"\xab\xcd":         "ad",
		"\x20\x61":         "21",
		"\x30\xab":         "3b",
		"\x61\x20":         "60",
		"\x30\x31\xab\xcd": "3d",
		"\x30\xab\xcd\x31": "01",
	} {
		h, err := tlshello.Parse(hello{extensions: []extension{alpn(protocol, "h2")}}.message())
		if err != nil {
			t.Errorf("%q: %v", protocol, err)
		} else if got := h.JA4[8:10]; got != want {
			t.Errorf("%q: %s, want %s", protocol, got, want)
		}
	}
	h, err := tlshello.Parse(hello{extensions: []extension{alpn()}}.message())
	if err != nil || h.JA4[8:10] != "00" {
		t.Errorf("no protocol in the list: %v %v", h, err)
	}
}

package tlshello_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/mailweir/mailweir/nfq/tlshello"
)

// hello is a ClientHello to order.
type hello struct {
	version    uint16 // 0: TLS 1.2
	ciphers    []uint16
	extensions []extension // nil: no extensions block at all
}

type extension struct {
	kind uint16
	data []byte
}

func (h hello) message() []byte {
	if h.version == 0 {
		h.version = 0x0303
	}
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(h.version)
		b.AddBytes(make([]byte, 32))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("session")) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addAll(b, h.ciphers) })
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
		if h.extensions == nil {
			return
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, e := range h.extensions {
				b.AddUint16(e.kind)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.data) })
			}
		})
	})
	return b.BytesOrPanic()
}

func addAll(b *cryptobyte.Builder, values []uint16) {
	for _, v := range values {
		b.AddUint16(v)
	}
}

func built(add func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	add(&b)
	return b.BytesOrPanic()
}

func sni(names ...string) extension {
	return extension{0, built(func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, n := range names {
				b.AddUint8(0)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
			}
		})
	})}
}

func alpn(names ...string) extension {
	return extension{16, built(func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, n := range names {
				b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
			}
		})
	})}
}

func versions(list ...uint16) extension {
	return extension{43, built(func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { addAll(b, list) })
	})}
}

func signatures(list ...uint16) extension {
	return extension{13, built(func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addAll(b, list) })
	})}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		why    string
		hello  hello
		want   uint16
		called string
	}{
		{"no extensions: the message's own", hello{version: 0x0301}, 0x0301, "TLS1.0"},
		{"the highest offered, in whatever order", hello{extensions: []extension{versions(0x0302, 0x0304, 0x0303)}}, 0x0304, "TLS1.3"},
		{"GREASE is no version", hello{extensions: []extension{versions(0xfafa, 0x0304, 0x0a0a)}}, 0x0304, "TLS1.3"},
		{"nothing but GREASE", hello{extensions: []extension{versions(0x1a1a)}}, 0x0303, "TLS1.2"},
		{"an empty list", hello{extensions: []extension{versions()}}, 0x0303, "TLS1.2"},
		{"an odd list", hello{extensions: []extension{{43, []byte{3, 3, 4, 3}}}}, 0x0303, "TLS1.2"},
		{"a list that is cut", hello{extensions: []extension{{43, []byte{9, 3, 4}}}}, 0x0303, "TLS1.2"},
		{"lower than the message's own", hello{extensions: []extension{versions(0x0302)}}, 0x0302, "TLS1.1"},
		{"a draft", hello{extensions: []extension{versions(0x7f17, 0x0303)}}, 0x7f17, "TLS1.3-draft23"},
		{"SSL 3.0", hello{version: 0x0300}, 0x0300, "SSL3.0"},
		{"from the future", hello{version: 0x0305}, 0x0305, "0x0305"},
	}
	for _, test := range tests {
		h, err := tlshello.Parse(test.hello.message())
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
			continue
		}
		if h.Version != test.want || tlshello.VersionName(h.Version) != test.called {
			t.Errorf("%s: %04x %s, want %04x %s", test.why, h.Version, tlshello.VersionName(h.Version), test.want, test.called)
		}
	}
}

func TestNamesAreSafeToLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		why  string
		sent extension
		want string
	}{
		{"a host name", sni("mx1.Example-Net.org"), "mx1.Example-Net.org"},
		{"as found in the wild", sni("_dmarc.example"), "_dmarc.example"},
		{"a trailing dot is kept", sni("mx.example."), "mx.example."},
		{"the first of two", sni("a.example", "b.example"), "a.example"},
		{"empty", sni(""), ""},
		{"no name in the list", sni(), ""},
		{"a line break", sni("a\r\nb"), "hex:610d0a62"},
		{"a quote and a bracket", sni(`a"]b`), "hex:61225d62"},
		{"markup", sni("<b>"), "hex:3c623e"},
		{"a terminal's escape", sni("\x1b[2J"), "hex:1b5b324a"},
		{"UTF-8", sni("bücher.example"), "hex:62c3bc636865722e6578616d706c65"},
		{"a name that looks like ours", sni("hex:00"), "hex:6865783a3030"},
		{"an IPv6 address", sni("::1"), "hex:3a3a31"},
		{"as long as names get", sni(strings.Repeat("a", 253)), strings.Repeat("a", 253)},
		{"longer: its beginning", sni(strings.Repeat("a", 254)), "hex:" + strings.Repeat("61", 64)},
		{"cut", extension{0, []byte{0, 9, 0, 0, 9, 'a'}}, ""},
		{"cut in the name", extension{0, []byte{0, 4, 0, 0, 9, 'a'}}, ""},
		{"cut in the list", extension{0, []byte{0}}, ""},
		{"a name of another kind is passed over", extension{0, []byte{0, 8, 1, 0, 1, 'x', 0, 0, 1, 'a'}}, "a"},
	}
	for _, test := range tests {
		h, err := tlshello.Parse(hello{extensions: []extension{test.sent}}.message())
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
			continue
		}
		if h.SNI != test.want {
			t.Errorf("%s: %q, want %q", test.why, h.SNI, test.want)
		}
		if h.JA4[3] != 'd' {
			t.Errorf("%s: %s, but the extension was sent", test.why, h.JA4)
		}
	}
	h, err := tlshello.Parse(hello{extensions: []extension{alpn("http/1.1", "h2")}}.message())
	if err != nil || h.ALPN != "http/1.1" {
		t.Errorf("ALPN: %v %v", h, err)
	}
}

func TestWhatDoesNotParse(t *testing.T) {
	t.Parallel()
	good := hello{ciphers: []uint16{0x1301}, extensions: []extension{sni("a.example"), alpn("h2")}}.message()
	if _, err := tlshello.Parse(good); err != nil {
		t.Fatal(err)
	}
	for n := range len(good) { // with the length mended, so that the inner lengths are what is wrong
		cut := slices.Clone(good[:n])
		if _, err := tlshello.Parse(cut); err == nil {
			t.Errorf("the first %d of %d bytes parse", n, len(good))
		}
		if n < 4 {
			continue
		}
		cut[1], cut[2], cut[3] = 0, byte((n-4)>>8), byte(n-4)
		_, err := tlshello.Parse(cut)
		if whole := n == len(hello{ciphers: []uint16{0x1301}}.message()); (err == nil) != whole { // it may end where extensions begin
			t.Errorf("the first %d bytes with the length mended: %v", n, err)
		}
	}
	odd := hello{ciphers: []uint16{0x1301}}.message()
	tests := []struct {
		why  string
		data []byte
		want error
	}{
		{"nothing", nil, tlshello.ErrNotClientHello},
		{"a ServerHello", change(good, 0, 2), tlshello.ErrNotClientHello},
		{"a byte behind the message", append(slices.Clone(good), 0), tlshello.ErrLength},
		{"an odd number of cipher bytes", change(odd, 4+2+32+1+7+1, 1), tlshello.ErrTruncated},
		{"bytes behind the extensions", append(change(hello{extensions: []extension{}}.message(), 3, 2+32+8+2+2+2+1), 0), tlshello.ErrTrailing},
	}
	for _, test := range tests {
		if h, err := tlshello.Parse(test.data); !errors.Is(err, test.want) || h != nil {
			t.Errorf("%s: %v, want %v", test.why, err, test.want)
		}
	}
}

func TestParseKeepsNothingOfTheMessage(t *testing.T) {
	t.Parallel()
	message := hello{ciphers: []uint16{0x1301, 0x0a0a}, extensions: []extension{
		sni("a.example"), alpn("h2"), signatures(0x0403), {11, []byte{1, 0}}, {10, []byte{0, 2, 0, 29}},
	}}.message()
	h, err := tlshello.Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tlshello.Parse(slices.Clone(message))
	if err != nil {
		t.Fatal(err)
	}
	clear(message)
	if !reflect.DeepEqual(h, again) {
		t.Errorf("%+v, but %+v before the message was overwritten", h, again)
	}
	if !slices.Equal(h.Ciphers, []uint16{0x1301, 0x0a0a}) || !slices.Equal(h.Extensions, []uint16{0, 16, 13, 11, 10}) ||
		!slices.Equal(h.Signatures, []uint16{0x0403}) || !slices.Equal(h.Groups, []uint16{29}) {
		t.Errorf("the lists are %+v", h)
	}
}

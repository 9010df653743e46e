package nfq

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// The index against a map, with chains that are long: there are few of them.
func TestTheIndexFindsWhatAMapFinds(t *testing.T) {
	t.Parallel()
	addr := rapid.SampledFrom([]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:0:1::1")})
	rapid.Check(t, func(t *rapid.T) {
		x, all := newIndex(rapid.IntRange(0, 40).Draw(t, "size")), map[Flow]*flow{}
		t.Repeat(map[string]func(*rapid.T){
			"one": func(t *rapid.T) {
				end := func() netip.AddrPort {
					return netip.AddrPortFrom(addr.Draw(t, "address"), rapid.Uint16Range(1, 4).Draw(t, "port"))
				}
				key := Flow{end(), end()}
				f := x.find(key)
				if f != all[key] {
					t.Fatalf("%v: found %p, want %p", key, f, all[key])
				}
				if f == nil {
					f = &flow{Flow: key}
					all[key] = f
					x.add(f)
				} else {
					delete(all, key)
					x.remove(f)
				}
			},
			"": func(t *rapid.T) {
				n := 0
				for f := range x.all() {
					if n++; all[f.Flow] != f {
						t.Fatalf("%v is not there", f.Flow)
					}
				}
				if n != len(all) || x.n != n {
					t.Fatalf("%d flows, counted %d, want %d", n, x.n, len(all))
				}
			},
		})
	})
}

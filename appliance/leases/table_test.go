package leases

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTableAgainstAList runs random leases, renewals, releases and steps of the clock against a plain map that is looked
// through whole: the same set, and dirty whenever it is another one than that which was taken last.
func TestTableAgainstAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type plain struct {
			bits    int
			expires int64
			names   string
		}
		now := int64(2_000_000_000)
		tab, all := newTable(now), make(map[netip.Addr]plain)
		want := func() []string {
			var set []Lease
			for addr, p := range all {
				if p.expires == 0 || p.expires > now {
					l := Lease{Prefix: netip.PrefixFrom(addr, p.bits), Circuits: []string{p.names}}
					if p.expires > 0 {
						l.Expires = time.Unix(p.expires, 0)
					}
					set = append(set, l)
				}
			}
			return written(set)
		}
		who := func(set []string) (out []string) { // without the ends: a renewal is no change
			for _, s := range set {
				var prefix, end, rest string
				_, _ = fmt.Sscan(s, &prefix, &end, &rest)
				out = append(out, prefix+" "+rest)
			}
			return out
		}
		taken := []string{}
		tab.set()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			addr := netip.AddrFrom16([16]byte{0x20, 1, 15: byte(rapid.IntRange(1, 4).Draw(t, "address"))})
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				p := plain{bits: rapid.SampledFrom([]int{128, 127}).Draw(t, "bits"), names: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")}
				if d := rapid.IntRange(-5, 20).Draw(t, "for"); d != 0 {
					p.expires = now + int64(d)
				}
				all[addr] = p
				tab.put(netip.PrefixFrom(addr, p.bits), p.expires, circuits(p.names+"\x00"))
			case 3:
				delete(all, addr)
				tab.drop(addr)
			case 4:
				now += int64(rapid.IntRange(0, 10).Draw(t, "later"))
			case 5:
				now -= int64(rapid.IntRange(0, 10).Draw(t, "back"))
			}
			tab.pass(now)
			if !tab.dirty && !slices.Equal(who(want()), who(taken)) {
				t.Fatalf("not dirty, but %q became %q", taken, want())
			}
			if tab.live() != len(want()) {
				t.Fatalf("live %d, want %d", tab.live(), len(want()))
			}
			if tab.dirty || rapid.Bool().Draw(t, "take") {
				taken = written(tab.set())
				if !slices.Equal(taken, want()) {
					t.Fatalf("got %q, want %q", taken, want())
				}
			}
			fresh := newTable(now)
			fresh.merge(tab)
			if !fresh.equal(tab) || !tab.equal(fresh) {
				t.Fatal("a merged copy is not equal")
			}
		}
	})
}

// TestEndsAreBounded: a client that takes and gives back leases all the time leaves nothing behind.
func TestEndsAreBounded(t *testing.T) {
	t.Parallel()
	now := int64(2_000_000_000)
	tab, addr := newTable(now), netip.MustParseAddr("10.9.0.1")
	for i := range int64(20_000) {
		tab.put(single(addr), now+100_000-i, circuits("a\x00"))
		if i%3 == 0 {
			tab.drop(addr)
		}
		if len(tab.ends) > 2000 {
			t.Fatalf("%d ends of one lease", len(tab.ends))
		}
	}
}

func TestTableRefusesWhatIsBeyondItsBound(t *testing.T) {
	t.Parallel()
	tab, addr := newTable(2_000_000_000), netip.MustParseAddr("2001:db8::")
	for range MaxLeases {
		addr = addr.Next()
		tab.at[addr] = held{bits: 128}
	}
	tab.put(single(addr.Next()), 0, circuits("new\x00"))
	tab.put(single(addr), 0, circuits("known\x00"))
	if tab.refused != 1 || len(tab.at) != MaxLeases || tab.at[addr].names != "known\x00" {
		t.Errorf("%d refused, %d leases", tab.refused, len(tab.at))
	}
}

//go:build qemu

package imagetest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// taken asks the box of how many packets it took tags off, and how many it dropped since it could not put them on again.
func (v *visitor) taken(t *testing.T) (taken, dropped int64) {
	t.Helper()
	var now struct {
		Bridge struct {
			Tagged struct {
				Governed bool
				Why      string
				Taken    int64 `json:"taken_off"`
				Dropped  int64
			}
		}
	}
	if err := v.api("GET", "status", nil, &now); err != nil {
		t.Fatal(err)
	}
	tags := now.Bridge.Tagged
	if !tags.Governed || tags.Why != "" {
		t.Fatalf("tags: %+v", tags)
	}
	return tags.Taken, tags.Dropped
}

// Mail with a VLAN tag, two of them, in PPPoE and in PPPoE in a VLAN passes the image's bridge and is governed, by the image's own kernel.
func TestTaggedMailIsGoverned(t *testing.T) {
	s := newSite(t)
	m := s.governs(t, disk(t), "observe")
	v, _ := s.firstVisit(t, m)
	before, lost := v.taken(t)

	homes := []string{"10.99.0.11", "10.99.0.12", "10.99.0.13", "10.99.0.14"}
	s.client.gives(t, "inside", []string{"10.99.0.11/24", "10.99.0.12/24", "10.99.0.13/24", "10.99.0.14/24"}, nil)
	mail := func(what, from string) {
		t.Helper()
		if err := s.client.sends(from, "10.99.0.2", patience); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		now, dropped := v.taken(t)
		if (now > before) == (what == "without tags") || dropped != lost {
			t.Errorf("%s: tags were taken off %d packets, %d were dropped", what, now-before, dropped-lost)
		}
		before = now
	}
	tag := func(tags []uint32) (end func()) {
		var undo []func() error
		for one, link := range map[*space]string{s.client: "inside", s.server: "outside"} {
			err := one.do(func() error {
				u, err := nfqtest.Tag(link, tags...)
				undo = append(undo, u)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return func() {
			for _, u := range undo {
				if err := u(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	mail("without tags", calm4)
	for i, tags := range [][]uint32{{0x81000007}, {0x88a80064, 0x81000007}} {
		end := tag(tags)
		mail(fmt.Sprintf("tags %#x", tags), homes[i])
		end()
	}

	ends := map[*space]*nfqtest.PPPoE{}
	for one, link := range map[*space]string{s.client: "inside", s.server: "outside"} {
		if err := one.do(func() (err error) { ends[one], err = nfqtest.NewPPPoE(link, "ppp0"); return err }); err != nil {
			t.Fatal(err)
		}
	}
	server := netip.MustParseAddr("10.99.0.2")
	inside, outside := ends[s.client], ends[s.server]
	inside.Peer(server, 9, outside.MAC)
	if err := s.client.do(func() error {
		return inside.Route(netip.PrefixFrom(server, server.BitLen()), netip.MustParseAddr(homes[3]))
	}); err != nil {
		t.Fatal(err)
	}
	for _, home := range homes {
		at := netip.MustParseAddr(home)
		outside.Peer(at, 9, inside.MAC)
		if err := s.server.do(func() error { return outside.Route(netip.PrefixFrom(at, at.BitLen()), server) }); err != nil {
			t.Fatal(err)
		}
	}
	inside.Run(t)
	outside.Run(t)
	mail("PPPoE", homes[2])
	end := tag([]uint32{0x81000007})
	mail("PPPoE in a VLAN", homes[3])

	// Who is over his budget is told so through his tags.
	var is struct{ Text, Revision string }
	var done any
	if err := v.api("GET", "config", nil, &is); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(is.Text, "mode: observe", "mode: enforce", 1) + few
	if err := v.api("PUT", "config", map[string]string{"config": text, "revision": is.Revision}, &done); err != nil {
		t.Fatal(err)
	}
	s.deferred(t)
	if now, dropped := v.taken(t); now == before || dropped != lost {
		t.Errorf("as it deferred: tags were taken off %d packets, %d were dropped", now-before, dropped-lost)
	}
	end()
}

package subscriber

import (
	"net/netip"
	"testing"
)

// A user name that the list does not have takes nothing from anybody whom it has.
func TestAMadeUpLineRanksBelowEverybodyKnown(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	tell := func(at int, p, session, user string) {
		t.Helper()
		if _, err := d.BindSession([]Binding{radius(p, session, user)}, after(at), after(at)); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(why, a, want string) {
		t.Helper()
		if got := d.who(a); got != want {
			t.Errorf("%s: %s is %q, want %q", why, a, got, want)
		}
		got := ""
		if all := d.at(addr(a), after(1000)); len(all) > 0 {
			got = all[0].Subscriber
		}
		if h, _ := d.Lookup(addr(a)); got != h.ID {
			t.Errorf("%s: the history says %q, the packet path %q", why, got, h.ID)
		}
	}
	tell(1, "100.64.0.11/32", "nas|1", "hosting@isp")
	holds("on a whole prefix of the list", "100.64.0.11", "S-1 home csv 100.64.0.11/32")
	tell(2, "100.64.8.7/32", "nas|2", "hosting@isp")
	holds("inside a prefix of the list", "100.64.8.7", "S-2 office csv 100.64.8.0/24")
	tell(3, "100.64.9.1/32", "nas|3", "hosting@isp")
	holds("on what nobody has", "100.64.9.1", "radius:hosting@isp  radius 100.64.9.1/32")
	if s := d.Strangers(); s.Lines != 1 || s.User != "hosting@isp" || s.Overruled != 2 || s.Example != (Overruled{pfx("100.64.8.7/32"), "hosting@isp", "S-2"}) {
		t.Errorf("%+v", s)
	}
	d.Replace(Lease, "/leases", []Binding{{Prefix: pfx("100.64.9.0/24"), Circuits: []string{"acct-3"}}}, after(4))
	holds("a lease of a wider prefix", "100.64.9.1", "S-3 home lease 100.64.9.0/24")
	d.Replace(Lease, "/leases", []Binding{{Prefix: pfx("100.64.9.1/32"), Circuits: []string{"acct-3"}}}, after(5))
	holds("a lease of the same", "100.64.9.1", "S-3 home lease 100.64.9.1/32")
	d.Replace(Lease, "/leases", nil, after(6))
	holds("no lease", "100.64.9.1", "radius:hosting@isp  radius 100.64.9.1/32")
	d.Bind(Binding{Prefix: pfx("100.64.0.0/16"), Source: API, Subscriber: "S-3"}, after(7), after(7))
	holds("a wide prefix by the API", "100.64.9.1", "S-3 home api 100.64.0.0/16")
	holds("of a list's prefix inside", "100.64.8.7", "S-2 office csv 100.64.8.0/24")
	d.Unbind(API, pfx("100.64.0.0/16"), after(8), after(8))

	// The same access server says that somebody else has the address now: that one has it.
	tell(20, "100.64.9.2/32", "nas|4", "acct-2")
	tell(30, "100.64.9.2/32", "nas|5", "new@isp")
	holds("a newer session on the very prefix", "100.64.9.2", "radius:new@isp  radius 100.64.9.2/32")

	d.SetTable(parse(t, lines+"S-4,home,100.64.9.2,hosting@isp\n"), after(40))
	holds("the list has the name now", "100.64.9.1", "S-4 home radius 100.64.9.1/32")
	holds("and one more address", "100.64.9.2", "S-4 home csv 100.64.9.2/32")
	if s := d.Strangers(); s.Lines != 1 || s.Overruled != 1 || s.Example != (Overruled{pfx("100.64.9.2/32"), "new@isp", "S-4"}) || s.User != "new@isp" {
		t.Errorf("%+v", s)
	}
	k := disk{}
	k.save(d)
	again := NewDirectory(d.Table())
	again.Restore(k.each, after(50))
	if s := again.Strangers(); s != d.Strangers() {
		t.Errorf("after a restart %+v", s)
	}
	d.EndAll(RADIUS, "nas|", after(60), after(60))
	if s := d.Strangers(); s != (Strangers{}) {
		t.Errorf("%+v", s)
	}
	if n := len(d.EndOthers(RADIUS, nil, after(70))); n != 0 {
		t.Error(n)
	}
}

func TestStrangersAreCountedOnce(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for i, session := range []string{"nas|1", "nas|2", "nas|1"} {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 8, byte(i)}), 32)
		d.Bind(radius(p.String(), session, "new@isp"), after(i), after(i))
		d.Bind(radius(p.String(), session, "new@isp"), after(i), after(i))
	}
	if s := d.Strangers(); s.Lines != 1 || s.Overruled != 3 {
		t.Errorf("%+v", s)
	}
	d.SetTable(parse(t, "subscriber,plan\nS-1,home\n"), after(10))
	if s := d.Strangers(); s.Lines != 1 || s.Overruled != 0 || s.Example != (Overruled{}) {
		t.Errorf("%+v", s)
	}
}

package subscriber

import (
	"fmt"
	"testing"
)

// One account is one line, however its user name is written.
func TestUserNamesAreOneButForCase(t *testing.T) {
	t.Parallel()
	d := directory(t, "subscriber,plan,circuits\nS-1,home,acct-1\nS-2,home,Twin\nS-3,home,TWIN\nS-4,home,S-5\nS-5,home,dslam_1\n")
	for i, c := range []struct{ user, want string }{
		{"acct-1", "S-1"}, {"Acct-1", "S-1"}, {" ACCT-1\t", "S-1"}, {"s-1", "S-1"}, {"Twin", "S-2"}, {"TWIN", "S-3"}, {"twin", "radius:twin"},
		{"DSLAM 1", "S-5"}, {"s-5", "radius:s-5"}, {"S-5", "S-4"}, {"New@ISP", "radius:new@isp"}, {"new@isp ", "radius:new@isp"}, {"ÉTÉ", "radius:été"},
		{"\xffA", "radius:%FFA"},
	} {
		p := fmt.Sprintf("100.64.9.%d/32", i)
		if _, err := d.Bind(radius(p, "nas|"+p, c.user), t0, t0); err != nil {
			t.Error(err)
		}
		if h, _ := d.Lookup(pfx(p).Addr()); h.ID != c.want {
			t.Errorf("%q is %q, want %q", c.user, h.ID, c.want)
		}
	}
	if _, err := d.Bind(radius("100.64.9.99/32", "nas|99", "  "), t0, t0); err != ErrUnknownLine {
		t.Errorf("a name of blanks: %v", err)
	}
}

// What the API bound keeps the name of its subscriber when the list does not have that one any more.
func TestABindingOfTheAPIKeepsItsName(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Bind(Binding{Prefix: pfx("100.64.9.1/32"), Source: API, Subscriber: "S-1"}, t0, t0)
	d.SetTable(nil, after(1))
	if got := d.Session(API, ""); len(got) != 1 || got[0].Subscriber != "S-1" || d.who("100.64.9.1") != "" {
		t.Errorf("%+v", got)
	}
}

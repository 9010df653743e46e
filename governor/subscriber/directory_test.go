package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	t0   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	addr = netip.MustParseAddr
	pfx  = netip.MustParsePrefix
)

func after(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

const lines = `subscriber,plan,prefixes,circuits,name
S-1,home,100.64.0.11 2001:db8:1::/56,acct-1 02:00:5e:00:53:01,One
S-2,office,100.64.0.12 100.64.8.0/24,acct-2,Two
S-3,home,,olt1/3/7:12 acct-3,Three
`

func directory(t *testing.T, text string) *Directory {
	t.Helper()
	return NewDirectory(parse(t, text))
}

func (d *Directory) who(s string) string {
	h, ok := d.Lookup(addr(s))
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s %s %s %s", h.ID, h.Plan, h.Source, h.Prefix)
}

// at is At by the clock as it was read last.
func (d *Directory) at(a netip.Addr, t time.Time) []Binding {
	if d.readings.last == 0 {
		defer func() { d.readings = readings{} }()
		return d.At(a, t, t.Add(1))
	}
	return d.At(a, t, wall(d.readings.last))
}

func radius(p, session, user string, circuits ...string) Binding {
	return Binding{Prefix: pfx(p), Source: RADIUS, Session: session, User: user, Circuits: circuits, Dated: true}
}

// One home's day: its address changes, the neighbour gets the old one, and who had what is known afterwards.
func TestAddressMovesWithTheLine(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for _, c := range []struct {
		why         string
		at          int
		do          func(at time.Time) (any, error)
		from, to    string
		err         error
		addr, holds string
	}{
		{"the list alone", 0, nil, "", "", nil, "100.64.0.11", "S-1 home csv 100.64.0.11/32"},
		{"a session of a known line begins", 10, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.1/32", "nas!1", "acct-3"), at, at)
		}, "", "S-3", nil, "100.64.9.1", "S-3 home radius 100.64.9.1/32"},
		{"an interim confirms it", 20, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.1/32", "nas!1", "acct-3"), at, at)
		}, "S-3", "S-3", nil, "100.64.9.1", "S-3 home radius 100.64.9.1/32"},
		{"it ends", 30, func(at time.Time) (any, error) { return d.End(RADIUS, "nas!1", at, at), nil },
			"S-3", "", nil, "100.64.9.1", ""},
		{"the line has another address", 31, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.2/32", "nas!2", "acct-3"), at, at)
		}, "", "S-3", nil, "100.64.9.2", "S-3 home radius 100.64.9.2/32"},
		{"the neighbour has the old one", 32, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.1/32", "nas!3", "acct-2"), at, at)
		}, "", "S-2", nil, "100.64.9.1", "S-2 office radius 100.64.9.1/32"},
		{"somebody repeats the first start", 40, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.1/32", "nas!1", "acct-3"), after(10), at)
		}, "S-2", "S-2", ErrStale, "100.64.9.1", "S-2 office radius 100.64.9.1/32"},
		{"a user whom no list has", 50, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.9.3/32", "nas!4", "new user"), at, at)
		}, "", "radius:new%20user", nil, "100.64.9.3", "radius:new%20user  radius 100.64.9.3/32"},
		{"radius knows better than the list", 60, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.8.7/32", "nas!5", "S-1"), at, at)
		}, "S-2", "S-1", nil, "100.64.8.7", "S-1 home radius 100.64.8.7/32"},
		{"the api knows better than radius", 70, func(at time.Time) (any, error) {
			return d.Bind(Binding{Prefix: pfx("100.64.8.7/32"), Source: API, Subscriber: "S-3"}, at, at)
		}, "S-1", "S-3", nil, "100.64.8.7", "S-3 home api 100.64.8.7/32"},
		{"radius does not change that", 80, func(at time.Time) (any, error) {
			return d.Bind(radius("100.64.8.7/32", "nas!6", "S-2"), at, at)
		}, "S-3", "S-3", nil, "100.64.8.7", "S-3 home api 100.64.8.7/32"},
		{"until the api takes it back", 90, func(at time.Time) (any, error) {
			c, _ := d.Unbind(API, pfx("100.64.8.7/32"), at, at)
			return c, nil
		}, "S-3", "S-2", nil, "100.64.8.7", "S-2 office radius 100.64.8.7/32"},
		{"a longer prefix counts more than a better source", 100, func(at time.Time) (any, error) {
			return d.Bind(Binding{Prefix: pfx("2001:db8::/32"), Source: API, Subscriber: "S-2"}, at, at)
		}, "", "S-2", nil, "2001:db8:1::1", "S-1 home csv 2001:db8:1::/56"},
	} {
		if c.do != nil {
			got, err := c.do(after(c.at))
			var change Change
			switch got := got.(type) {
			case Change:
				change = got
			case []Change:
				change = got[0]
			}
			if change.From != c.from || change.To != c.to || !errors.Is(err, c.err) {
				t.Errorf("%s: %+v, %v", c.why, change, err)
			}
		}
		if got := d.who(c.addr); got != c.holds {
			t.Errorf("%s: %s is %q, want %q", c.why, c.addr, got, c.holds)
		}
	}
	for _, c := range []struct {
		addr string
		at   int
		want string
	}{
		{"100.64.9.1", 9, ""}, {"100.64.9.1", 10, "S-3"}, {"100.64.9.1", 29, "S-3"}, {"100.64.9.1", 30, ""}, {"100.64.9.1", 33, "S-2"},
		{"100.64.8.7", 1, "S-2"}, {"100.64.8.7", 65, "S-1 S-2"}, {"100.64.8.7", 75, "S-3 S-1 S-2"}, {"100.64.8.7", 85, "S-3 S-2 S-2"},
		{"100.64.8.7", 95, "S-2 S-2"}, {"2001:db8:1::1", 200, "S-1 S-2"},
	} {
		var got []string
		for _, b := range d.at(addr(c.addr), after(c.at)) {
			got = append(got, b.Subscriber)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s at %d: %q, want %q", c.addr, c.at, s, c.want)
		}
	}
}

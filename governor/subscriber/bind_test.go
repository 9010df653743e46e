package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// What is late, repeated or from a wrong clock.
func TestBindRefusesWhatIsOld(t *testing.T) {
	t.Parallel()
	undated := func(b Binding) Binding { b.Dated = false; return b }
	one, two := radius("100.64.9.1/32", "nas|1", "acct-1"), radius("100.64.9.1/32", "nas|2", "acct-2")
	type step struct {
		why     string
		at, now int // seconds
		b       Binding
		end     bool
		err     error
		holds   string
	}
	for name, story := range map[string][]step{
		"late words": {
			{"begins", 10, 10, one, false, nil, "S-1"},
			{"goes on", 100, 100, one, false, nil, "S-1"},
			{"another's older than that", 90, 101, two, false, ErrStale, "S-1"},
			{"its own older than that", 50, 102, one, false, ErrStale, "S-1"},
			{"the end, older than that", 50, 103, one, true, nil, "S-1"},
			{"another's of the same second", 99, 104, two, false, nil, "S-2"},
			{"an end of who does not have it any more", 105, 105, one, true, nil, "S-2"},
			{"an end", 106, 106, two, true, nil, ""},
		},
		"repeated words, with the time of the sender": {
			{"begins", 10, 10, one, false, nil, "S-1"},
			{"ends", 20, 20, one, true, nil, ""},
			{"the beginning once more", 10, 60, one, false, ErrEnded, ""},
			{"a new beginning under the same name", 70, 70, one, false, nil, "S-1"},
			{"the end once more", 20, 80, one, true, nil, "S-1"},
		},
		"repeated words, without it": {
			{"begins", 10, 10, undated(one), false, nil, "S-1"},
			{"ends", 20, 20, one, true, nil, ""},
			{"the beginning once more", 60, 60, undated(one), false, ErrEnded, ""},
			{"the next one begins", 70, 70, undated(two), false, nil, "S-2"},
			{"the beginning once more", 80, 80, undated(one), false, ErrEnded, "S-2"},
			{"the same name for another line is no repetition", 90, 90, undated(radius("100.64.9.1/32", "nas|1", "acct-3")), false, nil, "S-3"},
			{"a day later it is believed", 20 + 24*3600, 21 + 24*3600, undated(one), false, nil, "S-1"},
		},
		"who lost it to a newer one, and is there still": {
			{"begins", 10, 10, undated(one), false, nil, "S-1"},
			{"another begins", 20, 20, undated(two), false, nil, "S-2"},
			{"the first goes on", 30, 30, undated(one), false, nil, "S-1"},
		},
		"a sender's clock ahead": {
			{"begins five minutes ahead", 310, 10, one, false, nil, "S-1"},
			{"another begins by the right clock", 20, 20, two, false, nil, "S-2"},
			{"the end of the first", 325, 25, one, true, nil, "S-2"},
			{"the beginning once more", 310, 400, one, false, ErrEnded, "S-2"},
		},
		"our clock was ten years ahead": {
			{"begins then", 315360000, 315360000, one, false, nil, "S-1"},
			{"goes on", 315360100, 315360100, one, false, nil, "S-1"},
			{"another begins, the clock is right again", 10, 10, two, false, nil, "S-2"},
			{"and ends", 20, 20, two, true, nil, ""},
		},
		"our clock was ten years ahead, and the session goes on": {
			{"begins then", 315360000, 315360000, one, false, nil, "S-1"},
			{"goes on, the clock is right again", 10, 10, one, false, nil, "S-1"},
			{"and ends", 20, 20, one, true, nil, ""},
		},
		"an end that comes after the next one's beginning": {
			{"begins", 10, 10, undated(one), false, nil, "S-1"},
			{"the next one begins", 20, 20, undated(two), false, nil, "S-2"},
			{"the end of the first", 21, 21, one, true, nil, "S-2"},
			{"the beginning of the first once more", 60, 60, undated(one), false, ErrEnded, "S-2"},
		},
		"no time at all is now": {
			{"begins", -1 << 40, 10, one, false, nil, "S-1"},
			{"another", 20, 20, two, false, nil, "S-2"},
		},
	} {
		d := directory(t, lines)
		for _, s := range story {
			var err error
			at := after(s.at)
			if s.at == -1<<40 {
				at = time.Time{}
			}
			if s.end {
				d.End(RADIUS, s.b.Session, at, after(s.now))
			} else {
				_, err = d.Bind(s.b, at, after(s.now))
			}
			h, _ := d.Lookup(addr("100.64.9.1"))
			if !errors.Is(err, s.err) || err != nil && s.err == nil || h.ID != s.holds {
				t.Errorf("%s: %s: %v, want %v; %q has it, want %q", name, s.why, err, s.err, h.ID, s.holds)
			}
			if left := d.lost[sessionKey{RADIUS, s.b.Session}]; s.end && len(left) > 0 {
				t.Errorf("%s: %s: it still waits for its end", name, s.why)
			}
		}
	}
}

func TestBindRefusesWhatNoCustomerHas(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for _, text := range []string{"0.0.0.0/0", "10.0.0.1/7", "10.0.0.1/24", "127.0.0.1/32", "224.0.0.1/32", "255.255.255.254/32", "0.0.0.0/32", "169.254.1.1/32",
		"::/0", "::1/128", "fe80::1/128", "ff02::1/128", "::ffff:10.0.0.1/128"} {
		if _, err := d.Bind(radius(text, "nas|1", "acct-1"), t0, t0); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
	long := strings.Repeat("x", maxWord+1)
	for why, b := range map[string]Binding{
		"no prefix":       {Source: RADIUS, Session: "nas|1"},
		"no source":       {Prefix: pfx("10.0.0.1/32"), Session: "nas|1"},
		"the list":        {Prefix: pfx("10.0.0.1/32"), Session: "nas|1", Source: CSV},
		"an odd source":   {Prefix: pfx("10.0.0.1/32"), Session: "nas|1", Source: 77},
		"no session":      {Prefix: pfx("10.0.0.1/32"), Source: RADIUS, User: "acct-1"},
		"long session":    {Prefix: pfx("10.0.0.1/32"), Source: RADIUS, Session: long},
		"long user":       {Prefix: pfx("10.0.0.1/32"), Source: RADIUS, Session: "nas|1", User: long},
		"long circuit":    {Prefix: pfx("10.0.0.1/32"), Source: RADIUS, Session: "nas|1", Circuits: []string{long}},
		"many circuits":   {Prefix: pfx("10.0.0.1/32"), Source: RADIUS, Session: "nas|1", Circuits: make([]string, maxCircuits+1)},
		"a long id":       {Prefix: pfx("10.0.0.1/32"), Source: API, Subscriber: long},
		"nothing at all ": {},
	} {
		if c, err := d.Bind(b, t0, t0); !errors.Is(err, ErrInvalid) || c.From != c.To {
			t.Errorf("%s: %+v %v", why, c, err)
		}
	}
	if _, err := d.Bind(Binding{Prefix: pfx("10.0.0.1/32"), Source: API, Subscriber: "S-9"}, t0, t0); !errors.Is(err, ErrUnknownLine) {
		t.Errorf("nobody: %v", err)
	}
	if s := d.Stats(); s.Invalid != 24 || s.Bindings != 0 || len(d.Pending(100)) != 0 {
		t.Errorf("%+v", s)
	}
}

// A lease of a hardware address that nobody has says nothing, until somebody has it.
func TestUnknownLinesWaitForAList(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	leases := []Binding{
		{Prefix: pfx("100.64.9.1/32"), Circuits: []string{"02-00-5E-00-53-01"}},
		{Prefix: pfx("100.64.9.2/32"), Circuits: []string{"02:00:5e:00:53:77", "olt1/3/7:12"}},
		{Prefix: pfx("100.64.9.3/32"), Circuits: []string{"02:00:5e:00:53:99"}},
		{Prefix: pfx("100.64.0.11/32"), Circuits: []string{"02:00:5e:00:53:98"}},
	}
	changes, unknown := d.Replace(Lease, "/leases", leases, after(1))
	if len(changes) != 2 || changes[0].To != "S-1" || changes[1].To != "S-3" || unknown != 2 || d.Stats().Unknown != 2 {
		t.Errorf("%+v, %d unknown", changes, unknown)
	}
	if changes, _ := d.Replace(Lease, "/leases", leases, after(2)); len(changes) != 0 {
		t.Errorf("again: %+v", changes)
	}
	if got := d.who("100.64.0.11"); got != "S-1 home csv 100.64.0.11/32" {
		t.Errorf("an unknown lease outdid the list: %s", got)
	}
	changes = d.SetTable(parse(t, lines+"S-4,home,,02005E005399,Four\n"), after(3))
	if len(changes) != 1 || changes[0] != (Change{pfx("100.64.9.3/32"), "", "S-4", Lease, after(3)}) || d.Stats().Unknown != 1 {
		t.Errorf("%+v", changes)
	}
	if got := d.who("100.64.9.3"); got != "S-4 home lease 100.64.9.3/32" {
		t.Error(got)
	}
	changes, unknown = d.Replace(Lease, "/leases", leases[:1], after(4))
	if len(changes) != 2 || unknown != 0 || d.who("100.64.9.3") != "" || d.Stats().Bindings != 1 {
		t.Errorf("%+v", changes)
	}
	if changes := d.EndOthers(Lease, []string{"/other"}, after(5)); len(changes) != 1 || d.Stats().Bindings != 0 {
		t.Errorf("%+v", changes)
	}
	if got := d.at(addr("100.64.9.3"), after(3)); len(got) != 1 || got[0].Subscriber != "S-4" || !got[0].From.Equal(after(3)) || !got[0].Until.Equal(after(4)) {
		t.Errorf("%+v", got)
	}
}

func TestReplaceByTheAPI(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	changes, unknown := d.Replace(API, "", []Binding{
		{Prefix: pfx("100.64.9.1/32"), Subscriber: "S-1"}, {Prefix: pfx("100.64.9.2/32"), Subscriber: "S-9"},
		{Prefix: pfx("100.64.9.3/32"), Subscriber: "S-2"}, {Prefix: pfx("100.64.9.3/32"), Subscriber: "S-3"}, {Prefix: pfx("127.0.0.1/32"), Subscriber: "S-1"},
	}, t0)
	if len(changes) != 2 || changes[1].To != "S-3" || unknown != 1 || len(d.Session(API, "")) != 2 {
		t.Errorf("%+v, %d", changes, unknown)
	}
}

func TestALeaseMaySayItsBeginning(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Replace(Lease, "/a", []Binding{{Prefix: pfx("100.64.9.1/32"), Circuits: []string{"acct-1"}, From: after(-100)}}, t0)
	d.Replace(Lease, "/b", []Binding{{Prefix: pfx("100.64.9.1/32"), Circuits: []string{"acct-2"}, From: after(-200)}}, after(1))
	if h, _ := d.Lookup(addr("100.64.9.1")); h.ID != "S-1" {
		t.Errorf("the older of two leases decides: %+v", h)
	}
	if got := d.at(addr("100.64.9.1"), after(-50)); len(got) != 2 || got[0].Subscriber != "S-1" || got[1].Subscriber != "S-2" {
		t.Errorf("%+v", got)
	}
	d.Replace(Lease, "/a", nil, after(2))
	if h, _ := d.Lookup(addr("100.64.9.1")); h.ID != "S-2" {
		t.Errorf("%+v", h)
	}
}

// A session's new address takes the place of its old one of the same kind, and of no other.
func TestBindSession(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	now := 0
	event := func(s int, prefixes ...string) string {
		now = max(now, s)
		var all []Binding
		for _, p := range prefixes {
			all = append(all, radius(p, "nas|1", "acct-3"))
		}
		changes, err := d.BindSession(all, after(10*s), after(10*now))
		var b strings.Builder
		for _, c := range changes {
			fmt.Fprintf(&b, "%s %q>%q ", c.Prefix, c.From, c.To)
		}
		if err != nil {
			b.WriteString(err.Error())
		}
		return strings.TrimSpace(b.String())
	}
	for _, c := range []struct {
		at       int
		prefixes string
		want     string
	}{
		{1, "100.64.9.1/32", `100.64.9.1/32 "">"S-3"`},
		{2, "100.64.9.1/32 2001:db8:9::/64 2001:db8:a00::/56", `2001:db8:9::/64 "">"S-3" 2001:db8:a00::/56 "">"S-3"`},
		{3, "2001:db8:9::/64 2001:db8:a00::/56", ""},
		{4, "100.64.9.2/32 2001:db8:9::/64 2001:db8:b00::/56", `100.64.9.2/32 "">"S-3" 2001:db8:b00::/56 "">"S-3" 2001:db8:a00::/56 "S-3">"" 100.64.9.1/32 "S-3">""`},
		{5, "100.64.9.2/32 2001:db8:9::/64 2001:db8:b00::/60", `2001:db8:b00::/56 "S-3">""`},
		{6, "2001:db8:9::/64", ""},
		{7, "2001:db8:b00::/56 2001:db8:c00::/60", `2001:db8:b00::/56 "">"S-3" 2001:db8:c00::/60 "">"S-3"`},
		{8, "2001:db8:b00::/56", `2001:db8:c00::/60 "S-3">""`},
		{9, "10.0.0.1/24 100.64.9.2/32", ErrInvalid.Error()},
		{10, "", ""},
	} {
		got := event(c.at, strings.Fields(c.prefixes)...)
		sortedGot, sortedWant := strings.Fields(got), strings.Fields(c.want)
		if len(sortedGot) != len(sortedWant) {
			t.Errorf("%d: %s, want %s", c.at, got, c.want)
			continue
		}
		for _, w := range sortedWant {
			if !strings.Contains(got, w) {
				t.Errorf("%d: %s, want %s", c.at, got, c.want)
			}
		}
	}
	if got := d.Session(RADIUS, "nas|1"); len(got) != 3 || got[0].Prefix != pfx("100.64.9.2/32") || got[0].User != "acct-3" {
		t.Errorf("%+v", got)
	}
	if got := event(3, "100.64.9.1/32"); got == "" || d.who("100.64.9.2") == "" {
		t.Errorf("a late word: %s", got)
	}
	if got := event(3, "100.64.9.7/32"); got != `100.64.9.7/32 "">"S-3"` || d.who("100.64.9.2") == "" {
		t.Errorf("a late word of another address takes the later one away: %s", got)
	}
	if got := d.EndAll(RADIUS, "nas|", after(120), after(120)); len(got) != 4 || len(d.Session(RADIUS, "nas|1")) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAnAccessServerThatStartsAnewEndsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for i, session := range []string{"10.0.0.1|a", "10.0.0.1|b", "10.0.0.11|a"} {
		d.Bind(radius(fmt.Sprintf("100.64.9.%d/32", i+1), session, "acct-1"), after(10*i), after(10*i))
	}
	if got := d.EndAll(RADIUS, "10.0.0.1|", after(5), after(30)); len(got) != 1 {
		t.Errorf("before the second one began: %+v", got)
	}
	if got := d.EndAll(RADIUS, "10.0.0.1|", after(30), after(30)); len(got) != 1 || d.who("100.64.9.2") != "" || d.who("100.64.9.3") == "" {
		t.Errorf("%+v", got)
	}
}

func TestCircuitsAreComparedAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	tab := parse(t, "subscriber,plan,circuits\na,home,02:00:5e:00:53:01\nb,home,OLT1/3/7:12\nc,home,01:02:00:5E:00:53:02\nd,home,12345\ne,home,user@Example\nf,home,dslam1_atm_1/1:8.35\n")
	for circuit, want := range map[string]string{
		"02:00:5E:00:53:01": "a", "02-00-5e-00-53-01": "a", "02005E005301": "a", "0200.5e00.5301": "a", "02:00:5e:00:53-01": "", "2:0:5e:0:53:1": "",
		"OLT1/3/7:12": "b", "olt1/3/7:12": "", "01-02-00-5e-00-53-02": "c", "12345": "d", "dslam1 atm 1/1:8.35": "f", "dslam1_atm_1/1:8.35": "f", "user@Example": "e", "user@example": "", "": "",
		"02:00:5e:00:53:0g": "", "02:00:5e:00:53:01:": "", "0200.5e00.530g": "",
	} {
		row, ok := tab.circuit(circuit)
		if ok != (want != "") || ok && tab.ID(row) != want {
			t.Errorf("%q: %v %d, want %q", circuit, ok, row, want)
		}
	}
}

func TestLinesThatNoListHas(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"home": "radius:home", "a b": "radius:a%20b", "50%": "radius:50%25", "x\x00\ny": "radius:x%00%0Ay", "bé@x": "radius:bé@x",
		"\xff\xfe": "radius:%FF%FE", "\ufffd": "radius:\ufffd", "10.0.0.0/8": "radius:10.0.0.0/8",
	} {
		if got := lineOf(user); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
	seen := map[string]bool{}
	for _, tail := range []string{"", "a", "b", "é", "é\xff"} {
		for n := range 40 {
			id := lineOf(strings.Repeat("é", 100) + tail + strings.Repeat("x", n))
			if len(id) > 128 || seen[id] || !Unlisted(id) || badID([]byte(strings.TrimPrefix(id, "radius:"))) != "" {
				t.Errorf("%q", id)
			}
			seen[id] = true
		}
	}
	for id, want := range map[string]bool{"S-1": false, "10.0.0.1/32": true, "radius:x": true, "": false, "x/32": false} {
		if Unlisted(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

func TestDirectoryAlone(t *testing.T) {
	t.Parallel()
	d := directory(t, "subscriber,plan,prefixes,circuits\nwide,home,2001:db8:1::/56,w\nguest,home,2001:db8:1:5::7,g\nother,home,,o\n")
	alone := func(want bool, addrs ...string) {
		t.Helper()
		for _, a := range addrs {
			if d.Alone(addr(a)) != want {
				t.Errorf("%s alone: %v", a, !want)
			}
		}
	}
	alone(true, "2001:db8:1::1", "2001:db8:9::1", "192.0.2.1")
	alone(false, "2001:db8:1:5::1", "2001:db8:1:5::7")
	d.Bind(radius("2001:db8:1:5::7/128", "nas|1", "w"), after(1), after(1))
	alone(true, "2001:db8:1:5::1", "2001:db8:1:5::7")
	d.Bind(radius("2001:db8:1::9/128", "nas|2", "o"), after(2), after(2))
	alone(false, "2001:db8:1::1", "2001:db8:1::9")
	d.End(RADIUS, "nas|2", after(3), after(3))
	alone(true, "2001:db8:1::1")
	d.Bind(radius("2001:db8:9::/64", "nas|3", "o"), after(4), after(4))
	alone(true, "2001:db8:9::1")
	d.Bind(radius("2001:db8:9::/80", "nas|4", "nobody's user"), after(5), after(5))
	alone(true, "2001:db8:9::1", "2001:db8:9:0:1::1") // it has nothing in a prefix of a known line
	d.Bind(radius("2001:db8:a::/64", "nas|5", "nobody"), after(6), after(6))
	alone(true, "2001:db8:a::1")
	d.Bind(radius("2001:db8:a::/80", "nas|6", "nobody else"), after(7), after(7))
	alone(false, "2001:db8:a::1", "2001:db8:a:0:1::1")
}

func TestPlansOfTheOperator(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	if err := d.SetPlan("S-9", "office"); !errors.Is(err, ErrUnknownLine) {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"S-1", "radius:x", "100.64.7.7/32"} {
		if err := d.SetPlan(id, "special"); err != nil || d.PlanOf(id) != "special" {
			t.Errorf("%s: %v, %q", id, err, d.PlanOf(id))
		}
	}
	if s, ok := d.ByID("S-1"); !ok || s.Plan != "special" || d.who("100.64.0.11") != "S-1 special csv 100.64.0.11/32" {
		t.Errorf("%+v", s)
	}
	d.SetTable(parse(t, "subscriber,plan\nS-2,home\n"), after(1))
	if d.PlanOf("S-1") != "special" || d.PlanOf("S-2") != "home" || d.PlanOf("S-7") != "" {
		t.Error("a new list changes what the operator chose")
	}
	if err := d.SetPlan("S-1", ""); err != nil || d.PlanOf("S-1") != "" || len(d.Plans()) != 2 {
		t.Errorf("%v, %v", err, d.Plans())
	}
	if err := d.SetPlan("S-1", ""); err != nil {
		t.Error(err)
	}
	full := *d.view.Load()
	full.plans = map[string]string{}
	for i := range MaxPlans {
		full.plans[fmt.Sprintf("radius:%d", i)] = "special"
	}
	d.view.Store(&full)
	if err := d.SetPlan("S-2", "special"); !errors.Is(err, ErrFull) || d.Stats().Plans != MaxPlans {
		t.Errorf("%v", err)
	}
	if err := d.SetPlan("radius:7", "other"); err != nil {
		t.Error(err)
	}
}

// Lookups go on while everything changes, and never see an address held by nobody that somebody always has.
func TestLookupsWaitForNobody(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	other := parse(t, lines+"S-4,home,,acct-4\n")
	d.Bind(radius("100.64.0.11/32", "nas|0", "acct-2"), t0, t0)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if h, ok := d.Lookup(addr("100.64.0.11")); !ok || h.Source != RADIUS || h.ID != "S-2" && h.ID != "S-3" || h.ID == "S-2" && h.Plan != "office" {
					t.Errorf("%+v", h)
					return
				}
				d.Alone(addr("2001:db8:1::1"))
			}
		})
	}
	for i := range 2000 {
		now := after(i + 1)
		d.Bind(radius("100.64.0.11/32", fmt.Sprintf("nas|%d", i), fmt.Sprintf("acct-%d", 2+i%2)), now, now)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 9, byte(i)}), 32)
		d.Bind(Binding{Prefix: p, Source: API, Subscriber: "S-1"}, now, now)
		d.Unbind(API, p, now, now)
		if i%100 == 0 {
			d.SetTable(other, now)
			d.At(addr("100.64.0.11"), now, now)
			d.Pending(100)
		}
	}
	close(stop)
	readers.Wait()
}

func TestLookupAllocatesNothing(t *testing.T) {
	d := directory(t, lines)
	d.Bind(radius("100.64.9.1/32", "nas|1", "someone"), t0, t0)
	d.SetPlan("S-1", "special")
	for _, a := range []string{"100.64.0.11", "100.64.9.1", "2001:db8:1::1", "10.0.0.1", "::ffff:100.64.0.11"} {
		one := addr(a)
		if n := testing.AllocsPerRun(100, func() { d.Lookup(one); d.Alone(one) }); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

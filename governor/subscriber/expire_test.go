package subscriber

import (
	"errors"
	"fmt"
	"testing"
)

// The Stop of a line was lost; who gets its address by DHCP has it once RADIUS has been silent for two days.
func TestASilentRADIUSYieldsToALease(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lease, look, confirmed int // seconds; confirmed 0: never
		want                   string
	}{
		"a lease soon after":                   {hour, hour, 0, "S-1"},
		"a day later":                          {hour, day, 0, "S-1"},
		"two days later":                       {hour, 2*day + 1, 0, "S-3"},
		"a lease that begins years later":      {2 * year, 2 * year, 0, "S-3"},
		"RADIUS goes on":                       {hour, 3 * day, 2 * day, "S-1"},
		"RADIUS came after it and is silent":   {hour, 5 * day, day, "S-1"},
		"silent, and the lease came after all": {3 * day, 5 * day, day, "S-3"},
	} {
		for _, restart := range []bool{false, true} {
			d := directory(t, lines)
			d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, t0)
			for at := hour; at <= c.look; at += hour {
				d.Expire(after(at))
				if at == c.confirmed {
					d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), after(at), after(at))
				}
				if at == c.lease {
					d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit2), after(at))
				}
			}
			if restart {
				k := disk{}
				k.save(d)
				d = directory(t, lines)
				d.Restore(k.each, after(c.look))
			}
			d.Replace(Lease, "/l", lease("100.64.9.1/32", circuit2), after(c.look))
			if h, _ := d.Lookup(addr("100.64.9.1")); h.ID != c.want {
				t.Errorf("%s, restart %v: %s has it, want %s", name, restart, h.ID, c.want)
			}
		}
	}
}

func TestSilentBindingsMakeRoom(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, t0)
	d.Bind(Binding{Prefix: pfx("100.64.9.2/32"), Source: API, Subscriber: "S-1"}, t0, t0)
	for i := range 31 {
		d.Expire(after(i * day))
	}
	d.Bind(radius("100.64.9.3/32", "nas|3", "acct-1"), after(30*day), after(30*day))
	if got := d.EndSilent(after(30*day + 1)); got != nil {
		t.Errorf("there is room: %v", got)
	}
	d.bindings = MaxBindings/4*3 + 1
	if got := d.EndSilent(after(30*day + 1)); len(got) != 1 || got[0].From != "S-1" || got[0].To != "" || d.Stats().Silent != 1 {
		t.Errorf("%v", got)
	}
	for i, want := range []string{"", "S-1", "S-1"} {
		if h, _ := d.Lookup(addr(fmt.Sprintf("100.64.9.%d", i+1))); h.ID != want {
			t.Errorf("%d: %q", i+1, h.ID)
		}
	}
}

// What RADIUS said before a restart is not believed when somebody plays it back after it.
func TestWordsPlayedBackAfterARestart(t *testing.T) {
	t.Parallel()
	k := disk{}
	d := directory(t, lines)
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, t0)
	k.save(d)
	for i := 1; i <= 60; i++ {
		if d.Expire(after(60 * i)); i%10 == 0 {
			d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), after(60*i), after(60*i))
		}
	}
	k.save(d)
	d = directory(t, lines)
	d.Restore(k.each, after(3660))
	d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(4200), after(4200))
	d.End(RADIUS, "nas|2", after(4260), after(4260))
	for _, at := range []int{600, 1800, 3600} {
		if _, err := d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), after(at), after(4400)); !errors.Is(err, ErrEnded) {
			t.Errorf("the word of %d: %v", at, err)
		}
	}
	if _, err := d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), after(4300), after(4400)); err != nil {
		t.Errorf("a word that is new: %v", err)
	}
}

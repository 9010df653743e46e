//go:build qemu

package imagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// triedPorts is what the API says of ports that are tried.
type triedPorts struct {
	Ports *struct {
		Token, Before, After string
		Left                 float64 `json:"left_s"`
	} `json:"ports_trial"`
}

// tries is the trial that goes on.
func (v *visitor) tries(t *testing.T) triedPorts {
	t.Helper()
	var is triedPorts
	if err := v.api("GET", "network", nil, &is); err != nil {
		t.Fatal(err)
	}
	if is.Ports == nil || is.Ports.Left <= 0 || is.Ports.Left > 60 {
		t.Fatalf("nothing is tried: %+v", is.Ports)
	}
	return is
}

// keepsPorts confirms what is tried.
func (v *visitor) keepsPorts(t *testing.T) {
	t.Helper()
	is := v.tries(t)
	t.Logf("%.0f s are left to keep %s, instead of %s", is.Ports.Left, is.Ports.After, is.Ports.Before)
	var now triedPorts
	if err := v.api("POST", "network/confirm", map[string]string{"token": is.Ports.Token}, &now); err != nil || now.Ports != nil {
		t.Fatalf("%+v, %v", now.Ports, err)
	}
}

// bridges waits until the box governs as the bridge that it was, with the configuration of before, and tells why.
func (s *site) bridges(t *testing.T, v *visitor, m *machine, login map[string][]string, why string) {
	t.Helper()
	until(t, "the box is a bridge again", func() error {
		v.comes(t, login)
		var now routes
		var is triedPorts
		if err := errors.Join(v.api("GET", "status", nil, &now), v.api("GET", "network", nil, &is)); err != nil {
			return err
		}
		if now.Bridge == nil || now.Router != nil || !now.Ready || is.Ports != nil {
			return fmt.Errorf("%+v, tried %+v; the console said:\n%s", now, is.Ports, m.said())
		}
		return nil
	})
	until(t, "mail passes the bridge", func() error { return s.client.session("10.99.0.2:25", patience) })
	var is struct{ Text string }
	if err := v.api("GET", "config", nil, &is); err != nil || !strings.Contains(is.Text, "topology: bridge") || strings.Contains(is.Text, "10.99.0.254") || !strings.Contains(is.Text, "# of the operator") {
		t.Errorf("the configuration is %s, %v", is.Text, err)
	}
	var records struct {
		Items []struct{ Text string }
	}
	until(t, "a record says why", func() error {
		if err := v.api("GET", "records?kind=AUDIT&q=network_reverted", nil, &records); err != nil {
			return err
		}
		if len(records.Items) == 0 || !strings.Contains(fmt.Sprint(records.Items), "network_reverted") {
			return fmt.Errorf("%+v", records.Items)
		}
		return nil
	})
	var all any
	if err := v.api("GET", "records?kind=AUDIT&limit=100", nil, &all); err != nil || !strings.Contains(fmt.Sprint(all), why) {
		t.Errorf("no record says %q, %v: %v", why, err, all)
	}
}

// TestPortsThatNobodyKeepsAreTakenBack has a bridge try to be a router: nobody keeps that, and then the power fails while it is tried.
func TestPortsThatNobodyKeepsAreTakenBack(t *testing.T) {
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	s, path := newSite(t), flash(t, *image)
	drive := "format=raw,cache=unsafe,file=" + path
	s.client.gives(t, "inside", []string{calm6 + "/48"}, []string{inside4, inside6})
	m := s.governs(t, drive, "observe")
	v, login := s.firstVisit(t, m)
	text := "# of the operator\nmode: observe\n" + router
	begin := func() {
		t.Helper()
		if waiting := v.configures(t, text); !slices.Contains(waiting, "network.topology") {
			t.Errorf("what waits is %q", waiting)
		}
		from := len(m.said())
		var done any
		if err := v.api("POST", "restart", nil, &done); err != nil {
			t.Fatal(err)
		}
		m.waitFor(t, from, "Other ports are tried.")
		v.comes(t, login)
		is := v.tries(t)
		if !strings.HasPrefix(is.Ports.Before, "bridge; ") || !strings.HasPrefix(is.Ports.After, "routed; subscribers at port2 10.99.0.254/24") {
			t.Errorf("%+v", is.Ports)
		}
		var now routes
		if err := v.api("GET", "status", nil, &now); err != nil || now.Router == nil {
			t.Errorf("it is tried, and is no router: %+v, %v", now, err)
		}
		var has struct{ Revision string }
		if err := v.api("GET", "config", nil, &has); err != nil {
			t.Fatal(err)
		}
		if err := v.api("PUT", "config", map[string]string{"config": strings.Replace(text, "192.0.2.2/29", "192.0.2.3/29", 1), "revision": has.Revision}, &done); err == nil || !strings.Contains(err.Error(), "other ports are tried now") {
			t.Errorf("another shape meanwhile: %v", err)
		}
	}
	begin()
	m.waitFor(t, len(m.said()), "Nobody has kept the ports that are tried: they are taken back.")
	s.bridges(t, v, m, login, "nobody kept them in time")
	if strings.Contains(m.said(), "level=ERROR msg=\"take") {
		t.Errorf("the console said:\n%s", m.said())
	}

	begin()
	m.cut()
	m = twice(t, func() (*machine, error) {
		m := powerOn(t, s.board, drive, nil, s.cables...)
		return m, m.await("governing, mode observe", nil)
	})
	s.bridges(t, v, m, login, "the box or its program began again before anybody kept them")
	if said := m.said(); strings.Contains(said, "routed") || strings.Contains(said, "level=ERROR") {
		t.Errorf("after the power cut the console said:\n%s", said)
	}
}

// TestACardStaysThePortThatItWas has the cards of a box change their slots, and then one of them taken out.
func TestACardStaysThePortThatItWas(t *testing.T) {
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	s, path := newSite(t), flash(t, *image)
	drive := "format=raw,cache=unsafe,file=" + path
	m := s.governs(t, drive, "observe")
	v, login := s.firstVisit(t, m)
	again := func(slots ...int) *machine {
		t.Helper()
		m.cut()
		b := s.board
		b.slots = slots
		m = twice(t, func() (*machine, error) {
			m := powerOn(t, b, drive, nil, s.cables...)
			return m, m.await("; web admin at https://", nil)
		})
		v.comes(t, login)
		return m
	}
	again(2, 0, 1)
	until(t, "mail passes with the cards in other slots", func() error { return s.client.session("10.99.0.2:25", patience) })
	for _, want := range []string{"52:54:00:00:00:01): management", "52:54:00:00:00:02): subscribers, bridged", "52:54:00:00:00:03): internet, bridged"} {
		if said := m.said(); !strings.Contains(said, want) || strings.Contains(said, " is missing") || strings.Contains(said, "another network card") {
			t.Errorf("no %s; the console said:\n%s", want, said)
		}
	}
	again(0, 2)
	const missing = "port2 is missing: its network card 52:54:00:00:00:02 was not found"
	if said := m.said(); !strings.Contains(said, missing) || !strings.Contains(said, "52:54:00:00:00:03): internet, bridged") || strings.Contains(said, "SAFE MODE") {
		t.Errorf("the console said:\n%s", said)
	}
	v.recorded(t, missing)
	var status struct{ Problems []struct{ What string } }
	if err := v.api("GET", "status", nil, &status); err != nil || !slices.ContainsFunc(status.Problems, func(p struct{ What string }) bool { return p.What == missing+"." }) {
		t.Errorf("%+v, %v", status.Problems, err)
	}
	again(0, 1, 2) // as it was: nothing was forgotten
	until(t, "mail passes with all cards", func() error { return s.client.session("10.99.0.2:25", patience) })
	if said := m.said(); strings.Contains(said, " is missing") {
		t.Errorf("the console said:\n%s", said)
	}
}

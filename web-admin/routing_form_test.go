package webadmin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// portsForm is what a browser sends of the ports; more are names and values.
func portsForm(more ...string) url.Values {
	form := url.Values{"topology": {"routed"}, "card": {"lan0", "wan0", "eth2"}, "side-0": {"subscribers"}, "side-1": {"upstream"}, "side-2": {"none"}, "limited": {"25"}, "counted": {"465, 587"}, "addresses": {""}, "routes": {""}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// In the image a router's addresses and routes are set on two pages, and a bridge forgets them.
func TestARouterIsSetUp(t *testing.T) {
	t.Parallel()
	for path, leads := range map[string]string{"/wizard/network": "/wizard/management", "/settings/network/ports": "/settings/network"} {
		box := busyBox()
		s := startServer(t, Options{Source: box})
		cookie := enter(t, s)
		page := strings.TrimSuffix(path, "/ports")
		const addresses, routes = "lan0 192.0.2.1/24\r\n\r\n  wan0   2001:db8::2/64\r\n", "default via 2001:db8::1\r\n2001:db8:8::/48 via fe80::1 at lan0"
		a := send(t, s, cookie, path, portsForm("addresses", addresses, "routes", routes))
		if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || to != leads {
			t.Errorf("%s: %s, to %q: %s", path, a.Status, to, body(t, a))
		}
		if did := box.done(); did != "admin 127.0.0.1 config network.addresses network.routes" {
			t.Errorf("%s: %q", path, did)
		}
		if shown := body(t, get(t, s, page, "Cookie", cookie)); !strings.Contains(shown, "lan0 192.0.2.1/24\nwan0 2001:db8::2/64\n</textarea>") || !strings.Contains(shown, "default via 2001:db8::1\n2001:db8:8::/48 via fe80::1 at lan0\n</textarea>") {
			t.Errorf("%s: what was saved is not shown: %s", page, shown)
		}
		box.waiting = []string{"network.addresses"}
		if shown := body(t, get(t, s, page, "Cookie", cookie)); !strings.Contains(shown, "While the ports change over no mail passes") {
			t.Errorf("%s: nothing says what the restart does: %s", page, shown)
		}
		send(t, s, cookie, path, portsForm("addresses", addresses, "routes", routes))
		if did := box.done(); did != "" {
			t.Errorf("%s: the same again: %q", path, did)
		}
		send(t, s, cookie, path, portsForm("topology", "bridge", "addresses", addresses, "routes", routes))
		if did := box.done(); did != "admin 127.0.0.1 config network.topology network.addresses network.routes" {
			t.Errorf("%s: a bridge: %q", path, did)
		}
		if shown := body(t, get(t, s, page, "Cookie", cookie)); strings.Contains(shown, "192.0.2.1/24\n") {
			t.Errorf("%s: a bridge has addresses: %s", page, shown)
		}
	}
}

func TestWhatIsWrongWithARouterIsShownWhereItWasTyped(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/wizard/network", "/settings/network/ports"} {
		box := busyBox()
		s := startServer(t, Options{Source: box})
		cookie := enter(t, s)
		for _, row := range []struct{ field, typed, says string }{
			{"addresses", "lan0 192.0.2.1/24\nlan0", "line 2: write a port and its address"},
			{"addresses", "lan0 is 192.0.2.1/24", "line 1: write a port and its address"},
			{"addresses", "lan0 wrong", "must not be wrong"},
			{"routes", "default 192.0.2.9", "line 1: write where it leads and the router"},
			{"routes", "default via 192.0.2.9\ndefault via fe80::1 on lan0", "line 2: write where it leads"},
			{"routes", "wrong via 192.0.2.9", "must not be wrong"},
		} {
			a := send(t, s, cookie, path, portsForm(row.field, row.typed))
			page := body(t, a)
			if a.StatusCode != http.StatusBadRequest || !strings.Contains(page, `href="#`+row.field+`"`) || !strings.Contains(page, row.says) || !strings.Contains(page, row.typed+"</textarea>") || box.done() != "" {
				t.Errorf("%s, %q: %s: %s", path, row.typed, a.Status, page)
			}
		}
	}
}

// Elsewhere the machine's own settings give addresses: nothing of them is asked or taken.
func TestElsewhereNobodyIsAskedForAddresses(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.foreign = true
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	if page := body(t, get(t, s, "/wizard/network", "Cookie", cookie)); strings.Contains(page, `name="addresses"`) || strings.Contains(page, `name="routes"`) {
		t.Errorf("it asks for addresses: %s", page)
	}
	send(t, s, cookie, "/wizard/network", portsForm("addresses", "lan0 192.0.2.1/24", "routes", "default via 192.0.2.9"))
	if did := box.done(); did != "" {
		t.Errorf("addresses were taken: %q", did)
	}
	if a := send(t, s, cookie, "/settings/network/ports", portsForm()); a.StatusCode != http.StatusNotFound {
		t.Errorf("the page of the ports: %s", a.Status)
	}
}

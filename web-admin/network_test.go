package webadmin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

func TestAnotherAddressIsTriedAndKept(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	if page := body(t, get(t, s, "/settings/network", "Cookie", cookie)); !strings.Contains(page, "192.0.2.50/24") || !strings.Contains(page, `<option value="dhcp" selected>`) {
		t.Errorf("the settings of now are not there: %s", page)
	}
	form := url.Values{"vlan": {"7"}, "ipv4": {"static"}, "address4": {"192.0.2.10/24"}, "route4": {"192.0.2.1"}, "ipv6": {"static"}, "address6": {"2001:db8::10/64"}, "route6": {""}, "dns": {"192.0.2.53, 192.0.2.54"}}
	if a := send(t, s, cookie, "/settings/network", form); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), `href="#now-network"`) {
		t.Errorf("without the password: %s", a.Status)
	}
	form.Set("now", password)
	a := send(t, s, cookie, "/settings/network", form)
	page := body(t, a)
	const path = "/network/ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if a.StatusCode != http.StatusOK || !strings.Contains(page, `href="https://192.0.2.10:`) || !strings.Contains(page, `href="https://[2001:db8::10]:`) || !strings.Contains(page, path) {
		t.Errorf("%s: nothing says where to go: %s", a.Status, page)
	}
	if did := box.done(); did != "admin 127.0.0.1 tries {VLAN:7 IPv4:192.0.2.10/24 IPv4Gateway:192.0.2.1 IPv6:2001:db8::10/64 IPv6Gateway: DNS:[192.0.2.53 192.0.2.54]}" {
		t.Error(did)
	}
	if page := body(t, get(t, s, "/settings/network", "Cookie", cookie)); !strings.Contains(page, `id="trial"`) {
		t.Error("nothing says that a trial goes on")
	}
	// Nobody is logged in at the new address: the link is enough, and only this one.
	if a := send(t, s, "", "/network/ZYX", nil); a.StatusCode != http.StatusConflict || !strings.Contains(body(t, a), "this change is over") {
		t.Errorf("another token: %s", a.Status)
	}
	if a := get(t, s, path); a.StatusCode != http.StatusOK || !strings.Contains(body(t, a), `action="`+path+`"`) || box.done() != "" {
		t.Errorf("the page to confirm: %s", a.Status)
	}
	if a := send(t, s, "", path, nil); a.StatusCode != http.StatusOK || !strings.Contains(body(t, a), `id="kept"`) {
		t.Errorf("confirmed: %s", a.Status)
	}
	if did := box.done(); did != "127.0.0.1 keeps it, at 127.0.0.1" {
		t.Error(did)
	}
	if a := send(t, s, "", path, nil); a.StatusCode != http.StatusConflict {
		t.Errorf("twice: %s", a.Status)
	}
}

func TestAWrongAddressIsShownWhereItWasTyped(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	for why, row := range map[string]struct {
		form  url.Values
		field string
	}{
		"what the rules refuse": {url.Values{"vlan": {"0"}, "ipv4": {"static"}, "address4": {"nonsense"}, "ipv6": {"auto"}}, "address4"},
		"no number":             {url.Values{"vlan": {"seven"}, "ipv4": {"dhcp"}, "ipv6": {"auto"}}, "vlan"},
	} {
		row.form.Set("now", password)
		a := send(t, s, cookie, "/settings/network", row.form)
		page := body(t, a)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(page, `href="#`+row.field+`"`) || !strings.Contains(page, `value="`+row.form.Get(row.field)+`"`) || box.done() != "" {
			t.Errorf("%s: %s %s", why, a.Status, page)
		}
	}
}

func TestTheNetworkByAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	bearer, cookie := []string{"Authorization", "Bearer " + tokenOf(t, s)}, enter(t, s)
	const settings = `{"vlan":0,"ipv4":"192.0.2.10/24","ipv4_gateway":"","ipv6":"off","ipv6_gateway":"","dns":[]}`
	a := ask(t, s, "POST", "/api/v1/network", settings, bearer...)
	if text := body(t, a); a.StatusCode != 200 || !strings.Contains(text, `"left_s":60`) || !strings.Contains(text, `"token":"ABC`) {
		t.Errorf("%s %s", a.Status, text)
	}
	for now, status := range map[string]int{"": http.StatusBadRequest, `, "now": "` + password + `"`: http.StatusOK} {
		if a := ask(t, s, "POST", "/api/v1/network", strings.TrimSuffix(settings, "}")+now+"}", "Cookie", cookie); a.StatusCode != status {
			t.Errorf("with a session and %q: %s", now, a.Status)
		}
	}
	if text := body(t, get(t, s, "/api/v1/network", bearer...)); !strings.Contains(text, `"left_s":40`) || strings.Contains(text, `"token"`) || !strings.Contains(text, `"addresses":["192.0.2.50/24"`) {
		t.Errorf("%s", text)
	}
	if a := ask(t, s, "POST", "/api/v1/network", strings.Replace(settings, "[]", `"192.0.2.53"`, 1), bearer...); a.StatusCode != 400 || !strings.Contains(body(t, a), "must be a list of strings") {
		t.Errorf("a list that is none: %s", a.Status)
	}
	if a := ask(t, s, "POST", "/api/v1/network/confirm", `{"token":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`, bearer...); a.StatusCode != 200 || !strings.Contains(body(t, a), `"trial":null`) {
		t.Errorf("confirmed: %s", a.Status)
	}
	if a := ask(t, s, "POST", "/api/v1/network/confirm", `{"token":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`, bearer...); a.StatusCode != 400 {
		t.Errorf("twice: %s", a.Status)
	}
}

// triedRouter is a bridge that tries to be a router.
func triedRouter() *PortsTrial {
	return &PortsTrial{Token: "ZYXWVUTSRQPONMLKJIHGFEDCBA", Before: "bridge; subscribers at port2; internet at port3",
		After: "routed; subscribers at port2 10.1.0.1/16 2001:db8:1::1/64; internet at port3 192.0.2.2/29; route to default via 192.0.2.1", Left: Seconds(47 * time.Second)}
}

func TestPortsThatAreTriedAreOnEveryPageAndKept(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	if page := body(t, get(t, s, "/settings/network", "Cookie", cookie)); strings.Contains(page, `id="tried-ports"`) {
		t.Error("nothing is tried, and the page says so")
	}
	box.mu.Lock()
	box.ports = triedRouter()
	box.mu.Unlock()
	for _, path := range []string{"/", "/subscribers", "/records", "/settings/network", "/account"} {
		page := body(t, get(t, s, path, "Cookie", cookie))
		for _, want := range []string{`id="tried-ports"`, "taken back in 47\u00a0s", "bridge; subscribers at port2; internet at port3", "port2 10.1.0.1/16", `action="/settings/network/ports/keep"`} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %s", path, want)
			}
		}
	}
	if page := body(t, get(t, s, "/", "Cookie", enterAs(t, s, "vera", users.Viewer))); !strings.Contains(page, "Unless an admin keeps them they are taken back in 47") || strings.Contains(page, "10.1.0.1/16") || strings.Contains(page, "/ports/keep") {
		t.Errorf("a viewer sees %s", page)
	}
	if a := send(t, s, "", confirmPath(triedRouter().Token), nil); a.StatusCode != http.StatusConflict || box.done() != "" {
		t.Errorf("who is not logged in keeps them: %s", a.Status)
	}
	if page := body(t, get(t, s, "/login")); strings.Contains(page, "10.1.0.1") {
		t.Error("who is not logged in is told")
	}
	if a := send(t, s, cookie, "/settings/network/ports/keep", url.Values{"token": {"GUESSED"}}); a.StatusCode != http.StatusConflict || !strings.Contains(body(t, a), "this change is over") || box.done() != "" {
		t.Errorf("another token: %s", a.Status)
	}
	if a := send(t, s, cookie, "/settings/network/ports/keep", url.Values{"token": {box.ports.Token}}); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/settings/network" {
		t.Errorf("%s", a.Status)
	}
	if did := box.done(); did != "admin 127.0.0.1 keeps the ports" {
		t.Error(did)
	}

	box.mu.Lock()
	box.ports = triedRouter()
	box.mu.Unlock()
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	if text := body(t, get(t, s, "/api/v1/network", bearer...)); !strings.Contains(text, `"ports_trial":{"token":"ZYX`) || !strings.Contains(text, `"left_s":47`) {
		t.Errorf("%s", text)
	}
	if a := ask(t, s, "POST", "/api/v1/network/confirm", `{"token":"ZYXWVUTSRQPONMLKJIHGFEDCBA"}`, bearer...); a.StatusCode != 200 || !strings.Contains(body(t, a), `"ports_trial":null`) {
		t.Errorf("confirmed: %s", a.Status)
	}
}

func TestWhereAddressesAreNotOursNothingOfThemIsShown(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.foreign = true
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	if strings.Contains(body(t, get(t, s, "/settings/backup", "Cookie", cookie)), "/settings/network") {
		t.Error("there is a tab")
	}
	for _, path := range []string{"/settings/network", "/api/v1/network"} {
		if a := get(t, s, path, "Cookie", cookie); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if a := send(t, s, cookie, "/settings/network", url.Values{"ipv4": {"off"}}); a.StatusCode != http.StatusNotFound || box.done() != "" {
		t.Errorf("%s", a.Status)
	}
}

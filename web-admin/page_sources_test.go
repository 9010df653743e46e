package webadmin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The page shows who says whose an address is and how they stand, changes the keys that were changed, and shows no secret.
func TestSourcesOfAddressesAreShownAndChanged(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/settings/sources", "Cookie", cookie))
	for _, want := range []string{"894 by RADIUS, 311 by leases, 1 by the API; 4 of them of nobody&#39;s line", "1,206 subscribers", "there is no plan", "48,211 taken", "41 old, 7 wrong secret", "2 lines",
		"/var/lib/misc/dnsmasq.leases", "1 line is not understood; the first: /var/lib/misc/dnsmasq.leases:12", "<option>/var/lib/kea/kea-leases4.csv</option>", `value="192.0.2.9:1813"`, "(empty: as it is)"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "radius-secret") || strings.Contains(page, "<option>/var/lib/misc/dnsmasq.leases") {
		t.Error("the page names the secret's file, or offers a lease file that is there")
	}
	radius := func(change ...string) url.Values {
		form := url.Values{"listen": {"192.0.2.9:1813"}, "clients": {"192.0.2.1/32"}, "secret": {""}}
		for i := 0; i < len(change); i += 2 {
			form.Set(change[i], change[i+1])
		}
		return form
	}
	leases := url.Values{"index": {"0"}, "path": {"/var/lib/misc/dnsmasq.leases"}}
	for _, c := range []struct {
		why, path string
		form      url.Values
		want      string
		status    int
	}{
		{"nothing", "radius", radius(), "", http.StatusSeeOther},
		{"another address", "radius", radius("listen", "192.0.2.10:1813"), "config identity.radius.listen", http.StatusSeeOther},
		{"a secret", "radius", radius("listen", "192.0.2.10:1813", "secret", "s3cret words here"), "config +radius-secret", http.StatusSeeOther},
		{"access servers and times", "radius", radius("listen", "192.0.2.10:1813", "clients", "192.0.2.1, 198.51.100.0/24", "dated", "1"), "config identity.radius.clients identity.radius.require_timestamp", http.StatusSeeOther},
		{"a wrong one", "radius", radius("listen", "wrong"), "", http.StatusBadRequest},
		{"from another configuration", "radius", radius("listen", "192.0.2.11:1813", "revision", "old"), "", http.StatusBadRequest},
		{"not at all", "radius", radius("listen", "", "dated", "1", "secret", "left in the form"), "config identity.radius.listen identity.radius.secret_file identity.radius.clients identity.radius.require_timestamp", http.StatusSeeOther},
		{"another lease file", "leases", url.Values{"path": {"/var/lib/kea/kea-leases4.csv"}}, "config identity.lease_files[1]", http.StatusSeeOther},
		{"one of one's own", "leases", url.Values{"path": {"/etc/shadow"}}, "", http.StatusBadRequest},
		{"the first lease file goes", "leases/remove", leases, "config identity.lease_files[0]", http.StatusSeeOther},
		{"it is gone", "leases/remove", leases, "", http.StatusBadRequest},
	} {
		a := send(t, s, cookie, "/settings/sources/"+c.path, c.form)
		done, text := box.done(), body(t, a)
		if c.want != "" && done != "admin 127.0.0.1 "+c.want || c.want == "" && done != "" || a.StatusCode != c.status {
			t.Errorf("%s: %s, did %q", c.why, a.Status, done)
		}
		if a.StatusCode == http.StatusBadRequest && !strings.Contains(text, `id="errors"`) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: the page does not say what is wrong, or tells the secret", c.why)
		}
	}
	box.mu.Lock()
	box.bare, box.config = true, strings.NewReplacer(`"192.0.2.9:1813"`, `""`, `"settings.d/radius-secret"`, `""`, `{"path": "/var/lib/misc/dnsmasq.leases", "format": "dnsmasq"}`, "").Replace(fakeConfig)
	box.mu.Unlock()
	page = body(t, get(t, s, "/settings/sources", "Cookie", cookie))
	for _, want := range []string{"It is not listened to.", "No lease file.", "0 subscribers", "<dd>none</dd>"} {
		if !strings.Contains(page, want) {
			t.Errorf("without sources the page lacks %q", want)
		}
	}
}

// The API does what the page does, and tells no secret either.
func TestSourcesOfAddressesByTheAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	var v Sources
	if err := json.NewDecoder(get(t, s, "/api/v1/sources", bearer...).Body).Decode(&v); err != nil || v.RADIUS == nil || v.RADIUS.Taken != 48_211 || len(v.Leases) != 1 || v.Bindings.API != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	for _, c := range []struct {
		sent string
		code int
		did  string
	}{
		{`{"listen":"192.0.2.9:1813","secret":"","clients":["192.0.2.1/32"],"require_timestamp":false}`, 200, ""},
		{`{"listen":"192.0.2.9:1813","secret":"s3cret words here","clients":["192.0.2.1/32"],"require_timestamp":true}`, 200, "admin.token 127.0.0.1 config identity.radius.require_timestamp +radius-secret"},
		{`{"listen":"wrong","secret":"","clients":[],"require_timestamp":true}`, 400, ""},
		{`{"listen":"192.0.2.9:1813","clients":[],"require_timestamp":true}`, 400, ""},
	} {
		a := ask(t, s, "PUT", "/api/v1/sources/radius", c.sent, bearer...)
		if text := body(t, a); a.StatusCode != c.code || box.done() != c.did || strings.Contains(text, "s3cret") {
			t.Errorf("%s: %s %s", c.sent, a.Status, text)
		}
	}
}

package webadmin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// needed is who may do what: each route with the least that it asks for. A route without a line here fails the test, and so does a line
// without a route.
const needed = `
everybody GET    /login
everybody POST   /login
everybody GET    /setup
everybody POST   /setup
everybody GET    /static/{file}
half      GET    /login/code
half      POST   /login/code
half      GET    /login/password
half      POST   /login/password
half      GET    /login/factor
half      POST   /login/factor
viewer    GET    /metrics
viewer    POST   /logout
viewer    GET    /{$}
viewer    GET    /subscribers
viewer    GET    /subscribers/{id}
operator  POST   /subscribers/{id}/release
operator  POST   /subscribers/{id}/release/undo
operator  POST   /subscribers/{id}/exemption
operator  POST   /subscribers/{id}/exemption/end
operator  POST   /subscribers/{id}/plan
viewer    GET    /unmapped
operator  GET    /lookup
viewer    GET    /cases/{id}
viewer    GET    /destinations
viewer    GET    /clusters
viewer    GET    /clusters/{id}
admin     POST   /clusters/{id}/known-good
admin     POST   /clusters/{id}/known-good/end
viewer    GET    /records
viewer    GET    /records/{id}
operator  POST   /syslog/test
viewer    GET    /api/v1/status
viewer    GET    /api/v1/traffic
viewer    GET    /api/v1/subscribers
viewer    GET    /api/v1/subscribers/{id}
viewer    GET    /api/v1/subscribers/{id}/history
operator  POST   /api/v1/subscribers/{id}/release
operator  DELETE /api/v1/subscribers/{id}/release
operator  POST   /api/v1/subscribers/{id}/exemption
operator  DELETE /api/v1/subscribers/{id}/exemption
operator  PATCH  /api/v1/subscribers/{id}
operator  POST   /api/v1/cases/{id}/hold
operator  DELETE /api/v1/cases/{id}/hold
operator  GET    /api/v1/holds
operator  POST   /api/v1/what-if
viewer    GET    /api/v1/cases/{id}
operator  GET    /api/v1/cases/{id}/evidence.zip
viewer    GET    /api/v1/sentences
operator  GET    /api/v1/lookup
viewer    GET    /api/v1/unmapped
viewer    GET    /api/v1/clusters
viewer    GET    /api/v1/clusters/{id}
viewer    GET    /api/v1/destinations
viewer    GET    /api/v1/destinations/starttls-gone
viewer    GET    /api/v1/share
operator  GET    /api/v1/bindings
operator  PUT    /api/v1/bindings
operator  DELETE /api/v1/bindings
operator  POST   /api/v1/syslog/test
operator  POST   /api/v1/notices/test
viewer    GET    /api/v1/plans
viewer    GET    /api/v1/presets
viewer    GET    /api/v1/records
viewer    GET    /api/v1/records/{id}
viewer    GET    /api/v1/records.csv
viewer    GET    /api/v1/records.json
viewer    GET    /api/v1/events
viewer    GET    /api/v1/openapi.json
admin     GET    /api/v1/users
admin     POST   /api/v1/users
admin     PUT    /api/v1/users/{name}
admin     DELETE /api/v1/users/{name}
admin     POST   /api/v1/users/{name}/password
admin     DELETE /api/v1/users/{name}/sessions
admin     DELETE /api/v1/users/{name}/second-factor
viewer    GET    /account
viewer    POST   /account/password
viewer    GET    /account/factor
viewer    POST   /account/factor
viewer    POST   /account/factor/end
viewer    POST   /account/tokens
viewer    POST   /account/tokens/{id}/end
viewer    POST   /account/sessions/end
viewer    POST   /account/sessions/{id}/end
viewer    GET    /plans
admin     POST   /plans
admin     GET    /plans/{name}
admin     POST   /plans/{name}
admin     POST   /plans/{name}/remove
admin     GET    /wizard
admin     GET    /wizard/{name}
admin     POST   /wizard/{name}
admin     GET    /settings/targets
admin     POST   /settings/collectors
admin     POST   /settings/collectors/test
admin     POST   /settings/webhooks
admin     POST   /settings/webhooks/remove
admin     POST   /settings/mail
admin     POST   /settings/notices/test
admin     GET    /settings/network
admin     POST   /settings/network
admin     POST   /settings/network/ports
admin     POST   /settings/network/ports/keep
everybody GET    /network/{token}
everybody POST   /network/{token}
admin     GET    /api/v1/network
admin     POST   /api/v1/network
admin     POST   /api/v1/network/confirm
admin     GET    /settings/reset
admin     POST   /settings/reset
admin     POST   /api/v1/factory-reset
admin     GET    /settings/update
admin     POST   /settings/update
admin     POST   /settings/update/reboot
viewer    GET    /api/v1/recovery
admin     POST   /api/v1/recovery/govern
admin     POST   /api/v1/recovery/off
admin     GET    /api/v1/update
admin     POST   /api/v1/update
admin     POST   /api/v1/update/reboot
admin     GET    /mode
admin     POST   /mode
admin     GET    /api/v1/config/revisions
admin     GET    /settings/sources
admin     POST   /settings/sources/radius
admin     POST   /settings/sources/leases
admin     POST   /settings/sources/leases/remove
admin     GET    /api/v1/sources
admin     PUT    /api/v1/sources/radius
admin     GET    /settings/certificate
admin     GET    /settings/language
admin     POST   /settings/language
admin     POST   /settings/certificate
admin     POST   /settings/certificate/self-signed
admin     GET    /api/v1/certificate
admin     PUT    /api/v1/certificate
admin     POST   /api/v1/certificate/self-signed
admin     GET    /settings/backup
admin     POST   /settings/backup
admin     POST   /settings/restore
admin     POST   /settings/restart
admin     GET    /api/v1/config
admin     PUT    /api/v1/config
admin     POST   /api/v1/config/check
admin     POST   /api/v1/config/subscribers/check
admin     PUT    /api/v1/config/subscribers
admin     POST   /api/v1/backup
admin     POST   /api/v1/restore
admin     POST   /api/v1/restart
admin     GET    /settings/users
admin     POST   /settings/users
admin     GET    /settings/users/{name}
admin     POST   /settings/users/{name}
admin     POST   /settings/users/{name}/password
admin     POST   /settings/users/{name}/factor/end
admin     POST   /settings/users/{name}/sessions/end
admin     POST   /settings/users/{name}/remove
viewer    GET    /api/v1/account
viewer    POST   /api/v1/account/password
viewer    POST   /api/v1/account/second-factor
viewer    PUT    /api/v1/account/second-factor
viewer    DELETE /api/v1/account/second-factor
viewer    POST   /api/v1/account/tokens
viewer    DELETE /api/v1/account/tokens/{id}
viewer    DELETE /api/v1/account/sessions/{id}
socket    GET    /api/v1/setup-code
`

var someone = strings.NewReplacer("{$}", "", "{id}", "S-1044", "{name}", "olga", "{file}", "admin.css")

// Every role at every route with every method. What the routes do is left away: only who gets there is looked at.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	table := map[string]string{} // "METHOD path" to what it needs
	for line := range strings.Lines(needed) {
		if f := strings.Fields(line); len(f) == 3 {
			table[f[1]+" "+f[2]] = f[0]
		}
	}
	s := startServer(t, Options{Source: busyBox()})
	var stubs []route
	methods := map[string][]string{} // of a path
	for _, rt := range routes() {
		key := rt.method + " " + rt.path
		if table[key] == "" {
			t.Errorf("%s has no line in the table: say who may do it", key)
		}
		rt.serve = func(_ *Server, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		stubs = append(stubs, rt)
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for key := range table {
		method, path, _ := strings.Cut(key, " ")
		if !slices.Contains(methods[path], method) {
			t.Errorf("%s is in the table, and there is no such route", key)
		}
	}
	handler := s.mux(stubs, s.guard)

	type caller struct {
		name, role string
		header     []string
		session    bool
	}
	person(t, s, "vera", users.Viewer)
	callers := []caller{{name: "nobody"}, {"a wrong token", "", []string{"Authorization", "Bearer mwt_" + strings.Repeat("A", 43)}, false}, {"the admin token", "admin", []string{"Authorization", "Bearer " + tokenOf(t, s)}, false},
		{"half a login", "", []string{"Cookie", cookieName + "=" + s.logins.begin(loginOf(s, "vera", byCode))}, true}}
	for _, role := range users.Roles {
		name := map[users.Role]string{users.Viewer: "vera", users.Operator: "olga", users.Admin: "anna"}[role]
		person(t, s, name, role)
		callers = append(callers, caller{name, string(role), []string{"Cookie", cookieName + "=" + s.logins.begin(loginOf(s, name, inside))}, true})
	}
	for _, role := range users.Roles { // an API token is never more than its user
		secret, _, err := s.users.AddToken("anna", "test", role, s.opt.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, caller{"anna's token for a " + string(role), string(role), []string{"Authorization", "Bearer " + secret}, false})
	}
	if _, _, err := s.users.AddToken("vera", "test", users.Admin, s.opt.Now().Add(time.Hour)); err == nil {
		t.Error("a viewer made a token for an admin")
	}
	tried := 0
	for _, c := range callers {
		for path, has := range methods {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
				r := httptest.NewRequest(method, someone.Replace(path), nil)
				for i := 0; i < len(c.header); i += 2 {
					r.Header.Set(c.header[i], c.header[i+1])
				}
				s.bearers.fullAt = nil // wrong tokens are throttled elsewhere
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				tried++
				need := table[method+" "+path]
				if method == "HEAD" {
					need = table["GET "+path]
				}
				api := strings.HasPrefix(path, "/api/") || path == "/metrics"
				var want []int
				switch {
				case need == "":
					want = []int{http.StatusMethodNotAllowed}
					if slices.Contains(has, method) || method == "HEAD" && slices.Contains(has, "GET") {
						want = nil // has no line, which was told above
					}
				case need == "everybody":
					want = []int{http.StatusNoContent}
				case c.role != "" && users.Role(c.role).May(users.Role(need)) && (api || c.session):
					want = []int{http.StatusNoContent}
				case need == "half" && c.name == "half a login" && path == "/login/code":
					want = []int{http.StatusNoContent}
				case !api && (!c.session || c.role == "" || need == "half"):
					want = []int{http.StatusSeeOther}
				case c.role == "":
					want = []int{http.StatusUnauthorized}
				default:
					want = []int{http.StatusForbidden}
				}
				if want != nil && !slices.Contains(want, w.Code) {
					t.Errorf("%s: %s %s answers %d, want %v", c.name, method, path, w.Code, want)
				}
			}
		}
	}
	t.Logf("%d callers, %d routes, %d requests", len(callers), len(stubs), tried)
}

// A route that says nothing of who may use it is for nobody.
func TestARouteIsClosedUntilItSaysForWhom(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	handler := s.mux([]route{{method: "GET", path: "/new", serve: func(_ *Server, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "open") }}}, s.guard)
	for _, cookie := range []string{"", enter(t, s)} {
		r := httptest.NewRequest("GET", "/new", nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code == 200 || strings.Contains(w.Body.String(), "open") {
			t.Errorf("with cookie %q it answers %d", cookie, w.Code)
		}
	}
}

// Over the socket the owner asks; the setup code is for nobody else.
func TestTheSetupCodeIsToldOnTheBoxOnly(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	code := s.SetupCode()
	local := httptest.NewRecorder()
	s.localHandler().ServeHTTP(local, httptest.NewRequest("GET", "/api/v1/setup-code", nil))
	if local.Code != 200 || !strings.Contains(local.Body.String(), code) {
		t.Errorf("over the socket: %d %s", local.Code, local.Body)
	}
	if a := get(t, s, "/api/v1/setup-code", "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != http.StatusForbidden || strings.Contains(body(t, a), code) {
		t.Errorf("over the network: %s", a.Status)
	}
	person(t, s, boss, users.Admin)
	local = httptest.NewRecorder()
	s.localHandler().ServeHTTP(local, httptest.NewRequest("GET", "/api/v1/setup-code", nil))
	if local.Code != http.StatusNotFound {
		t.Errorf("once there is a user: %d", local.Code)
	}
}

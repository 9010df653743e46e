package webadmin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/sentences"
	"github.com/mailweir/mailweir/web-admin/users"
)

// access says who may ask for a route: a role, or what is below. The zero value is nobody, so a new route is closed until somebody
// says whom it is for.
type access uint8

const (
	nobody        access = iota
	everybody            // no secret in it
	halfway              // a login at the step that has this page
	viewing              // role viewer and above
	operating            // role operator and above
	administering        // role admin
	owning               // who may open the socket in the data directory
	metricsOnly          // viewing, or as Options.MetricsPublic says for who sends no token
)

// roles are those that an access asks for.
var roles = map[access]users.Role{viewing: users.Viewer, metricsOnly: users.Viewer, operating: users.Operator, administering: users.Admin}

// route is one method on one path. The API's routes carry what the OpenAPI document says of them.
type route struct {
	method, path string
	access       access
	serve        func(*Server, http.ResponseWriter, *http.Request)
	api          *operation // nil for pages
}

const apiRoot = "/api/v1"

// routes is everything that is answered. GET changes nothing.
func routes() []route {
	pages := []route{
		{"GET", "/{$}", viewing, (*Server).overviewPage, nil},
		{"GET", "/subscribers", viewing, (*Server).subscribersPage, nil},
		{"GET", "/subscribers/{id}", viewing, (*Server).subscriberPage, nil},
		{"POST", "/subscribers/{id}/release", operating, (*Server).releaseLine, nil},
		{"POST", "/subscribers/{id}/release/undo", operating, (*Server).unreleaseLine, nil},
		{"POST", "/subscribers/{id}/exemption", operating, (*Server).exemptLine, nil},
		{"POST", "/subscribers/{id}/exemption/end", operating, (*Server).unexemptLine, nil},
		{"POST", "/subscribers/{id}/plan", operating, (*Server).setLinePlan, nil},
		{"GET", "/unmapped", viewing, (*Server).unmappedPage, nil},
		{"GET", "/lookup", operating, (*Server).lookupPage, nil},
		{"GET", "/cases/{id}", viewing, (*Server).casePage, nil},
		{"GET", "/destinations", viewing, (*Server).destinationsPage, nil},
		{"GET", "/clusters", viewing, (*Server).clustersPage, nil},
		{"GET", "/clusters/{id}", viewing, (*Server).clusterPage, nil},
		{"POST", "/clusters/{id}/known-good", administering, (*Server).knowCluster, nil},
		{"POST", "/clusters/{id}/known-good/end", administering, (*Server).forgetCluster, nil},
		{"GET", "/records", viewing, (*Server).recordsPage, nil},
		{"GET", "/records/{id}", viewing, (*Server).recordPage, nil},
		{"POST", "/syslog/test", operating, (*Server).testSyslogPage, nil},
		{"GET", "/login", everybody, (*Server).loginPage, nil},
		{"POST", "/login", everybody, (*Server).login, nil},
		{"GET", "/login/code", halfway, (*Server).codePage, nil},
		{"POST", "/login/code", halfway, (*Server).code, nil},
		{"GET", "/login/password", halfway, (*Server).choosePage, nil},
		{"POST", "/login/password", halfway, (*Server).choose, nil},
		{"GET", "/login/factor", halfway, (*Server).enrolPage, nil},
		{"POST", "/login/factor", halfway, (*Server).enrol, nil},
		{"GET", "/setup", everybody, (*Server).setupPage, nil},
		{"POST", "/setup", everybody, (*Server).firstAdmin, nil},
		{"POST", "/logout", viewing, (*Server).logout, nil},
		{"GET", "/account", viewing, (*Server).accountPage, nil},
		{"POST", "/account/password", viewing, (*Server).setMyPassword, nil},
		{"GET", "/account/factor", viewing, (*Server).myFactorPage, nil},
		{"POST", "/account/factor", viewing, (*Server).setMyFactor, nil},
		{"POST", "/account/factor/end", viewing, (*Server).dropMyFactor, nil},
		{"POST", "/account/tokens", viewing, (*Server).addMyToken, nil},
		{"POST", "/account/tokens/{id}/end", viewing, (*Server).endMyToken, nil},
		{"POST", "/account/sessions/end", viewing, (*Server).endMyOthers, nil},
		{"POST", "/account/sessions/{id}/end", viewing, (*Server).endMySession, nil},
		{"GET", "/plans", viewing, (*Server).plansPage, nil},
		{"POST", "/plans", administering, (*Server).addPlan, nil},
		{"GET", "/plans/{name}", administering, (*Server).planPage, nil},
		{"POST", "/plans/{name}", administering, (*Server).changePlan, nil},
		{"POST", "/plans/{name}/remove", administering, (*Server).removePlan, nil},
		{"GET", "/wizard", administering, (*Server).wizardIndex, nil},
		{"GET", "/wizard/{name}", administering, (*Server).wizardPage, nil},
		{"POST", "/wizard/{name}", administering, (*Server).takeStep, nil},
		{"GET", "/settings/targets", administering, (*Server).targetsPage, nil},
		{"POST", "/settings/collectors", administering, (*Server).setCollectors, nil},
		{"POST", "/settings/collectors/test", administering, (*Server).testCollectors, nil},
		{"POST", "/settings/webhooks", administering, (*Server).addWebhook, nil},
		{"POST", "/settings/webhooks/remove", administering, (*Server).dropWebhook, nil},
		{"POST", "/settings/mail", administering, (*Server).setMail, nil},
		{"POST", "/settings/notices/test", administering, (*Server).testNoticesPage, nil},
		{"GET", "/settings/network", administering, (*Server).networkPage, nil},
		{"POST", "/settings/network", administering, (*Server).tryNetwork, nil},
		{"POST", "/settings/network/ports", administering, (*Server).setPorts, nil},
		{"POST", "/settings/network/ports/keep", administering, (*Server).keepPorts, nil},
		{"GET", "/network/{token}", everybody, (*Server).confirmPage, nil},
		{"POST", "/network/{token}", everybody, (*Server).confirmNetwork, nil},
		{"GET", "/mode", administering, (*Server).modePage, nil},
		{"POST", "/mode", administering, (*Server).setMode, nil},
		{"GET", "/settings/sources", administering, (*Server).sourcesPage, nil},
		{"POST", "/settings/sources/radius", administering, (*Server).setRADIUS, nil},
		{"POST", "/settings/sources/leases", administering, (*Server).addLeases, nil},
		{"POST", "/settings/sources/leases/remove", administering, (*Server).dropLeases, nil},
		{"GET", "/settings/certificate", administering, (*Server).certificatePage, nil},
		{"POST", "/settings/certificate", administering, (*Server).setCertificatePage, nil},
		{"POST", "/settings/certificate/self-signed", administering, (*Server).selfSignedPage, nil},
		{"GET", "/settings/language", administering, (*Server).languagePage, nil},
		{"POST", "/settings/language", administering, (*Server).setLanguage, nil},
		{"GET", "/settings/backup", administering, (*Server).backupPage, nil},
		{"POST", "/settings/backup", administering, (*Server).backup, nil},
		{"POST", "/settings/restore", administering, (*Server).restore, nil},
		{"POST", "/settings/restart", administering, (*Server).restart, nil},
		{"GET", "/settings/update", administering, fromImage((*Server).updatePage), nil},
		{"POST", "/settings/update", administering, fromImage((*Server).installUpdate), nil},
		{"POST", "/settings/update/reboot", administering, fromImage((*Server).reboot), nil},
		{"GET", "/settings/reset", administering, fromImage((*Server).resetPage), nil},
		{"POST", "/settings/reset", administering, fromImage((*Server).reset), nil},
		{"GET", "/settings/users", administering, (*Server).usersPage, nil},
		{"POST", "/settings/users", administering, (*Server).addUserPage, nil},
		{"GET", "/settings/users/{name}", administering, (*Server).userPage, nil},
		{"POST", "/settings/users/{name}", administering, (*Server).setUserPage, nil},
		{"POST", "/settings/users/{name}/password", administering, (*Server).resetPasswordPage, nil},
		{"POST", "/settings/users/{name}/factor/end", administering, (*Server).dropFactorPage, nil},
		{"POST", "/settings/users/{name}/sessions/end", administering, (*Server).endSessionsPage, nil},
		{"POST", "/settings/users/{name}/remove", administering, (*Server).removeUserPage, nil},
		{"GET", "/static/{file}", everybody, (*Server).static, nil},
		{"GET", "/metrics", metricsOnly, (*Server).metrics, nil},
	}
	return append(pages, apiRoutes()...)
}

// handler answers HTTPS: pages, API, metrics.
func (s *Server) handler() http.Handler {
	answered := routes()
	if s.opt.Recovery != nil {
		answered = recoveryRoutes()
	}
	mux := s.mux(answered, s.guard)
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusForbidden, "This request came from another site's page", "Nothing was changed. Open the web admin itself and try again.")
	}))
	return s.outer(cross.Handler(mux))
}

// localHandler answers the socket in the data directory: the API, for whoever may open the socket.
func (s *Server) localHandler() http.Handler {
	answered := apiRoutes()
	if s.opt.Recovery != nil {
		answered = stillThere(answered)
	}
	return s.outer(s.mux(answered, func(rt route, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor{who: "local", from: fromSocket, role: users.Admin})))
		})
	}))
}

// mux routes, with a 405 for a known path and a 404 for an unknown one in the form (problem or page) that fits the path.
func (s *Server) mux(rs []route, guard func(route, http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range rs {
		serve := rt.serve
		mux.Handle(rt.method+" "+rt.path, guard(rt, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(s, w, r) })))
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, allowed := range methods {
		if slices.Contains(allowed, "GET") {
			allowed = append(allowed, "HEAD")
		}
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.refuse(w, r, http.StatusMethodNotAllowed, "This address does not take "+methodWord(r.Method), "It takes "+allow+".")
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.opt.Recovery != nil {
			s.notNow(w, r)
			return
		}
		s.refuse(w, r, http.StatusNotFound, "There is nothing at this address", "The link may be old, or mistyped.")
	})
	return mux
}

func methodWord(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "this method" // whatever the client made up is not repeated
}

// outer is around every answer: headers, the size limit of bodies, and the last word when a handler panics.
func (s *Server) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // not no-referrer: a form's Origin would then be null
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		if s.keeper.operators() {
			h.Set("Strict-Transport-Security", "max-age=31536000") // only with the operator's own certificate: a browser must never be locked out
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.mostOf(r.URL.Path))
		defer func() {
			what := recover()
			if what == nil {
				return
			}
			if what == http.ErrAbortHandler {
				panic(what)
			}
			s.opt.Log.Error("web admin: panic in a handler", "path", r.Pattern, "panic", fmt.Sprint(what), "stack", string(debug.Stack()))
			s.refuse(w, r, http.StatusInternalServerError, "This page broke", "Mail is not affected. The details are in "+logPlace(s.box.FromImage())+".")
		}()
		next.ServeHTTP(w, r)
	})
}

// mostOf is how many bytes may come with a request for a path.
func (s *Server) mostOf(path string) int64 {
	switch path {
	case whatIfPath, apiRoot + "/config", apiRoot + "/config/check":
		return maxConfigBytes
	case "/wizard/subscribers", apiRoot + "/config/subscribers", apiRoot + "/config/subscribers/check":
		return s.opt.LongestList()
	case "/settings/restore", apiRoot + "/restore":
		return maxListBytes
	case "/settings/update", updatePath:
		return maxUpdateBytes
	case "/settings/language":
		return sentences.MaxFile + maxBodyBytes // with what is around it in a form
	case "/settings/collectors", "/wizard/syslog", "/settings/certificate", apiRoot + "/certificate": // with certificates
		return maxCertBytes
	}
	return maxBodyBytes
}

type actorKey struct{}

// actor is who asks, as far as the web admin knows.
type actor struct {
	who    string     // for audit records: "anna 192.0.2.7", "local"
	name   string     // of the user; empty: none, as over the socket and with the admin token
	from   string     // address, or "socket"
	role   users.Role // what they may now
	as     users.User // whom the guard let in
	cookie string     // of the session, if there is one
	at     step       // how far its login is
}

func actorOf(r *http.Request) actor {
	a, _ := r.Context().Value(actorKey{}).(actor)
	return a
}

// person is the actor of a session cookie.
func (s *Server) person(r *http.Request, use bool) (actor, bool) {
	cookie := cookieOf(r)
	l, ok := s.logins.valid(cookie, use)
	if !ok {
		return actor{}, false
	}
	u, ok := s.users.Find(l.user)
	if !ok || u.Disabled || !u.SamePassword(l.as) {
		return actor{}, false
	}
	from := peer(r).String()
	a := actor{as: u, who: u.Name + " " + from, name: u.Name, from: from, cookie: cookie, at: l.at}
	if l.at == inside {
		a.role = u.Role
	}
	return a, true
}

// program is the actor of a bearer token: the admin token, or an API token of a user.
func (s *Server) program(r *http.Request, bearer string) (actor, bool) {
	from := peer(r).String()
	if s.token.is(bearer) {
		return actor{who: "admin.token " + from, from: from, role: users.Admin}, true
	}
	u, t, role, ok := s.users.ByToken(bearer)
	return actor{who: u.Name + "/" + t.Label + " " + from, from: from, role: role}, ok
}

// guard lets in whom rt.access lets in.
func (s *Server) guard(rt route, next http.Handler) http.Handler {
	page := rt.api == nil && rt.access != metricsOnly
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, sent := bearerOf(r)
		if rt.access == everybody || rt.access == metricsOnly && s.opt.MetricsPublic && !sent {
			next.ServeHTTP(w, r)
			return
		}
		var a actor
		var ok bool
		if sent && !page {
			a, ok = s.program(r, bearer)
			if wait := s.bearers.admit(source64(peer(r)), ok); wait > 0 {
				s.tooManyTries(w, r, wait)
				return
			}
			if !ok {
				s.opt.Log.Warn("web admin: wrong bearer token", "from", peer(r))
				w.Header().Set("WWW-Authenticate", `Bearer realm="mailweir", error="invalid_token"`)
				s.refuse(w, r, http.StatusUnauthorized, "This token is not valid", "It may have ended. An API token is made under My account; the box's own stands in admin.token in its data directory.")
				return
			}
		} else {
			a, ok = s.person(r, !byItself(r))
		}
		halfHere := rt.access == halfway && ok && stepPages[a.at] == rt.path
		switch {
		case halfHere || ok && a.role.May(roles[rt.access]):
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
		case ok && a.at != inside && a.cookie != "" && page:
			http.Redirect(w, r, stepPages[a.at], http.StatusSeeOther)
		case rt.access == halfway:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		case ok && (a.at == inside || a.cookie == ""):
			s.refuse(w, r, http.StatusForbidden, "Your role does not allow this", forbidden(rt, a.role))
		case page:
			http.Redirect(w, r, loginURL(r), http.StatusSeeOther)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="mailweir"`)
			s.refuse(w, r, http.StatusUnauthorized, "A token is needed", "Send an API token as Authorization: Bearer, or log in.")
		}
	})
}

// byItself tells whether a page that stays open asked, and not a person: by its script, which says so, or for the events.
func byItself(r *http.Request) bool {
	return r.Header.Get("Mailweir-By-Itself") != "" || r.URL.Path == apiRoot+"/events"
}

func forbidden(rt route, has users.Role) string {
	role, ok := roles[rt.access]
	switch {
	case ok && rt.method == http.MethodGet && rt.api == nil:
		return fmt.Sprintf("This page needs the role %s; yours is %s. An admin can do there what you want done, or give you the role (Settings, Users).", role, has)
	case ok:
		return fmt.Sprintf("It needs the role %s; yours is %s. Nothing was changed.", role, has)
	}
	return "This is answered on the box itself only: see mailweir users --help. Nothing was changed."
}

// bearerOf is the bearer token that r came with. The scheme's case is free (RFC 9110 section 11.1).
func bearerOf(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}

func (s *Server) tooManyTries(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	s.later(w, r, wait, "Too many wrong tries", "Try again in %d s.")
}

// later answers 429. when says when to come again, with the seconds.
func (s *Server) later(w http.ResponseWriter, r *http.Request, wait time.Duration, title, when string) {
	seconds := int(wait/time.Second) + 1
	w.Header().Set("Retry-After", fmt.Sprint(seconds))
	s.refuse(w, r, http.StatusTooManyRequests, title, fmt.Sprintf(when, seconds))
}

// peer is the address of the other end of the connection. Forwarding headers are not believed: anybody can write one.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// refuse answers an error as a problem to the API's callers and as a page to people.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, title, detail string) {
	if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics" {
		problem(w, status, title, detail)
		return
	}
	s.render(w, r, status, "error", frame{Title: title}, detail)
}

// metrics hands over to the box's figures, whose labels are masked for viewers like all else.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	figures := s.opt.MetricsMasked
	if actorOf(r).role.May(users.Operator) {
		figures = s.opt.Metrics
	}
	if figures == nil {
		s.refuse(w, r, http.StatusNotFound, "There are no metrics", "admin.metrics is off in the configuration.")
		return
	}
	figures.ServeHTTP(w, r)
}

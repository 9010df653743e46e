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
)

// access says who may ask for a route. The zero value asks for a login, so a new route is closed until somebody opens it.
type access uint8

const (
	loggedIn    access = iota // a session; without one a page sends to the login page
	byToken                   // a session or a bearer token; without them a 401 problem
	everybody                 // no secret in it
	metricsOnly               // as Options.MetricsPublic says
)

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
		{"GET", "/{$}", loggedIn, (*Server).overviewPage, nil},
		{"GET", "/subscribers", loggedIn, (*Server).subscribersPage, nil},
		{"GET", "/subscribers/{id}", loggedIn, (*Server).subscriberPage, nil},
		{"POST", "/subscribers/{id}/release", loggedIn, (*Server).releaseLine, nil},
		{"POST", "/subscribers/{id}/exemption", loggedIn, (*Server).exemptLine, nil},
		{"POST", "/subscribers/{id}/exemption/end", loggedIn, (*Server).unexemptLine, nil},
		{"POST", "/subscribers/{id}/plan", loggedIn, (*Server).setLinePlan, nil},
		{"GET", "/unmapped", loggedIn, (*Server).unmappedPage, nil},
		{"GET", "/lookup", loggedIn, (*Server).lookupPage, nil},
		{"GET", "/cases/{id}", loggedIn, (*Server).casePage, nil},
		{"GET", "/records", loggedIn, (*Server).recordsPage, nil},
		{"POST", "/syslog/test", loggedIn, (*Server).testSyslogPage, nil},
		{"GET", "/login", everybody, (*Server).loginPage, nil},
		{"POST", "/login", everybody, (*Server).login, nil},
		{"POST", "/logout", loggedIn, (*Server).logout, nil},
		{"GET", "/static/{file}", everybody, (*Server).static, nil},
		{"GET", "/metrics", metricsOnly, (*Server).metrics, nil},
	}
	return append(pages, apiRoutes()...)
}

// handler answers HTTPS: pages, API, metrics.
func (s *Server) handler() http.Handler {
	mux := s.mux(routes(), s.guard)
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusForbidden, "This request came from another site's page", "Nothing was changed. Open the web admin itself and try again.")
	}))
	return s.outer(cross.Handler(mux))
}

// localHandler answers the socket in the data directory: the API, for whoever may open the socket.
func (s *Server) localHandler() http.Handler {
	return s.outer(s.mux(apiRoutes(), func(rt route, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor{who: "local"})))
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
		if s.keeper.dir == "" {
			h.Set("Strict-Transport-Security", "max-age=31536000") // only with the operator's own certificate: a browser must never be locked out
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		defer func() {
			what := recover()
			if what == nil {
				return
			}
			if what == http.ErrAbortHandler {
				panic(what)
			}
			s.opt.Log.Error("web admin: panic in a handler", "path", r.Pattern, "panic", fmt.Sprint(what), "stack", string(debug.Stack()))
			s.refuse(w, r, http.StatusInternalServerError, "This page broke", "Mail is not affected. The log has the details.")
		}()
		next.ServeHTTP(w, r)
	})
}

type actorKey struct{}

// actor is who asks, as far as the web admin knows.
type actor struct {
	who    string // for audit records
	cookie string // of the session, if there is one
}

func actorOf(r *http.Request) actor {
	a, _ := r.Context().Value(actorKey{}).(actor)
	return a
}

// guard lets in whoever rt.access lets in.
func (s *Server) guard(rt route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.access == everybody || rt.access == metricsOnly && s.opt.MetricsPublic {
			next.ServeHTTP(w, r)
			return
		}
		from := peer(r)
		a := actor{who: "admin " + from.String()}
		if bearer, ok := bearerOf(r); ok && rt.access != loggedIn {
			right := s.token.is(bearer)
			if wait := s.bearers.admit(from, right); wait > 0 {
				s.tooManyTries(w, r, wait)
				return
			}
			if !right {
				s.opt.Log.Warn("web admin: wrong bearer token", "from", from)
				w.Header().Set("WWW-Authenticate", `Bearer realm="mailweir", error="invalid_token"`)
				s.refuse(w, r, http.StatusUnauthorized, "This token is not valid", "The token stands in admin.token in the box's data directory.")
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
			return
		}
		a.cookie = cookieOf(r)
		switch {
		case s.logins.valid(a.cookie, true):
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
		case rt.access == loggedIn:
			http.Redirect(w, r, loginURL(r), http.StatusSeeOther)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="mailweir"`)
			s.refuse(w, r, http.StatusUnauthorized, "A token is needed", "Send the token as Authorization: Bearer, or log in. It stands in admin.token in the box's data directory.")
		}
	})
}

// bearerOf is the bearer token that r came with. The scheme's case is free (RFC 9110 section 11.1).
func bearerOf(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}

func (s *Server) tooManyTries(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := int(wait/time.Second) + 1
	w.Header().Set("Retry-After", fmt.Sprint(seconds))
	s.refuse(w, r, http.StatusTooManyRequests, "Too many wrong tokens from this address", fmt.Sprintf("Try again in %d s.", seconds))
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

// metrics hands over to the operator's collectors.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.opt.Metrics == nil {
		s.refuse(w, r, http.StatusNotFound, "There are no metrics", "admin.metrics is off in the configuration.")
		return
	}
	s.opt.Metrics.ServeHTTP(w, r)
}

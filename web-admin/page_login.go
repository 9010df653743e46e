package webadmin

import (
	"net/http"
	"net/url"
	"strings"
)

// cookieName's prefix makes browsers insist on Secure, Path=/ and no Domain.
const cookieName = "__Host-mailweir"

func cookieOf(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

func sessionCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// loginURL is the login page, which leads back to the page that was asked for.
func loginURL(r *http.Request) string {
	if r.Method != http.MethodGet || r.URL.RequestURI() == "/" {
		return "/login"
	}
	return "/login?next=" + url.QueryEscape(r.URL.RequestURI())
}

// ownPage is next if it is a page of ours, or the overview: a login must not lead to another site.
func ownPage(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

type loginView struct {
	Next  string
	Error string
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	next := ownPage(r.URL.Query().Get("next"))
	if s.logins.valid(cookieOf(r), false) {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "login", frame{Title: "Log in"}, loginView{Next: next})
}

// login takes the token and begins a session under a new cookie, whatever cookie came with the request.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	from := peer(r)
	next := ownPage(r.PostFormValue("next"))
	right := s.token.is(strings.TrimSpace(r.PostFormValue("token")))
	if wait := s.doors.admit(from, right); wait > 0 {
		s.opt.Log.Warn("web admin: login refused", "from", from, "reason", "too many tries")
		s.opt.Audit(AuditEvent{What: "login refused", From: from.String(), Why: "too many tries"})
		s.tooManyTries(w, r, wait)
		return
	}
	if !right {
		s.opt.Log.Warn("web admin: login refused", "from", from, "reason", "wrong token")
		s.opt.Audit(AuditEvent{What: "login refused", From: from.String(), Why: "wrong token"})
		s.render(w, r, http.StatusUnauthorized, "login", frame{Title: "Log in"}, loginView{Next: next, Error: "This is not the box's token."})
		return
	}
	s.logins.end(cookieOf(r))
	http.SetCookie(w, sessionCookie(s.logins.begin(), int(sessionLife.Seconds())))
	s.opt.Log.Info("web admin: login", "from", from)
	s.opt.Audit(AuditEvent{What: "login", From: from.String()})
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.logins.end(cookieOf(r))
	http.SetCookie(w, sessionCookie("", -1))
	from := peer(r)
	s.opt.Log.Info("web admin: logout", "from", from)
	s.opt.Audit(AuditEvent{What: "logout", From: from.String()})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

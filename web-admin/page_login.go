package webadmin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
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
	return withNext("/login", r.URL.RequestURI())
}

func withNext(path, next string) string {
	if next == "/" {
		return path
	}
	return path + "?next=" + url.QueryEscape(next)
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

// loginView is what the pages of a login need: what was typed, and what was wrong with it.
type loginView struct {
	Next, Name, Error string
	Min               int    // characters of a password
	Ended             bool   // a page was open when the login ended
	Clock             string // what the box's clock shows, where it is not set: codes of apps do not fit then
}

// stepPages are where a login that is not complete goes on.
var stepPages = map[step]string{byCode: "/login/code", byChange: "/login/password", byEnrol: "/login/factor"}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	next := ownPage(r.URL.Query().Get("next"))
	if !s.users.Any() {
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
		return
	}
	if l, ok := s.logins.valid(cookieOf(r), false); ok && l.at == inside {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "login", frame{Title: "Log in"}, loginView{Next: next, Ended: r.URL.Query().Has("ended"), Clock: s.unsetClock()})
}

// login takes name and password and begins a session under a new cookie, whatever cookie came with the request.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	v := loginView{Next: ownPage(r.PostFormValue("next")), Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))}
	a := actor{from: peer(r).String()}
	u, right, wait, err := s.tryPassword(r, v.Name, r.PostFormValue("password"))
	switch {
	case wait > 0:
		s.refusedLogin(a, v.Name, "too many tries")
		s.tooManyTries(w, r, wait)
	case errors.Is(err, users.ErrBusy):
		w.Header().Set("Retry-After", "2")
		s.refuse(w, r, http.StatusServiceUnavailable, "Too many people log in at this moment", "Try again in a few seconds. Mail is not affected.")
	case err != nil: // the caller has gone
	case !right:
		s.refusedLogin(a, v.Name, "wrong name or password")
		v.Error, v.Clock = "The name or the password is wrong.", s.unsetClock()
		s.render(w, r, http.StatusUnauthorized, "login", frame{Title: "Log in"}, v)
	default:
		at := inside
		if u.HasFactor {
			at = byCode
		}
		s.goOn(w, r, u, at, v.Next)
	}
}

// refusedLogin tells of a login that was refused. The name is told only if somebody has it: people type passwords there.
func (s *Server) refusedLogin(a actor, name, why string) {
	if _, known := s.users.Find(name); !known {
		name = "nobody"
	}
	a.who = name + " " + a.from
	s.refusals.add(refusal{a, name, why})
}

// tellRefused makes a record of a login that was refused, and of more that were for the same reason.
func (s *Server) tellRefused(one refusal, more int, since time.Time) {
	if more > 0 {
		one.why = fmt.Sprintf("%s; this one and %d more since %s, from whatever address and by whatever name", one.why, more, since.UTC().Format(time.RFC3339))
	}
	s.opt.Log.Warn("web admin: login refused", "from", one.by.from, "user", one.name, "reason", one.why)
	s.tell(one.by, "login_refused", one.name, "", one.why)
}

// try has something that is asked of who logs in looked at as often as the throttles let it: by tries for the name, and by the address.
// wait is how long they ask for; nothing was looked at then.
func (s *Server) try(r *http.Request, name string, tries *throttle[string], look func(known bool) (right bool, err error)) (right bool, wait time.Duration, err error) {
	_, exists := s.users.Find(name)
	from, account := source64(peer(r)), accountKey(s.users.Key(), name, exists)
	known := s.knownBrowser(r, name)
	if known != "" {
		account = known
	} else if wait = s.doors.charge(from); wait > 0 {
		return false, wait, nil
	}
	back := func() {
		if known == "" {
			s.doors.refund(from)
		}
	}
	if wait = tries.charge(account); wait > 0 {
		back()
		return false, wait, nil
	}
	right, err = look(known != "")
	if right || err != nil {
		back()
		tries.refund(account)
	}
	return right, 0, err
}

// tryPassword checks a password.
func (s *Server) tryPassword(r *http.Request, name, password string) (u users.User, right bool, wait time.Duration, err error) {
	right, wait, err = s.try(r, name, s.accounts, func(known bool) (right bool, err error) {
		u, right, err = s.users.Check(r.Context(), name, password, known)
		return right, err
	})
	return u, right, wait, err
}

// tryCode checks the code of a second factor. Who is asked for one has the password, and begins a login anew as often as they like: it is
// the name and the address that the wrong ones are counted for.
func (s *Server) tryCode(r *http.Request, name, code string) (recovered, right bool, wait time.Duration, err error) {
	right, wait, err = s.try(r, name, s.codes, func(bool) (right bool, err error) {
		recovered, right, err = s.users.CheckFactor(name, code)
		return right, err
	})
	return recovered, right, wait, err
}

// goOn takes a login a step further, and leads to the page that the step has.
func (s *Server) goOn(w http.ResponseWriter, r *http.Request, u users.User, at step, next string) {
	if at = s.begin(w, r, u, at); at != inside {
		next = withNext(stepPages[at], next)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// begin gives a login that has reached at a new cookie; the session that r came with ends. Who must still choose a password or set up a
// second factor is not inside yet: begin says where they are.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, u users.User, at step) step {
	if at == inside {
		switch {
		case u.MustChange:
			at = byChange
		case u.NeedsFactor && !u.HasFactor && s.unsetClock() == "":
			at = byEnrol
		} // with a clock that is not set nobody can set one up, and whoever has the password could as well: better in than locked out
	}
	s.logins.end(cookieOf(r))
	from := peer(r)
	cookie := s.logins.begin(login{user: u.Name, as: u, at: at, from: from, agent: inert(r.UserAgent())})
	http.SetCookie(w, sessionCookie(cookie, int(sessionLife.Seconds())))
	if at == inside {
		http.SetCookie(w, s.knownCookie(u))
		s.opt.Log.Info("web admin: login", "from", from, "user", u.Name)
		as := string(u.Role)
		if u.NeedsFactor && !u.HasFactor {
			as += ", without the second factor that is needed: the clock is not set"
		}
		s.tell(actor{who: u.Name + " " + from.String(), from: from.String()}, "login", u.Name, "", as)
	}
	return at
}

func (s *Server) codePage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "code", frame{Title: "Second factor"}, loginView{Next: ownPage(r.URL.Query().Get("next")), Clock: s.unsetClock()})
}

// code takes the second factor.
func (s *Server) code(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	v := loginView{Next: ownPage(r.PostFormValue("next"))}
	recovered, ok, wait, err := s.tryCode(r, a.name, r.PostFormValue("code"))
	switch {
	case wait > 0:
		s.refusedLogin(a, a.name, "too many tries")
		s.tooManyTries(w, r, wait)
		return
	case err != nil:
		s.broken(w, r, err, "The code could not be taken")
		return
	case !ok:
		s.refusedLogin(a, a.name, "wrong code")
		if s.logins.wrongCode(a.cookie) {
			http.Redirect(w, r, withNext("/login", v.Next), http.StatusSeeOther)
			return
		}
		v.Error, v.Clock = "This is not the code of now, or it was taken before. Wait for the next one; your app's clock and the box's have to say the same, and the box's says "+s.clockShows()+".", s.unsetClock()
		if v.Clock != "" {
			v.Error = "This is none of your recovery codes that are left."
		}
		s.render(w, r, http.StatusUnauthorized, "code", frame{Title: "Second factor"}, v)
		return
	}
	u, there := s.users.Find(a.name)
	if !there || u.Disabled || !u.SamePassword(a.as) {
		s.logins.end(a.cookie)
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	if recovered {
		s.tell(a, "recovery_code", a.name, "", count(u.RecoveryLeft, "code left", "codes left"))
	}
	s.goOn(w, r, u, inside, v.Next)
}

func (s *Server) choosePage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "choose", frame{Title: "Choose a password"}, loginView{Next: ownPage(r.URL.Query().Get("next")), Name: actorOf(r).name, Min: users.MinPassword})
}

// choose takes the password that somebody chooses in place of one that others know.
func (s *Server) choose(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	v := loginView{Next: ownPage(r.PostFormValue("next")), Name: a.name, Min: users.MinPassword}
	u, wrong, err := s.changePassword(r.Context(), a, r.PostFormValue("password"), r.PostFormValue("again"))
	switch {
	case err != nil:
		s.broken(w, r, err, "The password was not changed")
	case wrong != "":
		v.Error = wrong
		s.render(w, r, http.StatusBadRequest, "choose", frame{Title: "Choose a password"}, v)
	default:
		s.goOn(w, r, u, inside, v.Next)
	}
}

// changePassword gives the actor another password and ends all sessions of theirs; the caller begins a new one.
func (s *Server) changePassword(ctx context.Context, a actor, password, again string) (u users.User, wrong string, err error) {
	if password != again {
		return u, "The two are not the same.", nil
	}
	if _, same, err := s.users.Check(ctx, a.name, password, true); err != nil {
		return u, "", err
	} else if same {
		return u, "This is the password of now.", nil
	}
	u, err = s.users.ChangePassword(a.as, password)
	if refused, ok := errors.AsType[users.Refused](err); ok {
		return u, "Password: " + refused.Message + ".", nil
	}
	if err != nil {
		return u, "", err
	}
	ended := s.logins.endAll(a.name, "")
	s.tell(a, "password", a.name, "", "changed, "+count(ended, "session ended", "sessions ended"))
	return u, "", nil
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	s.logins.end(a.cookie)
	http.SetCookie(w, sessionCookie("", -1))
	s.opt.Log.Info("web admin: logout", "from", a.from, "user", a.name)
	s.tell(a, "logout", a.name, "", "")
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// broken says that something could not be written.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error, not string) {
	s.opt.Log.Error("web admin: "+not, "err", err)
	s.refuse(w, r, http.StatusInternalServerError, not, "Nothing was changed: "+err.Error()+". Mail is not affected.")
}

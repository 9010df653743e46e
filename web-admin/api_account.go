package webadmin

import (
	"errors"
	"net/http"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Account is who asks: GET /api/v1/account.
type Account struct {
	User     User           `json:"user"`
	Sessions []LoginSession `json:"sessions"`
	Tokens   []APIToken     `json:"tokens"`
	clockBody
}

// clockBody says of times that they are by a clock which is not set.
type clockBody struct {
	Clock string `json:"clock_not_set,omitempty"` // what it shows, and what that means; empty: it is
}

// LoginSession is a login from somewhere.
type LoginSession struct {
	ID    string `json:"id"`
	From  string `json:"from"`
	Agent string `json:"agent"` // the browser, as it calls itself
	Start Time   `json:"start"`
	Used  Time   `json:"used"`
	Here  bool   `json:"here"` // the one that asks
}

// APIToken is an API token of a user, without the token.
type APIToken struct {
	ID      string `json:"id"`
	Label   string `json:"label"`
	Role    string `json:"role"`
	Created Time   `json:"created"`
	Expires Time   `json:"expires"`
	Over    bool   `json:"over"` // it has ended
}

// TokenMade is a new API token: it is told once.
type TokenMade struct {
	Token  APIToken `json:"token"`
	Secret string   `json:"secret"`
	clockBody
}

// FactorOffer is a second factor that is being set up.
type FactorOffer struct {
	Secret string `json:"secret"` // base32
	URI    string `json:"uri"`    // otpauth, for a QR code
}

// RecoveryCodes are told once.
type RecoveryCodes struct {
	Codes []string `json:"codes"`
}

type (
	ownPasswordBody struct {
		Now      string `json:"now"` // the password of now
		Password string `json:"password"`
	}
	codeBody struct {
		Now  string `json:"now"` // the password of now
		Code string `json:"code"`
	}
	nowBody struct {
		Now string `json:"now"` // the password of now
	}
	tokenBody struct {
		Now     string `json:"now"` // the password of now
		Label   string `json:"label"`
		Role    string `json:"role"`
		Expires string `json:"expires" format:"date-time"`
	}
)

// accountRoutes are for logins in a browser: a token has no password that could be asked for again, so one that is found out makes no other ones, and
// changes no password nor second factor. What would outlive a browser that somebody left open asks for the password.
func accountRoutes() []route {
	const only = "; only with the session of a login"
	return []route{
		{"GET", apiRoot + "/account", viewing, ownOnly((*Server).apiAccount), &operation{summary: "Who asks, with their logins and tokens" + only, answer: Account{}}},
		{"POST", apiRoot + "/account/password", viewing, ownOnly((*Server).apiMyPassword), &operation{summary: "Change one's own password; all logins end, this one too" + only, body: ownPasswordBody{}, answer: User{}}},
		{"POST", apiRoot + "/account/second-factor", viewing, ownOnly((*Server).apiOfferFactor), &operation{summary: "A secret for a second factor, which holds once a code of it is sent" + only, answer: FactorOffer{}}},
		{"PUT", apiRoot + "/account/second-factor", viewing, ownOnly((*Server).apiSetMyFactor), &operation{summary: "Set up that second factor; the recovery codes are told once" + only, body: codeBody{}, answer: RecoveryCodes{}}},
		{"DELETE", apiRoot + "/account/second-factor", viewing, ownOnly((*Server).apiDropMyFactor), &operation{summary: "Go without a second factor; all logins end, this one too" + only, body: nowBody{}, answer: User{}}},
		{"POST", apiRoot + "/account/tokens", viewing, ownOnly((*Server).apiAddToken), &operation{summary: "Make an API token with at most one's own role, for at most 366 days; it is told once" + only, body: tokenBody{}, answer: TokenMade{}}},
		{"DELETE", apiRoot + "/account/tokens/{id}", viewing, ownOnly((*Server).apiEndToken), &operation{summary: "End an API token" + only, answer: Account{}}},
		{"DELETE", apiRoot + "/account/sessions/{id}", viewing, ownOnly((*Server).apiEndSession), &operation{summary: "End one of one's own logins" + only, answer: Account{}}},
	}
}

// ownOnly lets in who comes with the session of a login.
func ownOnly(serve func(*Server, http.ResponseWriter, *http.Request)) func(*Server, http.ResponseWriter, *http.Request) {
	return func(s *Server, w http.ResponseWriter, r *http.Request) {
		if actorOf(r).cookie == "" {
			problem(w, http.StatusForbidden, "This needs a login", "A token has no account. Log in in a browser.")
			return
		}
		serve(s, w, r)
	}
}

func tokenViewOf(t users.Token) APIToken {
	return APIToken{t.ID, t.Label, string(t.Role), At(t.Created), At(t.Expires), t.Over}
}

// clockNote says that tokens hold by a clock that is not set, if it is not.
func (s *Server) clockNote() (b clockBody) {
	if shows := s.unsetClock(); shows != "" {
		b.Clock = tokensByClock(shows)
	}
	return b
}

func (s *Server) apiAccount(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	u, _ := s.users.Find(a.name)
	v := Account{User: s.userView(u), Sessions: []LoginSession{}, Tokens: []APIToken{}, clockBody: s.clockNote()}
	here, _ := s.logins.valid(a.cookie, false)
	for _, l := range s.logins.of(a.name) {
		v.Sessions = append(v.Sessions, LoginSession{l.id, l.from.String(), l.agent, At(l.start), At(l.used), l.id == here.id})
	}
	for _, t := range u.Tokens {
		v.Tokens = append(v.Tokens, tokenViewOf(t))
	}
	writeJSON(w, http.StatusOK, v)
}

// passwordWas checks the password of now in a body; it answers when it is wrong.
func (s *Server) passwordWas(w http.ResponseWriter, r *http.Request, now string) bool {
	_, right, wait, err := s.tryPassword(r, actorOf(r).name, now)
	switch {
	case wait > 0:
		s.tooManyTries(w, r, wait)
	case err != nil:
		problem(w, http.StatusServiceUnavailable, "The password could not be checked", err.Error())
	case !right:
		badValues(w, []fieldError{{Field: "now", Message: "is not the password of now"}})
	default:
		return true
	}
	return false
}

func (s *Server) apiMyPassword(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	now, password := b.secret("now"), b.secret("password")
	if b.refused(w) || !s.passwordWas(w, r, now) {
		return
	}
	u, wrong, err := s.changePassword(r.Context(), actorOf(r), password, password)
	if wrong != "" {
		badValues(w, []fieldError{{Field: "password", Message: wrong}})
		return
	}
	s.userDone(w, err, "The password was not changed", s.userView(u))
}

func (s *Server) apiOfferFactor(w http.ResponseWriter, r *http.Request) {
	if err := s.codesFit(); err != nil {
		s.notDone(w, userRefused(err), "The second factor could not be made")
		return
	}
	secret, uri, err := s.enrolling(actorOf(r))
	s.userDone(w, err, "The second factor could not be made", FactorOffer{secret, uri})
}

func (s *Server) apiSetMyFactor(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	now, code := b.secret("now"), b.text("code", false)
	if b.refused(w) || !s.passwordWas(w, r, now) {
		return
	}
	codes, err := s.setFactor(actorOf(r), code)
	s.userDone(w, err, "The second factor was not set up", RecoveryCodes{codes})
}

func (s *Server) apiDropMyFactor(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	a := actorOf(r)
	now := b.secret("now")
	if u, _ := s.users.Find(a.name); u.NeedsFactor {
		b.wrong("now", "this account needs a second factor; an admin can take it away")
	}
	if b.refused(w) || !s.passwordWas(w, r, now) {
		return
	}
	u, err := s.dropFactor(a, a.name)
	s.userDone(w, err, "The second factor is still there", s.userView(u))
}

func (s *Server) apiAddToken(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	now, label, role, expires := b.secret("now"), b.text("label", false), b.text("role", false), b.time("expires")
	if b.refused(w) || !s.passwordWas(w, r, now) {
		return
	}
	secret, t, err := s.addToken(actorOf(r), label, users.Role(role), expires)
	s.userDone(w, err, "The token was not made", TokenMade{tokenViewOf(t), secret, s.clockNote()})
}

func (s *Server) apiEndToken(w http.ResponseWriter, r *http.Request) {
	switch err := s.dropToken(actorOf(r), r.PathValue("id")); {
	case errors.Is(err, users.ErrUnknown):
		problem(w, http.StatusNotFound, "The token was not ended", "You have none of this id.")
	case err != nil:
		s.notDone(w, err, "The token was not ended")
	default:
		s.apiAccount(w, r)
	}
}

func (s *Server) apiEndSession(w http.ResponseWriter, r *http.Request) {
	if !s.endSession(actorOf(r), r.PathValue("id")) {
		problem(w, http.StatusNotFound, "The login was not ended", "You have none of this id.")
		return
	}
	s.apiAccount(w, r)
}

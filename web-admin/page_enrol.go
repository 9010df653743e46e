package webadmin

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/boombuler/barcode/qr"

	"github.com/mailweir/mailweir/web-admin/users"
)

// enrolView is the page on which a second factor is set up.
type enrolView struct {
	Action, Next, Error string
	QR                  template.HTML
	Secret              string // in groups, for who cannot scan
	Password            bool   // is asked for, too: the login is not of this moment
	Name                string // whose password
	Clock               string // why it cannot be set up now: what the clock shows, which is not set; empty: it can
	Needed              bool   // there is no way in without it
}

// recoveryView shows the recovery codes, once.
type recoveryView struct {
	Codes []string
	Next  string
}

// enrolPage is where somebody goes on who may log in with a second factor only, and has none.
func (s *Server) enrolPage(w http.ResponseWriter, r *http.Request) {
	s.showEnrol(w, r, http.StatusOK, enrolView{Action: "/login/factor", Next: ownPage(r.URL.Query().Get("next"))})
}

func (s *Server) showEnrol(w http.ResponseWriter, r *http.Request, status int, v enrolView) {
	a := actorOf(r)
	if v.Clock = s.unsetClock(); v.Clock != "" {
		v.Needed = a.at != inside
		s.render(w, r, status, "enrol", frame{Title: "Second factor", Here: "/account"}, v)
		return
	}
	secret, uri, err := s.enrolling(a)
	if err != nil {
		s.broken(w, r, err, "The second factor could not be made")
		return
	}
	for i := 0; i < len(secret); i += 4 {
		v.Secret += secret[i:min(i+4, len(secret))] + " "
	}
	if v.QR, err = qrCode(uri); err != nil {
		s.broken(w, r, err, "The QR code could not be made")
		return
	}
	s.render(w, r, status, "enrol", frame{Title: "Second factor", Here: "/account"}, v)
}

// enrolling is the secret that the actor's session is setting up, and its URI.
func (s *Server) enrolling(a actor) (secret, uri string, err error) {
	secret, err = users.NewFactor()
	if err != nil {
		return "", "", err
	}
	secret = s.logins.enrol(a.cookie, secret)
	return secret, users.FactorURI(a.name, s.box.Status().Box, secret), nil
}

func (s *Server) enrol(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	v := enrolView{Action: "/login/factor", Next: ownPage(r.PostFormValue("next"))}
	codes, err := s.setFactor(a, r.PostFormValue("code"))
	if refused, ok := errors.AsType[users.Refused](err); ok {
		v.Error = "The code " + refused.Message + " (" + s.clockShows() + ")."
		s.showEnrol(w, r, http.StatusBadRequest, v)
		return
	}
	if err != nil {
		s.broken(w, r, err, "The second factor was not set up")
		return
	}
	u, there := s.users.Find(a.name)
	if !there || u.Disabled || !u.SamePassword(a.as) {
		s.logins.end(a.cookie)
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	s.begin(w, r, u, inside)
	s.render(w, r, http.StatusOK, "recovery", frame{Title: "Recovery codes"}, recoveryView{codes, v.Next})
}

// setFactor takes the code that shows that the actor's app has the secret, and returns the recovery codes. Other sessions of theirs end.
func (s *Server) setFactor(a actor, code string) ([]string, error) {
	if err := s.codesFit(); err != nil {
		return nil, err
	}
	secret, _, err := s.enrolling(a)
	if err != nil {
		return nil, err
	}
	codes, err := s.users.SetFactor(a.name, secret, code)
	if err != nil {
		return nil, err
	}
	s.logins.enrolled(a.cookie)
	s.logins.endAll(a.name, a.cookie)
	s.tell(a, "factor_set", a.name, "", "second factor")
	return codes, nil
}

// qrCode draws text as a QR code (ISO/IEC 18004), dark on light whatever the page's colours, with the quiet zone of four modules that it needs.
func qrCode(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", err
	}
	const quiet = 4
	n := code.Bounds().Dx()
	var path strings.Builder
	for y := range n {
		for x := range n {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	size := n + 2*quiet
	return template.HTML(fmt.Sprintf(`<svg class="qr" viewBox="0 0 %d %d" width="216" height="216" role="img" aria-label="QR code with the secret below" shape-rendering="crispEdges">`+
		`<rect width="%d" height="%d" fill="#fff"/><path d="%s" fill="#000"/></svg>`, size, size, size, size, path.String())), nil
}

package webadmin

import (
	"errors"
	"io"
	"net/http"
)

// certificateView answers: how does a browser know that this is the box?
type certificateView struct {
	Revision        string
	SelfSigned      bool
	Subject, Issuer string
	Names           []string
	From, Until     moment
	Soon            bool // it ends within the time in which a self-signed one is made anew
	Fault           string
	Clock           string // what the clock shows, where it is not set
	Renewed         moment // the box made it anew by itself, in this life
	Why             string
	SHA256          string
	File, KeyFile   string
	Errors          []formError
	Admin           string // whose password is asked for
	Anew            bool   // the form for a self-signed one is open
}

func (s *Server) certificatePage(w http.ResponseWriter, r *http.Request) {
	s.showCertificate(w, r, http.StatusOK)
}

func (s *Server) showCertificate(w http.ResponseWriter, r *http.Request, status int, wrong ...formError) {
	c, _, ok := s.configured(w, r)
	if !ok {
		return
	}
	now, err := s.keeper.shown()
	if err != nil {
		s.broken(w, r, err, "The certificate cannot be shown")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v := certificateView{Revision: c.Revision, SelfSigned: now.SelfSigned, Subject: inert(now.Subject), Issuer: inert(now.Issuer), From: z.day(now.NotBefore.Time), Until: z.day(now.NotAfter.Time),
		Soon: s.opt.Now().After(now.NotAfter.Add(-renewSelfBefore)), SHA256: now.SHA256, File: inert(now.File), KeyFile: inert(now.KeyFile), Fault: inert(now.Fault),
		Clock: s.unsetClock(), Errors: wrong, Admin: actorOf(r).name, Anew: len(wrong) > 0 && wrong[0].Field == "now-self"}
	if last := s.keeper.last(); last != nil && now.SelfSigned {
		v.Renewed, v.Why = z.clock(last.at), last.why
	}
	for _, name := range now.Names {
		v.Names = append(v.Names, inert(name))
	}
	s.render(w, r, status, "certificate", frame{Title: "Certificate", Here: "/settings"}, v)
}

func (s *Server) setCertificatePage(w http.ResponseWriter, r *http.Request) {
	certPEM, err := sentFile(r, "certificate")
	keyPEM, err2 := sentFile(r, "key")
	if err = errors.Join(err, err2); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			s.refuse(w, r, http.StatusRequestEntityTooLarge, "The files are too large", "At most "+size(large.Limit)+" together. Nothing was changed.")
			return
		}
		s.showCertificate(w, r, http.StatusBadRequest, formError{"certificate", "Certificate", "choose two files: the certificate and its key"})
		return
	}
	if !s.passwordAgain(w, r, func() { s.showCertificate(w, r, http.StatusBadRequest, formError{"now-own", yourPassword, wrongNow}) }) {
		return
	}
	s.certified(w, r, s.setCertificate(actorOf(r), certPEM, keyPEM, r.PostFormValue("revision")))
}

func (s *Server) selfSignedPage(w http.ResponseWriter, r *http.Request) {
	if !s.passwordAgain(w, r, func() { s.showCertificate(w, r, http.StatusBadRequest, formError{"now-self", yourPassword, wrongNow}) }) {
		return
	}
	s.certified(w, r, s.makeSelfSigned(actorOf(r), r.PostFormValue("revision")))
}

// certified leads to the page with the new certificate, or shows what is wrong.
func (s *Server) certified(w http.ResponseWriter, r *http.Request, err error) {
	wrong, known := whatWasWrong(err, keyLabels{{"certificate", "certificate", "Certificate"}, {"key", "key", "Key"}, {"admin.tls", "certificate", "Certificate"}})
	switch {
	case known:
		s.showCertificate(w, r, http.StatusBadRequest, wrong...)
	case err != nil:
		s.broken(w, r, err, "The certificate stays as it is")
	default:
		http.Redirect(w, r, "/settings/certificate", http.StatusSeeOther)
	}
}

// sentFile is a file of a form.
func sentFile(r *http.Request, field string) ([]byte, error) {
	file, _, err := r.FormFile(field)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(file)
	return content, errors.Join(err, file.Close())
}

package webadmin

import "net/http"

type pairBody struct {
	againBody
	Certificate string `json:"certificate"` // PEM, the box's own first
	Key         string `json:"key"`         // PEM
}

func certificateRoutes() []route {
	const sure = "; the session of a login sends its own password in now, a token does not"
	return []route{
		{"GET", apiRoot + "/certificate", administering, (*Server).apiCertificate, &operation{summary: "The certificate that browsers are shown", answer: Certificate{}}},
		{"PUT", apiRoot + "/certificate", administering, (*Server).apiSetCertificate, &operation{summary: "Show another one, from the next connection on; the configuration names it" + sure, body: pairBody{}, answer: Certificate{}}},
		{"POST", apiRoot + "/certificate/self-signed", administering, (*Server).apiSelfSigned, &operation{summary: "Make a self-signed one anew for the names and addresses of now, and show it" + sure, body: againBody{}, answer: Certificate{}}},
	}
}

func (s *Server) apiCertificate(w http.ResponseWriter, r *http.Request) {
	c, err := s.keeper.shown()
	if err != nil {
		s.notDone(w, err, "There is no certificate")
		return
	}
	writeJSON(w, http.StatusOK, c)
}

func (s *Server) apiSetCertificate(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	certificate, key := b.secret("certificate"), b.secret("key")
	if !s.surelyToo(w, r, b) {
		return
	}
	if err := s.setCertificate(actorOf(r), []byte(certificate), []byte(key), ""); err != nil {
		s.configNotDone(w, err, "The certificate stays as it is")
		return
	}
	s.apiCertificate(w, r)
}

func (s *Server) apiSelfSigned(w http.ResponseWriter, r *http.Request) {
	if !s.surelyAlone(w, r) {
		return
	}
	if err := s.makeSelfSigned(actorOf(r), ""); err != nil {
		s.configNotDone(w, err, "The certificate stays as it is")
		return
	}
	s.apiCertificate(w, r)
}

package webadmin

import "net/http"

func networkRoutes() []route {
	return []route{
		{"GET", apiRoot + "/network", administering, (*Server).apiNetwork, &operation{summary: "The management port's addresses and settings, and what is tried; 404 where the box is not the image", answer: Network{}}},
		{"POST", apiRoot + "/network", administering, (*Server).apiTryNetwork, &operation{summary: "Put other settings of the management port in force at once; they are taken back by themselves when nobody confirms them in time; the session of a login sends its own password in now, a token does not", body: networkBody{}, answer: NetworkTrial{}}},
		{"POST", apiRoot + "/network/confirm", administering, (*Server).apiConfirmNetwork, &operation{summary: "Keep what is tried: of the management port, to be sent to an address that it has now, or of the ports between subscribers and internet, by the token of ports_trial", body: confirmBody{}, answer: Network{}}},
	}
}

type networkBody struct {
	NetworkSettings
	againBody
}

type confirmBody struct {
	Token string `json:"token"`
}

func (s *Server) apiNetwork(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.network(w, r); ok {
		writeJSON(w, http.StatusOK, n.whole())
	}
}

func (n Network) whole() Network {
	n.Addresses, n.Settings.DNS = orEmpty(n.Addresses), orEmpty(n.Settings.DNS)
	return n
}

func (s *Server) apiTryNetwork(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.network(w, r); !ok {
		return
	}
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	n := NetworkSettings{VLAN: b.number("vlan"), IPv4: b.text("ipv4", false), IPv4Gateway: b.text("ipv4_gateway", true),
		IPv6: b.text("ipv6", false), IPv6Gateway: b.text("ipv6_gateway", true), DNS: b.texts("dns")}
	if !s.surelyToo(w, r, b) {
		return
	}
	t, err := s.opt.Source.TryNetwork(n, actorOf(r).who)
	if err != nil {
		s.configNotDone(w, err, "Nothing was changed")
		return
	}
	writeJSON(w, http.StatusOK, t)
}

func (s *Server) apiConfirmNetwork(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	token := b.text("token", false)
	if b.refused(w) {
		return
	}
	if err := s.opt.Source.ConfirmNetwork(token, reached(r), actorOf(r).who); err != nil {
		s.configNotDone(w, err, "It was not kept")
		return
	}
	s.apiNetwork(w, r)
}

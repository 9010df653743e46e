package webadmin

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// networkView answers: how is this box reached, and how will it be?
type networkView struct {
	Errors    []formError
	Addresses []string // that the port has now
	Why       string
	Left      string // of a trial that goes on; empty: none does
	Form      addressForm
	Ports     *networkForm
	Revision  string
	Waiting   []string
	Admin     string // whose password is asked for
}

// addressForm is what was typed.
type addressForm struct {
	VLAN             string
	IPv4, IPv6       string // dhcp, auto, static, off
	Address4, Route4 string
	Address6, Route6 string
	DNS              string
}

var networkFields = keyLabels{{"management.vlan", "vlan", "VLAN"}, {"management.ipv4_gateway", "route4", "IPv4 router"}, {"management.ipv4", "address4", "IPv4 address"},
	{"management.ipv6_gateway", "route6", "IPv6 router"}, {"management.ipv6", "address6", "IPv6 address"}, {"management.dns", "dns", "Name servers"}, {"admin.listen", "address4", "Address"}, {"network.addresses", "address4", "Address"}, {"network.routes", "address4", "Address"}}

// formOf is a form that says what n says.
func formOf(n NetworkSettings) addressForm {
	f := addressForm{VLAN: strconv.Itoa(n.VLAN), IPv4: n.IPv4, Route4: n.IPv4Gateway, IPv6: n.IPv6, Route6: n.IPv6Gateway, DNS: strings.Join(n.DNS, ", ")}
	if _, err := netip.ParsePrefix(n.IPv4); err == nil {
		f.IPv4, f.Address4 = "static", n.IPv4
	}
	if _, err := netip.ParsePrefix(n.IPv6); err == nil {
		f.IPv6, f.Address6 = "static", n.IPv6
	}
	return f
}

// settings are what a form says; what is wrong with it the configuration's rules find.
func (f addressForm) settings() (n NetworkSettings, wrong []formError) {
	n = NetworkSettings{IPv4: f.IPv4, IPv6: f.IPv6, DNS: orEmpty(strings.FieldsFunc(f.DNS, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }))}
	if f.IPv4 == "static" {
		n.IPv4, n.IPv4Gateway = f.Address4, f.Route4
	}
	if f.IPv6 == "static" {
		n.IPv6, n.IPv6Gateway = f.Address6, f.Route6
	}
	var err error
	if n.VLAN, err = strconv.Atoi(f.VLAN); err != nil {
		wrong = append(wrong, formError{"vlan", "VLAN", "write a number: 0 is untagged"})
	}
	return n, wrong
}

// network is the management port, or the answer that there is none to set.
func (s *Server) network(w http.ResponseWriter, r *http.Request) (*Network, bool) {
	n := s.opt.Source.Network()
	if n == nil {
		s.refuse(w, r, http.StatusNotFound, "This machine's addresses are not set here", "The box gives addresses only where mailweir's own image runs; here the machine's own network settings do.")
	}
	return n, n != nil
}

func (s *Server) networkPage(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.network(w, r); ok {
		s.showAddresses(w, r, http.StatusOK, *n, networkView{Form: formOf(n.Settings)})
	}
}

func (s *Server) showAddresses(w http.ResponseWriter, r *http.Request, status int, n Network, v networkView) {
	for _, a := range n.Addresses {
		v.Addresses = append(v.Addresses, inert(a))
	}
	v.Why = inert(n.Why)
	if n.Trial != nil {
		v.Left = span(time.Duration(n.Trial.Left))
	}
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v.Revision, v.Waiting, v.Admin = c.Revision, c.Waiting, actorOf(r).name
	if v.Ports == nil {
		v.Ports = s.networkForm(now)
	}
	s.showCards(v.Ports, now)
	s.render(w, r, status, "network", frame{Title: "Network", Here: "/settings"}, v)
}

// setPorts changes what the ports between subscribers and internet are, and what is governed on them.
func (s *Server) setPorts(w http.ResponseWriter, r *http.Request) {
	n, ok := s.network(w, r)
	if !ok {
		return
	}
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	t := &wizardTry{w: w, r: r, now: now, view: &wizardView{}}
	s.takeNetwork(t)
	s.change(t)
	switch {
	case t.err != nil:
		s.broken(w, r, t.err, "Nothing was changed")
	case len(t.view.Errors) > 0:
		s.showAddresses(w, r, http.StatusBadRequest, *n, networkView{Errors: t.view.Errors, Form: formOf(n.Settings), Ports: t.view.Network})
	default:
		http.Redirect(w, r, "/settings/network", http.StatusSeeOther)
	}
}

// triedPorts is on every page while other ports are tried: what comes back, and when?
type triedPorts struct {
	Token, Before, After, Left string
	At                         moment
}

func triedPortsOf(t *PortsTrial, z zone) *triedPorts {
	if t == nil {
		return nil
	}
	return &triedPorts{t.Token, inert(t.Before), inert(t.After), span(time.Duration(t.Left)), z.second(z.now.Add(time.Duration(t.Left)))}
}

// keepPorts keeps ports that are tried.
func (s *Server) keepPorts(w http.ResponseWriter, r *http.Request) {
	n, ok := s.network(w, r)
	if !ok {
		return
	}
	err := s.opt.Source.ConfirmNetwork(r.PostFormValue("token"), reached(r), actorOf(r).who)
	if wrong, known := whatWasWrong(err, nil); known && len(wrong) > 0 {
		s.showAddresses(w, r, http.StatusConflict, *n, networkView{Errors: wrong, Form: formOf(n.Settings)})
		return
	} else if err != nil {
		s.broken(w, r, err, "The ports were not kept")
		return
	}
	http.Redirect(w, r, "/settings/network", http.StatusSeeOther)
}

// triedView answers: what do I do now?
type triedView struct {
	Links []string // where the box will be
	Path  string   // below an address that nobody knows yet
	Left  string
}

// tryNetwork begins a trial, and says where to confirm it.
func (s *Server) tryNetwork(w http.ResponseWriter, r *http.Request) {
	n, ok := s.network(w, r)
	if !ok {
		return
	}
	get := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	f := addressForm{VLAN: get("vlan"), IPv4: get("ipv4"), IPv6: get("ipv6"), Address4: get("address4"), Route4: get("route4"), Address6: get("address6"), Route6: get("route6"), DNS: get("dns")}
	again := func(wrong ...formError) {
		s.showAddresses(w, r, http.StatusBadRequest, *n, networkView{Errors: wrong, Form: f})
	}
	// By another router or name server somebody else may be where a collector's name leads.
	if !s.passwordAgain(w, r, func() { again(formError{"now-network", yourPassword, wrongNow}) }) {
		return
	}
	wanted, wrong := f.settings()
	var t NetworkTrial
	if len(wrong) == 0 {
		var err error
		if t, err = s.opt.Source.TryNetwork(wanted, actorOf(r).who); err != nil {
			if wrong, ok = whatWasWrong(err, networkFields); !ok {
				s.broken(w, r, err, "Nothing was changed")
				return
			}
		}
	}
	if len(wrong) > 0 {
		again(wrong...)
		return
	}
	s.render(w, r, http.StatusOK, "tried", frame{Title: "Confirm the new address", Here: "/settings"}, s.triedOf(t))
}

func (s *Server) triedOf(t NetworkTrial) triedView {
	v := triedView{Path: confirmPath(t.Token), Left: span(time.Duration(t.Left))}
	port := strconv.Itoa(s.door.Addr().(*net.TCPAddr).Port) // the one that this page came from
	for _, a := range []string{t.Settings.IPv4, t.Settings.IPv6} {
		if p, err := netip.ParsePrefix(a); err == nil {
			v.Links = append(v.Links, "https://"+net.JoinHostPort(p.Addr().String(), port)+v.Path)
		}
	}
	return v
}

// confirmPath is where a trial is confirmed. A login does not help there: a browser's session stays with the old address.
func confirmPath(token string) string { return "/network/" + token }

// confirmView answers: shall the box stay at this address?
type confirmView struct {
	Path  string
	Done  bool
	Wrong string
}

func (s *Server) confirmPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "confirm", frame{Title: "Keep this address?"}, confirmView{Path: confirmPath(r.PathValue("token"))})
}

// confirmNetwork keeps a trial, for whoever has its token: that was on the page which the admin who began it got.
func (s *Server) confirmNetwork(w http.ResponseWriter, r *http.Request) {
	v, status := confirmView{Path: confirmPath(r.PathValue("token")), Done: true}, http.StatusOK
	if n := s.opt.Source.Network(); n != nil && n.Ports != nil && n.Ports.Token == r.PathValue("token") { // the management port's address is where it was: who keeps these is logged in
		s.refuse(w, r, http.StatusConflict, "Ports are kept by who is logged in", "Log in: the button is on every page.")
		return
	}
	err := s.opt.Source.ConfirmNetwork(r.PathValue("token"), reached(r), peer(r).String())
	if wrong, known := whatWasWrong(err, nil); known && len(wrong) > 0 {
		v.Done, v.Wrong, status = false, wrong[0].Message, http.StatusConflict
	} else if err != nil {
		s.broken(w, r, err, "The address was not kept")
		return
	}
	s.render(w, r, status, "confirm", frame{Title: "Keep this address?"}, v)
}

// reached is the address of the box that a request came to; the zero address: it came by the socket.
func reached(r *http.Request) netip.Addr {
	to, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return to.AddrPort().Addr().Unmap().WithZone("")
}

package webadmin

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// networkForm asks where subscribers are, and which ports are governed.
type networkForm struct {
	Topology  string
	Bridges   bool // the machine has one, or can be one, so that being one can be chosen
	Image     bool // the ports' addresses are the box's to give
	Addresses string
	Routes    string
	Cards     []cardView
	Limited   string
	Counted   string
	WasBridge bool
}

// cardView is an interface of the box.
type cardView struct {
	Name, Note, Side string // Side: subscribers, upstream, none
}

var networkLabels = keyLabels{
	{"network.subscriber_interfaces", "sides", "Interfaces"}, {"network.upstream_interfaces", "sides", "Interfaces"},
	{"network.addresses", "addresses", "Addresses"}, {"network.routes", "routes", "Routes"},
	{"network.limited_ports", "limited", "Governed ports"}, {"network.counted_ports", "counted", "Counted ports"}, {"network.topology", "topology", "Topology"},
}

func (s *Server) showNetwork(v *wizardView, _ Configuration, now values) {
	if v.Network == nil {
		v.Network = s.networkForm(now)
	}
	s.showCards(v.Network, now)
}

// networkForm is one that says what is configured.
func (s *Server) networkForm(now values) *networkForm {
	return &networkForm{Topology: now.Network.Topology, Limited: portsText(now.Network.Limited), Counted: portsText(now.Network.Counted),
		Addresses: addressLines(now.Network.Addresses), Routes: routeLines(now.Network.Routes)}
}

// showCards fills in what the machine has.
func (s *Server) showCards(f *networkForm, now values) {
	there := s.opt.Source.Platform().Interfaces
	f.Image = s.box.FromImage()
	f.Bridges = f.Image || now.Network.Topology == "bridge" || slices.ContainsFunc(there, func(i Interface) bool { return i.Bridge != "" })
	if f.Cards != nil {
		return
	}
	side := func(name string) string {
		switch {
		case slices.Contains(now.Network.Subscribers, name):
			return "subscribers"
		case slices.Contains(now.Network.Upstream, name):
			return "upstream"
		}
		return "none"
	}
	for _, i := range there {
		f.Cards = append(f.Cards, cardView{inert(i.Name), cardNote(i), side(i.Name)})
	}
	for _, name := range slices.Concat(now.Network.Subscribers, now.Network.Upstream) { // what is not there is not lost
		if !slices.ContainsFunc(there, func(i Interface) bool { return i.Name == name }) {
			f.Cards = append(f.Cards, cardView{inert(name), "not on this machine now", side(name)})
		}
	}
}

func cardNote(i Interface) string {
	var notes []string
	if !i.Up {
		notes = append(notes, "down")
	}
	if i.IsBridge {
		notes = append(notes, "a bridge")
	}
	if i.Bridge != "" {
		notes = append(notes, "port of the bridge "+inert(i.Bridge))
	}
	for n, a := range i.Addresses {
		if n == 3 {
			notes = append(notes, fmt.Sprintf("and %d addresses more", len(i.Addresses)-n))
			break
		}
		notes = append(notes, a.String())
	}
	return cmp.Or(strings.Join(notes, ", "), "no address")
}

func (s *Server) takeNetwork(t *wizardTry) {
	f := &networkForm{Topology: t.r.PostFormValue("topology"), Limited: t.r.PostFormValue("limited"), Counted: t.r.PostFormValue("counted"),
		Addresses: t.r.PostFormValue("addresses"), Routes: t.r.PostFormValue("routes")}
	subscribers, upstream := []string{}, []string{}
	for i, name := range t.r.PostForm["card"] {
		side := t.r.PostFormValue("side-" + strconv.Itoa(i))
		f.Cards = append(f.Cards, cardView{Name: inert(name), Side: side})
		switch side {
		case "subscribers":
			subscribers = append(subscribers, name)
		case "upstream":
			upstream = append(upstream, name)
		}
	}
	notes := map[string]string{}
	for _, i := range s.opt.Source.Platform().Interfaces {
		notes[inert(i.Name)] = cardNote(i)
	}
	for i := range f.Cards {
		f.Cards[i].Note = cmp.Or(notes[f.Cards[i].Name], "not on this machine now")
	}
	t.view.Network, t.of = f, networkLabels
	limited, ok1 := ports(f.Limited)
	counted, ok2 := ports(f.Counted)
	if !ok1 {
		t.wrong("limited", "Governed ports", "write numbers with commas between them, such as 25")
	}
	if !ok2 {
		t.wrong("counted", "Counted ports", "write numbers with commas between them, such as 465, 587")
	}
	n := t.now.Network
	if f.Topology == "" {
		f.Topology = n.Topology // there was no choice
	}
	addresses, routes := n.Addresses, n.Routes
	if s.box.FromImage() {
		addresses, routes = t.routing(f)
	}
	// Only what differs, so that the order in the file stays.
	add := func(key string, differs bool, value any) {
		if differs {
			t.keys = append(t.keys, set("network."+key, value))
		}
	}
	add("topology", f.Topology != n.Topology, f.Topology)
	add("subscriber_interfaces", !sameSet(subscribers, n.Subscribers), subscribers)
	add("upstream_interfaces", !sameSet(upstream, n.Upstream), upstream)
	add("limited_ports", !slices.Equal(limited, n.Limited), limited)
	add("counted_ports", !slices.Equal(counted, n.Counted), counted)
	add("addresses", !slices.Equal(addresses, n.Addresses), addresses)
	add("routes", !slices.Equal(routes, n.Routes), routes)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// managementForm asks where the web admin listens.
type managementForm struct {
	Host, Port string
	Choices    []hostChoice
}

type hostChoice struct {
	Host, Text string
	Chosen     bool
}

var managementLabels = keyLabels{{"admin.listen", "host", "Address and port"}}

func (s *Server) showManagement(v *wizardView, _ Configuration, now values) {
	if v.Management == nil {
		host, port, _ := net.SplitHostPort(now.Admin.Listen)
		v.Management = &managementForm{Host: host, Port: port}
	}
	f := v.Management
	f.Choices = []hostChoice{{"", "all addresses of the box", f.Host == ""}}
	known := f.Host == ""
	for _, i := range s.opt.Source.Platform().Interfaces {
		for _, a := range i.Addresses {
			c := hostChoice{a.Addr().String(), a.Addr().String() + " (" + inert(i.Name) + ")", false}
			if addr, err := netip.ParseAddr(f.Host); err == nil && addr == a.Addr() {
				c.Chosen, known = true, true
			}
			f.Choices = append(f.Choices, c)
		}
	}
	if !known {
		f.Choices = append(f.Choices, hostChoice{inert(f.Host), inert(f.Host) + " (as it is now)", true})
	}
}

func (s *Server) takeManagement(t *wizardTry) {
	f := &managementForm{Host: strings.TrimSpace(t.r.PostFormValue("host")), Port: strings.TrimSpace(t.r.PostFormValue("port"))}
	t.view.Management, t.of = f, managementLabels
	listen := net.JoinHostPort(f.Host, f.Port)
	if listen != t.now.Admin.Listen {
		t.keys = append(t.keys, set("admin.listen", listen))
	}
}

// timeForm tells what the box takes for now.
type timeForm struct {
	Now           moment
	Zone          string
	Known, Synced bool
	Kept, Unset   bool   // by the box itself; nobody has told it the time yet
	Server, Why   string // whom it asks, and what is wrong with that
	Servers       string // that the configuration names
}

var timeLabels = keyLabels{{"ntp.servers", "servers", "NTP servers"}}

func (s *Server) showTime(v *wizardView, _ Configuration, now values) {
	if v.Time == nil {
		v.Time = &timeForm{Servers: inert(strings.Join(now.NTP.Servers, ", "))}
	}
	f, at, clock := v.Time, s.opt.Now(), s.opt.Source.Clock()
	z := zone{at, s.opt.Location}
	f.Now, f.Zone, f.Known, f.Synced, f.Kept, f.Unset = z.day(at), z.name(), clock.Known, clock.Synced, clock.Kept, clock.Unset()
	f.Server, f.Why = inert(clock.Server), inert(clock.Why)
}

// takeTime takes whom the box asks for the time, where it keeps its clock by itself.
func (s *Server) takeTime(t *wizardTry) {
	typed := t.r.PostFormValue("servers")
	t.view.Time, t.of = &timeForm{Servers: inert(typed)}, timeLabels
	if servers := splitWords(typed); s.opt.Source.Clock().Kept && !slices.Equal(servers, t.now.NTP.Servers) {
		t.keys = append(t.keys, set("ntp.servers", servers))
	}
}

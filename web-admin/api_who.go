package webadmin

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/mailweir/mailweir/governor"
)

func (s *Server) apiLookup(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	addr, at := in.address("address"), in.time("at")
	switch {
	case at.After(s.opt.Now()):
		in.wrong("at", "a time that has been; leave it out for now")
	case !at.IsZero() && at.Before(oldest):
		in.wrong("at", "a time from 1970 on")
	}
	if in.refused(w) {
		return
	}
	l := s.see(r).Lookup(addr, at)
	l.Holders = orEmpty(l.Holders)
	writeJSON(w, http.StatusOK, l)
}

// address reads an address that must be there. An IPv4 address mapped into IPv6 counts as IPv4.
func (in *input) address(name string) netip.Addr {
	addr, err := netip.ParseAddr(strings.TrimSpace(in.q.Get(name)))
	if err != nil || addr.Zone() != "" {
		in.wrong(name, "an IPv4 or IPv6 address like 192.0.2.7 or 2001:db8::7")
	}
	return addr.Unmap()
}

func (s *Server) apiUnmapped(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	p := Page{Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.see(r).Unmapped(p)
	writeJSON(w, http.StatusOK, list[Unmapped]{orEmpty(items), next})
}

func (s *Server) apiBindings(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	sub, p := in.text("subscriber"), Page{Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.see(r).Bindings(sub, p)
	writeJSON(w, http.StatusOK, list[Binding]{orEmpty(items), next})
}

func (s *Server) apiBind(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	text, sub := b.text("prefix", false), b.text("subscriber", false)
	prefix, message := prefixOf(text)
	if text != "" && message != "" {
		b.wrong("prefix", message)
	}
	if b.refused(w) {
		return
	}
	bound, err := s.opt.Source.Bind(prefix, sub, actorOf(r).who)
	s.bound(w, bound, err, "The prefix was not bound")
}

func (s *Server) apiUnbind(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	prefix, message := prefixOf(strings.TrimSpace(in.q.Get("prefix")))
	if message != "" {
		in.wrong("prefix", message)
	}
	if in.refused(w) {
		return
	}
	bound, err := s.opt.Source.Unbind(prefix, actorOf(r).who)
	s.bound(w, bound, err, "The prefix was not unbound")
}

func (s *Server) bound(w http.ResponseWriter, b Binding, err error, not string) {
	if err != nil {
		s.notDone(w, err, not)
		return
	}
	writeJSON(w, http.StatusOK, b)
}

// prefixOf reads a prefix, or an address as a prefix of its own; message says what is wrong with it. Bits beyond the length are
// refused: whoever writes them means something else than what would be done.
func prefixOf(text string) (p netip.Prefix, message string) {
	const want = "a prefix like 192.0.2.0/29 or 2001:db8:34::/56, or an address"
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, want
	case p != p.Masked():
		return netip.Prefix{}, "has bits beyond its length; " + p.Masked().String() + " is the prefix around it"
	case p.Bits() == 0:
		return netip.Prefix{}, "is everybody's; " + want
	}
	return p, ""
}

func (s *Server) apiCase(w http.ResponseWriter, r *http.Request) {
	c, ok := s.see(r).Case(caseNumber(r.PathValue("id")))
	if !ok {
		problem(w, http.StatusNotFound, "No such case", "No case has this number, or it is so old that the box has forgotten it.")
		return
	}
	c.Changes, c.Decisions = orEmpty(c.Changes), orEmpty(c.Decisions)
	writeJSON(w, http.StatusOK, c)
}

// caseNumber is a case number as it was given out, however a person wrote it down.
func caseNumber(text string) string {
	text = strings.TrimSpace(text)
	if n, ok := governor.ParseCase(text); ok {
		return governor.CaseNumber(n)
	}
	return text
}

func (s *Server) apiPlans(w http.ResponseWriter, r *http.Request) {
	writePlans(w, s.see(r).Plans())
}

func (s *Server) apiPresets(w http.ResponseWriter, r *http.Request) {
	writePlans(w, s.see(r).Presets())
}

// writePlans answers all plans as one page: there are never many.
func writePlans(w http.ResponseWriter, plans []Plan) {
	for i := range plans {
		plans[i].Budgets = orEmpty(plans[i].Budgets)
	}
	writeJSON(w, http.StatusOK, list[Plan]{orEmpty(plans), ""})
}

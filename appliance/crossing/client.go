package crossing

import (
	"context"
	"net/netip"
	"slices"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Server is a mail server on the internet side, and what it was set up for.
type Server struct {
	*lab.MailServer
	TLS    string // 1.2 or 1.3
	Domain string

	dealt int // sessions of its log that belong to earlier phases
}

// pipelining: it offers PIPELINING. OpenSMTPD never does.
func (s *Server) pipelining() bool { return s.offers("PIPELINING") }

// chunking: it offers CHUNKING. OpenSMTPD never does.
func (s *Server) chunking() bool { return s.offers("CHUNKING") }

func (s *Server) offers(keyword string) bool {
	return s.Options.Software != lab.OpenSMTPD && !slices.Contains(s.Options.Without, keyword)
}

// login: it knows the rig's login.
func (s *Server) login() bool { return s.Options.Login.Name != "" }

// refusesContent: it knows what it does not want.
func (s *Server) refusesContent() bool { return s.Options.Software != lab.OpenSMTPD }

// does says whether the server is able to do the case.
func (s *Server) does(c Case) bool {
	switch {
	case c.Login || c.Kind == BadLogin:
		return s.login()
	case c.Kind == NotWanted || c.Unwanted > 0:
		return s.refusesContent()
	}
	return true
}

// has: an address of the server's machine.
func (s *Server) has(a netip.Addr) bool { return a == s.IPv4 || a == s.IPv6 }

// address is where the case's sessions go.
func (s *Server) address(c Case) netip.AddrPort {
	a := s.Address(c.IPv6)
	if c.Implicit {
		a = netip.AddrPortFrom(a.Addr(), 465)
	}
	return a
}

// client is software at the subscribers' side that can do cases.
type client interface {
	// name is the software's.
	name() string
	// line is the machine that it runs on; nobody else's sessions come from there.
	line() lab.Line
	// width is with how many servers it can deal at once.
	width() int
	// can says whether the software is able to do the case with such a server.
	can(c Case, s *Server) bool
	// run does the case. What it gives back is what the client itself knows.
	run(ctx context.Context, c Case, s *Server) (claim, error)
	// leave waits for the end of sessions with the server that are kept for more.
	leave(ctx context.Context, s *Server) error
}

// nothing is what a client knows that keeps none.
var nothing claim

// leaves is a client that keeps no session.
type leaves struct{}

func (leaves) leave(context.Context, *Server) error { return nil }

// claim is what a client says that it did.
type claim struct {
	counted  bool // it knows
	messages int  // accepted, over all sessions of the case
	// atLeast: a mail server that did not get a reply sends again, what the other end has twice then.
	atLeast bool
}

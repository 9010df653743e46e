package crossing

import (
	"context"
	"fmt"
	"strings"
)

// swaks is Swaks (Perl, Net::SSLeay): one message a session.
type swaks struct{ program }

func (p *swaks) name() string { return "swaks" }

func (p *swaks) can(c Case, s *Server) bool {
	switch c.Kind {
	case Mail, NotWanted, NoOne, Leave, Envelope, BadLogin:
	default:
		return false
	}
	// IPv6 needs more of Perl than swaks itself.
	return c.messages() == 1 && !c.IPv6 && c.Chunking == 0 && !c.Reset && !c.Broken && !c.Noise && !c.Resume && (!c.Pipelining || s.pipelining())
}

func (p *swaks) run(ctx context.Context, c Case, s *Server) (claim, error) {
	names, err := p.files(c, s.Domain)
	if err != nil {
		return claim{}, err
	}
	a := s.address(c)
	argv := []string{"swaks", "--server", a.Addr().String(), "--port", fmt.Sprint(a.Port()), "--timeout", "60", "--helo", "client.example",
		"--from", "me@client.example", "--to", strings.Join(addresses(c, s.Domain), ","), "--data", "@" + names[0], "--silent", "3"}
	if a.Addr().Is6() {
		argv = append(argv, "-6")
	}
	if c.Implicit {
		argv = append(argv, "--tls-on-connect")
	} else {
		argv = append(argv, "--tls")
	}
	if c.Pipelining {
		argv = append(argv, "--pipeline")
	}
	password := p.login.Password
	switch c.Kind {
	case Leave:
		argv = append(argv, "--quit-after", "HELO")
	case Envelope:
		argv = append(argv, "--quit-after", "RCPT")
	case BadLogin:
		password = "wrong"
	}
	if c.Login || c.Kind == BadLogin {
		argv = append(argv, "--auth", "PLAIN", "--auth-user", p.login.Name, "--auth-password", password)
	}
	_, said, status, err := p.output(ctx, nil, argv...)
	if err != nil {
		return claim{}, fmt.Errorf("swaks: %w: %s", err, said)
	}
	out := claim{counted: true}
	if status == 0 && c.Kind == Mail {
		out.messages = 1
	} else if (status == 0) != (c.Kind == Mail || c.Kind == Leave || c.Kind == Envelope) {
		return out, fmt.Errorf("swaks: exit status %d: %s", status, said)
	}
	return out, nil
}

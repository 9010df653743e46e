package crossing

import (
	"context"
	"fmt"

	"github.com/mailweir/mailweir/appliance/lab"
)

// finger is Postfix's posttls-finger(1), in a Postfix that does nothing else.
type finger struct {
	*lab.MailServer
	leaves
}

func (p *finger) name() string   { return "posttls-finger" }
func (p *finger) line() lab.Line { return p.Line }
func (p *finger) width() int     { return 1 }

func (p *finger) can(c Case, s *Server) bool { return c.Kind == LookAtCert && !c.IPv6 }

func (p *finger) run(ctx context.Context, c Case, s *Server) (claim, error) {
	argv := []string{"/usr/sbin/posttls-finger", "-c", "-l", "encrypt"}
	if c.Implicit {
		argv = append(argv, "-w")
	}
	if c.Resume { // it comes again
		argv = append(argv, "-r", "1", "-m", "1")
	}
	out, err := p.RunInside(ctx, append(argv, fmt.Sprintf("[%s]:%d", s.address(c).Addr(), s.address(c).Port()))...)
	if err != nil {
		return claim{}, fmt.Errorf("%w: %s", err, out)
	}
	return claim{counted: true}, nil
}

package crossing

import (
	"context"
	"fmt"
	"net/netip"
	"net/smtp"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// mta is a mail server that sends: it is given messages by a user of its own, and what it makes of them is its matter.
type mta struct {
	*lab.MailServer
	title string
}

func (m *mta) name() string   { return m.title }
func (m *mta) line() lab.Line { return m.Line }

// width: mostly it waits, for a session to be given up that it keeps for more. A queue run of Exim takes all there is.
func (m *mta) width() int {
	if m.Options.Software == lab.Exim {
		return 1
	}
	return 6
}

func (m *mta) can(c Case, s *Server) bool {
	return (c.Kind == Mail || c.Kind == NoOne) && !c.Pipelining && c.Chunking == 0 && !c.Reset && !c.Broken && !c.Noise && !c.Login && !c.IPv6 && c.Unwanted == 0 &&
		c.messages() <= max(1, m.Options.Reuse)
}

// domain is what the case's mail is addressed to: the route to the server's port goes by it.
func domain(c Case, s *Server) string {
	if c.Implicit {
		return "implicit." + s.Domain
	}
	return s.Domain
}

func (m *mta) run(ctx context.Context, c Case, s *Server) (claim, error) {
	conn, err := m.Namespace.Dial(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 25))
	if err != nil {
		return claim{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	k, err := smtp.NewClient(conn, m.Host())
	if err != nil {
		return claim{}, err
	}
	for i := range c.messages() {
		if err := give(k, c, i, domain(c, s)); err != nil {
			return claim{}, fmt.Errorf("give mail to %s: %w", m.Name, err)
		}
	}
	if err := k.Quit(); err != nil {
		return claim{}, err
	}
	if m.Options.Software == lab.Exim && m.Options.Reuse > 1 {
		if err := m.Flush(ctx); err != nil {
			return claim{}, err
		}
	}
	if err := m.rest(ctx, domain(c, s)); err != nil {
		return claim{}, err
	}
	if c.Kind == NoOne {
		return claim{counted: true}, nil
	}
	return claim{counted: true, messages: c.messages(), atLeast: true}, nil
}

func (m *mta) leave(ctx context.Context, s *Server) error { return quiet(ctx, m.Line, s) }

func give(k *smtp.Client, c Case, i int, to string) error {
	if err := k.Mail("me@" + "client.example"); err != nil {
		return err
	}
	for _, a := range addresses(c, to) {
		if err := k.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := k.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(compose(c, i, to)); err != nil {
		return err
	}
	return w.Close()
}

// rest waits until nothing is in the queue for a domain any more.
func (m *mta) rest(ctx context.Context, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		q, err := m.Queue(ctx)
		if err != nil {
			return err
		}
		waiting := 0
		for _, e := range q {
			if strings.HasSuffix(e.Recipient, "@"+domain) {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := m.Log()
			return fmt.Errorf("%s: %d recipients still wait: %+v\n%s", m.Name, waiting, q, log[max(0, len(log)-3000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

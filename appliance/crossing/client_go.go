package crossing

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/smtp"
	"net/textproto"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// patience is how long a client may take for a session.
const patience = 2 * time.Minute

// tlsConfig is a client's: the certificates are the lab's, and which they are is no matter here.
func tlsConfig(resume tls.ClientSessionCache) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "lab", ClientSessionCache: resume}
}

// goSMTP is Go's net/smtp with crypto/tls.
type goSMTP struct {
	home  lab.Line
	login lab.Login
	cache tls.ClientSessionCache
	leaves
}

func (g *goSMTP) name() string   { return "go net/smtp" }
func (g *goSMTP) line() lab.Line { return g.home }
func (g *goSMTP) width() int     { return 1 }

func (g *goSMTP) can(c Case, s *Server) bool {
	switch c.Kind {
	case Verify, Empty, LookAtCert, Burst, Attempts:
		return false
	}
	return !c.Pipelining && c.Chunking == 0 && !c.Noise
}

func (g *goSMTP) run(ctx context.Context, c Case, s *Server) (claim, error) {
	conn, err := g.home.Namespace.Dial(ctx, s.address(c))
	if err != nil {
		return claim{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var resume tls.ClientSessionCache
	if c.Resume {
		resume = g.cache
	}
	config := tlsConfig(resume)
	config.ServerName = s.Host()
	if c.Implicit {
		conn = tls.Client(conn, config)
	}
	k, err := smtp.NewClient(conn, s.Host())
	if err != nil {
		return claim{}, err
	}
	if err := k.Hello("client.example"); err != nil {
		return claim{}, err
	}
	if !c.Implicit {
		if err := k.StartTLS(config); err != nil {
			return claim{}, err
		}
	}
	out := claim{counted: true}
	if c.Login || c.Kind == BadLogin {
		password := g.login.Password
		if c.Kind == BadLogin {
			password = "wrong"
		}
		err := k.Auth(smtp.PlainAuth("", g.login.Name, password, s.Host()))
		if (err != nil) != (c.Kind == BadLogin) {
			return out, errors.Join(errors.New("AUTH"), err)
		}
		if err != nil {
			return out, nil // net/smtp has said QUIT
		}
	}
	switch c.Kind {
	case Hangup:
		return out, nil
	case Envelope:
		for range c.messages() {
			if err := errors.Join(k.Mail("me@client.example"), k.Rcpt("you@"+s.Domain), k.Reset()); err != nil {
				return out, err
			}
		}
	case Mail, NoOne, NotWanted:
		for i := range c.messages() {
			took, err := g.message(k, c, i, s.Domain)
			if err != nil {
				return out, err
			}
			out.messages += took
			if c.Reset || took == 0 {
				if err := k.Reset(); err != nil {
					return out, err
				}
			}
		}
	}
	return out, k.Quit()
}

// message sends the i-th one; the server may refuse what the case has it refuse.
func (g *goSMTP) message(k *smtp.Client, c Case, i int, to string) (int, error) {
	if c.Broken {
		if err := errors.Join(k.Mail("me@client.example"), k.Rcpt("you@"+to), k.Reset()); err != nil {
			return 0, err
		}
	}
	if err := k.Mail("me@client.example"); err != nil {
		return 0, err
	}
	accepted := 0
	for _, a := range addresses(c, to) {
		if err := refusal(k.Rcpt(a)); err == nil {
			accepted++
		} else if !errors.Is(err, errRefused) {
			return 0, err
		}
	}
	if accepted == 0 || c.Kind == NoOne {
		return 0, nil
	}
	w, err := k.Data()
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(compose(c, i, to)); err != nil {
		return 0, err
	}
	if err := refusal(w.Close()); err != nil {
		if errors.Is(err, errRefused) {
			return 0, nil
		}
		return 0, err
	}
	return 1, nil
}

var errRefused = errors.New("refused")

// refusal makes one error of all that are a 4xx or 5xx.
func refusal(err error) error {
	var p *textproto.Error
	if errors.As(err, &p) {
		return errRefused
	}
	return err
}

// goTalk is a client of our own with crypto/tls: it can all that talk can.
type goTalk struct {
	home  lab.Line
	login lab.Login
	cache tls.ClientSessionCache
	leaves
}

func (g *goTalk) name() string   { return "go pipelining" }
func (g *goTalk) line() lab.Line { return g.home }
func (g *goTalk) width() int     { return 1 }

func (g *goTalk) can(c Case, s *Server) bool {
	return c.Kind != LookAtCert && (c.Chunking == 0 || s.chunking()) && (!c.Pipelining || s.pipelining()) && !(c.Chunking > 0 && c.Kind == NoOne)
}

func (g *goTalk) run(ctx context.Context, c Case, s *Server) (claim, error) {
	plain, err := g.home.Namespace.Dial(ctx, s.address(c))
	if err != nil {
		return claim{}, err
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(patience))
	if !c.Implicit {
		if err := startTLS(plain); err != nil {
			return claim{}, err
		}
	}
	var resume tls.ClientSessionCache
	if c.Resume {
		resume = g.cache
	}
	config := tlsConfig(resume)
	config.ServerName = s.Host()
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return claim{}, err
	}
	k := talk{r: bufio.NewReader(conn), w: conn, login: g.login}
	if c.Implicit {
		if _, err := k.reply(); err != nil {
			return claim{}, err
		}
	}
	if c.Kind == Empty {
		return claim{counted: true}, conn.Close()
	}
	err = k.run(c, s.Domain)
	_ = conn.Close()
	if errors.Is(err, errHungUp) {
		return claim{}, nil // it took some, and did not say of all
	}
	return claim{counted: true, messages: k.took}, err
}

// startTLS is the part in clear, the server's consent included.
func startTLS(conn net.Conn) error {
	k := talk{r: bufio.NewReader(conn), w: conn}
	if _, err := k.reply(); err != nil {
		return err
	}
	if _, err := k.say(2, "EHLO client.example"); err != nil {
		return err
	}
	_, err := k.say(2, "STARTTLS")
	return err
}

package notices

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/wneessen/go-mail"
)

// smarthost sends notices by e-mail through the operator's mail server.
type smarthost struct {
	host, user, password string
	port                 int
	tls                  string // starttls: required. implicit. none: in clear
	roots                *x509.CertPool
	from                 string
	to                   []string
	texts                Templates
	box                  string
	now                  func() time.Time
}

func (s *smarthost) send(ctx context.Context, n Notice) error {
	m, err := s.message(n)
	if err != nil {
		return &refusal{err.Error()}
	}
	c, err := s.client()
	if err != nil {
		return &refusal{err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	if err := c.DialAndSendWithContext(ctx, m); err != nil {
		// A server that refuses this message permanently says 5xx to one of its commands; whatever else fails (the network,
		// TLS, logging in, 4xx) would fail for the next message, too.
		if refused, ok := errors.AsType[*mail.SendError](err); ok && !refused.IsTemp() && refused.ErrorCode() >= 500 {
			return &refusal{err.Error()}
		}
		return &unreachable{why: err.Error()}
	}
	return nil
}

// message makes the e-mail of a notice. Its Message-ID is the same at every attempt, so that a repetition can be told.
func (s *smarthost) message(n Notice) (*mail.Msg, error) {
	subject, body, err := s.texts.Mail(n)
	if err != nil {
		return nil, err
	}
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := m.From(s.from); err != nil {
		return nil, err
	}
	if err := m.To(s.to...); err != nil {
		return nil, err
	}
	m.Subject(subject)
	m.SetMessageIDWithValue(n.ID + "@" + hostLabel(s.box))
	m.SetDateWithValue(s.now())
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody answers it by a machine
	m.SetGenHeader("X-Mailweir-Notice", n.Type)
	m.SetBodyString(mail.TypeTextPlain, body)
	return m, nil
}

func (s *smarthost) client() (*mail.Client, error) {
	o := []mail.Option{
		mail.WithTimeout(attemptLimit), mail.WithPort(s.port), mail.WithHELO(hostLabel(s.box) + ".mailweir.invalid"), mail.WithoutNoop(),
		mail.WithTLSConfig(&tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}),
	}
	switch s.tls {
	case "implicit":
		o = append(o, mail.WithSSL())
	case "none":
		o = append(o, mail.WithTLSPolicy(mail.NoTLS))
	default:
		o = append(o, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.user != "" {
		o = append(o, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.user), mail.WithPassword(s.password))
	}
	return mail.NewClient(s.host, o...)
}

// hostLabel makes a box's name fit for a domain.
func hostLabel(box string) string {
	b := []byte(box)
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			b[i] = '-'
		}
	}
	if len(b) == 0 {
		return "box"
	}
	return string(b[:min(len(b), 63)])
}

package crossing

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
)

// msmtp is msmtp with GnuTLS: one message a session, and it pipelines where it may.
type msmtp struct{ program }

func (p *msmtp) name() string { return "msmtp" }

func (p *msmtp) can(c Case, s *Server) bool {
	switch c.Kind {
	case Mail:
		if c.Refused > 0 { // then it sends nothing at all
			return false
		}
	case NotWanted, NoOne, Leave, BadLogin:
	default:
		return false
	}
	return c.messages() == 1 && c.Chunking == 0 && !c.Pipelining && !c.Reset && !c.Broken && !c.Noise && !c.Resume
}

func (p *msmtp) run(ctx context.Context, c Case, s *Server) (claim, error) {
	names, err := p.files(c, s.Domain)
	if err != nil {
		return claim{}, err
	}
	content, err := os.ReadFile(names[0])
	if err != nil {
		return claim{}, err
	}
	a := s.address(c)
	starttls := map[bool]string{false: "on", true: "off"}[c.Implicit]
	argv := []string{"msmtp", "--file=/dev/null", "--host=" + a.Addr().String(), fmt.Sprintf("--port=%d", a.Port()), "--timeout=60", "--domain=client.example",
		"--tls=on", "--tls-starttls=" + starttls, "--tls-certcheck=off", "--tls-host-override=" + s.Host()}
	if c.Login || c.Kind == BadLogin {
		password := p.login.Password
		if c.Kind == BadLogin {
			password = "wrong"
		}
		argv = append(argv, "--auth=plain", "--user="+p.login.Name, "--passwordeval=echo "+password)
	}
	if c.Kind == Leave {
		argv = append(argv, "--serverinfo")
	} else {
		argv = append(append(argv, "--from=me@client.example", "--"), addresses(c, s.Domain)...)
	}
	// It makes the line ends itself.
	_, said, status, err := p.output(ctx, bytes.NewReader(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))), argv...)
	if err != nil {
		return claim{}, fmt.Errorf("msmtp: %w: %s", err, said)
	}
	if good := c.Kind == Mail || c.Kind == Leave; (status == 0) != good {
		return claim{}, fmt.Errorf("msmtp: exit status %d: %s", status, strings.TrimSpace(said))
	}
	out := claim{counted: true}
	if c.Kind == Mail {
		out.messages = 1
	}
	return out, nil
}

package crossing

import (
	"context"
	"fmt"
	"strings"
)

// curl is libcurl with OpenSSL. Several messages go over one connection.
type curl struct{ program }

func (p *curl) name() string { return "curl" }

func (p *curl) can(c Case, s *Server) bool {
	switch c.Kind {
	case Mail, NotWanted, NoOne, Verify:
	default:
		return false
	}
	return !c.Pipelining && c.Chunking == 0 && !c.Reset && !c.Broken && !c.Noise && !c.Resume
}

func (p *curl) run(ctx context.Context, c Case, s *Server) (claim, error) {
	names, err := p.files(c, s.Domain)
	if err != nil {
		return claim{}, err
	}
	url := fmt.Sprintf("smtp://%s/client.example", s.address(c))
	if c.Implicit {
		url = fmt.Sprintf("smtps://%s/client.example", s.address(c))
	}
	argv := []string{"curl"}
	for i, name := range names {
		if i > 0 {
			argv = append(argv, "--next")
		}
		argv = append(argv, "-sS", "-k", "--ssl-reqd", "--noproxy", "*", "-o", "/dev/null", "-w", "%{response_code}\n", url)
		if c.Login {
			argv = append(argv, "--user", p.login.Name+":"+p.login.Password)
		}
		if c.Kind == Verify {
			argv = append(argv, "--mail-rcpt", "you", "--request", "VRFY")
			continue
		}
		argv = append(argv, "--mail-from", "me@client.example", "-T", name)
		for _, to := range addresses(c, s.Domain) {
			argv = append(argv, "--mail-rcpt", to)
		}
		if c.Refused > 0 {
			argv = append(argv, "--mail-rcpt-allowfails")
		}
	}
	out, said, _, err := p.output(ctx, nil, argv...)
	if err != nil {
		return claim{}, fmt.Errorf("curl: %w: %s", err, said)
	}
	done := claim{counted: true}
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "250" && c.Kind != Verify {
			done.messages++
		}
	}
	return done, nil
}

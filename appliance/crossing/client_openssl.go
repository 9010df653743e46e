package crossing

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sclient is `openssl s_client`, which does the TLS for a dialogue of ours.
type sclient struct{ program }

func (p *sclient) name() string { return "openssl s_client" }

func (p *sclient) can(c Case, s *Server) bool {
	return c.Kind != LookAtCert && c.Kind != Empty && (!c.Pipelining || s.pipelining()) && (c.Chunking == 0 || s.chunking())
}

func (p *sclient) run(ctx context.Context, c Case, s *Server) (claim, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	argv := []string{"s_client", "-quiet", "-no_ign_eof", "-verify_quiet", "-nocommands", "-connect", s.address(c).String(), "-servername", s.Host()}
	if !c.Implicit {
		argv = append(argv, "-starttls", "smtp", "-name", "client.example")
	}
	if c.Resume {
		ticket := filepath.Join(p.dir, "ticket-"+s.Name)
		if _, err := os.Stat(ticket); err == nil {
			argv = append(argv, "-sess_in", ticket)
		}
		argv = append(argv, "-sess_out", ticket)
	}
	cmd := p.home.Namespace.Command(ctx, "openssl", argv...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return claim{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return claim{}, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return claim{}, err
	}
	k := talk{r: bufio.NewReader(out), w: in, login: p.login}
	if c.Implicit { // with STARTTLS the greeting was s_client's
		_, err = k.reply()
	}
	if err == nil {
		err = k.run(c, s.Domain)
	}
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	werr := cmd.Wait()
	if errors.Is(err, errHungUp) {
		return claim{}, nil // it took some, and did not say of all
	}
	if err != nil {
		return claim{}, fmt.Errorf("openssl: %w: %v: %s", err, werr, said.String())
	}
	return claim{counted: true, messages: k.took}, nil
}

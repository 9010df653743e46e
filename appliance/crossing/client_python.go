package crossing

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

//go:embed session.py
var smtplibScript string

// python is Python's smtplib.
type python struct{ program }

func (p *python) name() string { return "python smtplib" }

func (p *python) can(c Case, s *Server) bool {
	return c.Kind != LookAtCert && c.Kind != Burst && c.Kind != Attempts && !c.Pipelining && c.Chunking == 0 && !c.Resume
}

func (p *python) run(ctx context.Context, c Case, s *Server) (claim, error) {
	type message struct {
		Content  string `json:"content"`
		Unwanted bool   `json:"unwanted"`
	}
	job := struct {
		Case
		Host       string    `json:"host"`
		Port       uint16    `json:"port"`
		Name       string    `json:"name"`
		Password   string    `json:"password"`
		Addresses  []string  `json:"addresses"`
		Messages   []message `json:"contents"`
		Repetition int       `json:"repetition"`
	}{Case: c, Host: s.address(c).Addr().String(), Port: s.address(c).Port(), Name: p.login.Name, Password: p.login.Password,
		Addresses: addresses(c, s.Domain), Repetition: c.messages()}
	for i := range c.messages() {
		job.Messages = append(job.Messages, message{string(compose(c, i, s.Domain)), c.unwanted(i)})
	}
	input, err := json.Marshal(job)
	if err != nil {
		return claim{}, err
	}
	out, said, status, err := p.output(ctx, bytes.NewReader(input), "python3", "-I", "-c", smtplibScript)
	if err != nil || status != 0 {
		return claim{}, fmt.Errorf("python3: exit status %d: %w: %s", status, err, said)
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	return claim{counted: true, messages: n}, err
}

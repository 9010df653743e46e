package notices

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
)

// Setup is what a configuration says about notices, with the files it names read.
type Setup struct {
	Targets []Target
	Stages  map[string]bool // whose beginning is told
	Limit   int             // notices of a type per Per
	Per     time.Duration
	MaxAge  time.Duration // what happened longer ago is given up
	Texts   Templates
	Mode    string
}

// Target is somebody who wants to know.
type Target struct {
	Name  string          // of the configuration; the smarthost's is MailTarget
	Kind  string          // webhook, mail
	Where string          // scheme and host: what is behind them may be a secret
	Of    map[string]bool // types

	to transport
}

// MailTarget is the name of the target that is the smarthost.
const MailTarget = "mail"

// transport delivers. Its errors are *refusal, *unreachable, or count as the latter.
type transport interface {
	send(ctx context.Context, n Notice) error
}

func (s *Setup) wanted(kind string) bool {
	for _, t := range s.Targets {
		if t.Of[kind] {
			return true
		}
	}
	return false
}

// Load reads what a configuration names: secrets, certificates and templates. Its error is a config.Problems.
// warnings are things that the operator should know although they are taken.
func Load(cfg *config.Config, box string, now func() time.Time) (s Setup, warnings []string, err error) {
	c := cfg.Notices
	s = Setup{Stages: map[string]bool{}, Limit: c.Limit, Per: c.Per, MaxAge: min(c.MaxAge, cfg.Retention.Records), Mode: cfg.Mode}
	for _, stage := range c.Stages {
		s.Stages[stage] = true
	}
	var bad config.Problems
	wrong := func(key string, err error) {
		bad = append(bad, cfg.ProblemAt("notices."+key, err.Error()))
	}
	if s.Texts, err = ReadTemplates(cfg.Resolve(c.MailTemplateFile), cfg.Resolve(c.CustomerTemplateFile)); err != nil {
		key := ""
		if t, ok := errors.AsType[*TemplateError](err); ok {
			key = t.Key
		}
		wrong(key, err)
	}
	secret := func(key, path string) string {
		text, warning, err := readSecret(cfg.Resolve(path))
		if err != nil {
			wrong(key, err)
		} else if warning != "" {
			warnings = append(warnings, warning)
		}
		return text
	}
	roots := func(key, path string) *x509.CertPool {
		if path == "" {
			return nil
		}
		pool, err := readRoots(cfg.Resolve(path))
		if err != nil {
			wrong(key, err)
		}
		return pool
	}
	for i, w := range c.Webhooks {
		at := fmt.Sprintf("webhooks[%d].", i)
		u, err := url.Parse(w.URL) // the configuration has checked it
		if err != nil {
			wrong(at+"url", err)
			continue
		}
		key, err := webhookKey(secret(at+"secret_file", w.SecretFile))
		if err != nil && len(bad) == 0 {
			wrong(at+"secret_file", fmt.Errorf("%s: %w", cfg.Resolve(w.SecretFile), err))
		}
		s.Targets = append(s.Targets, Target{Name: w.Name, Kind: "webhook", Where: u.Scheme + "://" + u.Host, Of: types(w.Of),
			to: newWebhook(u, key, roots(at+"ca_file", w.CAFile), now)})
	}
	if m := c.Mail; m.Smarthost != "" {
		host, port, err := net.SplitHostPort(m.Smarthost)
		if err != nil {
			wrong("mail.smarthost", err)
		}
		n, _ := strconv.Atoi(port)
		t := &smarthost{host: host, port: n, tls: m.TLS, user: m.User, roots: roots("mail.ca_file", m.CAFile), from: m.From, to: m.To, texts: s.Texts, box: box, now: now}
		if m.User != "" {
			t.password = secret("mail.password_file", m.PasswordFile)
		}
		s.Targets = append(s.Targets, Target{Name: MailTarget, Kind: "mail", Where: "smtp://" + m.Smarthost, Of: types(m.Of), to: t})
	}
	if len(bad) > 0 {
		return s, warnings, bad
	}
	return s, warnings, nil
}

func types(subjects []string) map[string]bool {
	of := map[string]bool{}
	for _, s := range subjects {
		of[Subjects[s]] = true
	}
	return of
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 1024

// readSecret reads a file of one line.
func readSecret(path string) (text, warning string, err error) {
	f, err := config.OpenFile(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return "", "", err
	}
	text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case text == "":
		return "", "", fmt.Errorf("%s is empty", path)
	case len(text) > maxSecret:
		return "", "", fmt.Errorf("%s holds more than %d bytes", path, maxSecret)
	case strings.ContainsAny(text, "\r\n\x00"):
		return "", "", fmt.Errorf("%s holds more than one line", path)
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&^0o640 != 0 {
		warning = fmt.Sprintf("notices: others may read or change %s (mode %#o); 0640 is enough", path, info.Mode().Perm())
	}
	return text, warning, nil
}

// webhookKey is the key in a secret as the Standard Webhooks specification writes it: whsec_ and the base64 of 24 to 64 bytes.
func webhookKey(secret string) ([]byte, error) {
	const how = `; make one with: printf 'whsec_%s\n' "$(openssl rand -base64 32)"`
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return nil, errors.New("does not begin with whsec_" + how)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("is not whsec_ and the base64 of 24 to 64 bytes" + how)
	}
	return key, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s has no certificate in PEM", path)
	}
	return pool, nil
}

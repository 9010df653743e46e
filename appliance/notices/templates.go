package notices

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
)

//go:embed mail.tmpl
var mailDefault string

//go:embed customer.tmpl
var customerDefault string

// Templates make texts of notices. Every field of Notice may be named in them.
type Templates struct {
	mail     *template.Template // subject and body
	customer *template.Template
}

// maxText bounds what a template may make, in bytes.
const maxText = 64 << 10

// ReadTemplates reads the operator's templates; an empty path has the default. Each is tried on a notice of every type, with all
// fields and with none: a field that does not exist is an error here, not at night. An error is a *TemplateError.
func ReadTemplates(mailPath, customerPath string) (Templates, error) {
	t := Templates{}
	var err error
	if t.mail, err = read(mailPath, "mail.tmpl", mailDefault); err != nil {
		return t, &TemplateError{"mail_template_file", err}
	}
	for _, part := range []string{"subject", "body"} {
		if t.mail.Lookup(part) == nil {
			return t, &TemplateError{"mail_template_file", fmt.Errorf(`%s has no {{define "%s"}}`, t.mail.Name(), part)}
		}
	}
	if t.customer, err = read(customerPath, "customer.tmpl", customerDefault); err != nil {
		return t, &TemplateError{"customer_template_file", err}
	}
	for _, n := range samples() {
		if _, err := t.Customer(n); err != nil {
			return t, &TemplateError{"customer_template_file", err}
		}
		if _, _, err := t.Mail(n); err != nil {
			return t, &TemplateError{"mail_template_file", err}
		}
	}
	return t, nil
}

// TemplateError says what is wrong with which template: Key is the configuration's, below notices.
type TemplateError struct {
	Key string
	Err error
}

func (e *TemplateError) Error() string { return e.Err.Error() }
func (e *TemplateError) Unwrap() error { return e.Err }

func read(path, name, text string) (*template.Template, error) {
	if path != "" {
		f, err := config.OpenFile(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxText+1))
		if err != nil {
			return nil, err
		}
		if len(b) > maxText {
			return nil, fmt.Errorf("%s is larger than %d bytes", path, maxText)
		}
		name, text = path, string(b)
	}
	t, err := template.New(name).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: ")) // FILE:LINE: what
	}
	return t, nil
}

// Mail is the subject, one line, and the body of an e-mail.
func (t Templates) Mail(n Notice) (subject, body string, err error) {
	if subject, err = execute(t.mail, "subject", n); err != nil {
		return "", "", err
	}
	if body, err = execute(t.mail, "body", n); err != nil {
		return "", "", err
	}
	return oneLine(subject), body, nil
}

// Customer is the text for a subscriber; "" for what does not concern one.
func (t Templates) Customer(n Notice) (string, error) {
	if n.Type != StageChanged {
		return "", nil
	}
	text, err := execute(t.customer, t.customer.Name(), n)
	return strings.TrimSpace(text), err
}

func execute(t *template.Template, name string, n Notice) (string, error) {
	var b bounded
	if err := t.ExecuteTemplate(&b, name, n); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return b.String(), nil
}

// bounded is a buffer that refuses more than maxText bytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxText {
		return 0, fmt.Errorf("makes more than %d bytes", maxText)
	}
	return b.Buffer.Write(p)
}

// samples are notices of every type, with every field and with as few as can be.
func samples() (all []Notice) {
	for _, kind := range []string{StageChanged, ClusterSeen, HealthBegan, Digest, Test} {
		for _, to := range []string{"observe", "warn", "pace", "defer", "cut"} {
			n := Notice{Type: kind, Time: time.Unix(1700000000, 0).UTC(), Box: "box", To: to, Mode: "enforce", Text: "text"}
			all = append(all, n)
			n.Mode = "observe"
			n.ID, n.Severity, n.Seq = "00000000-0000-4000-8000-000000000000", "warning", 1
			n.Subscriber, n.Name, n.Plan, n.From, n.Reason, n.Until, n.Case = "S-1", "Example", "residential", "warn", "sessions 9/5", "2026-01-01T00:00:00.000Z", "00001"
			n.What, n.Target, n.Detail, n.Count, n.Over = "began", "udp://192.0.2.1:514", "detail", "3", true
			n.Cluster, n.JA4, n.LooksLike, n.Subscribers = "K1", "t13d1516h2_8daaf6152771_e5627efa2ab1", "botnet", "12"
			n.More, n.Of, n.Lines, n.Customer = 3, StageChanged, []string{"one", "two"}, "Dear customer"
			all = append(all, n)
			n.Over = false
			all = append(all, n)
		}
	}
	return all
}

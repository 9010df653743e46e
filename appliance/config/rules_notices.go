package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	maxWebhooks = 16
	maxMailTo   = 20
)

// webhookName is what a target is called in records, metrics and on the disk.
var webhookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)

func (r *rules) notices() {
	n := r.c.Notices
	if len(n.Webhooks) > maxWebhooks {
		r.bad("notices.webhooks", "has %d entries; at most %d", len(n.Webhooks), maxWebhooks)
	}
	seen := map[string]int{}
	for i, w := range n.Webhooks {
		at := fmt.Sprintf("notices.webhooks[%d]", i)
		switch first, twice := seen[w.Name]; {
		case !webhookName.MatchString(w.Name):
			r.bad(at+".name", "%q is not a name; up to 32 letters, digits and _ . -", w.Name)
		case w.Name == "mail":
			r.bad(at+".name", "mail is the smarthost's name; choose another")
		case twice:
			r.bad(at+".name", "%q is already webhooks[%d]; give it another", w.Name, first)
		}
		seen[w.Name] = i
		r.webhookURL(at+".url", w.URL)
		if w.SecretFile == "" {
			r.bad(at+".secret_file", "is missing; notices are signed, so name the file with the secret")
		}
		if len(w.Of) == 0 {
			r.warn(at+".of", "is empty: it is told nothing but tests")
		}
	}
	r.mail(n.Mail)
}

func (r *rules) webhookURL(key, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || s == "" || u.Host == "" || u.Opaque != "":
		r.bad(key, "%q is not a URL; write https://desk.example/hook", s)
	case u.Scheme != "https" && u.Scheme != "http":
		r.bad(key, "%q is neither https:// nor http://", s)
	case u.User != nil:
		r.bad(key, "has a user or a password in it; the signature says who we are")
	case u.Fragment != "":
		r.bad(key, "%q has a fragment (#), which is never sent", s)
	case hostName(u.Hostname()) != "" || u.Hostname() == "":
		r.bad(key, "%q has no host that can be reached", s)
	case u.Scheme == "http":
		r.warn(key, "http:// is signed, but everybody on the way can read it")
	}
}

func (r *rules) mail(m Mail) {
	if m.Smarthost == "" {
		if m.From != "" || len(m.To) > 0 || m.User != "" || m.PasswordFile != "" || m.CAFile != "" {
			r.warn("notices.mail", "has no effect while smarthost is empty")
		}
		return
	}
	host, port, err := net.SplitHostPort(m.Smarthost)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || hostName(host) != "" || bad != nil || n < 1 || n > 65535 {
		r.bad("notices.mail.smarthost", "%q is not HOST:PORT; write mail.isp.example:587", m.Smarthost)
	}
	r.mailAddress("notices.mail.from", m.From)
	if len(m.To) == 0 {
		r.bad("notices.mail.to", "is empty; name who is to read it: [abuse@isp.example]")
	}
	if len(m.To) > maxMailTo {
		r.bad("notices.mail.to", "has %d addresses; at most %d: make a list on your mail server", len(m.To), maxMailTo)
	}
	for i, to := range m.To {
		at := fmt.Sprintf("notices.mail.to[%d]", i)
		if slices.Contains(m.To[:i], to) {
			r.bad(at, "%q is there already", to)
		}
		r.mailAddress(at, to)
	}
	switch {
	case m.User == "" && m.PasswordFile != "":
		r.bad("notices.mail.user", "is missing; a password needs its user")
	case m.User != "" && m.PasswordFile == "":
		r.bad("notices.mail.password_file", "is missing; name the file with the password of %s", m.User)
	case m.User != "" && m.TLS == "none":
		r.bad("notices.mail.tls", "none would send the password in clear; write starttls or implicit")
	case m.TLS == "none":
		r.warn("notices.mail.tls", "none: everybody on the way can read it")
	}
	if m.TLS == "none" && m.CAFile != "" {
		r.bad("notices.mail.ca_file", "has no use without TLS; remove it, or write tls: starttls")
	}
	if len(m.Of) == 0 {
		r.warn("notices.mail.of", "is empty: nothing but tests is sent")
	}
}

func (r *rules) mailAddress(key, s string) {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s || strings.ContainsFunc(s, func(c rune) bool { return c > '~' }) {
		r.bad(key, "%q is not an address like abuse@isp.example", s)
	}
}

func (r *rules) evidence() {
	e := r.c.Evidence
	switch {
	case e.Organization == "" && e.Contact == "":
		return
	case e.Organization == "":
		r.bad("evidence.organization", "is missing although contact is set")
	case len([]rune(e.Organization)) > 200:
		r.bad("evidence.organization", "has more than the 200 characters that XARF allows")
	}
	if at := strings.LastIndexByte(e.Contact, '@'); at >= 0 && (!domainName.MatchString(e.Contact[at+1:]) || len(e.Contact)-at > 254) {
		r.bad("evidence.contact", "%q is not an address at a domain, like abuse@isp.example, which XARF asks for", e.Contact)
		return
	}
	r.mailAddress("evidence.contact", e.Contact)
}

// domainName is that of RFC 1123, 2.1: letters, digits, and hyphens between them.
var domainName = regexp.MustCompile(`^(?i)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Tuning is what a rig may want of a mail server otherwise than Debian has it.
type Tuning struct {
	// ImplicitTLS: it takes mail on port 465 as well, TLS from the first byte on. It needs StartTLS, for the certificate.
	ImplicitTLS bool
	// TLSVersion is the only one it speaks on either side, tls.VersionTLS12 or tls.VersionTLS13; 0: what the software
	// is willing to.
	TLSVersion uint16
	// Without are keywords that its reply to EHLO does not have although the software has them, in capitals: PIPELINING,
	// CHUNKING.
	Without []string
	// Reuse is how many messages it sends in one session at most; 0 means 1.
	// With more than one Exim sends at Flush only: what goes together it finds out when it runs through its queue.
	Reuse int
	// KeepOpen is how long Postfix and OpenSMTPD hold a session open for one more message, in whole seconds; 0 means one.
	KeepOpen time.Duration
	// Resume: it resumes TLS sessions, as far as the other end does.
	Resume bool
	// Login, if it has a name, may be used with AUTH inside TLS. Anybody may go on without.
	Login Login
	// Refuses: it answers 550 to recipients whose name begins with "refused", and after the content of a message with
	// the header field X-Refuse: with the words in it, if there is more than one. OpenSMTPD does the first only: it looks at no content.
	Refuses bool
}

// Login is what AUTH takes.
type Login struct{ Name, Password string }

// secret is the password as crypt(3) has it, the same for as long as the server runs.
func (l Login) secret() (string, error) {
	if l.Name == "" {
		return "", nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(l.Password), bcrypt.MinCost)
	return string(hash), err
}

// keepOpen is KeepOpen in seconds.
func (t Tuning) keepOpen() int { return max(1, int(t.KeepOpen.Seconds())) }

func (t Tuning) check(o ServerOptions) error {
	if o.Software == OpenSMTPD && slices.ContainsFunc(o.Routes, func(r Route) bool { return r.TLS == TLSPinned }) {
		return errors.New("no way to hold OpenSMTPD to a certificate: Route.TLS is TLSPinned")
	}
	for _, k := range t.Without {
		if !slices.Contains([]string{"PIPELINING", "CHUNKING"}, k) {
			return fmt.Errorf("keyword %q of Tuning.Without is not PIPELINING or CHUNKING", k)
		}
	}
	if v := t.TLSVersion; v != 0 && v != tls.VersionTLS12 && v != tls.VersionTLS13 {
		return fmt.Errorf("version %s of Tuning.TLSVersion is not TLS 1.2 or 1.3", tls.VersionName(v))
	}
	return nil
}

// openssl is the version in words of OpenSSL, and of Postfix: TLSv1.2.
func (t Tuning) openssl() string {
	return strings.Replace(tls.VersionName(t.TLSVersion), "TLS ", "TLSv", 1)
}

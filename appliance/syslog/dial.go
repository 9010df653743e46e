package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// dial connects to the collector.
func (t *target) dial(ctx context.Context) (sender, error) {
	if t.scheme == "udp" {
		return dialUDP(ctx, t.address, t.broke)
	}
	var config *tls.Config
	if t.scheme == "tls" || t.scheme == "relps" {
		var err error
		if config, err = t.secure(); err != nil {
			return nil, err
		}
	}
	w, err := dialWire(ctx, t.address, config)
	if err != nil {
		return nil, err
	}
	if t.scheme == "relp" || t.scheme == "relps" {
		return newRELP(w)
	}
	s := newStream(w, min(maxUnproven, uint64(t.cfg.Spool.Limit()/spoolShares)), t.never)
	s.idle = t.restless.idle(time.Now())
	return s, nil
}

// secure reads the certificates, anew for each connection, so that renewed ones are taken.
func (t *target) secure() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.host}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file %s and key_file %s: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// phaseError is what went wrong after the collector had taken the connection.
type phaseError struct {
	phase string
	err   error
}

func (e *phaseError) Error() string { return e.phase + ": " + e.err.Error() }
func (e *phaseError) Unwrap() error { return e.err }

// explain says in plain words why a connection failed, and where there is something to do about it, what.
func (t *target) explain(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		notTLS   tls.RecordHeaderError
		lookup   *net.DNSError
		timeouts net.Error
		phase    *phaseError
	)
	secure := t.scheme == "tls" || t.scheme == "relps"
	ended := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, errEnded) || errors.Is(err, io.EOF)
	late := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeouts) && timeouts.Timeout()
	switch {
	case errors.As(err, &lookup):
		return fmt.Sprintf("the name %s is not known (%v)", t.host, lookup.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens at " + t.address + " (connection refused)"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no way to %s (%v)", t.host, errors.Unwrap(err))
	case errors.As(err, &unknown):
		if t.CAFile == "" {
			return "its certificate is signed by nobody whom the system trusts; set ca_file"
		}
		return "its certificate is not signed by " + t.CAFile
	case errors.As(err, &name):
		return fmt.Sprintf("its certificate is for another name than %s (%v)", t.host, name)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("its certificate is not valid now; is the clock right? (%v)", invalid)
	case errors.As(err, &notTLS):
		return "it does not speak TLS at " + t.address
	case strings.Contains(err.Error(), "remote error: tls:"):
		if t.CertFile == "" {
			return fmt.Sprintf("it ends the TLS handshake (%v); if it asks for a certificate, set cert_file and key_file", err)
		}
		return fmt.Sprintf("it ends the TLS handshake (%v); is it %s that it expects?", err, t.CertFile)
	case ended && secure && t.CertFile == "":
		return "it broke the connection off; if it asks for a certificate, set cert_file and key_file"
	case ended && errors.As(err, &phase):
		return fmt.Sprintf("it broke the connection off instead of answering %s; is it the right port?", phase.phase)
	case ended:
		return "it broke the connection off"
	case late && errors.As(err, &phase):
		return fmt.Sprintf("%s takes the connection and does not answer %s; is it the right port?", t.address, phase.phase)
	case late:
		return t.address + " does not answer"
	}
	return err.Error()
}

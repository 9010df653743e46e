package webadmin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// Certificate is what browsers are shown, and where it is from: GET /api/v1/certificate.
type Certificate struct {
	SelfSigned bool     `json:"self_signed"` // made by the box
	Subject    string   `json:"subject"`
	Issuer     string   `json:"issuer"`
	Names      []string `json:"names"` // host names and addresses that it is for
	NotBefore  Time     `json:"not_before"`
	NotAfter   Time     `json:"not_after"`
	SHA256     string   `json:"sha256"` // of the certificate, as browsers show it
	Fault      string   `json:"fault"`  // what is wrong with it by the box's clock, "has been over since ..."; empty: nothing
	File       string   `json:"file"`
	KeyFile    string   `json:"key_file"`
}

// shown is the certificate of now.
func (k *keeper) shown() (Certificate, error) {
	pair, err := k.current()
	if err != nil {
		return Certificate{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	leaf := pair.Leaf
	v := Certificate{SelfSigned: k.own == nil, Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: namesOf(leaf), NotBefore: At(leaf.NotBefore), NotAfter: At(leaf.NotAfter),
		SHA256: fingerprintOf(pair.Certificate[0]), Fault: faultOf(leaf, k.now()), File: k.files[0], KeyFile: k.files[1]}
	if v.SelfSigned {
		v.File, v.KeyFile = k.file("cert.pem"), k.file("key.pem")
	}
	return v, nil
}

// faultOf says what is wrong with a certificate at a time; empty: nothing.
func faultOf(leaf *x509.Certificate, now time.Time) string {
	const day = "2006-01-02 15:04 MST"
	switch here := "; the box's clock says " + now.UTC().Format(day); {
	case now.After(leaf.NotAfter):
		return "has been over since " + leaf.NotAfter.UTC().Format(day) + here
	case now.Before(leaf.NotBefore):
		return "holds only from " + leaf.NotBefore.UTC().Format(day) + " on" + here
	}
	return ""
}

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, a := range leaf.IPAddresses {
		names = append(names, a.String())
	}
	return orEmpty(names)
}

// checkPair says what is wrong with a certificate and its key, both PEM, that browsers are to be shown: a [Refused] of the field certificate or key.
func checkPair(certPEM, keyPEM []byte, now time.Time) error {
	if block := blockOf(certPEM, "CERTIFICATE"); block == nil {
		return Refused{"certificate", "is not in PEM form: -----BEGIN CERTIFICATE-----, the box's own first, then those above it"}
	}
	switch block := blockOf(keyPEM, "PRIVATE KEY"); {
	case block == nil:
		return Refused{"key", "is not in PEM form: -----BEGIN PRIVATE KEY-----"}
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return Refused{"key", "is locked with a passphrase; unlock it first: openssl pkey -in KEY -out UNLOCKED"}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return Refused{"key", "does not fit the certificate: " + strings.TrimPrefix(err.Error(), "tls: ")}
	}
	leaf := pair.Leaf
	switch fault := faultOf(leaf, now); {
	case fault != "":
		return Refused{"certificate", fault}
	case len(namesOf(leaf)) == 0:
		return Refused{"certificate", "is for no host name or address (subject alternative name); browsers refuse it"}
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return Refused{"certificate", "is not for servers (extended key usage); browsers refuse it"}
	}
	return nil
}

// blockOf is the first block of a PEM file whose type ends so.
func blockOf(text []byte, kind string) *pem.Block {
	for {
		block, rest := pem.Decode(text)
		if block == nil || strings.HasSuffix(block.Type, kind) {
			return block
		}
		text = rest
	}
}

const certFileKey, keyFileKey = "admin.tls.cert_file", "admin.tls.key_file"

// setCertificate has the configuration name a new pair of the operator's, and the server show it.
func (s *Server) setCertificate(a actor, certPEM, keyPEM []byte, revision string) error {
	if err := checkPair(certPEM, keyPEM, s.opt.Now()); err != nil {
		return err
	}
	was := s.keeper.fingerprint()
	c := ConfigChange{Revision: revision, Files: []ConfigFile{{certFileKey, "certificate", certPEM}, {keyFileKey, "certificate-key", keyPEM}}, Sure: true}
	if _, err := s.opt.Source.SetConfig(c, a.who); err != nil {
		return err
	}
	s.tell(a, "certificate", "own", "sha256 "+was, "sha256 "+s.keeper.fingerprint())
	return nil
}

// makeSelfSigned makes the self-signed pair anew, and has the configuration name no other.
func (s *Server) makeSelfSigned(a actor, revision string) error {
	c, err := s.opt.Source.Config()
	if err != nil {
		return err
	}
	var now values
	if err := json.Unmarshal(c.Values, &now); err != nil {
		return err
	}
	if revision != "" && revision != c.Revision {
		return ErrConfigChanged
	}
	was := s.keeper.fingerprint()
	if err := s.keeper.begin(); err != nil { // before anything is changed
		return err
	}
	if err := s.keeper.renew(); err != nil {
		return err
	}
	if now.Admin.TLS.CertFile != "" {
		if _, err := s.opt.Source.SetConfig(ConfigChange{Revision: c.Revision, Keys: []ConfigKey{takeOut(certFileKey), takeOut(keyFileKey)}, Sure: true}, a.who); err != nil {
			return err
		}
	}
	s.tell(a, "certificate", "self-signed", "sha256 "+was, "sha256 "+s.keeper.fingerprint())
	return nil
}

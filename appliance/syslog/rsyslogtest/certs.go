package rsyslogtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certs are files in PEM.
type Certs struct {
	CA                string
	Server, ServerKey string // for 127.0.0.1
	Client, ClientKey string
	Other             string // another CA, which signed none of them
	Expired, OldKey   string // of the server, not valid any more
}

// MakeCerts makes the certificates in dir.
func MakeCerts(dir string) (Certs, error) {
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	c := Certs{CA: file("ca"), Server: file("server"), ServerKey: file("server-key"), Client: file("client"), ClientKey: file("client-key"),
		Other: file("other-ca"), Expired: file("expired"), OldKey: file("expired-key")}
	ca, caKey, err := authority(c.CA, "a collector's CA")
	if err != nil {
		return c, err
	}
	if _, _, err = authority(c.Other, "another CA"); err != nil {
		return c, err
	}
	now := time.Now()
	for _, leaf := range []struct {
		cert, key string
		until     time.Time
	}{{c.Server, c.ServerKey, now.Add(time.Hour)}, {c.Client, c.ClientKey, now.Add(time.Hour)}, {c.Expired, c.OldKey, now.Add(-time.Hour)}} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return c, err
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "127.0.0.1"},
			NotBefore: now.Add(-2 * time.Hour), NotAfter: leaf.until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, ca, &key.PublicKey, caKey)
		if err != nil {
			return c, err
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err := errors.Join(err, write(leaf.cert, "CERTIFICATE", der), write(leaf.key, "PRIVATE KEY", pkcs8)); err != nil {
			return c, err
		}
	}
	return c, nil
}

func authority(path, name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return ca, key, errors.Join(err, write(path, "CERTIFICATE", der))
}

func write(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

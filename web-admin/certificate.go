package webadmin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

const (
	selfSignedFor   = 397 * 24 * time.Hour // browsers refuse longer ones
	renewSelfBefore = 30 * 24 * time.Hour
)

// keeper holds the certificate that the server shows: the operator's own pair, read when it is told to, or a self-signed one, which is made when
// there is none and made again in its last month, by the first handshake that notices, so that a box may run for years.
type keeper struct {
	dir string // of the self-signed pair
	now func() time.Time

	mu    sync.Mutex
	own   *tls.Certificate // the operator's; nil: the self-signed one is shown
	files [2]string        // certificate and key, of own
	made  *tls.Certificate // the self-signed one
}

// prepare reads the operator's pair, or, without names of files, the self-signed one; show has it shown from then on.
func (k *keeper) prepare(certFile, keyFile string) (show func(), err error) {
	var own *tls.Certificate
	if certFile != "" || keyFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("admin.tls: %w", err)
		}
		own = &pair
	} else if err := k.begin(); err != nil {
		return nil, err
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.own, k.files = own, [2]string{certFile, keyFile}
	}, nil
}

// begin has a self-signed pair there.
func (k *keeper) begin() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	// A pair that cannot be read or parsed is of no use to anybody: a new one replaces it.
	if pair, err := tls.LoadX509KeyPair(k.file("cert.pem"), k.file("key.pem")); k.made == nil && err == nil {
		k.made = &pair
	}
	_, err := k.selfMade()
	return err
}

func (k *keeper) file(name string) string { return filepath.Join(k.dir, name) }

// current is the pair to show now.
func (k *keeper) current() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own != nil {
		return k.own, nil
	}
	return k.selfMade()
}

// operators tells whether the pair is the operator's own.
func (k *keeper) operators() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own != nil
}

// selfMade is the self-signed pair, made anew where it is time for that; mu is held.
func (k *keeper) selfMade() (*tls.Certificate, error) {
	if k.made != nil && k.now().Before(k.made.Leaf.NotAfter.Add(-renewSelfBefore)) {
		return k.made, nil
	}
	if err := k.makeAnew(); err != nil && k.made == nil {
		return nil, err
	}
	return k.made, nil // after an error the old one, which is better than no page; the next handshake tries again
}

// renew makes the self-signed pair anew, for the names and addresses that the machine has now.
func (k *keeper) renew() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.makeAnew()
}

// makeAnew makes a self-signed pair and keeps it; mu is held.
func (k *keeper) makeAnew() error {
	certPEM, keyPEM, err := makePair(k.now())
	if err == nil {
		// The key first: a certificate without its key would be taken for a damaged pair, and replaced.
		err = errors.Join(durable.Replace(k.file("key.pem"), keyPEM), durable.Replace(k.file("cert.pem"), certPEM))
	}
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	k.made = &pair
	return nil
}

// PrepareCertificate reads the pair that the web admin is to show, or, without names of files, its self-signed one; show has it shown from the next
// connection on.
func (s *Server) PrepareCertificate(certFile, keyFile string) (show func(), err error) {
	return s.keeper.prepare(certFile, keyFile)
}

// fingerprint is the SHA-256 of the certificate as browsers show it, for comparing by eye.
func (k *keeper) fingerprint() string {
	pair, err := k.current()
	if err != nil {
		return ""
	}
	return fingerprintOf(pair.Certificate[0])
}

func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(hex, ":")
}

// makePair makes a self-signed ECDSA P-256 pair for every name and address that this machine has now.
func makePair(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "mailweir"},
		NotBefore:             now.Add(-time.Hour), // the browser's clock may be a little behind ours
		NotAfter:              now.Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"mailweir", "localhost"},
	}
	if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" && host != "mailweir" {
		template.DNSNames = append(template.DNSNames, host)
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
				template.IPAddresses = append(template.IPAddresses, n.IP)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

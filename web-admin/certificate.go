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

// keeper holds the certificate that the server shows. The operator's own pair is read once; a self-signed one is made when there is
// none and made again in its last month, by the first handshake that notices, so that a box may run for years.
type keeper struct {
	dir string // of the self-signed pair; empty: the pair is the operator's
	now func() time.Time

	mu   sync.Mutex
	pair *tls.Certificate
}

// operatorsPair reads the configured pair.
func operatorsPair(certFile, keyFile string) (*keeper, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("admin.tls: %w", err)
	}
	return &keeper{pair: &pair}, nil
}

// selfSigned reads the pair in dir or makes it.
func selfSigned(dir string, now func() time.Time) (*keeper, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	k := &keeper{dir: dir, now: now}
	// A pair that cannot be read or parsed is of no use to anybody: a new one replaces it.
	if pair, err := tls.LoadX509KeyPair(k.file("cert.pem"), k.file("key.pem")); err == nil {
		k.pair = &pair
	}
	if _, err := k.current(); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *keeper) file(name string) string { return filepath.Join(k.dir, name) }

// current is the pair to show now.
func (k *keeper) current() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dir == "" || k.pair != nil && k.now().Before(k.pair.Leaf.NotAfter.Add(-renewSelfBefore)) {
		return k.pair, nil
	}
	certPEM, keyPEM, err := makePair(k.now())
	if err == nil {
		// The key first: a certificate without its key would be taken for a damaged pair, and replaced.
		err = errors.Join(durable.Replace(k.file("key.pem"), keyPEM), durable.Replace(k.file("cert.pem"), certPEM))
	}
	if err != nil {
		if k.pair != nil {
			return k.pair, nil // an old certificate is better than no page; the next handshake tries again
		}
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	k.pair = &pair
	return k.pair, nil
}

// fingerprint is the SHA-256 of the certificate as browsers show it, for comparing by eye.
func (k *keeper) fingerprint() string {
	pair, err := k.current()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(pair.Certificate[0])
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

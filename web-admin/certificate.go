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
	"io/fs"
	"log/slog"
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
	beginsBefore    = time.Hour // the browser's clock may be a little behind ours
)

// keeper holds the certificate that the server shows: the operator's own pair, read when it is told to, or a self-signed one, which is made when
// there is none and made again in its last month, by the first handshake that notices, so that a box may run for years.
//
// A self-signed one of a wrong time is made again, too, as soon as the time is known: one that does not hold now, and one that was made by a clock that
// nobody had set. While the box knows that its clock is not set none is made anew but by hand: browsers have clocks of their own, and may know the one there is.
type keeper struct {
	dir   string // of the self-signed pair
	now   func() time.Time
	clock func() Clock
	up    func() time.Duration // the time that goes by, whoever sets the clock
	log   *slog.Logger

	mu      sync.Mutex
	own     *tls.Certificate // the operator's; nil: the self-signed one is shown
	files   [2]string        // certificate and key, of own
	made    *tls.Certificate // the self-signed one
	guessed bool             // it was made by a clock that nobody had set; a file beside it says so
	here    *making          // of the pair, if it was made in this life
	renewed *renewal         // that the keeper decided on by itself, last
}

// making is when a pair was made, by both clocks.
type making struct {
	at time.Time
	up time.Duration
}

// renewal is why a self-signed pair was made in place of another.
type renewal struct {
	at  time.Time
	why string
}

func newKeeper(dir string, now func() time.Time, clock func() Clock, log *slog.Logger) *keeper {
	start := time.Now()
	return &keeper{dir: dir, now: now, clock: clock, up: func() time.Duration { return time.Since(start) }, log: log}
}

// Pair is the operator's certificate and key as they are in their files, PEM; the zero value: the web admin's own, which is self-signed.
type Pair struct {
	CertFile, KeyFile string
	Cert, Key         []byte
}

// ReadPair reads the operator's pair; without names of files it is the zero value. What is no pair is an error.
func ReadPair(certFile, keyFile string) (p Pair, err error) {
	if certFile == "" && keyFile == "" {
		return Pair{}, nil
	}
	p = Pair{CertFile: certFile, KeyFile: keyFile}
	if p.Cert, err = os.ReadFile(certFile); err == nil {
		p.Key, err = os.ReadFile(keyFile)
	}
	if err == nil {
		_, err = tls.X509KeyPair(p.Cert, p.Key)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("admin.tls: %w", err)
	}
	return p, nil
}

// show has a pair shown from the next handshake on.
func (k *keeper) show(p Pair) error {
	var own *tls.Certificate
	if len(p.Cert) > 0 {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			return fmt.Errorf("admin.tls: %w", err)
		}
		own = &pair
	} else if err := k.begin(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own, k.files = own, [2]string{p.CertFile, p.KeyFile}
	return nil
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
		_, err := os.Stat(k.file(guessedFile))
		k.guessed = !errors.Is(err, fs.ErrNotExist)
	}
	_, err := k.selfMade()
	return err
}

// guessedFile is there while the self-signed pair is one of a clock that nobody had set.
const guessedFile = "clock-not-set"

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
	first, why := k.made == nil, ""
	if !first {
		if why = k.stale(); why == "" {
			return k.made, nil
		}
	}
	switch err := k.makeAnew(); {
	case err != nil && first:
		return nil, err
	case err != nil: // the old one is better than no page; the next handshake tries again
		k.log.Error("web admin: the certificate cannot be made anew", "why", why, "err", err)
	case !first:
		k.renewed = &renewal{k.now(), why}
		k.log.Info("web admin: the certificate was made anew, and browsers warn once more", "why", why, "certificate_sha256", fingerprintOf(k.made.Certificate[0]))
	}
	return k.made, nil
}

// stale says why the self-signed pair has to be made anew; empty: it has not. mu is held.
func (k *keeper) stale() string {
	now, leaf := k.now(), k.made.Leaf
	early, late := now.Before(leaf.NotBefore), !now.Before(leaf.NotAfter.Add(-renewSelfBefore))
	if !early && !late && !k.guessed {
		return ""
	}
	clock := k.clock()
	switch {
	case clock.Unset():
		return ""
	case k.guessed && clock.right():
		if early || late || !k.wentOn(now) {
			return "the one before was made when the clock was not set"
		}
		k.guessed = false // the clock was right, as it turns out
		k.forget()
	case early && clock.right():
		return "the one before was to begin later, at " + leaf.NotBefore.UTC().Format(time.RFC3339)
	case late:
		return "the one before was in its last month, or over"
	}
	return ""
}

// wentOn tells whether the clock has gone on since the pair was made, give or take what a pair allows for, and was not set. mu is held.
func (k *keeper) wentOn(now time.Time) bool {
	if k.here == nil {
		return false // nobody knows
	}
	by := now.Round(0).Sub(k.here.at.Round(0)) - (k.up() - k.here.up)
	return by.Abs() < beginsBefore
}

// forget takes the note away that the pair is one of a clock that was not set; at worst it is made anew once more.
func (k *keeper) forget() {
	if err := os.Remove(k.file(guessedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Error("web admin: certificate", "err", err)
	}
}

// last is what the keeper decided on by itself, last; nil: nothing.
func (k *keeper) last() *renewal {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renewed
}

// renew makes the self-signed pair anew, for the names and addresses that the machine has now.
func (k *keeper) renew() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewed = nil // who asked for it knows
	return k.makeAnew()
}

// makeAnew makes a self-signed pair and keeps it; mu is held.
func (k *keeper) makeAnew() error {
	now, guessed := k.now(), !k.clock().right()
	certPEM, keyPEM, err := makePair(now)
	if err == nil && guessed { // before the pair: one that was made by guess and passes for right would stay
		err = durable.Replace(k.file(guessedFile), nil)
	}
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
	k.made, k.guessed, k.here = &pair, guessed, &making{now, k.up()}
	if !guessed {
		k.forget()
	}
	return nil
}

// ShowPair has the web admin show a pair from the next connection on.
func (s *Server) ShowPair(p Pair) error { return s.keeper.show(p) }

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
		NotBefore:             now.Add(-beginsBefore),
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

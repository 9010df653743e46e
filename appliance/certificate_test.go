package appliance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// pairFor makes a certificate and its key, and says how browsers show it.
func pairFor(t *testing.T, name string) (certPEM, keyPEM []byte, fingerprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: opened.Add(-time.Hour), NotAfter: opened.Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), asBrowsers(der)
}

func asBrowsers(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(strings.ToUpper(fmt.Sprintf("% x", sum[:])), " ", ":")
}

// Another certificate is shown from the next connection on, without a restart: one that was sent, one that a renewal put under the same names before a
// reload, and the self-signed one again. One that is no pair changes nothing.
func TestAnotherCertificateIsShownAtOnce(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	end := serve(t, d, "127.0.0.1:0")
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	at, err := url.Parse(d.here().URL())
	if err != nil {
		t.Fatal(err)
	}
	shows := func(why, want string) {
		t.Helper()
		c, err := tls.Dial("tcp", at.Host, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := asBrowsers(c.ConnectionState().PeerCertificates[0].Raw); got != want {
			t.Errorf("%s: %s is shown, want %s", why, got, want)
		}
	}
	self := d.here().Fingerprint()
	shows("at first", self)
	s := &source{a: d.Appliance}
	send := func(cert, key []byte) (webadmin.ConfigOutcome, error) {
		return s.SetConfig(webadmin.ConfigChange{Files: []webadmin.ConfigFile{{Key: "admin.tls.cert_file", Name: "certificate", Content: cert}, {Key: "admin.tls.key_file", Name: "certificate-key", Content: key}}, Sure: true}, "anna 192.0.2.7")
	}
	var unsure webadmin.NotSure
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{{Key: "management.ipv4", Value: json.RawMessage(`"192.0.2.9/24"`)}, {Key: "management.ipv4_gateway", Value: json.RawMessage(`"192.0.2.1"`)}}}, "anna 192.0.2.7"); !errors.As(err, &unsure) || len(unsure) != 2 {
		t.Errorf("another router without the password: %v", err)
	}
	cert, key, fingerprint := pairFor(t, "box.isp.example")
	o, err := send(cert, key)
	if err != nil || len(o.Waiting) != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	shows("one that was sent", fingerprint)
	cfg := d.cfg.Load()
	certFile, keyFile := cfg.Resolve(cfg.Admin.TLS.CertFile), cfg.Resolve(cfg.Admin.TLS.KeyFile)
	if st, err := os.Stat(keyFile); err != nil || st.Mode().Perm() != 0o600 || filepath.Base(filepath.Dir(keyFile)) != settingsDir {
		t.Errorf("the key's file: %v, %v", st, err)
	}

	_, other, _ := pairFor(t, "box.isp.example")
	var wrong webadmin.WrongConfig
	if _, err := send(cert, other); !errors.As(err, &wrong) || wrong[0].Key != "admin.tls.cert_file" {
		t.Errorf("a key of another: %v", err)
	}
	shows("after what was refused", fingerprint)
	if files, err := os.ReadDir(filepath.Dir(keyFile)); err != nil || len(files) != 2 {
		t.Errorf("%d files are left, %v", len(files), err)
	}

	renewed, renewedKey, second := pairFor(t, "box.isp.example")
	if err := errors.Join(os.WriteFile(certFile, renewed, 0o600), os.WriteFile(keyFile, renewedKey, 0o600), d.reload()); err != nil {
		t.Fatal(err)
	}
	shows("renewed in its place", second)

	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{{Key: "admin.tls.cert_file"}, {Key: "admin.tls.key_file"}}, Sure: true}, "anna 192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	shows("the self-signed one again", self)
	if _, err := os.Stat(keyFile); err == nil {
		t.Error("the key that nothing names any more is still there")
	}
}

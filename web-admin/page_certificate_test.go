package webadmin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ownPair is a pair as an operator may have one, valid around noon; change makes it another.
func ownPair(t *testing.T, change func(*x509.Certificate)) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "box.isp.example"}, DNSNames: []string{"box.isp.example"},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(90 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// parsedPair is a pair as it is shown.
func parsedPair(t *testing.T, certPEM, keyPEM []byte) *tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// sendPair posts the two files as a browser does.
func sendPair(t *testing.T, s *Server, cookie string, certPEM, keyPEM []byte, now string) *http.Response {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for name, content := range map[string][]byte{"certificate": certPEM, "key": keyPEM} {
		w, err := m.CreateFormFile(name, name+".pem")
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.WriteField("revision", fakeRevision(fakeConfig)), m.WriteField("now", now), m.Close()); err != nil {
		t.Fatal(err)
	}
	return ask(t, s, "POST", "/settings/certificate", b.String(), "Content-Type", m.FormDataContentType(), "Sec-Fetch-Site", "same-origin", "Cookie", cookie)
}

// A pair that browsers would refuse, or whose key is not there, is refused with the reason, on the page and by the API; a good one goes into the configuration.
func TestAnOwnCertificateIsLookedAtFirst(t *testing.T) {
	t.Parallel()
	box, audit := busyBox(), &ears{}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }, Audit: audit.hear})
	cookie := enter(t, s)
	cert, key := ownPair(t, nil)
	_, other := ownPair(t, nil)
	changed := func(change func(*x509.Certificate)) [2][]byte {
		cert, key := ownPair(t, change)
		return [2][]byte{cert, key}
	}
	audit.words()
	for _, c := range []struct {
		why, field, says string
		pair             [2][]byte
	}{
		{"no PEM", "certificate", "-----BEGIN CERTIFICATE-----", [2][]byte{[]byte("MIIB"), key}},
		{"a key for a certificate", "certificate", "-----BEGIN CERTIFICATE-----", [2][]byte{key, key}},
		{"a certificate for a key", "key", "-----BEGIN PRIVATE KEY-----", [2][]byte{cert, cert}},
		{"a locked key", "key", "passphrase", [2][]byte{cert, bytes.ReplaceAll(key, []byte("PRIVATE KEY"), []byte("ENCRYPTED PRIVATE KEY"))}},
		{"another's key", "key", "does not fit", [2][]byte{cert, other}},
		{"damaged", "key", "does not fit", [2][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key}},
		{"over", "certificate", "over since", changed(func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Minute) })},
		{"not begun", "certificate", "clock", changed(func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Hour) })},
		{"for nobody", "certificate", "subject alternative name", changed(func(c *x509.Certificate) { c.DNSNames = nil })},
		{"for clients", "certificate", "extended key usage", changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
	} {
		a := sendPair(t, s, cookie, c.pair[0], c.pair[1], password)
		if page := body(t, a); a.StatusCode != http.StatusBadRequest || !strings.Contains(page, `href="#`+c.field+`"`) || !strings.Contains(page, c.says) {
			t.Errorf("%s, on the page: %s", c.why, a.Status)
		}
		sent, err := json.Marshal(map[string]string{"certificate": string(c.pair[0]), "key": string(c.pair[1])})
		if err != nil {
			t.Fatal(err)
		}
		a = ask(t, s, "PUT", "/api/v1/certificate", string(sent), "Authorization", "Bearer "+tokenOf(t, s))
		if text := body(t, a); a.StatusCode != http.StatusBadRequest || !strings.Contains(text, `"field": "`+c.field+`"`) && !strings.Contains(text, `"field":"`+c.field+`"`) {
			t.Errorf("%s, by the API: %s %s", c.why, a.Status, text)
		}
	}
	if done := box.done(); done != "" || len(audit.words()) != 0 {
		t.Errorf("what was refused did %q", done)
	}
	if a := sendPair(t, s, cookie, cert, key, ""); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), `href="#now-own"`) {
		t.Errorf("a good one without the password: %s", a.Status)
	}
	sent, err := json.Marshal(map[string]string{"certificate": string(cert), "key": string(key)})
	if err != nil {
		t.Fatal(err)
	}
	if a := ask(t, s, "PUT", "/api/v1/certificate", string(sent), "Cookie", cookie); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), `"field":"now"`) {
		t.Errorf("a good one with a session, by the API: %s", a.Status)
	}
	if a := sendPair(t, s, cookie, cert, key, password); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/settings/certificate" || box.done() != "admin 127.0.0.1 config +certificate +certificate-key" {
		t.Errorf("a good one: %s", a.Status)
	}
	fingerprint := s.Fingerprint()
	audit.mustHear(t, "admin 127.0.0.1 certificate own sha256 "+fingerprint+" > sha256 "+fingerprint) // the fake box puts nothing in force
	if a := send(t, s, cookie, "/settings/certificate", url.Values{}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("no files: %s", a.Status)
	}
	large := bytes.Repeat([]byte("x"), maxCertBytes+1)
	if a := sendPair(t, s, cookie, large, key, password); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %s", a.Status)
	}
}

// The page and the API show which certificate there is, and have a self-signed one made anew.
func TestTheCertificateOfNow(t *testing.T) {
	t.Parallel()
	box, audit := busyBox(), &ears{}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }, Audit: audit.hear})
	cookie := enter(t, s)
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	first := s.Fingerprint()
	page := body(t, get(t, s, "/settings/certificate", "Cookie", cookie))
	for _, want := range []string{first, "<bdi>localhost</bdi>", "tls/cert.pem", "the box made itself"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var c Certificate
	if err := json.NewDecoder(get(t, s, "/api/v1/certificate", bearer...).Body).Decode(&c); err != nil || c.SHA256 != first || !c.SelfSigned || len(c.Names) < 2 || !strings.HasSuffix(c.KeyFile, "tls/key.pem") {
		t.Errorf("%+v, %v", c, err)
	}
	audit.words()
	if a := send(t, s, cookie, "/settings/certificate/self-signed", url.Values{"revision": {fakeRevision(fakeConfig)}}); a.StatusCode != http.StatusBadRequest || s.Fingerprint() != first || !strings.Contains(body(t, a), `id="do-self-signed" open`) {
		t.Errorf("made anew without the password: %s", a.Status)
	}
	if a := ask(t, s, "POST", "/api/v1/certificate/self-signed", "{}", "Cookie", cookie); a.StatusCode != http.StatusBadRequest || s.Fingerprint() != first {
		t.Errorf("made anew with a session, by the API: %s", a.Status)
	}
	audit.words()
	if a := send(t, s, cookie, "/settings/certificate/self-signed", url.Values{"revision": {fakeRevision(fakeConfig)}, "now": {password}}); a.StatusCode != http.StatusSeeOther {
		t.Errorf("made anew: %s", a.Status)
	}
	second := s.Fingerprint()
	audit.mustHear(t, "admin 127.0.0.1 certificate self-signed sha256 "+first+" > sha256 "+second)
	if second == first || box.done() != "" {
		t.Error("it is the same as before, or the configuration was changed")
	}
	again, err := selfSigned(s.keeper.dir, func() time.Time { return noon })
	if err != nil || again.fingerprint() != second {
		t.Errorf("after a restart it is another: %v", err)
	}
	if a := ask(t, s, "POST", "/api/v1/certificate/self-signed", "", bearer...); a.StatusCode != 200 || s.Fingerprint() == second {
		t.Errorf("by the API: %s", a.Status)
	}
	if a := send(t, s, cookie, "/settings/certificate/self-signed", url.Values{"revision": {"another"}, "now": {password}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("from another configuration: %s", a.Status)
	}
	// A configuration that names files names none any more.
	box.mu.Lock()
	box.config = strings.Replace(fakeConfig, `"cert_file": "", "key_file": ""`, `"cert_file": "settings.d/c", "key_file": "settings.d/k"`, 1)
	box.mu.Unlock()
	if a := ask(t, s, "POST", "/api/v1/certificate/self-signed", "", bearer...); a.StatusCode != 200 || box.done() != "admin.token 127.0.0.1 config admin.tls.cert_file admin.tls.key_file" {
		t.Errorf("with files in the configuration: %s", a.Status)
	}
}

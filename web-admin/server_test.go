package webadmin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheSocketNeedsNoTokenAndIsTheOwnersOnly(t *testing.T) {
	t.Parallel()
	box := busyBox()
	dir := shortDir(t)
	s := startServer(t, Options{Source: box, DataDir: dir})
	path := filepath.Join(dir, "mailweir.sock")
	for file, mode := range map[string]os.FileMode{path: 0o600, s.TokenFile(): 0o600, filepath.Join(dir, "tls", "key.pem"): 0o600, filepath.Join(dir, "tls"): 0o700} {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", file, st.Mode().Perm(), mode)
		}
	}
	local := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }, DisableKeepAlives: true}}
	a, err := local.Get("http://box/api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("status over the socket: %s", a.Status)
	}
	a, err = local.Post("http://box/api/v1/subscribers/S-1044/release", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 || strings.Join(box.by, ",") != "local release S-1044" {
		t.Errorf("release over the socket: %s, by %v", a.Status, box.by)
	}
	a, err = local.Get("http://box/")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 404 {
		t.Errorf("pages over the socket: %s", a.Status)
	}
	if _, err := New(Options{Source: box, DataDir: dir}); err == nil || !strings.Contains(err.Error(), "another mailweir") {
		t.Errorf("a second one on the same directory: %v", err)
	}
}

func TestASocketLeftBehindIsReplaced(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	path := filepath.Join(dir, "mailweir.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as after kill -9
	s, err := New(Options{Source: busyBox(), DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if left, _ := os.ReadDir(dir); len(left) != 2 { // admin.token, tls
		t.Errorf("left behind: %v", left)
	}
	if s.URL() != "" {
		t.Errorf("no address, but a URL: %s", s.URL())
	}
	_, err = New(Options{Source: busyBox(), DataDir: filepath.Join(dir, "nowhere")})
	if err == nil {
		t.Error("a directory that does not exist is taken")
	}
}

func TestTheTokenIsMadeOnceAndMustBeLong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "admin.token")
	first, err := loadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if !first.is(strings.TrimSpace(string(b))) || first.is("") || len(b) != 44 {
		t.Errorf("made %q", b)
	}
	if again, err := loadToken(path); err != nil || again != first {
		t.Errorf("made again: %v", err)
	}
	for _, bad := range []string{"", "admin", "  \n"} {
		os.WriteFile(path, []byte(bad), 0o600)
		if _, err := loadToken(path); err == nil {
			t.Errorf("%q is taken as a token", bad)
		}
	}
}

// selfSigned keeps the pair in dir, or makes it.
func selfSigned(dir string, now func() time.Time) (*keeper, error) {
	k := newKeeper(dir, now, func() Clock { return Clock{} }, slog.New(slog.DiscardHandler))
	return k, k.show(Pair{})
}

func TestTheSelfSignedPairIsKeptAndRenewed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "tls")
	now := noon
	clock := func() time.Time { return now }
	k, err := selfSigned(dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	first := k.fingerprint()
	again, err := selfSigned(dir, clock)
	if err != nil || again.fingerprint() != first {
		t.Errorf("a restart makes another pair: %v", err)
	}
	leaf := k.made.Leaf
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := leaf.VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 398*24*time.Hour {
		t.Errorf("browsers refuse a certificate for %v", life)
	}
	now = noon.Add(300 * 24 * time.Hour)
	if k.fingerprint() != first {
		t.Error("renewed too early")
	}
	now = noon.Add(380 * 24 * time.Hour)
	second := k.fingerprint()
	if second == first {
		t.Error("not renewed in its last month")
	}
	// A box without a clock of its own starts in 1970; NTP then steps it to today.
	now = time.Unix(100, 0)
	early, err := selfSigned(filepath.Join(shortDir(t), "tls"), clock)
	if err != nil {
		t.Fatal(err)
	}
	before := early.fingerprint()
	now = noon
	if early.fingerprint() == before {
		t.Error("an expired certificate is kept after the clock was set")
	}
	// Damage is mended.
	os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("not a certificate"), 0o600)
	if _, err := selfSigned(dir, clock); err != nil {
		t.Errorf("a damaged pair stops the start: %v", err)
	}
}

func TestTheOperatorsPairBringsHSTS(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	cert, key, err := makePair(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	os.WriteFile(certFile, cert, 0o600)
	os.WriteFile(keyFile, key, 0o600)
	s := startServer(t, Options{Source: busyBox(), CertFile: certFile, KeyFile: keyFile})
	if a := get(t, s, "/login"); a.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS with the operator's own certificate")
	}
	if _, err := New(Options{Source: busyBox(), DataDir: shortDir(t), CertFile: certFile}); err == nil || !strings.Contains(err.Error(), "admin.tls") {
		t.Errorf("half a pair: %v", err)
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "https://"), "/")
	a, err := client().Get("http://" + host + "/records?kind=STAGE")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusPermanentRedirect || a.Header.Get("Location") != "https://"+host+"/records?kind=STAGE" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
	}
	for _, junk := range []string{"hello\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nLocation: b\r\n\r\n"} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, junk)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			t.Errorf("%q: %v", junk, err)
		}
		if len(b) > 0 && !bytes.HasPrefix(b, []byte("HTTP/1.1 308")) {
			t.Errorf("%q is answered %q", junk, b)
		}
	}
}

func TestAnAddressInUseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "https://"), "/")
	dir := shortDir(t)
	_, err := New(Options{Source: busyBox(), DataDir: dir, Listen: host})
	if err == nil || !strings.Contains(err.Error(), "admin.listen "+host) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mailweir.sock")); err == nil {
		t.Error("the socket stays behind")
	}
}

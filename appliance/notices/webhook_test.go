package notices

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// loaded is the setup of a configuration in dir.
func loaded(t *testing.T, dir, text string) (Setup, error) {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(dir, "mailweir.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := Load(cfg, "box-1", time.Now)
	return s, err
}

// A receiver that knows nothing of us but the Standard Webhooks specification finds the signature right: openssl computes it
// out of the secret file, the headers and the bytes of the body.
func TestOpenSSLVerifiesTheSignature(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var problems []string
	var got body
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(raw, &got) != nil {
			problems = append(problems, fmt.Sprintf("body %q: %v", raw, err))
		}
		h := r.Header
		signed := filepath.Join(dir, "signed")
		os.WriteFile(signed, fmt.Appendf(nil, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), raw), 0o600)
		out, err := exec.Command("sh", "-c", `key=$(sed s/^whsec_// "$1" | base64 -d | od -An -v -tx1 | tr -d ' \n')
			openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary "$2" | base64`, "sh", filepath.Join(dir, "desk.secret"), signed).CombinedOutput()
		if want := "v1," + strings.TrimSpace(string(out)); err != nil || h.Get("webhook-signature") != want {
			problems = append(problems, fmt.Sprintf("signature %s, openssl says %s (%v)", h.Get("webhook-signature"), want, err))
		}
	}))
	defer srv.Close()
	secret, err := exec.Command("sh", "-c", `printf 'whsec_%s\n' "$(openssl rand -base64 32)"`).Output() // as the error message says
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "desk.secret"), string(secret))
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	s, err := loaded(t, dir, fmt.Sprintf("notices: {webhooks: [{name: desk, url: %q, secret_file: desk.secret, ca_file: ca.pem}]}", srv.URL+"/hook?x=1"))
	if err != nil {
		t.Fatal(err)
	}
	n := Notice{ID: newID(), Type: StageChanged, Time: time.Now().UTC(), Box: "box-1", Subscriber: "S-1", Name: "Müller & \"Söhne\" <x>", To: "cut"}
	if err := s.Targets[0].to.send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
	if got.Type != StageChanged || got.Data.Name != n.Name || got.Data.ID != n.ID {
		t.Errorf("got %+v", got)
	}

	write(t, filepath.Join(dir, "desk.secret"), "whsec_bm90IHRoZSBzYW1lIHNlY3JldCBhdCBhbGwh\n") // only the receiver's copy
	if err := s.Targets[0].to.send(t.Context(), n); err != nil || len(problems) != 1 {
		t.Errorf("with another secret openssl finds %q (%v)", problems, err)
	}
}

// What a receiver answers says whether it is this notice that it does not take, or anything.
func TestWhatAnswersMean(t *testing.T) {
	t.Parallel()
	answer := func(w http.ResponseWriter, r *http.Request) {}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer srv.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "s"), "whsec_"+strings.Repeat("QUFB", 8))
	s, err := loaded(t, dir, fmt.Sprintf("notices: {webhooks: [{name: desk, url: %q, secret_file: s}]}", srv.URL+"/secret-path"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why    string
		answer http.HandlerFunc
		want   string // "" taken
	}{
		{"202", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) }, ""},
		{"500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "refusal: it answers 500 Internal Server Error"},
		{"410", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(410) }, "refusal: it answers 410 Gone"},
		{"503", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, "unreachable: it answers 503 Service Unavailable 0s"},
		{"429 with a time", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "90")
			w.WriteHeader(429)
		}, "unreachable: it answers 429 Too Many Requests 1m30s"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, "refusal: it answers 302 Found, and redirections are not followed"},
		{"nothing", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "unreachable: EOF 0s"},
	} {
		answer = row.answer
		got := ""
		switch err := s.Targets[0].to.send(t.Context(), Notice{ID: "1", Type: Test}).(type) {
		case nil:
		case *refusal:
			got = "refusal: " + err.Error()
		case *unreachable:
			got = fmt.Sprint("unreachable: ", err, " ", err.after)
		default:
			t.Errorf("%s: %T", row.why, err)
		}
		if !strings.HasPrefix(got, row.want) || (got == "") != (row.want == "") || strings.Contains(got, "secret-path") {
			t.Errorf("%s: %q, want %q", row.why, got, row.want)
		}
	}
}

// What the configuration names and is not good is refused with the file, the line and the key.
func TestFilesAreCheckedWithTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), "hunter2\n")
	write(t, filepath.Join(dir, "short"), "whsec_QUFB\n")
	write(t, filepath.Join(dir, "two"), "one\ntwo\n")
	write(t, filepath.Join(dir, "good"), "whsec_"+strings.Repeat("QUFB", 8))
	write(t, filepath.Join(dir, "bad.tmpl"), "{{.Nobody}}")
	hook := "notices:\n  webhooks:\n    - name: desk\n      url: https://desk.example/\n      secret_file: "
	for _, row := range []struct{ why, text, want string }{
		{"a secret that is none", hook + "plain\n", "mailweir.yaml:5: notices.webhooks[0].secret_file: " + dir + "/plain: does not begin with whsec_; make one with"},
		{"one too short", hook + "short\n", "mailweir.yaml:5: notices.webhooks[0].secret_file: " + dir + "/short: is not whsec_ and the base64 of 24 to 64 bytes"},
		{"one of two lines", hook + "two\n", "secret_file: " + dir + "/two holds more than one line"},
		{"one that is not there", hook + "gone\n", "mailweir.yaml:5: notices.webhooks[0].secret_file: open " + dir + "/gone: no such file"},
		{"certificates that are none", hook + "good\n      ca_file: plain\n", "mailweir.yaml:6: notices.webhooks[0].ca_file: " + dir + "/plain has no certificate in PEM"},
		{"a template", "notices:\n  customer_template_file: bad.tmpl\n", "mailweir.yaml:2: notices.customer_template_file: "},
		{"a password that is not there", "notices:\n  mail:\n    {smarthost: 'm.example:587', from: a@b.example, to: [c@d.example], user: box, password_file: gone}\n", "mailweir.yaml:3: notices.mail.password_file: "},
	} {
		_, err := loaded(t, dir, row.text)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.why, err, row.want)
		}
	}
	if s, err := loaded(t, dir, hook+"good\n"); err != nil || len(s.Targets) != 1 || !s.wanted(HealthBegan) {
		t.Errorf("a good one: %+v, %v", s, err)
	}
}

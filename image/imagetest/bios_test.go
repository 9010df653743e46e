//go:build qemu

// Package imagetest starts the image in QEMU, between network namespaces of its own.
package imagetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is what stands around a box: a client and a mail server at its bridged ports, and an operator who gives addresses by DHCP.
type site struct {
	client, server, operator *space
	cables                   []*os.File
	board                    board
}

// newSite makes one; options are more of dnsmasq's.
func newSite(t *testing.T, options ...string) *site {
	t.Helper()
	s := &site{client: newSpace(t), server: newSpace(t), operator: newSpace(t), board: pc}
	s.cables = []*os.File{
		s.operator.tap(t, "manage", "10.77.0.1/24"), s.client.tap(t, "inside", "10.99.0.1/24"), s.server.tap(t, "outside", "10.99.0.2/24"),
	}
	s.server.serveMail(t)
	leases := filepath.Join(t.TempDir(), "leases")
	cmd := exec.Command("dnsmasq", append([]string{"--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=manage", "--bind-interfaces",
		"--dhcp-range=10.77.0.50,10.77.0.50,1h", "--no-ping", "--dhcp-leasefile=" + leases, "--pid-file="}, options...)...)
	if err := s.operator.do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return s
}

var admin = regexp.MustCompile(`web admin at https://([0-9.]+):8443/; setup code (\S+)`)

// firstVisit makes the first user, with the setup code of the console, and returns what they log in with.
func (s *site) firstVisit(t *testing.T, m *machine) (*visitor, url.Values) {
	t.Helper()
	m.waitFor(t, 0, "; setup code ")
	found := admin.FindStringSubmatch(m.said())
	v := s.visitor(t, found[1])
	login := url.Values{"name": {"anna"}, "password": {"four words are easier"}, "again": {"four words are easier"}, "code": {found[2]}}
	if to, err := v.form("/setup", login); err != nil || to != "/wizard" {
		t.Fatalf("the first visit leads to %q, %v", to, err)
	}
	return v, login
}

// visitor is a browser of the operator's, at the management port.
type visitor struct {
	http http.Client
	base string
}

func (s *site) visitor(t *testing.T, address string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is its own
		DialContext: func(_ context.Context, network, to string) (c net.Conn, err error) {
			err = s.operator.do(func() (err error) { c, err = net.DialTimeout(network, to, 10*time.Second); return err })
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &visitor{http.Client{Timeout: 2 * time.Minute, Transport: transport, Jar: jar, CheckRedirect: stay}, "https://" + address + ":8443"}
}

// form sends one, and returns where it leads to.
func (v *visitor) form(path string, fields url.Values) (string, error) {
	a, err := v.http.PostForm(v.base+path, fields)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("%s: %s", path, a.Status)
	}
	return a.Header.Get("Location"), nil
}

// api asks, with a body if there is one.
func (v *visitor) api(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, v.base+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	if body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := v.http.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err = io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("%s %s: %s: %s", method, path, a.Status, text))
	}
	return json.Unmarshal(text, answer)
}

// mode changes the mode in the configuration from observe to this one.
func (v *visitor) mode(t *testing.T, to string) {
	t.Helper()
	var is struct{ Text, Revision string }
	var done any
	if err := v.api("GET", "config", nil, &is); err != nil {
		t.Error(err)
	}
	is.Text = strings.Replace(is.Text, "mode: observe", "mode: "+to, 1)
	if err := v.api("PUT", "config", map[string]string{"config": is.Text, "revision": is.Revision}, &done); err != nil {
		t.Error(err)
	}
}

// governs starts the box and says when mail passed and when it was judged first, in a mode that nobody sets meanwhile.
func (s *site) governs(t *testing.T, drive, mode string, firmware ...string) *machine {
	t.Helper()
	const server = "10.99.0.2:25"
	return twice(t, func() (*machine, error) {
		m := powerOn(t, s.board, drive, firmware, s.cables...)
		var passed time.Duration
		send := func() {
			if s.client.session(server, 2*time.Second) == nil && passed == 0 {
				passed = time.Since(m.since)
			}
		}
		if err := m.await("governing, mode "+mode, send); err != nil {
			return m, err
		}
		governing := time.Since(m.since)
		if err := m.await("mail was seen", send); err != nil {
			return m, err
		}
		judged := time.Since(m.since)
		if err := m.await("web admin at https://10.77.0.50:8443/", nil); err != nil {
			return m, err
		}
		t.Logf("from power-on, emulated, on a machine shared with others: first session passed %.1f s, governing %.1f s, first session judged %.1f s",
			passed.Seconds(), governing.Seconds(), judged.Seconds())
		return m, nil
	})
}

func TestAFreshImageGovernsByItself(t *testing.T) {
	s, d := newSite(t), disk(t)
	m := s.governs(t, d, "observe")
	if !strings.Contains(m.said(), "first start: making a file system") || strings.Contains(m.said(), "NOTHING IS KEPT") || strings.Contains(m.said(), "SAFE MODE") {
		t.Errorf("the console said:\n%s", m.said())
	}
	if strings.Contains(m.said(), "level=ERROR") {
		t.Errorf("errors on the console:\n%s", m.said())
	}
	first, login := s.firstVisit(t, m)
	var status struct {
		Mode     string
		Ready    bool
		Sessions struct{ Total int }
		Bridge   struct{ Name, Why string }
		Lanes    struct {
			Fast struct {
				On  bool
				Why string
			}
		}
	}
	if err := first.api("GET", "status", nil, &status); err != nil || status.Mode != "observe" || !status.Ready || status.Sessions.Total == 0 || status.Bridge.Name == "" || status.Bridge.Why != "" {
		t.Errorf("status: %+v, %v", status, err)
	}
	if fast := status.Lanes.Fast; !fast.On || fast.Why != "" { // the image's kernel is another one than that of other tests
		t.Errorf("the fast lane is off: %s", fast.Why)
	}

	// The bridge has the lowest address of its ports, and says so to its neighbours. Else it says nothing: neither at the web admin's port nor where nobody listens.
	const bridge = "fe80::5054:ff:fe00:2"
	for _, port := range []string{"9", "443", "8443"} {
		if err := s.client.do(func() error { return dial("[" + bridge + "%inside]:" + port) }); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("port %s as seen from a bridged port: %v, want silence", port, err)
		}
	}
	if err := s.client.do(func() error {
		out, err := exec.Command("ip", "-6", "neigh", "show", bridge, "dev", "inside").CombinedOutput()
		if err == nil && !strings.Contains(string(out), "lladdr 52:54:00:00:00:02") {
			err = fmt.Errorf("%q", out)
		}
		return err
	}); err != nil {
		t.Errorf("the bridge's own address is not the one that was tried: %v", err)
	}

	// What the operator changes is in force at once, and kept.
	first.mode(t, "enforce")
	if err := m.await("governing, mode enforce", nil); err != nil {
		t.Error(err)
	}

	m.cut() // the power fails
	m = s.governs(t, d, "enforce")
	if strings.Contains(m.said(), "first start") || strings.Contains(m.said(), "NOTHING IS KEPT") || strings.Contains(m.said(), "setup code") {
		t.Errorf("the second start was not one; the console said:\n%s", m.said())
	}
	first.comes(t, login)
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

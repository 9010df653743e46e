//go:build qemu

// Package imagetest starts the image in QEMU, between network namespaces of its own.
package imagetest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{client: newSpace(t), server: newSpace(t), operator: newSpace(t)}
	s.cables = []*os.File{
		s.operator.tap(t, "manage", "10.77.0.1/24"), s.client.tap(t, "inside", "10.99.0.1/24"), s.server.tap(t, "outside", "10.99.0.2/24"),
	}
	s.server.serveMail(t)
	leases := filepath.Join(t.TempDir(), "leases")
	cmd := exec.Command("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=manage", "--bind-interfaces",
		"--dhcp-range=10.77.0.50,10.77.0.50,1h", "--no-ping", "--dhcp-leasefile="+leases, "--pid-file=")
	if err := s.operator.do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return s
}

var admin = regexp.MustCompile(`web admin at https://([0-9.]+):8443/; token (\S+)`)

// status asks the web admin, as an operator at the management port.
func (s *site) status(address, token string) (out struct {
	Mode     string
	Ready    bool
	Sessions struct{ Total int }
	Bridge   struct{ Name, Why string }
}, err error) {
	var c net.Conn
	if err := s.operator.do(func() (err error) { c, err = net.DialTimeout("tcp", address+":8443", 10*time.Second); return err }); err != nil {
		return out, err
	}
	h := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is its own
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return c, nil },
	}}
	defer h.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodGet, "https://"+address+":8443/api/v1/status", nil)
	if err != nil {
		return out, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := h.Do(r)
	if err != nil {
		return out, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return out, fmt.Errorf("status %s", a.Status)
	}
	return out, json.NewDecoder(a.Body).Decode(&out)
}

// governs starts the box and says when mail passed and when it was judged first; nobody configures anything.
func (s *site) governs(t *testing.T, disk string, firmware ...string) *machine {
	t.Helper()
	const server = "10.99.0.2:25"
	return twice(t, func() (*machine, error) {
		m := powerOn(t, disk, firmware, s.cables...)
		var passed time.Duration
		send := func() {
			if s.client.session(server, 2*time.Second) == nil && passed == 0 {
				passed = time.Since(m.since)
			}
		}
		if err := m.await("governing, mode observe", send); err != nil {
			return m, err
		}
		governing := time.Since(m.since)
		if err := m.await("mail was seen", send); err != nil {
			return m, err
		}
		judged := time.Since(m.since)
		if err := m.await("web admin at https://10.77.0.50:8443/; token ", nil); err != nil {
			return m, err
		}
		t.Logf("from power-on, emulated, on a machine shared with others: first session passed %.1f s, governing %.1f s, first session judged %.1f s",
			passed.Seconds(), governing.Seconds(), judged.Seconds())
		return m, nil
	})
}

func TestAFreshImageGovernsByItself(t *testing.T) {
	s, d := newSite(t), disk(t)
	m := s.governs(t, d)
	if !strings.Contains(m.said(), "first start: making a file system") || strings.Contains(m.said(), "NOTHING IS KEPT") || strings.Contains(m.said(), "SAFE MODE") {
		t.Errorf("the console said:\n%s", m.said())
	}
	if strings.Contains(m.said(), "level=ERROR") {
		t.Errorf("errors on the console:\n%s", m.said())
	}
	found := admin.FindStringSubmatch(m.said())
	got, err := s.status(found[1], found[2])
	if err != nil || got.Mode != "observe" || !got.Ready || got.Sessions.Total == 0 || got.Bridge.Name == "" || got.Bridge.Why != "" {
		t.Errorf("status: %+v, %v", got, err)
	}

	// The bridge has the lowest address of its ports. Port 9 refuses, so it is the right one; the web admin's says nothing.
	const bridge = "[fe80::5054:ff:fe00:2%inside]:"
	if err := s.client.do(func() error { return dial(bridge + "9") }); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the bridge's own address, port 9: %v, want a refusal", err)
	}
	if err := s.client.do(func() error { return dial(bridge + "8443") }); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the web admin as seen from a bridged port: %v, want silence", err)
	}

	m.cut() // the power fails
	m = s.governs(t, d)
	if strings.Contains(m.said(), "first start") || strings.Contains(m.said(), "NOTHING IS KEPT") {
		t.Errorf("the second start was not one; the console said:\n%s", m.said())
	}
	if again := admin.FindStringSubmatch(m.said()); again[2] != found[2] {
		t.Error("the box has another token: what was on its data partition is gone")
	}
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

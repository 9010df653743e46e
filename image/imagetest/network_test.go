//go:build qemu

package imagetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock starts Debian's chronyd at the operator's end of the management cable: a server that leaves this machine's clock alone.
func (s *site) clock(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "chrony.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "local stratum 8\nallow all\ncmdport 0\nbindcmdaddress /\npidfile %s/pid\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("chronyd", "-d", "-x", "-u", "root", "-f", conf)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := s.operator.do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("chronyd: %s", said.String())
		}
	})
}

// until asks again and again, since the emulation takes its time.
func until(t *testing.T, what string, holds func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		if err = holds(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// The image's clock is years ahead at the start and is set by the server that DHCP names; its address becomes a static one, which outlives a power cut.
func TestTheClockIsSetAndAnotherAddressIsConfirmed(t *testing.T) {
	s := newSite(t, "--dhcp-option=option:ntp-server,10.77.0.1")
	s.clock(t)
	d := disk(t)
	m := s.governs(t, d, "observe", "-rtc", "base=2031-06-01T00:00:00")
	v, login := s.firstVisit(t, m)
	until(t, "the clock", func() error {
		var status struct {
			Clock struct {
				Synced, Kept bool
				Server, Why  string
				Heard        time.Time `json:"heard_at"`
			}
		}
		err := v.api("GET", "status", nil, &status)
		if c := status.Clock; err == nil && (!c.Synced || !c.Kept || c.Server != "10.77.0.1" || time.Since(c.Heard).Abs() > time.Hour) {
			err = fmt.Errorf("%+v", c)
		}
		return err
	})
	v.recorded(t, "clock_step: the clock was set from 2031-06-01T")

	const address = "10.77.0.60"
	var trial struct{ Token string }
	settings := map[string]any{"vlan": 0, "ipv4": address + "/24", "ipv4_gateway": "10.77.0.1", "ipv6": "auto", "ipv6_gateway": "", "dns": []string{}, "now": login.Get("password")}
	if err := v.api("POST", "network", settings, &trial); err != nil {
		t.Fatal(err)
	}
	there := s.visitor(t, address) // nobody is logged in there
	until(t, "the new address is confirmed", func() error {
		a, err := there.http.PostForm(there.base+"/network/"+trial.Token, url.Values{})
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if page, err := io.ReadAll(a.Body); err != nil || a.StatusCode != http.StatusOK || !strings.Contains(string(page), "are kept") {
			return fmt.Errorf("%s, %v: %s", a.Status, err, page)
		}
		return nil
	})

	m.cut() // the power fails
	m = twice(t, func() (*machine, error) {
		m := powerOn(t, s.board, d, nil, s.cables...)
		return m, m.await("web admin at https://"+address+":8443/", nil)
	})
	there.comes(t, login)
	if strings.Contains(m.said(), "level=ERROR") || strings.Contains(m.said(), "management port") {
		t.Errorf("errors on the console:\n%s", m.said())
	}
}

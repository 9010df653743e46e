package boot

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
)

func TestPortsGetTheirWork(t *testing.T) {
	for _, row := range []struct {
		why                         string
		names                       []string
		management, inside, outside string
		spare                       int
	}{
		{"no port at all", nil, "", "", "", 0},
		{"one: somebody has to be able to log in", []string{"port1"}, "port1", "", "", 0},
		{"two: mail comes first", []string{"port1", "port2"}, "", "port1", "port2", 0},
		{"three", []string{"port1", "port2", "port3"}, "port1", "port2", "port3", 0},
		{"six", []string{"port1", "port2", "port3", "port4", "port5", "port6"}, "port1", "port2", "port3", 3},
	} {
		p := portsNamed(row.names...)
		if p.management != row.management || p.subscribers != row.inside || p.upstream != row.outside || len(p.spare) != row.spare || p.bridged() != (row.inside != "") {
			t.Errorf("%s: %+v", row.why, p)
		}
	}
}

func TestPortsAreInTheOrderOfTheBuses(t *testing.T) {
	sys := t.TempDir()
	for name, at := range map[string]string{"eth0": "pci0000:00/0000:00:05.0", "eth1": "pci0000:00/0000:00:03.0", "eth2": "pci0000:00/0000:00:04.0", "lo": "", "wlan0": "pci0000:00/0000:00:02.0"} {
		dir := filepath.Join(sys, "class/net", name)
		if name == "wlan0" {
			dir = filepath.Join(dir, "wireless")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(sys, "class/net", name)
		if err := os.WriteFile(filepath.Join(dir, "type"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if at == "" {
			continue
		}
		device := filepath.Join(sys, "devices", at)
		if err := os.MkdirAll(device, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(device, filepath.Join(dir, "device")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := physical(sys)
	if err != nil || !slices.Equal(got, []string{"eth1", "eth2", "eth0"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatTheBoxDoesByItselfIsAConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "mailweir.yaml")
	if err := configure(file, portsNamed("port1", "port2", "port3"), nil); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != config.Observe || c.Network.Topology != config.Bridge || !slices.Equal(c.Network.SubscriberInterfaces, []string{"port2"}) || !slices.Equal(c.Network.UpstreamInterfaces, []string{"port3"}) {
		t.Errorf("mode %v, %+v", c.Mode, c.Network)
	}
	if !strings.HasSuffix(c.Admin.Listen, ":8443") || adminPort != 8443 {
		t.Errorf("the web admin listens at %s, and the console says port %d", c.Admin.Listen, adminPort)
	}
}

// What nobody has changed follows the ports, and what somebody has changed is the operator's.
func TestAChangedConfigurationStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mailweir.yaml")
	two, three := portsNamed("port1", "port2"), portsNamed("port1", "port2", "port3")
	start := func(p ports, want string) string {
		t.Helper()
		if err := configure(file, p, nil); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("no %q: %v\n%s", want, err, text)
		}
		return string(text)
	}
	start(two, "subscriber_interfaces: [port1]")
	text := start(three, "subscriber_interfaces: [port2]")
	if err := os.WriteFile(file, []byte(strings.Replace(text, "mode: observe", "mode: enforce", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	start(two, "subscriber_interfaces: [port2]")
	start(two, "mode: enforce")
}

func TestTheClockIsNeverSetBack(t *testing.T) {
	built, ran := time.Unix(1764400000, 0), time.Unix(1770000000, 0)
	dir := t.TempDir()
	for _, row := range []struct {
		why   string
		saved bool
		now   time.Time
		want  time.Time
	}{
		{"1970, and it never ran", false, time.Unix(5, 0), built},
		{"a clock that is right stays", false, built.Add(time.Hour), time.Time{}},
		{"1970, and it ran", true, time.Unix(5, 0), ran},
		{"behind the last run only", true, built.Add(time.Hour), ran},
		{"ahead of all", true, ran.Add(time.Second), time.Time{}},
	} {
		if row.saved {
			if err := saveClock(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, clockFile), ran, ran); err != nil {
				t.Fatal(err)
			}
		}
		if got := floor(row.now, built, dir); !got.Equal(row.want) {
			t.Errorf("%s: %v, want %v", row.why, got, row.want)
		}
	}
}

func TestTheConsoleTellsWhatChanges(t *testing.T) {
	var out bytes.Buffer
	tell := newTeller(&console{out: []io.Writer{&out}}, t.TempDir())
	var s seen
	said := func(why, want string) {
		t.Helper()
		_, got, _ := strings.Cut(strings.TrimSpace(out.String()), "] ")
		if got != want {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
		out.Reset()
	}
	tell.tell(s, "")
	said("at first", "not ready")
	s.Ready, s.Mode = true, "observe"
	tell.tell(s, "")
	said("then", "governing, mode observe")
	tell.tell(s, "")
	said("nothing new", "")
	s.Sessions.Total = 3
	s.setupCode = "ab-cd-ef"
	tell.tell(s, "10.0.0.5")
	said("all of it", "governing, mode observe; mail was seen; web admin at https://10.0.0.5:8443/; setup code ab-cd-ef")
	s.setupCode = ""
	tell.tell(s, "10.0.0.5")
	said("somebody was there", "governing, mode observe; mail was seen; web admin at https://10.0.0.5:8443/")
}

func TestWordsOfTheKernelsCommandLine(t *testing.T) {
	m := commandLine("BOOT_IMAGE=(hd0,gpt3)/vmlinuz console=tty0 console=ttyS0,115200 quiet mailweir.slot=a mailweir.esp=")
	if m["mailweir.slot"] != "a" || m["console"] != "ttyS0,115200" {
		t.Errorf("%v", m)
	}
	if v, ok := m["quiet"]; !ok || v != "" {
		t.Error("a word without a value is lost")
	}
}

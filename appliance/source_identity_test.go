package appliance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Who says whose an address is can be changed without a restart: RADIUS with a secret that is a file beside the configuration, and lease files where DHCP servers have them, but no
// others. What is refused changes nothing.
func TestSourcesOfAddressesAreChangedWhileRunning(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	if v := s.Sources(); v.RADIUS != nil || len(v.Leases) != 0 || v.List.Subscribers != 2 || !strings.HasSuffix(v.List.File, "/subscribers.csv") || len(v.UsualLeases) < 4 {
		t.Errorf("at first: %+v", v)
	}
	usual := s.Sources().UsualLeases[0]
	listen := fmt.Sprintf(`"127.0.0.1:%d"`, freePort(t))
	radius := func(secret string) webadmin.ConfigChange {
		return webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("identity.radius.listen", listen), key("identity.radius.clients", `["192.0.2.1"]`)},
			Files: []webadmin.ConfigFile{{Key: "identity.radius.secret_file", Name: "radius-secret", Content: []byte(secret + "\n")}}}
	}
	leases := func(path string) webadmin.ConfigChange {
		return webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("identity.lease_files[0]", fmt.Sprintf(`{"path": %q, "format": "dnsmasq"}`, path))}}
	}
	before := d.read("mailweir.yaml")
	for _, c := range []struct {
		why, key string
		change   webadmin.ConfigChange
	}{
		{"a secret that is too short", "identity.radius.secret_file", radius("short")},
		{"a file of the box's own", "identity.lease_files[0].path", leases("/etc/shadow")},
		{"a file by another way", "identity.lease_files[0].path", leases("/var/lib/misc/../../../etc/shadow")},
		{"a usual file at another key", "identity.subscribers_file", webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("identity.subscribers_file", fmt.Sprintf("%q", usual.Path))}}},
	} {
		var wrong webadmin.WrongConfig
		if _, err := s.SetConfig(c.change, "anna 192.0.2.7"); !errors.As(err, &wrong) || wrong[0].Key != c.key {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	if d.read("mailweir.yaml") != before || s.Sources().RADIUS != nil {
		t.Error("what was refused changed something")
	}
	for _, change := range []webadmin.ConfigChange{radius("s3cret words here"), leases(usual.Path)} {
		if o, err := s.SetConfig(change, "anna 192.0.2.7"); err != nil || len(o.Waiting) != 0 {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	v := s.Sources()
	if v.RADIUS == nil || !v.RADIUS.Last.IsZero() || len(v.Leases) != 1 || v.Leases[0].Path != usual.Path || v.Leases[0].Format != usual.Format {
		t.Errorf("in force: %+v", v)
	}
	if strings.Contains(d.read("mailweir.yaml"), "s3cret") {
		t.Error("the secret stands in the configuration")
	}
}

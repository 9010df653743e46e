package uci

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
)

// What the statements are, worked out by hand from libuci's parser.
func TestParse(t *testing.T) {
	for text, want := range map[string][]Section{
		"":                             nil,
		"# nothing\n\n \t;;\n":         nil,
		"package mailweir\nconfig a\n": {{Type: "a", Line: 2}},
		"config 'a' \"b\"\n\toption x '1'\n\toption y 2 # two\n": {{Type: "a", Name: "b", Line: 1, Options: []Option{{"x", false, []string{"1"}, 2}, {"y", false, []string{"2"}, 3}}}},
		"config a; option x 1; list l 'p q'; list l r":           {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{"1"}, 1}, {"l", true, []string{"p q", "r"}, 1}}}},
		"config a\noption x 'it'\"'\"'s \"#;\\n'":                {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{`it's "#;\n`}, 2}}}},
		"config a\noption x \"a\\\"b\\\\c\"\noption y a\\ b":     {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{`a"b\c`}, 2}, {"y", false, []string{"a b"}, 3}}}},
		"config a\noption x 'two\nlines'\noption y ''\n":         {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{"two\nlines"}, 2}, {"y", false, []string{""}, 4}}}},
		"config a\noption x one\\\ntwo\noption y 1\n":            {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{"onetwo"}, 2}, {"y", false, []string{"1"}, 4}}}},
		"config a\r\n\toption x '1'\r\n":                         {{Type: "a", Line: 1, Options: []Option{{"x", false, []string{"1"}, 2}}}},
	} {
		got, err := Parse("f", text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n%+v, %v\nwant %+v", text, got, err, want)
		}
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"config a\n\noption x 'y\nz":         "f:3: the quote ' of line 3 has no end",
		"config a\noption x \"y\nz":          `f:2: the quote " of line 2 has no end`,
		"option x 1":                         "f:1: option x stands before the first config line",
		"config a\noption x":                 "f:2: option needs a name and one value: option NAME 'VALUE'",
		"config a\noption x 1 2":             "f:2: option needs a name and one value: option NAME 'VALUE'",
		"config":                             "f:1: config needs a type, and perhaps a name: config network",
		"config a b c":                       "f:1: config needs a type, and perhaps a name: config network",
		"\nsection a":                        `f:2: "section" is none of config, option, list`,
		"config a\noption x 1\noption x 2":   "f:3: x is there a second time, first in line 2",
		"config a\noption x 1\nlist x 2":     "f:3: x is there a second time, first in line 2",
		"config a\noption x \x00":            "f:2: there is a NUL byte in it",
		"config a\noption x 'a\x00b'":        "f:2: there is a NUL byte in it",
		"config a\noption \x1b[2J\noption x": "f:2: option needs a name and one value: option NAME 'VALUE'",
	} {
		_, err := Parse("f", text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func apply(t *testing.T, said, before string) (string, error) {
	t.Helper()
	sections, err := Parse("/etc/config/mailweir", said)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Apply("/etc/config/mailweir", sections, "m.yaml", []byte(before))
	return string(after), err
}

// Each type of value, lists, groups within groups, and lists of groups arrive as what they mean; what UCI does not say stays, with its comments.
func TestApply(t *testing.T) {
	before := "# mine\njournal: {bytes: 8MiB} # small\nplans:\n  - {name: unmapped, preset: unmapped}\nnetwork:\n  topology: bridge # as it was\n  subscriber_interfaces: [old]\n"
	after, err := apply(t, `
config mailweir 'main'
	option enabled '1'
	option mode 'enforce'
config network
	option topology 'routed'
	list subscriber_interfaces 'br-lan'
	list subscriber_interfaces 'wg0'
	list upstream_interfaces 'wan'
	list counted_ports '465'
	option mark_mask '0x00f00000'
config radius
	option listen ':1813'
	option secret_file 'radius.secret'
	list clients '192.0.2.1/32'
	option require_timestamp '1'
config collector
	option url 'relp://192.0.2.9:2514'
config collector
	option url 'tls://[2001:db8::9]'
	option ca_file 'ca.pem'
config lease_file
	option path '/tmp/dhcp.leases'
	option format 'dnsmasq'
config syslog
	option spool_bytes '4MiB'
config retention
	option sessions '7d'
`, before)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("m.yaml", []byte(after))
	if err != nil {
		t.Fatalf("%v\n%s", err, after)
	}
	n, r := c.Network, c.Identity.RADIUS
	if c.Mode != config.Enforce || n.Topology != config.Routed || !reflect.DeepEqual(n.SubscriberInterfaces, []string{"br-lan", "wg0"}) || !reflect.DeepEqual(n.CountedPorts, []uint16{465}) || n.MarkMask != 0x00f00000 {
		t.Errorf("mode %s, network %+v", c.Mode, n)
	}
	if r.Listen != ":1813" || !r.RequireTimestamp || len(r.Clients) != 1 {
		t.Errorf("radius %+v", r)
	}
	if s := c.Syslog; len(s.Targets) != 2 || s.Targets[1].CAFile != "ca.pem" || s.SpoolBytes != 4<<20 {
		t.Errorf("syslog %+v", s)
	}
	if l := c.Identity.LeaseFiles; len(l) != 1 || l[0].Format != "dnsmasq" {
		t.Errorf("lease files %+v", l)
	}
	if c.Journal.Bytes != 8<<20 || len(c.Plans) != 1 || !strings.Contains(after, "# mine") || !strings.Contains(after, "# small") || !strings.Contains(after, "# as it was") {
		t.Errorf("what UCI does not say has changed:\n%s", after)
	}
	if strings.Contains(after, "enabled") {
		t.Errorf("what the init script reads is in the configuration:\n%s", after)
	}
}

// Each mistake is told with the line of the file that has it.
func TestWhatIsWrongIsNamed(t *testing.T) {
	const before = "journal: {bytes: 8MiB}\n"
	for said, want := range map[string]string{
		"config plans\noption name x":                                                        "/etc/config/mailweir:1: plans: is no section that we know",
		"config mailweir\noption mod observe":                                                "/etc/config/mailweir:2: mod: is none of enabled, config, data, mode",
		"config mailweir\noption mode off":                                                   "/etc/config/mailweir:2: mode: ",
		"config network\noption topolgy bridge":                                              "/etc/config/mailweir:2: topolgy: there is no key network.topolgy",
		"config network\n\n\nlist limited_ports 70000":                                       "/etc/config/mailweir:4: network.limited_ports",
		"config network\nlist limited_ports smtp":                                            `/etc/config/mailweir:2: limited_ports: is "smtp": it must be a number`,
		"config network\nlist topology bridge":                                               "/etc/config/mailweir:2: topology: has one value, and is no list",
		"config journal\noption bytes 8":                                                     "/etc/config/mailweir:2: journal.bytes: ",
		"config admin\noption metrics maybe":                                                 `/etc/config/mailweir:2: metrics: is "maybe": it must be 1 or 0`,
		"config admin\noption tls x":                                                         "/etc/config/mailweir:2: tls: is a group of keys, which cannot be written as one value",
		"config queue\noption count 1\nconfig queue\noption count 2":                         "/etc/config/mailweir:4: count: is set in line 2, too",
		"config collector\noption url udp://192.0.2.1\nconfig collector\noption url nowhere": "/etc/config/mailweir:3: syslog.targets[1].url: ",
		"config collector\noption uri udp://192.0.2.1":                                       "/etc/config/mailweir:2: uri: there is no key syslog.targets[0].uri",
	} {
		_, err := apply(t, said, before)
		if _, is := errors.AsType[config.Problems](err); !is || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", said, err, want)
		}
	}
	if _, err := apply(t, "config mailweir\noption mode observe", "mode: [\n"); err == nil || !strings.HasPrefix(err.Error(), "m.yaml:") {
		t.Errorf("a damaged configuration: %v", err)
	}
}

// What the package brings is good as it is, and putting it in a second time changes nothing.
func TestWhatThePackageBrings(t *testing.T) {
	const root = "../../image/openwrt/files/etc/"
	said, err := os.ReadFile(root + "config/mailweir")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(root + "mailweir/mailweir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	once, err := apply(t, string(said), string(before))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("m.yaml", []byte(once))
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != config.Observe || c.Network.SubscriberInterfaces[0] != "br-lan" || c.Syslog.SpoolBytes != 4<<20 {
		t.Errorf("mode %s, network %+v, syslog %+v", c.Mode, c.Network, c.Syslog)
	}
	if twice, err := apply(t, string(said), once); err != nil || twice != once {
		t.Errorf("a second time: %v\n%s\nwant\n%s", err, twice, once)
	}
	// Every example in a comment is one that works.
	examples := strings.NewReplacer("\n#config", "\nconfig", "\n#\toption", "\n\toption").Replace(string(said))
	if after, err := apply(t, examples, once); err != nil || !strings.Contains(after, "relp://") || !strings.Contains(after, "dnsmasq") {
		t.Errorf("with its examples: %v\n%s", err, after)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("config a 'b'\n\toption x \"1\"\n\tlist y 'z'\n")
	f.Add("config a\noption x 'it'\\''s' # c\n;")
	f.Fuzz(func(t *testing.T, text string) {
		sections, err := Parse("f", text)
		if err != nil {
			return
		}
		lines := strings.Count(text, "\n") + 1
		for _, s := range sections {
			for _, o := range s.Options {
				if o.Line < s.Line || o.Line > lines || len(o.Values) == 0 || !o.List && len(o.Values) != 1 {
					t.Errorf("%q: %+v", text, s)
				}
			}
		}
		if _, err := Apply("f", sections, "m.yaml", nil); err != nil {
			if _, is := errors.AsType[config.Problems](err); !is {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

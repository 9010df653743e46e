package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func contract(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sameValues compares everything that a file says, and not where it was said.
func sameValues(t *testing.T, got, want *Config) {
	t.Helper()
	a, b := *got, *want
	a.path, b.path, a.warnings, b.warnings, a.lines, b.lines = "", "", nil, nil, nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %+v\nwant %+v", a, b)
	}
}

func TestContractLoadsAndIsTheDefault(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sameValues(t, c, func() *Config {
		d := Default()
		return d
	}())
	if c.SubscribersPath() != filepath.Join("testdata", "subscribers.csv") {
		t.Errorf("subscribers path %q", c.SubscribersPath())
	}
	if len(c.Warnings()) != 0 {
		t.Errorf("warnings: %v", c.Warnings())
	}
}

func TestSharedContractLoads(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "..", "shared", "spec", "contract", "config.yaml")
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("MAILWEIR_NO_CAPTURES") == "1" {
			t.Skipf("%s is not here and MAILWEIR_NO_CAPTURES=1", path)
		}
		t.Fatalf("the contract is not beside the repository (%v); set MAILWEIR_NO_CAPTURES=1 to go without it", err)
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
}

func TestLeftOutHasADefault(t *testing.T) {
	t.Parallel()
	for why, file := range map[string]string{
		"nothing at all":        "",
		"only a comment":        "# mode: enforce\n",
		"only a document start": "---\n",
		"a BOM and CRLF":        "\xef\xbb\xbfmode: observe\r\nqueue: {first: 0}\r\n",
		"empty groups":          "queue: {}\nadmin:\n  tls: {}\n",
	} {
		c, err := Parse("mailweir.yaml", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", why, err)
			continue
		}
		sameValues(t, c, Default())
	}
}

func TestPlansReplaceTheDefaultOnes(t *testing.T) {
	t.Parallel()
	c, err := Parse("mailweir.yaml", []byte(`
identity: {unmapped_plan: Rest}
plans:
  - name: Rest
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 7, per: 90s}
      - {of: concurrent_sessions, limit: 2}
    ladder: {pace_at: 60, cut_for: 1.5h}
`))
	if err != nil {
		t.Fatal(err)
	}
	ladder := DefaultLadder()
	ladder.PaceAt, ladder.CutFor = 60, 90*time.Minute
	want := []Plan{{Name: "Rest", HighestStage: "pace", Ladder: ladder, Budgets: []Budget{
		{Of: "sessions", Limit: 7, Per: 90 * time.Second, Burst: 7},
		{Of: "concurrent_sessions", Limit: 2, Burst: 2},
	}}}
	if !reflect.DeepEqual(c.Plans, want) {
		t.Errorf("got  %+v\nwant %+v", c.Plans, want)
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	t.Parallel()
	c, err := Parse("mailweir.yaml", []byte(`
plans:
  - name: unmapped
    highest_stage: defer
    budgets: &budgets
      - &hourly {of: sessions, limit: 20, per: 1h, burst: 5}
      - {<<: *hourly, per: 24h, limit: 100}
    ladder: &ladder {warn_at: 40}
  - name: office
    highest_stage: defer
    budgets: *budgets
    ladder:
      <<: [*ladder, {warn_at: 1, pace_at: 70}]
      cut_at: 400
`))
	if err != nil {
		t.Fatal(err)
	}
	if b := c.Plans[1].Budgets[1]; b != (Budget{Of: "sessions", Limit: 100, Per: 24 * time.Hour, Burst: 5}) {
		t.Errorf("merged budget: %+v", b)
	}
	if l := c.Plans[1].Ladder; l.WarnAt != 40 || l.PaceAt != 70 || l.CutAt != 400 || l.DeferAt != 100 {
		t.Errorf("merged ladder: %+v", l)
	}
}

func TestEffectiveLoadsBackEqual(t *testing.T) {
	t.Parallel()
	c, err := Parse("mailweir.yaml", []byte(`
mode: enforce
network: {mark_mask: 0x00f0_0000, counted_ports: [465, 587], topology: bridge, upstream_interfaces: []}
identity:
  subscribers_file: ""
  lease_files: [{path: "/tmp/dhcp: leases #1", format: kea-csv}]
  radius: {listen: "[::1]:1813", secret_file: yes.secret, clients: [192.0.2.1, "2001:db8::/64"], require_timestamp: true}
syslog: {spool_bytes: 1000MB, targets: [{url: "udp://[2001:db8::1]:514"}, {url: "tls://c.example", ca_file: "0123"}]}
retention: {sessions: 36h}
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("mailweir.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	sameValues(t, back, c)
	if back.Network.MarkMask != 0x00f00000 || back.Syslog.SpoolBytes != 1e9 {
		t.Errorf("mask %v, spool %v", back.Network.MarkMask, back.Syslog.SpoolBytes)
	}
	for _, want := range []string{"mark_mask: 0x00f00000\n", "sessions: 1d12h\n", "spool_bytes: 1000000000B\n", "clients: [192.0.2.1/32, '2001:db8::/64']\n", "{of: sessions, limit: 20, per: 1h, burst: 5}", "{of: concurrent_sessions, limit: 3}\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if js, err := c.EffectiveJSON(); err != nil || !strings.Contains(string(js), `"per": "1h"`) {
		t.Errorf("JSON: %v\n%s", err, js)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ file, key, part string }{
		{"", "", "sets nothing"},
		{"network: {topology: bridge, upstream_interfaces: []}", "network.upstream_interfaces", "no fast lane"},
		{"identity: {radius: {listen: ':1813', secret_file: s}}", "identity.radius.clients", "whoever knows the secret is believed"},
		{"identity: {radius: {secret_file: s}}", "identity.radius", "no effect while listen is empty"},
		{"identity: {radius: {require_timestamp: true}}", "identity.radius", "no effect while listen is empty"},
		{"identity: {radius: {clients: [192.0.2.1]}}", "identity.radius", "no effect while listen is empty"},
		{"fleet: {nats_url: 'nats://n.example:4222'}", "fleet.nats_url", "decides alone"},
		{"notices: {mail: {from: a@b.example}}", "notices.mail", "no effect while smarthost is empty"},
		{"notices: {webhooks: [{name: d, url: 'http://d.example', secret_file: s}]}", "notices.webhooks[0].url", "everybody on the way"},
		{"notices: {mail: {smarthost: 'm.example:25', tls: none, from: a@b.example, to: [c@d.example]}}", "notices.mail.tls", "everybody on the way"},
		{"admin: {metrics: false, metrics_public: true}", "admin.metrics_public", "no effect"},
		{"plans: [{name: unmapped, highest_stage: cut}]", "plans[0].budgets", "never slowed"},
	} {
		c, err := Parse("f", []byte(row.file))
		if err != nil {
			t.Errorf("%s: %v", row.file, err)
			continue
		}
		found := false
		for _, w := range c.Warnings() {
			found = found || w.Key == row.key && strings.Contains(w.Message, row.part)
		}
		if !found {
			t.Errorf("%q: no warning for %s with %q in %v", row.file, row.key, row.part, c.Warnings())
		}
	}
}

// TestNoWarnings: what works is not warned of.
func TestNoWarnings(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"identity: {radius: {listen: ':1813', secret_file: s, clients: [192.0.2.1]}}",
		"identity: {lease_files: [{path: /l, format: dnsmasq}, {path: l, format: kea-csv}]}",
		"plans: [{name: unmapped, highest_stage: cut, budgets: [{of: rejected, limit: 1, per: 1h}, {of: destinations, limit: 1000, per: 1h}]}]",
	} {
		c, err := Parse("f", []byte(file))
		if err != nil || len(c.Warnings()) > 0 {
			t.Errorf("%s: %v, warnings %v", file, err, c.Warnings())
		}
	}
}

func TestClientsAreAddressesOrPrefixes(t *testing.T) {
	t.Parallel()
	c, err := Parse("etc/f.yaml", []byte("identity: {radius: {listen: ':1813', secret_file: s, clients: [192.0.2.1, 198.51.100.0/24, '2001:db8::1', '2001:db8::/64']}}"))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/64")}
	if got := c.Identity.RADIUS.Clients; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := c.SecretPath(); got != filepath.Join("etc", "s") {
		t.Errorf("secret at %q", got)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("# much ado\n", MaxSize/11+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "none.yaml: there is no such file",
		dir:                             ": is a directory",
		big:                             "big.yaml: is larger than 4MiB",
		pipe:                            "pipe.yaml: is not a plain file",
	} {
		_, err := Load(path)
		var ps Problems
		if !errors.As(err, &ps) || len(ps) != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAliasBombIsRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("plans:\n  - &p\n    name: x\n    highest_stage: cut\n    budgets:\n      - &b {of: sessions, limit: 1, per: 1s}\n")
	b.WriteString(strings.Repeat("      - *b\n", 20000) + strings.Repeat("  - *p\n", 20000))
	_, err := Parse("bomb.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "aliases multiply") {
		t.Errorf("%.200v", err)
	}
	if _, err := Parse("loop.yaml", []byte("queue: &q {<<: *q}\n")); err == nil {
		t.Error("a group that merges itself was accepted")
	}
}

func TestDefaultIsACopy(t *testing.T) {
	t.Parallel()
	a := Default()
	a.Plans[0].Budgets[0].Limit = 99
	a.Network.LimitedPorts[0] = 99
	sameValues(t, Default(), func() *Config { c, _ := Parse("", nil); return c }())
}

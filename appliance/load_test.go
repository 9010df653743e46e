package appliance

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
)

func files(t *testing.T, yaml, csv string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"mailweir.yaml": yaml, "subscribers.csv": csv} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mailweir.yaml")
}

func TestLoadTellsEveryProblemOfBothFiles(t *testing.T) {
	path := files(t, "mode: observe\n", "subscriber,plan,prefixes\nS-1,residential,100.64.0.1\nS-2,golden,100.64.0.2\nS-3,office,100.64.0.1\n")
	_, _, err := LoadConfig(path)
	ps, ok := errors.AsType[config.Problems](err)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	text := err.Error()
	for _, want := range []string{"subscribers.csv:3:", "golden", "subscribers.csv:4:", "100.64.0.1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	if len(ps) != 2 {
		t.Errorf("%d problems:\n%s", len(ps), text)
	}
}

func TestSubscribersFileMayBeMissingUnlessNamed(t *testing.T) {
	if _, table, err := LoadConfig(files(t, "mode: observe\n", "")); err != nil || table.Len() != 0 {
		t.Errorf("the default file is missing: %v", err)
	}
	_, _, err := LoadConfig(files(t, "identity: {subscribers_file: lines.csv}\n", ""))
	if err == nil || !strings.Contains(err.Error(), "identity.subscribers_file") || !strings.Contains(err.Error(), "lines.csv") {
		t.Errorf("a named file is missing: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	cfg, table, err := LoadConfig(files(t, "mode: observe\n",
		"subscriber,plan,prefixes,circuits,name\nS-1,residential,100.64.0.0/24 2001:db8:1::/56,,Example Home\nS-2,office,100.64.0.9,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	i := newIdentity(cfg, table)
	for _, row := range []struct {
		addr string
		want who
	}{
		{"100.64.0.1", who{id: "S-1", plan: "residential", name: "Example Home", binding: "csv"}},
		{"100.64.0.9", who{id: "S-2", plan: "office", binding: "csv"}},
		{"2001:db8:1:77::1", who{id: "S-1", plan: "residential", name: "Example Home", binding: "csv"}},
		{"100.64.7.7", who{id: "100.64.7.7/32", plan: "unmapped"}},
		{"2001:db8:2:12ab::1", who{id: "2001:db8:2:1200::/56", plan: "unmapped"}},
	} {
		if got := i.of(netip.MustParseAddr(row.addr)); got != row.want {
			t.Errorf("%s is %+v, want %+v", row.addr, got, row.want)
		}
	}
	for _, row := range []struct {
		id, addr string
		want     bool
	}{
		{"S-2", "100.64.0.9", true},
		{"S-1", "100.64.0.9", false}, // inside its prefix, and somebody else's
		{"S-1", "2001:db8:1:77::1", true},
		{"100.64.7.7/32", "100.64.7.7", true},
		{"2001:db8:2:1200::/56", "2001:db8:2:12ab::1", true},
	} {
		if got := i.mine(row.id, netip.MustParseAddr(row.addr)); got != row.want {
			t.Errorf("%s is %s's to cut: %v", row.addr, row.id, got)
		}
	}
	for id, want := range map[string]string{"S-1": "residential", "100.64.7.7/32": "unmapped", "S-9": ""} {
		if got := i.planOf(id); got != want {
			t.Errorf("the plan of %s is %q, want %q", id, got, want)
		}
	}
	narrow := *cfg
	narrow.Identity.IPv6Prefix = 128
	i.use(&narrow)
	if i.mine("2001:db8:2::1/128", netip.MustParseAddr("2001:db8:2::1")) {
		t.Error("unmapped neighbours in one /64 are strangers when each address counts apart")
	}
}

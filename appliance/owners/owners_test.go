package owners

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// database is a real MMDB file with one record for each prefix.
func database(t *testing.T, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "ASN", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, r := range records {
		_, network, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Insert(network, r); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func maxmind(number uint32, name string) mmdbtype.Map {
	return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(number), "autonomous_system_organization": mmdbtype.String(name)}
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (b *Book) name(addr string) string { return b.Of(netip.MustParseAddr(addr)).Name }

func TestWhoseANetworkIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	put(t, path, database(t, map[string]mmdbtype.Map{
		"192.0.2.0/24":    maxmind(64500, "Example Mail"),
		"198.51.100.0/25": {"asn": mmdbtype.String("AS64501"), "as_name": mmdbtype.String("Example Two")},
		"2001:db8:7::/48": maxmind(64502, "Example Six"),
		"203.0.113.0/24":  {"name": mmdbtype.Map{"en": mmdbtype.String("of another kind")}},
	}))
	var b Book
	if got := b.Of(netip.MustParseAddr("192.0.2.1")); got != (Owner{}) || !b.Built().IsZero() {
		t.Errorf("without a file: %+v", got)
	}
	if err := b.Use(path); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]Owner{
		"192.0.2.77":     {64500, "Example Mail"},
		"198.51.100.1":   {64501, "Example Two"},
		"198.51.100.200": {}, "2001:db8:7::25": {64502, "Example Six"}, "2001:db8:8::1": {}, "203.0.113.1": {},
	} {
		if got := b.Of(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	if got := b.Of(netip.Addr{}); got != (Owner{}) || b.Built().IsZero() {
		t.Errorf("%+v, built %v", got, b.Built())
	}
	if err := b.Use(""); err != nil || b.name("192.0.2.1") != "" {
		t.Errorf("%v; a file that is not to be used any more is", err)
	}
}

// A file that is replaced is read; one that is damaged, torn, too large or gone leaves the names that are known.
func TestTheFileChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	good := database(t, map[string]mmdbtype.Map{"192.0.2.0/24": maxmind(64500, "First")})
	better := database(t, map[string]mmdbtype.Map{"192.0.2.0/24": maxmind(64500, "Second"), "198.51.100.0/24": maxmind(64501, "More")})
	spoilt := bytes.Clone(better)
	for i := range spoilt[:40] {
		spoilt[i] ^= 0xff
	}
	var b Book
	if err := b.Use(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not there") {
		t.Errorf("a file that is not there: %v", err)
	}
	twice := func() (changed bool, err error) {
		if changed, _ := b.Look(); changed {
			t.Error("read while it may just be being written")
		}
		return b.Look()
	}
	put(t, path, good)
	if changed, err := twice(); !changed || err != nil || b.name("192.0.2.1") != "First" {
		t.Errorf("a file that comes: %v %v", changed, err)
	}
	for why, content := range map[string][]byte{
		"damaged": spoilt, "torn": better[:len(better)/2], "empty": {}, "something else": []byte(strings.Repeat("not a database\n", 100)),
	} {
		put(t, path, content)
		if changed, err := twice(); !changed || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v %v", why, changed, err)
		}
		if _, err := b.Look(); err == nil || b.Err() == nil {
			t.Errorf("%s: forgotten with the next look", why)
		}
		if b.name("192.0.2.1") != "First" {
			t.Errorf("%s: %q", why, b.name("192.0.2.1"))
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := twice(); !changed || err == nil || b.name("192.0.2.1") != "First" {
		t.Errorf("gone: %v %v", changed, err)
	}
	put(t, path, better)
	if changed, err := twice(); !changed || err != nil || b.name("192.0.2.1") != "Second" || b.name("198.51.100.1") != "More" || b.Err() != nil {
		t.Errorf("another: %v %v", changed, err)
	}
	// In place, as cp does it: a mapped file would end the process at the next name.
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if b.name("192.0.2.1") != "Second" {
		t.Error("truncated in place")
	}
	if err := b.Use(filepath.Join(t.TempDir(), "other.mmdb")); err == nil || b.name("192.0.2.1") != "" {
		t.Errorf("another path: %v, %q", err, b.name("192.0.2.1"))
	}
	if err := os.Truncate(path, maxBytes+1); err != nil {
		t.Fatal(err)
	}
	if err := b.Use(path); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too large: %v", err)
	}
}

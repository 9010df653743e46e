package lab

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
)

// What the lab writes for the box must be what mailweir reads.
func TestDemoConfigurationLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mailweir.yaml")
	if err := os.WriteFile(path, []byte(demoConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != "enforce" || len(c.Plans) != 3 {
		t.Errorf("mode %v, %d plans", c.Mode, len(c.Plans))
	}
}

func TestProxyReachesTheBox(t *testing.T) {
	l, ctx := start(t)
	lis, err := l.Box.Listen("tcp4", "127.0.0.1:8443")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := lis.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	defer lis.Close()
	at, err := l.Box.Proxy(ctx, 18443, netip.MustParseAddrPort("127.0.0.1:8443"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	other, err := l.Box.Proxy(ctx, int(at.Port()), netip.MustParseAddrPort("127.0.0.1:8443"))
	if err != nil || other.Port() == at.Port() {
		t.Errorf("a port in use: %v, %v", other, err)
	}
}

// A mailweir that ends instead of getting ready is an error with its words.
func TestGovernTellsWhyItFailed(t *testing.T) {
	l, ctx := start(t)
	script := filepath.Join(l.Dir, "mailweir")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho mailweir: no such plan >&2\nexit 2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := l.Govern(ctx, script, "x.yaml", filepath.Join(l.Dir, "data"))
	if err == nil || !strings.Contains(err.Error(), "no such plan") || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("error %v", err)
	}
}

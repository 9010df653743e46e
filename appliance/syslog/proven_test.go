package syslog

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
)

// With TLS 1.3 our side's handshake is over before a collector refuses our certificate, or that there is none. That is one trouble, told
// once, however often we try again, and nobody who asks meanwhile hears that all is well.
func TestACollectorThatRefusesUsAfterTheHandshake(t *testing.T) {
	certs, err := rsyslogtest.MakeCerts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certs.Server, certs.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	var came atomic.Int32
	addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
		c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert})
		if err := c.Handshake(); err == nil {
			t.Error("it needs no certificate")
		}
		c.Close()
		came.Add(1)
	})
	src := newSource(t)
	x, events, stop := src.start(t, Config{Targets: []Target{{URL: "tls://" + addr, CAFile: certs.CA}}})
	src.some(3)
	for deadline := time.Now().Add(30 * time.Second); came.Load() < 25; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not tried again")
		}
		if s := x.Status()[0]; came.Load() > 2 && (s.Up || !strings.Contains(s.LastError, "set cert_file and key_file")) {
			t.Fatalf("after %d attempts: up %v, %q", came.Load(), s.Up, s.LastError)
		}
	}
	stop()
	if w := whats(events()); strings.Count(w, "down") != 1 || strings.Contains(w, "up") { // and what a kernel took comes again
		t.Errorf("told %q", w)
	}
}

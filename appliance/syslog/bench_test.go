package syslog

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
)

// BenchmarkRecords has 1000 sessions a second become records, in the spool, the journal and at a real rsyslog: what they cost of a core, in this process alone, which is
// the box's share, and how many bytes it has the disk write.
func BenchmarkRecords(b *testing.B) {
	for _, scheme := range []string{"relp", "tls"} {
		b.Run(scheme, func(b *testing.B) {
			r, err := rsyslogtest.New(b.TempDir())
			if err == nil {
				err = r.Start()
			}
			if err != nil {
				b.Fatal(err)
			}
			defer r.Stop(syscall.SIGKILL)
			dir := b.TempDir()
			chain, err := records.OpenChain(filepath.Join(dir, "records.state"), "box-1")
			if err != nil {
				b.Fatal(err)
			}
			s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Limit: 64 << 20, Facility: 20})
			if err != nil {
				b.Fatal(err)
			}
			x, err := New(Config{Spool: s, Targets: at(r, scheme)})
			if err != nil {
				b.Fatal(err)
			}
			chain.Before(s.Append)
			j, _, err := journal.Open(journal.Options{Dir: filepath.Join(dir, "journal"), Bounds: journal.Bounds{Bytes: 1 << 30, Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour}})
			if err != nil {
				b.Fatal(err)
			}
			w := records.NewWriter(chain, 16384, time.Now, records.NewRing(4096).Add, j.Add)
			ctx, end := context.WithCancel(b.Context())
			done := make(chan error, 4)
			for _, run := range []func(context.Context) error{w.Run, s.Run, x.Run, j.Run} {
				go func() { done <- run(ctx) }()
			}
			const rate, seconds, ticks = 1000, 10, 100 // a second
			said := 0
			cpu, wrote := processor(b), diskBytes(b)
			began := time.Now()
			tick := time.NewTicker(time.Second / ticks)
			for b.Loop() {
				for range seconds * ticks {
					<-tick.C
					for range rate / ticks {
						now := time.Now()
						w.Say(records.Session(records.SessionFacts{Subscriber: fmt.Sprintf("S-%d", said%4000), Plan: "residential", Binding: "csv",
							Src: netip.MustParseAddrPort("100.64.0.11:40000"), Dst: netip.MustParseAddrPort("[2001:db8::25]:25"), Start: now.Add(-time.Second), End: now, BytesUp: 4000, BytesDown: 900,
							StartTLS: "accepted", TLS: "starttls", TLSVersion: "TLS1.3", JA4: "t13d1516h2_8daaf6152771_b186095e22b6", JA3: "d41d8cd98f00b204e9800998ecf8427e", SNI: "mx.example", Handshake: "complete",
							HandshakeBytes: 3100, MessagesLo: 1, MessagesHi: 2, EndReason: "fin"}))
						said++
					}
				}
			}
			took := time.Since(began)
			for !x.Reached(uint64(said))[0] {
				time.Sleep(time.Millisecond)
			}
			used, bytes := processor(b)-cpu, diskBytes(b)-wrote
			end()
			for range 4 {
				err = errors.Join(err, <-done)
			}
			if err := errors.Join(err, s.Close(), chain.Close(), j.Close()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(100*used.Seconds()/took.Seconds(), "core-%")
			b.ReportMetric(float64(bytes)/float64(said), "disk-B/record")
			b.ReportMetric(float64(said)/took.Seconds(), "records/s")
		})
	}
}

// processor is the processor time that this process has used.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// diskBytes is how many bytes this process has had the disk write (proc(5), /proc/pid/io).
func diskBytes(b *testing.B) (n int64) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\nwrite_bytes: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		b.Fatal(err)
	}
	return n
}

package syslog

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
	"github.com/mailweir/mailweir/governor"
)

func newRsyslog(t testing.TB) *rsyslogtest.Server {
	t.Helper()
	r, err := rsyslogtest.New(t.TempDir())
	if err == nil {
		err = r.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopRsyslog(t, r, syscall.SIGKILL) })
	return r
}

func stopRsyslog(t testing.TB, r *rsyslogtest.Server, sig syscall.Signal) {
	if err := r.Stop(sig); err != nil {
		t.Error(err)
	}
}

// at is the target for an input of rsyslog's.
func at(r *rsyslogtest.Server, scheme string) []Target {
	t := Target{URL: r.URL(scheme)}
	if scheme == "tls" || scheme == "relps" {
		t.CAFile, t.CertFile, t.KeyFile = r.Certs.CA, r.Certs.Client, r.Certs.ClientKey
	}
	return []Target{t}
}

// written waits until rsyslog's file has the numbers from 1 to last, and returns its lines.
func written(t testing.TB, r *rsyslogtest.Server, x *Exporter, last uint64) []string {
	t.Helper()
	var lines []string
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		lines = lines[:0]
		seqs := make(map[uint64]int)
		if data, err := os.ReadFile(r.Out); err == nil {
			for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
				lines = append(lines, s.Text())
				if l, err := records.ParseLine(s.Bytes()); err == nil {
					seqs[l.Seq]++
				}
			}
		}
		if all(1, last)(seqs) {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records in rsyslog's file; %+v\n%s", len(seqs), last, x.Status(), r.Err())
		}
	}
}

// chained checks, from what the collector wrote alone, that every line is a record and carries the hash of the one before. A record that came
// twice counts once.
func chained(t *testing.T, lines []string) {
	t.Helper()
	hashes, parsed := make(map[uint64]string), make(map[uint64]records.Line)
	for _, line := range lines {
		l, err := records.ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if h := hashes[l.Seq]; h != "" && h != l.Hash() {
			t.Fatalf("record %d came twice and is not the same", l.Seq)
		}
		if !l.TextKept() {
			t.Fatalf("the text of record %d changed on its way: %s", l.Seq, line)
		}
		hashes[l.Seq], parsed[l.Seq] = l.Hash(), l
	}
	for seq, l := range parsed {
		if seq > 1 && l.Value("prev") != hashes[seq-1] {
			t.Fatalf("record %d does not carry the hash %s of the one before", seq, hashes[seq-1])
		}
	}
}

// hostile says something of every kind, with names that somebody made up to break lines, structured data, templates or terminals.
func (s *source) hostile(i int) {
	names := []string{"mx.example", `a"] b="c`, "a\r\n<13>1 - - - - - - forged", "\\", `\"`, "]]]", "\x00\x1b[2J", "\xff\xfe\x80", "é漢🙂\u202e", strings.Repeat("x", 64<<10), "%s%n$!msg#012", "a\u2028b\u0085c"}
	evil := names[i%len(names)]
	now := time.Now()
	src, dst := netip.MustParseAddrPort("100.64.0.11:40000"), netip.MustParseAddrPort("[2001:db8::25]:25")
	kinds := []records.Entry{
		records.Session(records.SessionFacts{Subscriber: evil, Plan: evil, Binding: "radius", Src: src, Dst: dst, Start: now, End: now, SNI: evil, JA4: evil, Alert: evil, EndReason: "fin"}),
		records.Decision(records.DecisionFacts{Decision: governor.Decision{Subscriber: evil, Plan: "residential", At: now, Action: governor.ActionDefer, Of: governor.Sessions, Limit: 20, Exemption: evil},
			Src: src, Dst: dst}),
		records.Stage(governor.StageChange{Subscriber: evil, From: governor.StagePace, To: governor.StageCut, At: now, Why: evil}),
		records.Audit(records.AuditFacts{Time: now, Who: evil, What: "release", Object: evil, Before: evil, After: evil}),
		records.Config(records.ConfigFacts{Time: now, What: "refused", File: evil, Detail: evil}),
		records.Health(records.HealthFacts{Time: now, What: "radius", Target: evil, Subscriber: evil, Detail: evil}),
		records.Cluster(records.ClusterFacts{Time: now, ID: "c1", What: "began", JA4: evil, Members: []string{evil, "S-2"}, Why: evil}),
		records.Share(records.ShareFacts{Time: now, Week: now, Before: 0.5, After: 0.7}),
	}
	s.chain.Append(kinds[i/len(names)%len(kinds)], now)
}

// Every kind of record, with every hostile name, over every transport into rsyslog's own inputs: one line each, parsed, unchanged.
func TestRsyslogReceivesEverythingOverEverything(t *testing.T) {
	for _, scheme := range rsyslogtest.Schemes {
		t.Run(scheme, func(t *testing.T) {
			r := newRsyslog(t)
			src := newSource(t)
			x, events, stop := src.start(t, Config{Targets: at(r, scheme)})
			const n = 2 * 12 * 8
			for i := range n {
				src.hostile(i)
				if i%48 == 47 {
					written(t, r, x, uint64(i+1)) // datagrams are not poured out faster than the socket holds
				}
			}
			stop()
			lines := written(t, r, x, n)
			if len(lines) != n {
				t.Errorf("%d records became %d lines", n, len(lines))
			}
			chained(t, lines)
			for _, line := range lines {
				parseInto(t, newCollected(), []byte(line)) // somebody else's parser
			}
			if s := x.Status()[0]; s.Behind != 0 || len(events()) != 0 {
				t.Errorf("%+v, %v", s, events())
			}
		})
	}
}

func TestRsyslogRestartedInTheMiddleMissesNothing(t *testing.T) {
	for _, scheme := range rsyslogtest.Schemes[1:] {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(scheme+" "+sig.String(), func(t *testing.T) {
				r := newRsyslog(t)
				src := newSource(t)
				x, events, stop := src.start(t, Config{Targets: at(r, scheme)})
				send := func(n int) {
					for i := range n {
						src.hostile(i)
					}
				}
				send(300)
				written(t, r, x, 300)
				stopRsyslog(t, r, sig)
				send(300)
				if s := x.Status()[0]; s.Behind < 300 {
					t.Errorf("while it is down: %+v", s)
				}
				if err := r.Start(); err != nil {
					t.Fatal(err)
				}
				written(t, r, x, 600)
				send(300)
				stop()
				lines := written(t, r, x, 900)
				chained(t, lines)
				if scheme == "relp" && len(lines) != 900 {
					t.Errorf("900 records, %d lines: RELP knew what had arrived", len(lines))
				}
				if w := whats(events()); !strings.HasPrefix(w, "down") || !strings.HasSuffix(w, "up") {
					t.Errorf("events: %s", w)
				}
			})
		}
	}
}

// What is wrong with certificates is said in words that name what to do.
func TestTroubleWithCertificatesIsSaidPlainly(t *testing.T) {
	r := newRsyslog(t)
	src := newSource(t)
	src.some(1)
	for _, c := range []struct {
		why    string
		target Target
		want   string
	}{
		{"another CA", Target{URL: r.URL("tls"), CAFile: r.Certs.Other}, "its certificate is not signed by " + r.Certs.Other},
		{"no CA", Target{URL: r.URL("relps")}, "signed by nobody whom the system trusts; set ca_file"},
		{"no certificate of ours", Target{URL: r.URL("tls"), CAFile: r.Certs.CA}, "set cert_file and key_file"},
		{"another name", Target{URL: strings.Replace(r.URL("tls"), "127.0.0.1", "localhost", 1), CAFile: r.Certs.CA}, "its certificate is for another name than localhost"},
		{"a CA that is not there", Target{URL: r.URL("tls"), CAFile: "/nowhere/ca.pem"}, "ca_file: open /nowhere/ca.pem: no such file"},
		{"a key that does not fit", Target{URL: r.URL("tls"), CAFile: r.Certs.CA, CertFile: r.Certs.Client, KeyFile: r.Certs.ServerKey}, "private key does not match"},
		{"no TLS there", Target{URL: fmt.Sprintf("tls://127.0.0.1:%d", r.Ports["tcp"]), CAFile: r.Certs.CA}, "does not answer the TLS handshake; is it the right port?"},
		{"no RELP there", Target{URL: fmt.Sprintf("relp://127.0.0.1:%d", r.Ports["tcp"])}, "does not answer RELP; is it the right port?"},
	} {
		t.Run(c.why, func(t *testing.T) {
			src := newSource(t)
			x, events, stop := src.start(t, Config{Targets: []Target{c.target}})
			src.some(1)
			for deadline := time.Now().Add(30 * time.Second); whats(events()) == "" && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			stop()
			if s := x.Status()[0]; s.Up || !strings.Contains(s.LastError, c.want) || strings.Contains(s.LastError, "\n") {
				t.Errorf("%q does not say %q", s.LastError, c.want)
			}
		})
	}
}

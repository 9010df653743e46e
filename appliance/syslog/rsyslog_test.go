package syslog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// rsyslog runs a collector of its own: its configuration, spool, pid and output are in dir, and it listens on one loopback
// address only. The host's rsyslog, if there is one, is neither read nor touched.
type rsyslog struct {
	t        testing.TB
	dir      string
	out      string
	udp, tcp int
	cmd      *exec.Cmd
	stderr   bytes.Buffer
}

func newRsyslog(t testing.TB) *rsyslog {
	t.Helper()
	dir := t.TempDir()
	r := &rsyslog{t: t, dir: dir, out: filepath.Join(dir, "out"), udp: freePort(t, "udp"), tcp: freePort(t, "tcp")}
	// The output is rsyslog's own rendering of an RFC 5424 record, as operators write it, and not the bytes we sent.
	conf := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="64k")
module(load="imudp")
module(load="imtcp")
template(name="rendered" type="string" string="<%%PRI%%>1 %%TIMESTAMP:::date-rfc3339%% %%HOSTNAME%% %%APP-NAME%% %%PROCID%% %%MSGID%% %%STRUCTURED-DATA%% %%msg%%\n")
ruleset(name="to-file") { action(type="omfile" file=%q template="rendered" asyncWriting="off" flushOnTXEnd="on") }
input(type="imudp" address="127.0.0.1" port="%d" rcvbufSize="4m" ruleset="to-file")
input(type="imtcp" address="127.0.0.1" port="%d" ruleset="to-file")
`, dir, r.out, r.udp, r.tcp)
	if err := os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() { r.stop(syscall.SIGKILL) })
	return r
}

// freePort finds a port that nobody has now; nothing else in a test's few milliseconds takes it.
func freePort(t testing.TB, network string) int {
	t.Helper()
	if network == "udp" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		return pc.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *rsyslog) start() {
	r.t.Helper()
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		path = "/usr/sbin/rsyslogd"
	}
	if _, err := os.Stat(path); err != nil {
		r.t.Fatalf("rsyslogd is not installed (%v): apt-get install --no-install-recommends rsyslog", err)
	}
	r.stderr.Reset()
	r.cmd = exec.Command(path, "-n", "-f", filepath.Join(r.dir, "rsyslog.conf"), "-i", filepath.Join(r.dir, "pid"))
	r.cmd.Stderr = &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.tcp)))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			r.stop(syscall.SIGKILL)
			r.t.Fatalf("rsyslogd does not listen: %v\n%s", err, r.stderr.String())
		}
	}
}

func (r *rsyslog) stop(sig syscall.Signal) {
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Errorf("signal rsyslogd: %v", err)
	}
	r.cmd.Wait() // how it ended is what we asked for
	r.cmd = nil
}

// lines waits until the output has the numbers from 1 to last, and returns its lines.
func (r *rsyslog) lines(last uint64) []string {
	r.t.Helper()
	var lines []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		lines = lines[:0]
		seqs := make(map[uint64]int)
		if data, err := os.ReadFile(r.out); err == nil {
			for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
				lines = append(lines, s.Text())
				seqs[seqOf(s.Text())]++
			}
		}
		if all(1, last)(seqs) {
			return lines
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d records in rsyslog's file\n%s", len(seqs), last, r.stderr.String())
		}
	}
}

var seqParam = regexp.MustCompile(`\[mailweir@32473 seq="(\d+)" `)

func seqOf(line string) uint64 {
	m := seqParam.FindStringSubmatch(line)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 10, 64)
	return n
}

var rendered = regexp.MustCompile(`^<\d+>1 (\S+) box-1 mailweir - (\S+) (\[mailweir@32473 (?:[^"\]]|"(?:[^"\\]|\\.)*")*\]) `)

// chained checks, from what the collector wrote alone, that every record carries the hash of the one before. A record that came
// twice counts once.
func chained(t *testing.T, lines []string) {
	t.Helper()
	hashes := make(map[uint64]string)
	for _, line := range lines {
		m := rendered.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a record: %s", line)
		}
		sum := sha256.Sum256([]byte(m[2] + " " + m[1] + " " + m[3]))
		hashes[seqOf(line)] = hex.EncodeToString(sum[:])
	}
	for _, line := range lines {
		seq := seqOf(line)
		if seq > 1 && !strings.Contains(line, ` prev="`+hashes[seq-1]+`" `) {
			t.Fatalf("record %d does not carry the hash %s of the one before: %s", seq, hashes[seq-1], line)
		}
	}
}

func (s *source) hostile(i int) records.Record {
	names := []string{"mx.example", `a"] b="c`, "a\nb", "\\", "é漢🙂", strings.Repeat("x", 2000), "%s%n$!msg#012"}
	return s.chain.Append(records.Session(records.SessionFacts{Subscriber: "S-1001", SNI: names[i%len(names)], EndReason: "fin"}), time.Now())
}

func TestRsyslogReceivesOverUDPAndTCP(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := newRsyslog(t)
			port := map[string]int{"udp": r.udp, "tcp": r.tcp}[network]
			x, _, stop := start(t, Config{Targets: []string{fmt.Sprintf("%s://127.0.0.1:%d", network, port)}})
			src := newSource(t)
			const n = 350
			for i := range n {
				x.Send(src.hostile(i))
				if i%50 == 49 {
					r.lines(uint64(i + 1)) // datagrams are not poured out faster than the socket holds
				}
			}
			stop()
			lines := r.lines(n)
			if len(lines) != n {
				t.Errorf("%d records became %d lines", n, len(lines))
			}
			chained(t, lines)
		})
	}
}

func TestRsyslogRestartedInTheMiddleMissesNothing(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			r := newRsyslog(t)
			x, events, stop := start(t, Config{Targets: []string{fmt.Sprintf("tcp://127.0.0.1:%d", r.tcp)}})
			src := newSource(t)
			send := func(n int) {
				for i := range n {
					x.Send(src.hostile(i))
				}
			}
			send(300)
			r.lines(300)
			r.stop(sig)
			send(300)
			if s := x.Status()[0]; s.Behind == 0 {
				t.Errorf("while it is down: %+v", s)
			}
			r.start()
			r.lines(600)
			send(300)
			stop()
			lines := r.lines(900)
			chained(t, lines)
			t.Logf("900 records, %d lines, events: %s", len(lines), whats(events()))
			if w := whats(events()); w != "down up" {
				t.Errorf("events: %s", w)
			}
		})
	}
}

// TestRsyslogKilledUnderLoad says how much a collector that is killed while it is being written to takes with it: what its
// kernel had acknowledged and it had not written yet. Whatever is missing must be in one piece, before the restart.
func TestRsyslogKilledUnderLoad(t *testing.T) {
	r := newRsyslog(t)
	x, _, stop := start(t, Config{Targets: []string{fmt.Sprintf("tcp://127.0.0.1:%d", r.tcp)}})
	src := newSource(t)
	const n = 4000
	for i := range n {
		x.Send(src.next())
		if i == n/2 {
			r.stop(syscall.SIGKILL)
			r.start()
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if data, err := os.ReadFile(r.out); err == nil && bytes.Contains(data, fmt.Appendf(nil, ` seq="%d" `, n)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the last record has not come: %+v", x.Status())
		}
	}
	stop()
	data, err := os.ReadFile(r.out)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]bool)
	for _, m := range seqParam.FindAllSubmatch(data, -1) { // not by lines: the kill may have cut one
		seq, _ := strconv.ParseUint(string(m[1]), 10, 64)
		seen[seq] = true
	}
	missing, holes := 0, 0
	for i := uint64(1); i <= n; i++ {
		if !seen[i] {
			missing++
			if seen[i-1] || i == 1 {
				holes++
			}
		}
	}
	t.Logf("%d of %d records missing, in %d pieces", missing, n, holes)
	if holes > 1 || !seen[n] {
		t.Errorf("%d holes", holes)
	}
}

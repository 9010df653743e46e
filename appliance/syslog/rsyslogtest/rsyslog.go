// Package rsyslogtest runs a real rsyslog as a collector for tests and measurements: with inputs for UDP, TCP, TLS, RELP and RELP over TLS on
// loopback, and a file to which it writes what it received, in its own words.
//
// Its ruleset has no queue (queue.type="Direct"): what it acknowledges over RELP it has given to the file. With rsyslog's default, a queue in memory, it
// acknowledges what a kill -9 takes with it. The size of a message is its default, 8 KiB, of which it takes 8096 bytes: what is longer it cuts over UDP, cuts in two over TCP, and acknowledges over RELP
// and cuts.
package rsyslogtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Server is an rsyslog of its own: its configuration, spool, pid and output are in a directory, and it listens on one loopback
// address only. The host's rsyslog, if there is one, is neither read nor touched.
type Server struct {
	Out   string         // the file, in the template RSYSLOG_SyslogProtocol23Format
	Ports map[string]int // by scheme: udp tcp tls relp relps
	Certs Certs          // TLS and RELP over TLS ask for a client's certificate of this CA

	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	stderr bytes.Buffer
}

// Schemes are those that a Server has an input for.
var Schemes = []string{"udp", "tcp", "tls", "relp", "relps"}

// New makes the configuration in dir, which must exist, and starts nothing.
func New(dir string) (*Server, error) {
	s := &Server{Out: filepath.Join(dir, "out"), Ports: map[string]int{}, dir: dir}
	var err error
	if s.Certs, err = MakeCerts(dir); err != nil {
		return nil, err
	}
	for _, scheme := range Schemes {
		if s.Ports[scheme], err = freePort(scheme); err != nil {
			return nil, err
		}
	}
	conf := fmt.Sprintf(`
global(workDirectory=%q defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imudp")
module(load="imtcp")
module(load="imrelp")
ruleset(name="to-file" queue.type="Direct") { action(type="omfile" file=%q template="RSYSLOG_SyslogProtocol23Format" asyncWriting="off" flushOnTXEnd="on") }
input(type="imudp" address="127.0.0.1" port="%d" rcvbufSize="4m" ruleset="to-file")
input(type="imtcp" address="127.0.0.1" port="%d" ruleset="to-file")
input(type="imtcp" address="127.0.0.1" port="%d" ruleset="to-file" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imrelp" address="127.0.0.1" port="%d" ruleset="to-file")
input(type="imrelp" address="127.0.0.1" port="%d" ruleset="to-file" tls="on" tls.authMode="certvalid" tls.caCert=%q tls.myCert=%q tls.myPrivKey=%q)
`, dir, s.Certs.CA, s.Certs.Server, s.Certs.ServerKey, s.Out, s.Ports["udp"], s.Ports["tcp"], s.Ports["tls"], s.Ports["relp"], s.Ports["relps"],
		s.Certs.CA, s.Certs.Server, s.Certs.ServerKey)
	return s, os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(conf), 0o600)
}

// URL is that of the input of a scheme.
func (s *Server) URL(scheme string) string {
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.Ports[scheme])
}

// freePort finds a port that nobody has now; nothing else takes it in the few milliseconds until rsyslog does.
func freePort(scheme string) (int, error) {
	if scheme == "udp" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		defer pc.Close()
		return pc.LocalAddr().(*net.UDPAddr).Port, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Start runs rsyslogd and returns when it takes connections.
func (s *Server) Start() error {
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		path = "/usr/sbin/rsyslogd"
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("rsyslogd is not installed (%w): apt-get install --no-install-recommends rsyslog rsyslog-gnutls rsyslog-relp", err)
	}
	s.stderr.Reset()
	s.cmd = exec.Command(path, "-n", "-f", filepath.Join(s.dir, "rsyslog.conf"), "-i", filepath.Join(s.dir, "pid"))
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() { defer close(s.exited); s.cmd.Wait() }() // how it ends is what Stop asked for, or seen by the loop below
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		up := 0
		for _, scheme := range Schemes[1:] {
			conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Ports[scheme])))
			if err != nil {
				break
			}
			conn.Close()
			up++
		}
		if up == len(Schemes)-1 {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("rsyslogd ended: %s", s.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("rsyslogd does not listen at all its ports: %s", s.stderr.String()), s.Stop(syscall.SIGKILL))
		}
	}
}

// Stop ends rsyslogd with a signal and waits for it; nothing if it does not run.
func (s *Server) Stop(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Signal(sig)
	<-s.exited
	s.cmd = nil
	return err
}

// Hang stops rsyslogd without ending it, as where its disk hangs: its kernel goes on taking what fits into its buffers. Stop with SIGKILL ends it then.
func (s *Server) Hang() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Err is what rsyslogd complained about.
func (s *Server) Err() string { return s.stderr.String() }

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// postfix runs master(8) in the foreground with maps that need no compiling.
type postfix struct{}

func (postfix) packages() PackageSet { return mailServers }

func (postfix) log() string { return "var/log/mail.log" }

func (postfix) daemon(ServerOptions) []string {
	return []string{"/usr/lib/postfix/sbin/master", "-s", "-c", "/etc/postfix"}
}

func (postfix) files(s *MailServer, routes []Route) []file {
	queue := func(name string, mode os.FileMode) file {
		return file{path: "var/spool/postfix/" + name + "/", mode: mode, uid: uidMail}
	}
	out := []file{
		{path: "etc/postfix/", mode: 0o755},
		{path: "etc/postfix/main.cf", mode: 0o644, text: mainCF(s, routes)},
		{path: "etc/postfix/master.cf", mode: 0o644, text: masterCF(s.Options, routes)},
		{path: "etc/lab/chain.pem", mode: 0o400, text: string(s.cert.keyPEM) + string(s.cert.certPEM)},
		{path: "var/lib/postfix/", mode: 0o700, uid: uidMail, gid: uidMail},
		{path: "var/spool/postfix/", mode: 0o755},
		{path: "var/spool/postfix/pid/", mode: 0o755},
		{path: "var/spool/postfix/maildrop/", mode: 0o730, uid: uidMail, gid: uidDrop},
		{path: "var/spool/postfix/public/", mode: 0o710, uid: uidMail, gid: uidDrop},
	}
	for _, d := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		out = append(out, queue(d, 0o700))
	}
	return out
}

func mainCF(s *MailServer, routes []Route) string {
	var transports string
	for i, r := range routes {
		transports += fmt.Sprintf(" { %s = route%d:[%s]:%d }", r.Domain, i, r.To.Addr(), r.To.Port())
	}
	if transports != "" {
		transports = "inline:{" + transports + " }"
	}
	set := [][2]string{
		{"compatibility_level", "3.6"},
		{"myhostname", s.Host()},
		{"mydestination", ""},
		{"mynetworks", "127.0.0.0/8 [::1]/128"},
		{"inet_interfaces", "all"},
		{"inet_protocols", "all"},
		{"smtputf8_enable", "no"},
		{"mail_owner", "postfix"},
		{"setgid_group", "postdrop"},
		{"default_privs", "nobody"},
		{"queue_directory", "/var/spool/postfix"},
		{"data_directory", "/var/lib/postfix"},
		{"command_directory", "/usr/sbin"},
		{"daemon_directory", "/usr/lib/postfix/sbin"},
		{"shlib_directory", "/usr/lib/postfix"},
		{"meta_directory", "/etc/postfix"},
		{"maillog_file", "/var/log/mail.log"},
		{"alias_maps", ""}, {"alias_database", ""}, {"local_recipient_maps", ""},
		// No lookup ever leaves the machine, and no name is worth one.
		{"smtp_dns_support_level", "disabled"},
		{"smtp_host_lookup", "native"},
		{"smtpd_peername_lookup", "no"},
		{"smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination"},
		{"smtpd_client_connection_count_limit", "0"},
		{"smtpd_client_port_logging", "yes"},
		{"smtpd_error_sleep_time", "0"},
		{"in_flow_delay", "0"},
		{"delay_logging_resolution_limit", "6"},
		{"virtual_mailbox_domains", strings.Join(s.Options.Domains, " ")},
		{"virtual_mailbox_base", "/var/mail"},
		{"virtual_mailbox_maps", "static:inbox/"},
		{"virtual_uid_maps", fmt.Sprintf("static:%d", uidMailbox)},
		{"virtual_gid_maps", fmt.Sprintf("static:%d", uidMailbox)},
		{"default_transport", "retry:the lab has no route for this domain"},
		{"transport_maps", transports},
		{"smtp_tls_CAfile", "/etc/lab/ca.pem"},
		{"smtp_tls_fingerprint_digest", "sha256"},
		{"smtp_tls_loglevel", "1, peercert"},
	}
	set = append(set, retrySchedule(s.Options)...)
	set = append(set, tunedCF(s.Options, routes)...)
	if s.Options.StartTLS {
		set = append(set, [2]string{"smtpd_tls_security_level", "may"},
			[2]string{"smtpd_tls_chain_files", "/etc/lab/chain.pem"})
	}
	if n := s.Options.Concurrency; n > 0 {
		set = append(set, [2]string{"default_destination_concurrency_limit", fmt.Sprint(n)})
	}
	var b strings.Builder
	for _, kv := range set {
		fmt.Fprintf(&b, "%s = %s\n", kv[0], kv[1])
	}
	return b.String()
}

// retrySchedule says when a deferred message is tried again. Postfix's own
// figures, postconf(5): a look at the queue each 300 s; a message waits as long
// as it is old, at least 300 s and at most 4000 s; a host that refused is left
// alone for 300 s; what is five days old goes back.
func retrySchedule(o ServerOptions) [][2]string {
	look, least, most, life := o.RetryAfter, o.RetryAfter, o.RetryAfter, 5*24*time.Hour
	if n := time.Duration(o.TimesFaster); n > 0 {
		look, least, most, life = 300*time.Second/n, 300*time.Second/n, 4000*time.Second/n, life/n
	}
	whole := func(d time.Duration) string { return fmt.Sprintf("%ds", max(1, int(d.Seconds()))) }
	return [][2]string{
		{"queue_run_delay", whole(look)}, {"minimal_backoff_time", whole(least)}, {"maximal_backoff_time", whole(most)},
		{"maximal_queue_lifetime", whole(life)}, {"bounce_queue_lifetime", whole(life)},
	}
}

// services are the lines of master.cf that every instance has, nothing in a
// chroot of its own.
const services = `25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// masterCF has one delivery service per route, for the route's TLS policy.
func masterCF(o ServerOptions, routes []Route) string {
	var b strings.Builder
	b.WriteString(services)
	b.WriteString(tunedServices(o))
	for i, r := range routes {
		fmt.Fprintf(&b, "route%d unix - - n - - smtp\n  -o syslog_name=postfix/route%d\n", i, i)
		switch r.TLS {
		case TLSNever:
			b.WriteString("  -o smtp_tls_security_level=none\n")
		case TLSMay:
			b.WriteString("  -o smtp_tls_security_level=may\n")
			if r.To.Port() == 465 {
				b.WriteString("  -o smtp_tls_wrappermode=yes\n  -o smtp_tls_security_level=encrypt\n")
			}
		case TLSPinned:
			fmt.Fprintf(&b, "  -o smtp_tls_security_level=fingerprint\n  -o smtp_tls_fingerprint_cert_match=%s\n", colons(r.Fingerprint))
		}
	}
	return b.String()
}

// colons writes a fingerprint the way Postfix does: AA:BB:…
func colons(hex string) string {
	var b strings.Builder
	for i := 0; i+1 < len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex[i : i+2]))
	}
	return b.String()
}

func (postfix) queue(ctx context.Context, s *MailServer) ([]QueueEntry, error) {
	out, err := s.inst.run(ctx, "/usr/sbin/postqueue", "-j")
	if err != nil {
		return nil, err
	}
	var entries []QueueEntry
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var m struct {
			QueueID    string `json:"queue_id"`
			Sender     string
			Recipients []struct {
				Address     string
				DelayReason string `json:"delay_reason"`
			}
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return entries, nil
		} else if err != nil {
			return nil, fmt.Errorf("postqueue -j: %w", err)
		}
		if m.Sender == "MAILER-DAEMON" {
			m.Sender = ""
		}
		for _, r := range m.Recipients {
			entries = append(entries, QueueEntry{ID: m.QueueID, Sender: m.Sender, Recipient: r.Address, Reason: r.DelayReason})
		}
	}
}

func (postfix) flush(ctx context.Context, s *MailServer) error {
	_, err := s.inst.run(ctx, "/usr/sbin/postqueue", "-f")
	return err
}

var (
	postfixPeer = regexp.MustCompile(`(postfix/route\d+/smtp\[\d+\]): .*subject_CN=.*, (?:cert )?fingerprint=([0-9A-F:]+)`)
	postfixDone = regexp.MustCompile(`(postfix/route\d+/smtp\[\d+\]): (\w+) TLS connection established to [^\[\s]*(\[[0-9a-f.:]+\]:\d+): (\S+) with`)
)

// peers joins the two lines that the log has per session: the certificate's,
// then the summary by the same process.
func (postfix) peers(log string) []TLSPeer {
	var out []TLSPeer
	seen := map[string]string{} // fingerprint by process
	for line := range strings.SplitSeq(log, "\n") {
		if m := postfixPeer.FindStringSubmatch(line); m != nil {
			seen[m[1]] = strings.ToLower(strings.ReplaceAll(m[2], ":", ""))
		}
		m := postfixDone.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		to, err := parseHostPort(m[3])
		if err != nil {
			continue
		}
		out = append(out, TLSPeer{To: to, Version: m[4], Fingerprint: seen[m[1]], Pinned: m[2] == "Verified"})
		delete(seen, m[1])
	}
	return out
}

var postfixAttempt = regexp.MustCompile(`: to=<([^>]*)>, .*?relay=([^,]*), .*?delays=[\d.e-]+/[\d.e-]+/([\d.e-]+)/([\d.e-]+), dsn=[\d.]+, status=(\w+) \((.*)\)$`)

func (postfix) attempts(log string) []Attempt {
	var out []Attempt
	for line := range strings.SplitSeq(log, "\n") {
		m := postfixAttempt.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		a := Attempt{Recipient: m[1], Status: m[5], Text: m[6], Setup: seconds(m[3]), Took: seconds(m[3]) + seconds(m[4])}
		if i := strings.IndexByte(m[2], '['); i >= 0 { // host[address]:port
			if to, err := parseHostPort(m[2][i:]); err == nil {
				a.To = to
			}
		}
		out = append(out, a)
	}
	return out
}

// seconds reads a number of seconds; what is none counts as 0.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// exim runs the daemon in the foreground, with queue runs of its own.
type exim struct{}

func (exim) packages() PackageSet { return mailServers }

func (exim) log() string { return "var/log/exim_main.log" }

func (exim) daemon(o ServerOptions) []string {
	if o.Reuse > 1 {
		return []string{"/usr/sbin/exim4", "-bdf"}
	}
	return []string{"/usr/sbin/exim4", "-bdf", fmt.Sprintf("-q%ds", max(1, int(o.RetryAfter.Seconds())/10))}
}

func (exim) files(s *MailServer, routes []Route) []file {
	return []file{
		{path: "etc/exim4/", mode: 0o755},
		{path: "etc/exim4/exim4.conf", mode: 0o644, text: eximConf(s, routes)},
		{path: "var/spool/exim4/", mode: 0o750, uid: uidMail, gid: uidMail},
	}
}

const eximTop = `primary_hostname = %[1]s
domainlist local_domains = %[2]s
hostlist own = <; 127.0.0.1 ; ::1
acl_smtp_rcpt = rcpt
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim_%%s.log
log_selector = +smtp_confirmation +outgoing_port +incoming_port +received_recipients +smtp_connection +smtp_no_mail +tls_certificate_verified +deliver_time +millisec
keep_environment =
host_lookup =
rfc1413_hosts =
rfc1413_query_timeout = 0s
smtp_accept_max = 500
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 100000
queue_run_max = 3
timeout_frozen_after = 1d
`

const eximTLS = `tls_advertise_hosts = *
tls_certificate = /etc/lab/cert.pem
tls_privatekey = /etc/lab/key.pem
`

const eximACL = `begin acl
rcpt:
  accept hosts = +own
  accept domains = +local_domains
  deny message = relay not permitted

# Runs for the other end's own certificate; what it denies ends the session.
# $acl_arg1 is the fingerprint asked for, "any" if none was.
certificate:
  warn logwrite = PEER [$host_address]:$host_port $acl_arg1 ${lc:${sha256:$tls_out_peercert}}
  accept condition = ${if or{{eq{$acl_arg1}{any}}{eq{$acl_arg1}{${lc:${sha256:$tls_out_peercert}}}}}}
  deny message = not the certificate asked for

`

func eximConf(s *MailServer, routes []Route) string {
	var b strings.Builder
	fmt.Fprintf(&b, eximTop, s.Host(), strings.Join(s.Options.Domains, " : "))
	if s.Options.StartTLS {
		b.WriteString(eximTLS)
	} else {
		b.WriteString("tls_advertise_hosts =\n")
	}
	b.WriteString(eximTuned(s.Options))
	if s.Options.Refuses {
		b.WriteString(strings.Replace(eximACL, "rcpt:\n", eximRefuses, 1))
	} else {
		b.WriteString(eximACL)
	}
	b.WriteString(eximLogin(s.Options.Login))
	b.WriteString("begin routers\nlocal:\n  driver = accept\n  domains = +local_domains\n  transport = mailbox\n")
	for i, r := range routes {
		fmt.Fprintf(&b, "route%d:\n  driver = accept\n  domains = %s\n  transport = route%d\n", i, r.Domain, i)
	}
	b.WriteString("none:\n  driver = redirect\n  allow_defer\n  data = :defer: the lab has no route for this domain\n")
	fmt.Fprintf(&b, "begin transports\nmailbox:\n  driver = appendfile\n  maildir_format\n  directory = /%s\n  batch_max = 100\n  user = mailbox\n  group = mailbox\n", mailboxPath)
	for i, r := range routes {
		fmt.Fprintf(&b, "route%d:\n  driver = smtp\n  hosts = <; %s\n  hosts_override\n  port = %d\n  connection_max_messages = %d\n  hosts_try_dane =\n",
			i, r.To.Addr(), r.To.Port(), max(1, s.Options.Reuse))
		b.WriteString(eximTunedRoute(s.Options, r))
		if n := s.Options.Concurrency; n > 0 {
			fmt.Fprintf(&b, "  max_parallel = %d\n", n)
		}
		switch r.TLS {
		case TLSNever:
			b.WriteString("  hosts_avoid_tls = *\n")
		case TLSMay:
			b.WriteString(peerEvent("any"))
		case TLSPinned:
			b.WriteString("  hosts_require_tls = *\n" + peerEvent(r.Fingerprint))
		}
	}
	fmt.Fprintf(&b, "begin retry\n* * F,4d,%ds\n", int(s.Options.RetryAfter.Seconds()))
	return b.String()
}

// peerEvent has Exim verify against the lab's CA and run the ACL above with
// the leaf certificate (depth 0).
func peerEvent(want string) string {
	verify := "tls_verify_hosts = *\n"
	if want == "any" {
		verify = "tls_try_verify_hosts = *\n"
	}
	return "  tls_verify_certificates = /etc/lab/ca.pem\n  tls_verify_cert_hostnames =\n  " + verify +
		"  event_action = ${if and{{eq{$event_name}{tls:cert}}{eq{$event_data}{0}}}{${acl{certificate}{" + want + "}}}}\n"
}

var (
	eximHeading   = regexp.MustCompile(`^\s*\S+\s+\S+\s+(\S+-\S+-\S+) <([^>]*)>`)
	eximRecipient = regexp.MustCompile(`^\s{8,}(\S+@\S+)\s*$`)
)

func (exim) queue(ctx context.Context, s *MailServer) ([]QueueEntry, error) {
	out, err := s.inst.run(ctx, "/usr/sbin/exim4", "-bp")
	if err != nil {
		return nil, err
	}
	log, err := s.Log()
	if err != nil {
		return nil, err
	}
	var entries []QueueEntry
	var id, sender string
	for line := range strings.SplitSeq(out, "\n") {
		if m := eximHeading.FindStringSubmatch(line); m != nil {
			id, sender = m[1], m[2]
		} else if m := eximRecipient.FindStringSubmatch(line); m != nil { // a D before it means delivered
			entries = append(entries, QueueEntry{ID: id, Sender: sender, Recipient: m[1], Reason: eximReason(log, id)})
		}
	}
	return entries, nil
}

// eximReason is what the log last said about a message that waits: Exim's
// queue listing has no reasons.
func eximReason(log, id string) string {
	var reason string
	for line := range strings.SplitSeq(log, "\n") {
		if _, rest, ok := strings.Cut(line, " "+id+" "); ok {
			if strings.HasPrefix(rest, "== ") || strings.HasPrefix(rest, "H=") {
				// "retry time not reached" says when, not why.
				if reason == "" || !strings.Contains(rest, "retry time not reached") {
					reason = rest
				}
			}
		}
	}
	return reason
}

func (exim) flush(ctx context.Context, s *MailServer) error {
	run := "-qff"
	if s.Options.Reuse > 1 {
		run = "-qqff" // routes all before it sends any
	}
	_, err := s.inst.run(ctx, "/usr/sbin/exim4", run)
	return err
}

var (
	eximPeer  = regexp.MustCompile(` (\S+) PEER (\[\S+\]:\d+) (\S+) ([0-9a-f]+)$`)
	eximSpoke = regexp.MustCompile(` (\S+) [=-]> .* X=([^:]+):`)
)

// peers reads what the ACL wrote; the version stands in the delivery's own
// line, so a session that delivered nothing has none.
func (exim) peers(log string) []TLSPeer {
	var out []TLSPeer
	last := map[string]int{} // a message's last session in out
	for line := range strings.SplitSeq(log, "\n") {
		if m := eximSpoke.FindStringSubmatch(line); m != nil {
			if i, ok := last[m[1]]; ok {
				out[i].Version = m[2]
			}
		}
		if m := eximPeer.FindStringSubmatch(line); m != nil {
			to, err := parseHostPort(m[2])
			if err != nil {
				continue
			}
			last[m[1]] = len(out)
			out = append(out, TLSPeer{To: to, Fingerprint: m[4], Pinned: m[3] == m[4]})
		}
	}
	return out
}

// parseHostPort reads [ADDRESS]:PORT, as both mail servers write it also for IPv4.
func parseHostPort(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(net.JoinHostPort(host, port))
}

var (
	eximAttempt = regexp.MustCompile(` \S+ (=>|->|==|\*\*) (\S+) R=\S+ T=\S+ (.*)$`)
	eximHost    = regexp.MustCompile(`H=\S+ (\[[0-9a-f.:]+\]:\d+)`)
	eximTimed   = regexp.MustCompile(` DT=([\d.]+)s`)
	eximStatus  = map[string]string{"=>": "sent", "->": "sent", "==": "deferred", "**": "bounced"}
)

func (exim) attempts(log string) []Attempt {
	var out []Attempt
	for line := range strings.SplitSeq(log, "\n") {
		m := eximAttempt.FindStringSubmatch(line)
		if m == nil || strings.Contains(m[3], "retry time not reached") { // that one was no attempt
			continue
		}
		a := Attempt{Recipient: m[2], Status: eximStatus[m[1]], Text: m[3]}
		if h := eximHost.FindStringSubmatch(m[3]); h != nil {
			if to, err := parseHostPort(h[1]); err == nil {
				a.To = to
			}
		}
		if d := eximTimed.FindStringSubmatch(m[3]); d != nil {
			a.Took = seconds(d[1])
		}
		out = append(out, a)
	}
	return out
}

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// opensmtpd runs smtpd(8) in the foreground, where it logs to standard error.
type opensmtpd struct{}

// It has a tree of its own, since the other mail servers have programs of the same names. Deliveries go through a shell.
// The version of Debian 12 itself cannot do TLS (github.com/OpenSMTPD/OpenSMTPD/issues/1171), that of its backports can.
func (opensmtpd) packages() PackageSet {
	return PackageSet{Name: "opensmtpd", Roots: []string{"opensmtpd", "dash"}, Backports: true}
}

func (opensmtpd) log() string { return "console.log" }

func (opensmtpd) daemon(ServerOptions) []string {
	return []string{"/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"}
}

func (opensmtpd) files(s *MailServer, routes []Route) []file {
	out := []file{
		{path: "etc/smtpd.conf", mode: 0o644, text: smtpdConf(s, routes)},
		{path: "etc/mailname", mode: 0o644, text: s.Host() + "\n"},
		{path: "etc/lab/smtpd.key", mode: 0o400, text: string(s.cert.keyPEM)},
		{path: "etc/ssl/", mode: 0o755},
		{path: "etc/ssl/certs/", mode: 0o755},
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, text: string(s.ca.PEM)},
		{path: "var/lib/opensmtpd/", mode: 0o755},
		{path: "var/lib/opensmtpd/empty/", mode: 0o755},
		{path: "var/spool/smtpd/", mode: 0o711},
		{path: "var/spool/smtpd/offline/", mode: 0o770},
	}
	for _, d := range []string{"queue", "incoming", "temporary", "corrupt", "purge"} {
		out = append(out, file{path: "var/spool/smtpd/" + d + "/", mode: 0o700, uid: uidDrop})
	}
	return out
}

func smtpdConf(s *MailServer, routes []Route) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pki lab cert \"/etc/lab/cert.pem\"\npki lab key \"/etc/lab/smtpd.key\"\n")
	b.WriteString("smtp limit max-mails 1000\n")
	// How long a session waits for one more message, how many it takes, and how many there are at once.
	fmt.Fprintf(&b, "mta limit \"session-keepalive\" %d\nmta limit \"session-mail-max\" %d\n", s.Options.keepOpen(), max(1, s.Options.Reuse))
	if n := s.Options.Concurrency; n > 0 {
		fmt.Fprintf(&b, "mta limit \"max-conn-per-host\" %d\n", n)
	}
	auth, protocols := "", ""
	if s.Options.TLSVersion != 0 {
		protocols = fmt.Sprintf(" protocols %q", strings.ToLower(s.Options.openssl()))
	}
	if l := s.Options.Login; l.Name != "" {
		fmt.Fprintf(&b, "table logins { %q = %q }\n", l.Name, s.secret)
		auth = " auth-optional <logins>"
	}
	fmt.Fprintf(&b, "listen on 127.0.0.1 port 25 hostname %s\n", s.Host())
	for _, a := range []netip.Addr{s.IPv4, s.IPv6} {
		tls := ""
		if s.Options.StartTLS {
			tls = " tls pki lab" + protocols + auth
		}
		fmt.Fprintf(&b, "listen on %s port 25%s hostname %s\n", a, tls, s.Host())
		if s.Options.ImplicitTLS {
			fmt.Fprintf(&b, "listen on %s port 465 smtps pki lab%s hostname %s\n", a, protocols+auth, s.Host())
		}
	}
	b.WriteString("table inbox { \"@\" = mailbox }\naction inbox maildir \"/" + mailboxPath + "\" virtual <inbox>\n")
	if s.Options.Refuses {
		b.WriteString("match from any for rcpt-to regex \"^refused\" reject\n")
	}
	if d := s.Options.Domains; len(d) > 0 {
		fmt.Fprintf(&b, "match from any for domain { \"%s\" } action inbox\n", strings.Join(d, `", "`))
	}
	for i, r := range routes {
		scheme := map[TLSPolicy]string{TLSNever: "smtp+notls", TLSMay: "smtp"}[r.TLS]
		if r.To.Port() == 465 {
			scheme = "smtps"
		}
		fmt.Fprintf(&b, "action route%d relay host \"%s://%s\"", i, scheme, r.To)
		if r.TLS != TLSNever {
			b.WriteString(" tls no-verify" + protocols)
		}
		fmt.Fprintf(&b, "\nmatch from local for domain %q action route%d\n", r.Domain, i)
	}
	return b.String()
}

func (opensmtpd) queue(ctx context.Context, s *MailServer) ([]QueueEntry, error) {
	out, err := s.inst.run(ctx, "/usr/sbin/smtpctl", "show", "queue")
	if err != nil {
		return nil, err
	}
	var entries []QueueEntry
	for line := range strings.Lines(out) {
		// id|inet4|mta|auth|sender|rcpt|rcpt|created|expires|last try|tries|state|...|reason
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) < 12 {
			return nil, fmt.Errorf("smtpctl show queue: %q", line)
		}
		entries = append(entries, QueueEntry{ID: f[0], Sender: f[4], Recipient: f[6], Reason: f[len(f)-1]})
	}
	return entries, nil
}

func (opensmtpd) flush(ctx context.Context, s *MailServer) error {
	_, err := s.inst.run(ctx, "/usr/sbin/smtpctl", "schedule", "all")
	return err
}

var (
	smtpdTLS      = regexp.MustCompile(`^(\S+) mta tls ciphers=([^:]+):`)
	smtpdCert     = regexp.MustCompile(`^(\S+) mta cert-check .*fingerprint="SHA256:([0-9a-f]+)"`)
	smtpdTo       = regexp.MustCompile(`^(\S+) mta connecting address=\S+://(\S+) `)
	smtpdDelivery = regexp.MustCompile(`^(\S+) (mta|mda) delivery .* to=<([^>]*)> .*delay=(\S+) result="?(\w+)"? stat="?(.*?)"?$`)
	smtpdStatus   = map[string]string{"Ok": "sent", "TempFail": "deferred", "PermFail": "bounced", "Loop": "bounced"}
)

// peers joins the lines of a session: where to, which version, whose certificate.
func (opensmtpd) peers(log string) []TLSPeer {
	var out []TLSPeer
	to, version := map[string]netip.AddrPort{}, map[string]string{}
	for line := range strings.SplitSeq(log, "\n") {
		if m := smtpdTo.FindStringSubmatch(line); m != nil {
			to[m[1]], _ = netip.ParseAddrPort(m[2])
		} else if m := smtpdTLS.FindStringSubmatch(line); m != nil {
			version[m[1]] = m[2]
		} else if m := smtpdCert.FindStringSubmatch(line); m != nil {
			out = append(out, TLSPeer{To: to[m[1]], Version: version[m[1]], Fingerprint: m[2]})
		}
	}
	return out
}

// attempts has its times in whole seconds.
func (opensmtpd) attempts(log string) []Attempt {
	var out []Attempt
	to := map[string]netip.AddrPort{}
	for line := range strings.SplitSeq(log, "\n") {
		if m := smtpdTo.FindStringSubmatch(line); m != nil {
			to[m[1]], _ = netip.ParseAddrPort(m[2])
		} else if m := smtpdDelivery.FindStringSubmatch(line); m != nil {
			took, _ := time.ParseDuration(m[4]) // 0 where it is days
			out = append(out, Attempt{Recipient: m[3], To: to[m[1]], Status: smtpdStatus[m[5]], Took: took, Text: m[6]})
		}
	}
	return out
}

package lab

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// eximTuned is what Tuning means in the main part of the configuration.
func eximTuned(o ServerOptions) string {
	var b strings.Builder
	if o.ImplicitTLS {
		b.WriteString("daemon_smtp_ports = 25 : 465\ntls_on_connect_ports = 465\n")
	}
	b.WriteString(eximVersion(o))
	for _, k := range []string{"PIPELINING", "CHUNKING"} {
		if slices.Contains(o.Without, k) {
			fmt.Fprintf(&b, "%s_advertise_hosts =\n", strings.ToLower(k))
		}
	}
	if o.Resume {
		b.WriteString("tls_resumption_hosts = *\n")
	}
	if o.Reuse > 1 {
		b.WriteString("queue_only\n")
	}
	if o.Refuses {
		b.WriteString("acl_smtp_data = data\n")
	}
	return b.String()
}

// eximTunedRoute is what Tuning means for a transport.
func eximTunedRoute(o ServerOptions, r Route) string {
	if r.TLS == TLSNever {
		return ""
	}
	var b strings.Builder
	if v := eximVersion(o); v != "" {
		b.WriteString("  " + v)
	}
	if o.Resume {
		b.WriteString("  tls_resumption_hosts = *\n")
	}
	if r.To.Port() == 465 {
		b.WriteString("  protocol = smtps\n")
	}
	return b.String()
}

// eximVersion is a line in words of GnuTLS.
func eximVersion(o ServerOptions) string {
	if o.TLSVersion == 0 {
		return ""
	}
	return "tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-" + strings.Replace(tls.VersionName(o.TLSVersion), " ", "", 1) + "\n"
}

const eximRefuses = `data:
  deny condition = ${if match{$h_X-Refuse:}{ }}
       message = $h_X-Refuse:
  deny condition = ${if def:h_X-Refuse:}
  accept

rcpt:
  deny local_parts = ^refused
`

// eximLogin is the part about AUTH.
func eximLogin(l Login) string {
	if l.Name == "" {
		return ""
	}
	return fmt.Sprintf(`begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{%[1]s}}{eq{$auth3}{%[2]s}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{%[1]s}}{eq{$auth2}{%[2]s}}}}
  server_set_id = $auth1
  server_advertise_condition = ${if def:tls_in_cipher}
`, l.Name, l.Password)
}

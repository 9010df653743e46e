package lab

import (
	"fmt"
	"strings"
)

// tunedCF is what Tuning means in main.cf.
func tunedCF(o ServerOptions, routes []Route) [][2]string {
	var set [][2]string
	add := func(name, value string) { set = append(set, [2]string{name, value}) }
	if o.Reuse > 1 {
		// The cache is a service; over TLS another one keeps the connection (tlsproxy).
		var to []string
		for _, r := range routes {
			to = append(to, r.To.Addr().String())
		}
		add("smtp_connection_cache_destinations", strings.Join(to, " "))
		add("smtp_connection_cache_time_limit", fmt.Sprintf("%ds", o.keepOpen()))
		add("smtp_connection_reuse_count_limit", fmt.Sprint(o.Reuse))
		add("smtp_tls_connection_reuse", "yes")
		add("smtp_tls_security_level", "may") // tlsproxy asks, and breaks where it is not; the routes have their own
	} else {
		// One message, one session: what the box counts is what was sent.
		add("smtp_connection_cache_on_demand", "no")
	}
	if o.TLSVersion != 0 {
		only := fmt.Sprintf(">=%[1]s <=%[1]s", o.openssl())
		for _, p := range []string{"smtp", "smtpd"} {
			add(p+"_tls_protocols", only)
			add(p+"_tls_mandatory_protocols", only)
		}
	}
	if len(o.Without) > 0 {
		add("smtpd_discard_ehlo_keywords", strings.ToLower(strings.Join(o.Without, " ")))
	}
	if o.Resume {
		add("smtp_tls_session_cache_database", "btree:${data_directory}/smtp_scache")
	}
	if o.Refuses {
		add("smtpd_recipient_restrictions", "check_recipient_access regexp:{{/^refused/ REJECT}}")
		add("header_checks", "regexp:{{/^X-Refuse: (.* .*)/ REJECT $$1}, {/^X-Refuse:/ REJECT}}")
		add("smtpd_hard_error_limit", "1000") // who is refused a hundred times is heard to the end
	}
	return set
}

// tunedServices is what Tuning means in master.cf.
func tunedServices(o ServerOptions) string {
	var b strings.Builder
	if o.Reuse > 1 {
		b.WriteString("tlsproxy unix - - n - 0 tlsproxy\n")
	}
	if o.ImplicitTLS {
		b.WriteString("465 inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n")
	}
	return b.String()
}

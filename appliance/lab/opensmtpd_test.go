package lab

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

// OpenSMTPD beside the two others: each sends three messages to each over TLS 1.2, in one session, and what the logs say
// of it, the sender's and the receiver's, is what happened.
func TestMailServersSendManyInOneSession(t *testing.T) {
	const each = 3
	l, ctx := start(t)
	all := []Software{Postfix, Exim, OpenSMTPD}
	var routes []Route
	for _, software := range all {
		d := software.String() + ".test"
		s := addServer(t, ctx, l, software.String(), ServerOptions{Software: software, StartTLS: true, Domains: []string{d},
			Tuning: Tuning{ImplicitTLS: true, TLSVersion: tls.VersionTLS12, Refuses: true}})
		routes = append(routes, s.RouteTo(d, false, TLSMay))
	}
	for _, software := range all {
		o := ServerOptions{Software: software, Side: Subscribers, Routes: routes, Concurrency: 1, Tuning: Tuning{Reuse: 20, KeepOpen: 10 * time.Second}}
		if software == Exim {
			o.Concurrency = 0 // it would count messages that wait for their turn in the same session
		}
		from := addServer(t, ctx, l, "business-"+software.String(), o)
		for i, r := range routes {
			ids, err := from.Send(ctx, each, "me@business.test", "you@"+r.Domain)
			if err != nil {
				t.Fatal(err)
			}
			if software == Exim {
				if err := from.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
			// Exim sends a message again, rarely, when it did not see the reply in a session that it keeps: at least once, then.
			awaitArrived(t, ctx, from, l.Servers()[i], r.Domain, ids, software == Exim)
			checkTaken(t, l.Servers()[i], from, each)
		}
		awaitLogged(t, ctx, from, each*len(routes))
		peers, err := from.TLSPeers()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			n := 0
			for _, p := range peers {
				// Postfix has another process for sessions that it keeps, and that one logs the certificate.
				if p.To == r.To && (p.Fingerprint == r.Fingerprint || software == Postfix) && strings.HasSuffix(p.Version, "1.2") {
					n++
				}
			}
			if n == 0 {
				t.Errorf("%s saw nobody with the certificate of %s and TLS 1.2: %+v", from.Name, r.Domain, peers)
			}
		}
	}
}

// checkTaken looks for one session from that brought everything.
func checkTaken(t *testing.T, s, from *MailServer, each int) {
	t.Helper()
	all, err := s.Taken()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.From.Addr() == from.IPv4 && k.Messages == each && k.Recipients == each {
			return
		}
	}
	log, _ := s.Log()
	t.Errorf("%s has no session of %s with %d messages: %+v\n%s", s.Name, from.Name, each, all, log)
}

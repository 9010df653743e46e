package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// Lines as the versions of Debian 12 and 13 write them, shortened in the
// certificate's fingerprint.
func TestLogsAreUnderstood(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("198.51.100.10:25"), netip.MustParseAddrPort("[2001:db8:f001::25]:25")
	for _, c := range []struct {
		why      string
		mta      mta
		log      string
		peers    []TLSPeer
		attempts []Attempt
	}{{
		why: "Postfix 3.7, pinned, IPv4, two processes at once", mta: postfix{},
		log: `Nov 21 20:21:24 pf postfix/route0/smtp[18]: 198.51.100.10[198.51.100.10]:25: Matched fingerprint: 80A2
Nov 21 20:21:24 pf postfix/route1/smtp[20]: 2001:db8:f001::25[2001:db8:f001::25]:25: subject_CN=shop.example, issuer_CN=lab 784752167, fingerprint=AA:BB, pkey_fingerprint=8D:5D
Nov 21 20:21:24 pf postfix/route0/smtp[18]: 198.51.100.10[198.51.100.10]:25: subject_CN=shop.example, issuer_CN=lab 784752167, fingerprint=80:A2, pkey_fingerprint=8D:5D
Nov 21 20:21:24 pf postfix/route0/smtp[18]: Verified TLS connection established to 198.51.100.10[198.51.100.10]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)
Nov 21 20:21:24 pf postfix/route1/smtp[20]: Trusted TLS connection established to 2001:db8:f001::25[2001:db8:f001::25]:25: TLSv1.2 with cipher X
Nov 21 20:21:24 pf postfix/route0/smtp[18]: 65DAA984E4E: to=<b@shop.test>, relay=198.51.100.10[198.51.100.10]:25, delay=0.17, delays=0.013/0.094/0.028/0.034, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 8A893984E54)
Nov 21 20:21:24 pf postfix/error[22]: 9FD47984E5A: to=<a@exim.test>, relay=none, delay=0.017, delays=0.0011/0.0076/0/0.008, dsn=4.0.0, status=deferred (the lab has no route for this domain)`,
		peers: []TLSPeer{{v4, "TLSv1.3", "80a2", true}, {v6, "TLSv1.2", "aabb", false}},
		attempts: []Attempt{
			{"b@shop.test", v4, "sent", 28 * time.Millisecond, 62 * time.Millisecond, "250 2.0.0 Ok: queued as 8A893984E54"},
			{"a@exim.test", netip.AddrPort{}, "deferred", 0, 8 * time.Millisecond, "the lab has no route for this domain"},
		},
	}, {
		why: "Postfix 3.10, pinned; a 421 greeting; several tries before", mta: postfix{},
		log: `Nov 21 20:21:07 pf postfix/route0/smtp[18]: 198.51.100.10[198.51.100.10]:25: subject_CN=shop.example, issuer=lab 2491250171, cert fingerprint=A9:F0, pkey fingerprint=78:7E
Nov 21 20:21:07 pf postfix/route0/smtp[18]: Verified TLS connection established to 198.51.100.10[198.51.100.10]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384
Nov 21 20:21:08 pf postfix/route0/smtp[18]: C7B7A984D08: to=<b@shop.test>, orig_to=<c@shop.test>, relay=198.51.100.10[198.51.100.10]:25, conn_use=2, delay=0.26, delays=0.036/0.05/1.5e-05/0.13, dsn=4.7.0, status=deferred (host 198.51.100.10[198.51.100.10] refused to talk to me: 421 4.7.0 sessions exceeded)`,
		peers: []TLSPeer{{v4, "TLSv1.3", "a9f0", true}},
		attempts: []Attempt{{"b@shop.test", v4, "deferred", 15 * time.Microsecond, 130015 * time.Microsecond,
			"host 198.51.100.10[198.51.100.10] refused to talk to me: 421 4.7.0 sessions exceeded"}},
	}, {
		why: "Exim 4.96: pinned, any, a retry that was not tried", mta: exim{},
		log: `2026-11-21 19:56:42.123 1xUrCU-00000G-1r PEER [198.51.100.10]:25 3024 3024
2026-11-21 19:56:42.125 1xUrCU-00000G-1s PEER [2001:db8:f001::25]:25 any aabb
2026-11-21 19:56:42.130 1xUrCU-00000G-1r => b@shop.test R=route0 T=route0 H=198.51.100.10 [198.51.100.10]:25 X=TLS1.3:ECDHE:256 CV=yes K C="250 2.0.0 Ok" DT=0.034s
2026-11-21 19:56:42.131 1xUrCU-00000G-1s == b@shop.test R=route0 T=route0 defer (-46) H=2001:db8:f001::25 [2001:db8:f001::25]:25 DT=0.002s: SMTP error from remote mail server after initial connection: 421 4.7.0 slowly
2026-11-21 19:56:43.131 1xUrCU-00000G-1s == b@shop.test R=route0 T=route0 defer (-53): retry time not reached for any host`,
		peers: []TLSPeer{{v4, "TLS1.3", "3024", true}, {v6, "", "aabb", false}},
		attempts: []Attempt{
			{"b@shop.test", v4, "sent", 0, 34 * time.Millisecond, `H=198.51.100.10 [198.51.100.10]:25 X=TLS1.3:ECDHE:256 CV=yes K C="250 2.0.0 Ok" DT=0.034s`},
			{"b@shop.test", v6, "deferred", 0, 2 * time.Millisecond, "defer (-46) H=2001:db8:f001::25 [2001:db8:f001::25]:25 DT=0.002s: SMTP error from remote mail server after initial connection: 421 4.7.0 slowly"},
		},
	}} {
		if got := c.mta.peers(c.log); !slices.Equal(got, c.peers) {
			t.Errorf("%s: peers\n %+v, want\n %+v", c.why, got, c.peers)
		}
		if got := c.mta.attempts(c.log); !slices.Equal(got, c.attempts) {
			t.Errorf("%s: attempts\n %+v, want\n %+v", c.why, got, c.attempts)
		}
	}
	reason := eximReason("2026-11-21 19:56:42 1xUrCU-00000G-1s == b@shop.test R=route0 T=route0 defer (-46) H=x [198.51.100.10]:25: 421 4.7.0 slowly\n"+
		"2026-11-21 19:56:43 1xUrCU-00000G-1s == b@shop.test R=route0 T=route0 defer (-53): retry time not reached for any host\n", "1xUrCU-00000G-1s")
	if !strings.Contains(reason, "421 4.7.0 slowly") {
		t.Errorf("reason %q", reason)
	}
}

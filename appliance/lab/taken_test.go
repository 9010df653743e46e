package lab

import (
	"net/netip"
	"reflect"
	"testing"
)

// The logs as the three write them: one session with messages that were taken, begun and given up, and refused after
// their content; one that brought nothing; the same port once more.
func TestWhatAServerTookIsReadFromItsLog(t *testing.T) {
	client, other := netip.MustParseAddrPort("100.64.0.12:40001"), netip.MustParseAddrPort("[2001:db8:1001::25]:40002")
	bare := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }
	for _, row := range []struct {
		why  string
		of   mta
		log  string
		want []Taken
	}{
		{"postfix", postfix{}, `Nov 29 00:29:47 mx postfix/smtpd[14]: connect from unknown[100.64.0.12]:40001
Nov 29 00:29:47 mx postfix/smtpd[16]: connect from unknown[2001:db8:1001::25]:40002
Nov 29 00:29:47 mx postfix/smtpd[14]: AA01: client=unknown[100.64.0.12]:40001
Nov 29 00:29:47 mx postfix/cleanup[15]: AA01: message-id=<1@x>
Nov 29 00:29:47 mx postfix/qmgr[12]: AA01: from=<a@x>, size=885, nrcpt=3 (queue active)
Nov 29 00:29:48 mx postfix/smtpd[14]: AA02: client=unknown[100.64.0.12]:40001, sasl_method=PLAIN, sasl_username=me
Nov 29 00:29:48 mx postfix/cleanup[15]: AA02: milter-reject: END-OF-MESSAGE from unknown[100.64.0.12]: 5.7.1 no
Nov 29 00:29:49 mx postfix/smtpd[14]: AA03: client=unknown[100.64.0.12]:40001
Nov 29 00:29:49 mx postfix/qmgr[12]: AA03: from=<>, size=885, nrcpt=1 (queue active)
Nov 29 00:29:49 mx postfix/qmgr[12]: AA03: from=<>, size=885, nrcpt=1 (queue active)
Nov 29 00:29:49 mx postfix/smtpd[16]: disconnect from unknown[2001:db8:1001::25]:40002 ehlo=1 quit=1 commands=2
Nov 29 00:29:49 mx postfix/smtpd[14]: disconnect from unknown[100.64.0.12]:40001 ehlo=2 quit=1 commands=9
Nov 29 00:29:50 mx postfix/smtpd[14]: connect from unknown[100.64.0.12]:40001
`, []Taken{{client, 2, 4}, {other, 0, 0}, {client, 0, 0}}},
		{"exim", exim{}, `2026-11-29 00:13:51.447 SMTP connection from [100.64.0.12]:40001 (TCP/IP connection count = 1)
2026-11-29 00:13:51.448 SMTP connection from [2001:db8:1001::25]:40002 (TCP/IP connection count = 2)
2026-11-29 00:13:51.455 1xXSYB-00002W-1R <= a@x H=(client.example) [100.64.0.12]:40001 P=utf8esmtpsa X=TLS1.2:ECDHE:128 CV=no A=plain:me S=885 id=1@x for b@y c@y
2026-11-29 00:13:51.460 1xXSYB-00002W-1S H=(client.example) [100.64.0.12]:40001 F=<a@x> rejected after DATA
2026-11-29 00:13:51.470 1xXSYB-00002W-1T <= <> H=(client.example) [100.64.0.12]:40001 P=esmtps X=TLS1.2:ECDHE:128 CV=no K S=885 for b@y
2026-11-29 00:13:51.480 1xXSYB-00002W-1R => b@y R=local T=mailbox DT=0.001s
2026-11-29 00:13:51.505 SMTP connection from (client.example) [100.64.0.12]:40001 closed by QUIT
2026-11-29 00:13:52.648 no MAIL in SMTP connection from [2001:db8:1001::25]:40002 D=0.200s C=QUIT
2026-11-29 00:13:53.447 SMTP connection from [100.64.0.12]:40001 (TCP/IP connection count = 1)
`, []Taken{{client, 2, 3}, {other, 0, 0}, {client, 0, 0}}},
		{"opensmtpd", opensmtpd{}, `info: OpenSMTPD 7.4.0-portable starting
00a1 smtp connected address=100.64.0.12 host=<unknown>
00a2 smtp connected address=[2001:db8:1001::25] host=<unknown>
00a1 smtp tls ciphers=TLSv1.3:TLS_AES_256_GCM_SHA384:256
00a1 smtp message msgid=9efab844 size=1635 nrcpt=2 proto=ESMTP
00a1 smtp envelope evpid=9efab844642d38b7 from=<a@x> to=<b@y>
00a1 smtp failed-command command="RCPT TO:<refused@y>" result="550 Invalid recipient"
00a1 smtp message msgid=9efab845 size=1635 nrcpt=1 proto=ESMTP
00a2 smtp disconnected reason=quit
00a1 smtp disconnected reason=quit
00a3 smtp connected address=100.64.0.12 host=<unknown>
`, []Taken{{bare(client), 2, 3}, {bare(other), 0, 0}, {bare(client), 0, 0}}},
	} {
		if got := row.of.taken(row.log); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %+v, want %+v", row.why, got, row.want)
		}
	}
}

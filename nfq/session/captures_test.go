package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// want is what a session of a capture must tell.
type want struct {
	port       uint16 // the client's
	messages   int
	hi         int // 0: the same as messages
	recipients int
	rejected   int
	startTLS   StartTLS
	tls        TLS
	handshake  Handshake
	version    string
	end        EndReason
	unknown    bool
	gaps       int
	peer       int    // sessions' messages as the peer's tests expect them, -1: they expect none; all sessions of the file together
	why        string // where ours differs from peer's
}

// smtpWant is every capture of captures/smtp, its name without ".pcap", ".gz" and the like. Counts were taken from
// reading the dialogues; what the peers expect is read from their files and held against peer.
var smtpWant = map[string][]want{
	"ipfixprobe__tests__functional__inputs__smtp":              {{port: 1470, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: -1}},
	"mercury__unit_tests__pcaps__smtp":                         {{port: 54320, messages: 1, hi: -1, end: EndTimeout, unknown: true, peer: -1}}, // no SYN: the first RCPT is not seen for certain
	"suricata-verify__tests__bug-1045__smtpsuricataflowbitsFN": {{port: 51906, messages: 1, recipients: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__bug-5867-fp-drop-01__input": {{port: 1709, rejected: 1, end: EndFIN, peer: 1,
		why: "the only message was refused 450 at RCPT; suricata logs the transaction, we count what was accepted"}},
	"suricata-verify__tests__bug-6207-1__input":                                                           {{port: 5555, messages: 1, recipients: 1, startTLS: Offered, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__bug-6207-2__input":                                                           {{port: 5555, messages: 1, recipients: 1, startTLS: Offered, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__firewall__ruletype-firewall-125-smtp-all-rcpts-required-drop__two-rcpt":      {{port: 56384, messages: 1, recipients: 2, end: EndFIN, peer: 1}},
	"suricata-verify__tests__firewall__ruletype-firewall-127-smtp-interactive-commands__smtp-interactive": {{port: 51822, messages: 1, recipients: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__firewall__ruletype-firewall-132-smtp-nested-mail-from__smtp-nested-mail":     {{port: 50536, messages: 1, recipients: 1, rejected: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__firewall__ruletype-firewall-133-smtp-out-of-order-commands__smtp-out-of-order": {{port: 44526, messages: 1, recipients: 1, rejected: 2, end: EndFIN, peer: 0,
		why: "suricata's firewall drops the session before the message; on the wire it was accepted"}},
	"suricata-verify__tests__firewall__ruletype-firewall-134-smtp-rset-then-quit__smtp-rset-then-quit": {{port: 46010, end: EndFIN, peer: 1,
		why: "RSET before DATA: a transaction for suricata, no message"}},
	"suricata-verify__tests__firewall__ruletype-firewall-140-smtp-pipelined-post-data-rset-sequence__smtp-pipelined-post-data-rset-sequence": {{port: 56980, messages: 2, recipients: 2, end: EndFIN, peer: 2}},
	"suricata-verify__tests__mime__mime-dec-parse-full-msg-test02__input":                                                                    {{port: 39202, messages: 1, recipients: 1, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__mime__mime-dec-parse-line-test02__input":                                                                        {{port: 39202, messages: 1, recipients: 1, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__mime__mime-dec-parse-long-filename02__input":                                                                    {{port: 39202, messages: 1, recipients: 1, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__mime__mime-dec-very-small-inp__input":                                                                           {{port: 39202, messages: 1, recipients: 1, end: EndTimeout, peer: 1}},
	"suricata-verify__tests__mime__mime-quoted-printable__input":                                                                             {{port: 1470, messages: 1, recipients: 1, end: EndRST, peer: -1}},
	"suricata-verify__tests__mime__smtp-mime-encap-8649-baseline__input":                                                                     {{port: 40001, messages: 1, recipients: 1, end: EndTimeout, peer: -1}},
	"suricata-verify__tests__mime__smtp-mime-encap-8649-combined__input":                                                                     {{port: 40004, messages: 1, recipients: 1, end: EndTimeout, peer: -1}},
	"suricata-verify__tests__smtp-attachment-md5__input":                                                                                     {{port: 39202, messages: 1, recipients: 1, end: EndFIN, peer: -1}},
	"suricata-verify__tests__smtp-bdat-multichunk-inspection__input":                                                                         {{port: 40000, messages: 2, recipients: 2, end: EndFIN, peer: 2}},
	"suricata-verify__tests__smtp-bdat-pipelined-next-mail__input":                                                                           {{port: 35826, messages: 2, recipients: 2, end: EndFIN, peer: 2}},
	"suricata-verify__tests__smtp-bug-5981__input":                                                                                           {{port: 3326, messages: 1, recipients: 1, end: EndRST, peer: 1}},
	"suricata-verify__tests__smtp-ehlo-reset-after-rejected-data__input": {{port: 45264, messages: 1, recipients: 1, rejected: 1, end: EndFIN, peer: 2,
		why: "suricata logs the refused DATA without an envelope as a transaction of its own"}},
	"suricata-verify__tests__smtp-extract-url-schemes__input":               {{port: 54009, messages: 1, recipients: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__smtp-long-DATA-line__input":                    {{port: 3326, messages: 1, recipients: 1, end: EndRST, peer: 1}},
	"suricata-verify__tests__smtp-no-helo-rset-helo-mail__input":            {{port: 34856, messages: 1, recipients: 1, end: EndFIN, peer: -1}},
	"suricata-verify__tests__smtp-pipelined-post-data-rset-sequence__input": {{port: 56980, messages: 2, recipients: 2, end: EndFIN, peer: 2}},
	"suricata-verify__tests__smtp-pipelined-rset-after-complete__input":     {{port: 54844, messages: 2, recipients: 2, end: EndFIN, peer: 2}},
	"suricata-verify__tests__smtp-pipelined-rset-data-replies__input":       {{port: 54009, messages: 1, end: EndTimeout, peer: 1}}, // accepted without MAIL or RCPT
	"suricata-verify__tests__smtp-pipelining__input":                        {{port: 50287, messages: 1, recipients: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__smtp-rejected-ehlo-preserves-envelope__input":  {{port: 57884, messages: 1, recipients: 1, end: EndFIN, peer: 1}},
	"suricata-verify__tests__smtp-rset__input":                              {{port: 50062, messages: 2, recipients: 2, end: EndFIN, peer: -1}},
	"suricata-verify__tests__smtp-tls-protodetect__input":                   {{port: 62353, end: EndRST, peer: -1}}, // a ClientHello answered in clear: for the server it is an unknown command
	"suricata-verify__tests__smtp-to-comma__10.7.29.101_49898-178.63.41.150_25": {{port: 49898, hi: 1, rejected: 3, startTLS: Offered, end: EndTimeout, peer: 1,
		why: "the file is damaged after 18 packets, in the middle of the content: no reply to it"}},
	"zeek__testing__btest__Traces__communityid__ipv6": {{port: 63943, startTLS: Offered, end: EndTimeout, peer: -1}},
	"zeek__testing__btest__Traces__http__connect-with-smtp": {{port: 3378, hi: -1, end: EndFIN, unknown: true, peer: 1,
		why: "SMTP inside an HTTP CONNECT on port 8240: the server's first line is no SMTP reply, so the session is released unread"}},
	"zeek__testing__btest__Traces__smtp-attachment-msg":            {{port: 56660, hi: 1, end: EndTimeout, peer: 0}},
	"zeek__testing__btest__Traces__smtp-mail-transactions-invalid": {{port: 44478, messages: 2, recipients: 2, rejected: 5, startTLS: Offered, end: EndFIN, peer: 2}},
	"zeek__testing__btest__Traces__smtp-multi-addr":                {{port: 35119, messages: 1, recipients: 1, startTLS: Offered, end: EndTimeout, peer: -1}},
	"zeek__testing__btest__Traces__smtp-one-side-only":             {{port: 57722, hi: 2, end: EndTimeout, peer: 0}},
	"zeek__testing__btest__Traces__smtp": {
		{port: 1470, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: 2},
		{port: 49648, messages: 1, recipients: 3, end: EndTimeout, peer: 2},
	},
	"zeek__testing__btest__Traces__smtp__mime-header-size-limit":             {{port: 54321, messages: 1, recipients: 1, end: EndFIN, peer: -1}},
	"zeek__testing__btest__Traces__smtp__rfc3030-bdat-0-last":                {{port: 40864, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: 1}},
	"zeek__testing__btest__Traces__smtp__rfc3030-bdat-example1":              {{port: 52210, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: 1}},
	"zeek__testing__btest__Traces__smtp__rfc3030-bdat-multipart-chunked":     {{port: 38718, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: 1}},
	"zeek__testing__btest__Traces__smtp__rfc3030-bdat-multipart":             {{port: 38848, messages: 1, recipients: 1, startTLS: Offered, end: EndFIN, peer: 1}},
	"zeek__testing__btest__Traces__smtp__rfc3030-bdat-nonascii":              {{port: 25000, messages: 1, recipients: 1, end: EndFIN, peer: -1}},
	"zeek__testing__btest__Traces__smtp__smtp-bdat-cmd-chunk-size-overflow":  {{port: 41610, rejected: 1, startTLS: Offered, end: EndFIN, peer: 0}},
	"zeek__testing__btest__Traces__smtp__smtp-bdat-cmd-chunk-size-overflow2": {{port: 33762, rejected: 1, startTLS: Offered, end: EndFIN, peer: 0}},
	"zeek__testing__btest__Traces__smtp__smtp-bdat-cmd-invalid": {
		{port: 33472, rejected: 1, startTLS: Offered, end: EndFIN, peer: -1},
		{port: 52364, rejected: 1, startTLS: Offered, end: EndFIN, peer: -1},
		{port: 46862, rejected: 1, startTLS: Offered, end: EndFIN, peer: -1},
	},
	"zeek__testing__btest__Traces__smtp__smtp-bdat-cmd-negative-chunk-size": {{port: 54028, rejected: 1, startTLS: Offered, end: EndFIN, peer: 0}},
	"zeek__testing__btest__Traces__smtp__smtp-bdat-gap":                     {{port: 12345, messages: 1, hi: 3, end: EndFIN, gaps: 1, peer: 1}}, // the hole may hold a BDAT LAST, and the end of the envelope with it
	"zeek__testing__btest__Traces__smtp__smtp-bdat-pipeline-8bitmime":       {{port: 56074, messages: 2, recipients: 2, startTLS: Offered, end: EndFIN, peer: 2}},
	"zeek__testing__btest__Traces__smtp__smtp-many-addresses":               {{port: 60606, messages: 1, recipients: 600, end: EndFIN, peer: -1}},
	"zeek__testing__btest__Traces__tcp__truncated-header":                   {{port: 60827, hi: 35, end: EndFIN, gaps: 11, peer: -1}}, // 68 bytes of each frame, no payload at all: 35 is what 477 unseen bytes of the server could say
	"zeek__testing__btest__Traces__tls__smtp-starttls":                      {{port: 54170, startTLS: Accepted, tls: TLSStartTLS, handshake: Complete, version: "TLS1.2", end: EndFIN, peer: 0}},
}

// besides are the sessions of these captures that are no mail: they only have to be survived.
var besides = map[string]string{
	"192.168.133.100:49285": "a chat on port 5050, found in mid-air",
	"192.168.133.100:49336": "HTTPS, found in mid-air",
	"192.168.133.100:49153": "push service on port 5223, found in mid-air",
	"192.168.133.100:49655": "HTTPS",
	"115.118.114.54:54009":  "one stray ACK with the addresses the wrong way round",
}

func TestCapturesOfSMTP(t *testing.T) {
	t.Parallel()
	ran, sessions, held, differ := 0, 0, 0, 0
	for name, c := range smtpCaptures(t) {
		base, _, _ := strings.Cut(name, ".pcap")
		base = strings.TrimSuffix(base, "ng")
		rows, ok := smtpWant[base]
		if !ok {
			t.Errorf("%s: no expected values in the table", name)
			continue
		}
		ran++
		if c.Damage != nil {
			t.Logf("%s: read %d packets, then: %v", name, len(c.Packets), c.Damage)
		}
		messages, found := 0, 0
		for _, f := range flows(c) {
			i := slices.IndexFunc(rows, func(w want) bool { return w.port == f.client.Port() })
			if reason, no := besides[f.client.String()]; no {
				replay(Options{}, f.steps, nil)
				t.Logf("%s: %v left out: %s", name, f.client, reason)
				continue
			}
			if i < 0 {
				t.Errorf("%s: session of %v is not in the table", name, f.client)
				continue
			}
			found++
			sessions++
			o := replay(Options{}, f.steps, nil)
			messages += o.facts.Messages
			if got := rows[i].like(o.facts); got != rows[i] {
				t.Errorf("%s, client port %d:\n got %+v\nwant %+v\nevents %+v", name, rows[i].port, got, rows[i], o.events)
			}
			lawful(t, name, o)
		}
		if found != len(rows) {
			t.Errorf("%s: %d sessions found, %d in the table", name, found, len(rows))
		}
		peer := peerMessages(t, name)
		if peer != rows[0].peer {
			t.Errorf("%s: the peer expects %d, the table says it expects %d", name, peer, rows[0].peer)
		}
		switch {
		case peer < 0:
		case peer == messages:
			held++
		case rows[0].why == "":
			t.Errorf("%s: the peer expects %d messages, we count %d", name, peer, messages)
		default:
			differ++
			t.Logf("%s: peer %d, we %d: %s", name, peer, messages, rows[0].why)
		}
	}
	if ran != len(smtpWant) {
		t.Errorf("%d captures ran, %d are in the table", ran, len(smtpWant))
	}
	t.Logf("captures/smtp: %d captures, %d sessions, none skipped; %d held against a peer's count and equal, %d differ with a reason, the rest have no such count",
		ran, sessions, held, differ)
}

// like is the row that the facts would make.
func (w want) like(f Facts) want {
	hi := f.MessagesHi
	if hi == f.Messages {
		hi = 0
	}
	return want{w.port, f.Messages, hi, f.Recipients, f.Rejected, f.StartTLS, f.TLS, f.Handshake, f.TLSVersion,
		f.EndReason, f.Unknown, f.Gaps, w.peer, w.why}
}

// peerMessages is how many messages the files beside a capture expect, -1 where they say nothing of it: zeek's smtp.log
// lines whose last reply is 250, or the transactions (event_type smtp) that suricata must log.
func peerMessages(t *testing.T, capture string) int {
	path := ""
	for _, p := range nfqtest.Captures(t, "smtp") {
		if strings.HasSuffix(p, "/"+capture) {
			path = p
		}
	}
	most := -1
	for _, file := range nfqtest.Expected(t, path, "zeek") {
		if strings.HasSuffix(file, "smtp.log") {
			n := 0
			for _, row := range nfqtest.ZeekLog(t, file) {
				if strings.HasPrefix(row["last_reply"], "250") {
					n++
				}
			}
			most = max(most, n)
		}
	}
	for _, file := range nfqtest.Expected(t, path, "suricata") {
		most = max(most, nfqtest.SuricataTransactions(t, file))
	}
	return most
}

// lawful checks what holds for every session whatever was said in it.
func lawful(t *testing.T, name string, o outcome) {
	t.Helper()
	f := o.facts
	recipients, estimated := 0, 0
	for i, e := range o.events {
		if e.Kind == Ended && i != len(o.events)-1 && o.events[i+1].Kind != Revived || e.Kind == None {
			t.Errorf("%s: %v before the end", name, e.Kind)
		}
		if e.Kind == Message {
			recipients += e.Recipients
			if e.Estimated {
				estimated++
			}
		}
	}
	if o.count(Message)-estimated != f.Messages || recipients != f.Recipients || o.count(Rejected) != f.Rejected || o.count(Gap) != f.Gaps {
		t.Errorf("%s: events and facts differ: %+v %+v", name, o.events, f)
	}
	if f.MessagesLo != f.Messages+estimated || f.MessagesHi >= 0 && f.MessagesHi < f.MessagesLo || f.BytesUp < 0 || f.BytesDown < 0 || f.End.Before(f.Start) {
		t.Errorf("%s: impossible facts: %+v", name, f)
	}
}

// TestHandshakesOfCaptures holds the outcome of TLS handshakes against zeek's ssl.log.
func TestHandshakesOfCaptures(t *testing.T) {
	t.Parallel()
	versions := map[string]string{"TLSv10": "TLS1.0", "TLSv11": "TLS1.1", "TLSv12": "TLS1.2", "TLSv13": "TLS1.3", "SSLv3": "SSL3.0"}
	ran, captures := 0, 0
	for _, folder := range []string{"tls", "smtp"} {
		for _, path := range nfqtest.Captures(t, folder) {
			rows := map[string]map[string]string{}
			for _, file := range nfqtest.Expected(t, path, "zeek") {
				for _, row := range nfqtest.ZeekLog(t, file) {
					if row["established"] != "" && row["id.orig_p"] != "" {
						rows[row["id.orig_h"]+" "+row["id.orig_p"]] = row
					}
				}
			}
			if len(rows) == 0 {
				continue
			}
			captures++
			c := nfqtest.Read(t, path)
			for _, f := range flows(c) {
				key := fmt.Sprintf("%v %d", f.client.Addr(), f.client.Port())
				row, ok := rows[key]
				if !ok {
					continue
				}
				delete(rows, key)
				if reason, no := notOurTLS[c.Name]; no {
					t.Logf("%s: left out: %s", c.Name, reason)
					continue
				}
				ran++
				o := replay(Options{ImplicitTLS: folder == "tls"}, f.steps, nil)
				got := map[string]string{"established": "F", "version": o.facts.TLSVersion,
					"server_name": cmp.Or(o.facts.SNI, "-"), "last_alert": cmp.Or(o.facts.Alert, "-")}
				if o.facts.Handshake == Complete {
					got["established"] = "T"
				}
				want := map[string]string{"established": row["established"], "version": cmp.Or(versions[row["version"]], strings.Replace(row["version"], "TLSv13", "TLS1.3", 1)),
					"server_name": row["server_name"], "last_alert": cmp.Or(row["last_alert"], "-")}
				if o.facts.Handshake == Complete {
					want["last_alert"] = "-" // zeek reads on after the handshake
				}
				if row["version"] == "-" {
					want["version"] = got["version"] // the server chose none; ours is what was offered
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, client %s:\n got %v\nzeek %v\nfacts %+v", c.Name, key, got, want, o.facts)
				}
			}
		}
	}
	if ran < 20 {
		t.Errorf("only %d sessions were compared", ran)
	}
	t.Logf("%d handshakes in %d captures held against zeek's ssl.log", ran, captures)
}

// notOurTLS are captures with a handshake that we cannot come to: another protocol's way into TLS goes before it.
var notOurTLS = map[string]string{
	"zeek__testing__btest__Traces__mysql__tls-12-amazon-rds.pcap": "MySQL before TLS",
	"zeek__testing__btest__Traces__mysql__tls-13-amazon-rds.pcap": "MySQL before TLS",
	"zeek__testing__btest__Traces__tls__imap-starttls.pcap":       "IMAP before TLS",
}

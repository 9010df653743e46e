package lab

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Both mail servers to both, in clear and over STARTTLS with the certificate
// pinned, over IPv4 and IPv6, through a box that only forwards: every message
// arrives, once, and the certificate that the sender saw is the receiver's own.
func TestMailServersThroughThePlainBox(t *testing.T) {
	const each = 10
	l, ctx := start(t)
	type way struct {
		domain   string
		software Software
		tls      TLSPolicy
		ipv6     bool
		to       *MailServer
		ids      []MessageID
	}
	var ways []way
	var routes []Route
	for _, tls := range []bool{false, true} {
		for _, software := range []Software{Postfix, Exim} {
			name := software.String()
			policy := TLSNever
			if tls {
				name += "-tls"
				policy = TLSPinned
			}
			s := addServer(t, ctx, l, name, ServerOptions{
				Software: software, StartTLS: tls, Domains: []string{"v4." + name + ".test", "v6." + name + ".test"},
			})
			for _, ipv6 := range []bool{false, true} {
				domain := map[bool]string{false: "v4.", true: "v6."}[ipv6] + name + ".test"
				routes = append(routes, s.RouteTo(domain, ipv6, policy))
				ways = append(ways, way{domain: domain, software: software, tls: policy, ipv6: ipv6, to: s})
			}
		}
	}
	for _, software := range []Software{Postfix, Exim} {
		t.Run("from "+software.String(), func(t *testing.T) {
			from := addServer(t, ctx, l, "business-"+software.String(), ServerOptions{Software: software, Side: Subscribers, Routes: routes})
			begin := time.Now()
			var wg sync.WaitGroup
			for i := range ways {
				wg.Go(func() {
					var err error
					if ways[i].ids, err = from.Send(ctx, each, "me@business.test", "you@"+ways[i].domain); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for _, w := range ways {
				awaitDelivered(t, ctx, from, w.to, w.domain, w.ids)
			}
			t.Logf("%d messages, %d ways, %v", each*len(ways), len(ways), time.Since(begin).Round(time.Millisecond))
			awaitLogged(t, ctx, from, each*len(ways))
			checkPeers(t, from, routes, each)
			checkAttempts(t, from, routes, each)
		})
	}
}

func addServer(t *testing.T, ctx context.Context, l *Lab, name string, o ServerOptions) *MailServer {
	t.Helper()
	s, err := l.AddMailServer(ctx, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitDelivered waits until every message is in the mailbox, and none twice.
func awaitDelivered(t *testing.T, ctx context.Context, from, to *MailServer, domain string, ids []MessageID) {
	t.Helper()
	awaitArrived(t, ctx, from, to, domain, ids, false)
}

// awaitArrived allows them to be there twice, if again says so, and shows both logs then.
func awaitArrived(t *testing.T, ctx context.Context, from, to *MailServer, domain string, ids []MessageID, again bool) {
	t.Helper()
	for {
		got, err := to.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		missing := 0
		for _, id := range ids {
			if got[id] > 1 {
				sent, _ := from.Log()
				took, _ := to.Log()
				text := fmt.Sprintf("%s: %s delivered %d times\n%s\n%s", domain, id, got[id], sent, took)
				if !again {
					t.Fatal(text)
				}
				t.Log(text)
			}
			if got[id] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		select {
		case <-ctx.Done():
			q, _ := from.Queue(context.Background())
			log, _ := from.Log()
			t.Fatalf("%s: %d of %d messages are missing; queue %+v\n%s", domain, missing, len(ids), q, log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitLogged waits until the sender's log has so many attempts: it writes
// them a moment after the other end has the message. Its queue is empty soon
// after.
func awaitLogged(t *testing.T, ctx context.Context, s *MailServer, n int) {
	t.Helper()
	for {
		attempts, err := s.Attempts()
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Queue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) >= n && len(q) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d attempts logged, want %d; queue %+v", len(attempts), n, q)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkPeers holds what the sender saw over TLS against the routes.
func checkPeers(t *testing.T, from *MailServer, routes []Route, each int) {
	t.Helper()
	peers, err := from.TLSPeers()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, p := range peers {
		if !p.Pinned {
			t.Errorf("%v: certificate was not compared", p)
		}
		seen[fmt.Sprint(p.To, p.Fingerprint)]++
	}
	for _, r := range routes {
		want := 0
		if r.TLS == TLSPinned {
			want = each
		}
		if got := seen[fmt.Sprint(r.To, r.Fingerprint)]; got != want {
			t.Errorf("%s at %v: %d TLS sessions with its own certificate, want %d\n%v", r.Domain, r.To, got, want, peers)
		}
	}
}

// checkAttempts holds the sender's log against the routes: sent, first try.
func checkAttempts(t *testing.T, from *MailServer, routes []Route, each int) {
	t.Helper()
	attempts, err := from.Attempts()
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{}
	for _, a := range attempts {
		if a.Status != "sent" || a.Took <= 0 || a.Took > 30*time.Second {
			t.Errorf("attempt %+v", a)
		}
		sent[fmt.Sprint(a.Recipient, a.To)]++
	}
	for _, r := range routes {
		if got := sent[fmt.Sprint("you@"+r.Domain, r.To)]; got != each {
			log, _ := from.Log()
			t.Errorf("%s at %v: log shows %d messages sent, want %d\n%s", r.Domain, r.To, got, each, log)
		}
	}
}

// A certificate other than the pinned one keeps the mail in the queue, with a
// reason; the right route delivers it, once.
func TestPinnedCertificateIsHeldTo(t *testing.T) {
	l, ctx := start(t)
	to := addServer(t, ctx, l, "shop", ServerOptions{Domains: []string{"shop.test"}, StartTLS: true})
	wrong := to.RouteTo("shop.test", false, TLSPinned)
	wrong.Fingerprint = fmt.Sprintf("%064x", 7)
	for _, software := range []Software{Postfix, Exim} {
		t.Run(software.String(), func(t *testing.T) {
			from := addServer(t, ctx, l, software.String(), ServerOptions{
				Software: software, Side: Subscribers, Routes: []Route{wrong}, RetryAfter: time.Second,
			})
			ids, err := from.Send(ctx, 1, "me@business.test", "you@shop.test")
			if err != nil {
				t.Fatal(err)
			}
			for {
				q, err := from.Queue(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(q) == 1 && q[0].Reason != "" {
					t.Logf("queue: %+v", q[0])
					break
				}
				select {
				case <-ctx.Done():
					log, _ := from.Log()
					t.Fatalf("no reason in the queue: %+v\n%s", q, log)
				case <-time.After(100 * time.Millisecond):
				}
			}
			if got, _ := to.Delivered(); got[ids[0]] != 0 {
				t.Fatal("delivered although the certificate is another")
			}
			if err := from.SetRoutes(ctx, []Route{to.RouteTo("shop.test", true, TLSPinned)}); err != nil {
				t.Fatal(err)
			}
			if err := from.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			awaitDelivered(t, ctx, from, to, "shop.test", ids)
		})
	}
}

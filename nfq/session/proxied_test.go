package session

import (
	"testing"
)

// TestAnotherOneSpeaksForPostfix: a Postfix that hands each message on before it is taken (smtpd_proxy_filter) says at its end what the filter behind it
// says: words that are not Postfix's, and no refusal for that. The true number is in lo..hi.
func TestAnotherOneSpeaksForPostfix(t *testing.T) {
	t.Parallel()
	for _, final := range []string{
		"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4F2%i1B\n", // amavisd
		"250 2.5.0 OK (%iC65F1D0C3A4B5)\n",                                              // Proxmox Mail Gateway
	} {
		for _, messages := range []int{1, 2, 5, 20, 100} {
			for seed := range uint64(8) {
				rng := dice(seed, 9)
				w := wordings[0]
				w.final = final
				client, server, how := pairTLS(rng)
				d := hello().c("STARTTLS\n").s("220 go\n")
				truth := d.inside(client, server, &insider{w: &w, rng: rng}, func(k *talker) {
					k.ask("EHLO client.example\r\n")
					k.flush()
					for range messages {
						k.message(1, 2000, false)
					}
					k.ask("QUIT\r\n")
					k.flush()
				})
				f := replay(Options{}, d.close().steps, steered).facts
				if truth != messages || f.MessagesLo > truth || f.MessagesHi < truth {
					t.Errorf("%q, %s: %d..%d of %d", final, how, f.MessagesLo, f.MessagesHi, truth)
				}
			}
		}
	}
}

package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rounds says some lines again and again, each after the answer to the one before.
func rounds(n int, lines func(k *talker) []string) func(k *talker) {
	return func(k *talker) {
		for range n {
			for _, line := range lines(k) {
				k.ask(line + "\r\n")
			}
			k.flush()
		}
	}
}

// emptySessions are what clients do inside TLS without sending a message.
func emptySessions() map[string]func(k *talker) {
	one := func(lines ...string) func(k *talker) {
		return func(k *talker) {
			for _, l := range lines {
				k.ask(l + "\r\n")
			}
			k.flush()
		}
	}
	token := func(n int) string { return strings.Repeat("dG9rZW4", n/7+1)[:n] }
	return map[string]func(k *talker){
		"QUIT after EHLO":  one(),
		"EHLO twice":       one("EHLO client.example"),
		"NOOP":             one("NOOP", "NOOP", "NOOP"),
		"AUTH PLAIN fails": one("AUTH PLAIN " + token(40)),
		"AUTH PLAIN fails again and again": func(k *talker) {
			for range 10 {
				k.ask("AUTH PLAIN " + token(36+k.rng.IntN(20)) + "\r\n")
				k.flush()
			}
		},
		"AUTH LOGIN fails": one("AUTH LOGIN", "dXNlcg==", "cGFzcw=="),
		"AUTH LOGIN fails again and again": func(k *talker) {
			for range 8 {
				k.ask("AUTH LOGIN\r\n")
				k.ask(token(4+4*k.rng.IntN(8)) + "\r\n")
				k.ask(token(4+4*k.rng.IntN(6)) + "\r\n")
				k.flush()
			}
		},
		"AUTH LOGIN with the name at once": one("AUTH LOGIN dXNlcg==", "cGFzcw==", "AUTH LOGIN dXNlcg==", "MTIz"),
		"CRAM-MD5 fails":                   one("AUTH CRAM-MD5", token(64)),
		"SCRAM fails":                      one("AUTH SCRAM-SHA-256 "+token(60), token(150)),
		"GSSAPI fails":                     one("AUTH GSSAPI", token(2400), "", token(64)),
		"XOAUTH2 fails":                    one("AUTH XOAUTH2 " + token(1900)),
		"VRFY": func(k *talker) {
			for range 30 {
				k.ask("VRFY " + k.word(3, 20) + "\r\n")
				k.flush()
			}
		},
		"VRFY without end": func(k *talker) {
			for range 60 + k.rng.IntN(140) {
				k.ask("VRFY " + k.word(3, 20) + "\r\n")
				k.flush()
			}
		},
		"AUTH PLAIN fails without end": func(k *talker) {
			for range 60 + k.rng.IntN(140) {
				k.ask("AUTH PLAIN " + token(20+4*k.rng.IntN(10)) + "\r\n")
				k.flush()
			}
		},
		"AUTH LOGIN fails without end": func(k *talker) {
			for range 20 + k.rng.IntN(46) {
				k.ask("AUTH LOGIN\r\n")
				k.ask(token(4+4*k.rng.IntN(8)) + "\r\n")
				k.ask(token(4+4*k.rng.IntN(6)) + "\r\n")
				k.flush()
			}
		},
		"names are tried without end": func(k *talker) {
			k.ask("MAIL FROM:<" + k.address() + ">\r\n")
			for range 60 + k.rng.IntN(140) {
				a := k.address()
				if k.rng.IntN(4) > 0 {
					a = "no." + a
				}
				k.ask("RCPT TO:<" + a + ">\r\n")
				k.flush()
			}
		},
		"VRFY with NOOP between": func(k *talker) {
			for range 5 {
				k.ask("VRFY " + k.address() + "\r\n")
				k.ask("VRFY " + k.address() + "\r\n")
				k.ask("NOOP\r\n")
				k.flush()
			}
		},
		"an address is asked about": one("MAIL FROM:<>", "RCPT TO:<postmaster@net.example>"),
		"addresses are asked about": func(k *talker) {
			for range 12 {
				k.ask("MAIL FROM:<" + k.address() + ">\r\n")
				k.ask("RCPT TO:<" + k.address() + ">\r\n")
				k.ask("RSET\r\n")
				k.flush()
			}
		},
		"names are tried": func(k *talker) {
			k.ask("MAIL FROM:<" + k.address() + ">\r\n")
			for range 60 {
				k.ask("RCPT TO:<" + k.address() + ">\r\n")
			}
			k.flush()
		},
		"nobody is there": func(k *talker) {
			for range 6 {
				k.ask("MAIL FROM:<" + k.address() + ">\r\n")
				k.ask("RCPT TO:<no." + k.address() + ">\r\n")
				k.ask("DATA\r\n")
				k.flush()
				k.ask("RSET\r\n")
				k.flush()
			}
		},
		"AUTH PLAIN fails, RSET": rounds(20, func(k *talker) []string {
			return []string{"AUTH PLAIN " + token(100+k.rng.IntN(11)), "RSET"}
		}),
		"AUTH PLAIN fails, RSET, longer tokens": rounds(10, func(k *talker) []string {
			return []string{"AUTH PLAIN " + token(150+k.rng.IntN(11)), "RSET"}
		}),
		"addresses are asked about, long senders": rounds(20, func(k *talker) []string {
			return []string{"MAIL FROM:<" + k.word(50, 60) + "." + k.word(50, 60) + "@client.example> SIZE=12345 BODY=8BITMIME", "RCPT TO:<" + k.address() + ">", "RCPT TO:<no." + k.address() + ">", "RSET"}
		}),
		"nobody is there, DATA is refused, long senders": rounds(10, func(k *talker) []string {
			return []string{"MAIL FROM:<" + k.word(190, 200) + "@client.example> SIZE=12345", "RCPT TO:<no." + k.address() + ">", "DATA"}
		}),
		"an envelope, NOOP, a long VRFY": rounds(8, func(k *talker) []string {
			return []string{"MAIL FROM:<" + k.address() + ">", "RCPT TO:<" + k.address() + ">", "NOOP", "VRFY " + k.word(100, 120)}
		}),
		"an envelope, RSET, AUTH PLAIN fails": rounds(8, func(k *talker) []string {
			return []string{"MAIL FROM:<" + k.address() + ">", "RCPT TO:<" + k.address() + ">", "RSET", "AUTH PLAIN " + token(150+k.rng.IntN(11))}
		}),
		"XFORWARD, an envelope, RSET": rounds(8, func(k *talker) []string {
			return []string{"XFORWARD NAME=" + k.word(60, 70) + " ADDR=192.0.2.1 PROTO=ESMTP HELO=" + k.word(40, 50), "MAIL FROM:<" + k.address() + ">", "RCPT TO:<" + k.address() + ">", "RSET"}
		}),
		"addresses are asked about, four at once": func(k *talker) {
			for range 1 + k.rng.IntN(10) {
				k.ask("MAIL FROM:<" + k.address() + ">\r\n")
				for i := range 4 {
					a := k.address()
					if i%2 == 1 || k.rng.IntN(3) == 0 {
						a = "no." + a
					}
					k.ask("RCPT TO:<" + a + ">\r\n")
				}
				k.ask("RSET\r\n")
				k.flush()
			}
		},
		"nobody is there, once": func(k *talker) {
			k.ask("MAIL FROM:<" + k.address() + "> SIZE=5000\r\n")
			k.ask("RCPT TO:<no." + k.address() + ">\r\n")
			k.ask("DATA\r\n")
			k.flush()
		},
	}
}

// probed are the servers that are asked things: all, and Exchange with the refusals of its online service, which are as long as what it says when it takes
// a message.
func probed() []wording {
	online := wordings[5]
	online.name = "Exchange Online"
	online.refused = "550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT047.eop-eur05.prod.protection.outlook.com 2026-11-30T01:02:03.123Z 08DE123456789ABC]\n"
	return append(slices.Clone(wordings), online)
}

// TestNothingIsInvented: where no message was sent none is told of, and none is in the facts. No server of ours is
// spared, nor any way to send commands.
func TestNothingIsInvented(t *testing.T) {
	t.Parallel()
	n, wide := 0, 0
	servers := probed()
	for i := range servers {
		for why, talk := range emptySessions() {
			for seed := range uint64(12) {
				rng := dice(seed, uint64(i))
				s := &insider{w: &servers[i], rng: rng, greets: seed%4 == 3, refuse: func(a string) bool { return strings.HasPrefix(a, "no.") || rng.IntN(3) == 0 }}
				client, server, how := pairTLS(rng)
				d := hello().c("STARTTLS\n").s("220 go\n")
				if s.greets {
					d = newDialogue()
				}
				truth := d.inside(client, server, s, func(k *talker) {
					k.pipelining = !s.w.noPipelining && rng.IntN(2) == 0 && !strings.Contains(why, "AUTH") && !strings.Contains(why, "fails")
					k.oneByOne = rng.IntN(2) == 0
					k.ask("EHLO client.example\r\n")
					k.flush()
					talk(k)
					if seed%3 > 0 {
						k.ask("QUIT\r\n")
						k.flush()
					}
				})
				d.close()
				o := replay(Options{}, d.steps, steered)
				name := fmt.Sprintf("%s, %s %d, %s", why, s.w.name, seed, how)
				if n++; truth != 0 {
					t.Fatalf("%s: the server took %d", name, truth)
				}
				if o.facts.MessagesLo != 0 || o.count(Message) != 0 {
					t.Errorf("%s: %d..%d messages", name, o.facts.MessagesLo, o.facts.MessagesHi)
				}
				if o.facts.MessagesHi > 1 || o.facts.MessagesHi < 0 {
					wide++
				}
				lawful(t, name, o)
			}
		}
	}
	t.Logf("%d sessions without a message; the most that there may have been is above 1 for %d", n, wide)
}

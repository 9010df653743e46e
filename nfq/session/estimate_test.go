package session

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"testing"
)

// score sums up how good estimates are.
type score struct{ sessions, inside, narrow, invented, exact int }

func (s *score) add(t *testing.T, name string, f Facts, truth int) {
	s.sessions++
	lo, hi := f.MessagesLo, f.MessagesHi
	if lo == truth && hi == truth {
		s.exact++
	}
	if lo <= truth && truth <= hi {
		s.inside++
	} else if t != nil {
		t.Logf("%s: %d..%d of %d", name, lo, hi, truth)
	}
	if hi >= 0 && hi-lo <= max(1, (truth+19)/20) {
		s.narrow++
	} else if t != nil {
		t.Logf("%s: wide, %d..%d of %d", name, lo, hi, truth)
	}
	if truth == 0 && lo > 0 {
		s.invented++
		if t == nil {
			return
		}
		t.Logf("%s: invented %d..%d", name, lo, hi)
	}
}

var suites12 = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}

// pairTLS are two ends of a version and a cipher suite.
func pairTLS(rng *rand.Rand) (client, server *tls.Config, name string) {
	client, server = trusting(), &tls.Config{}
	if rng.IntN(2) == 0 {
		client.MaxVersion = tls.VersionTLS12
		suite := suites12[rng.IntN(len(suites12))]
		client.CipherSuites = []uint16{suite}
		return client, server, tls.CipherSuiteName(suite)
	}
	return client, server, "TLS 1.3"
}

// TestEstimateOfMadeUpSessions holds the estimate against sessions that are harder than real ones: short messages, refused
// recipients, RSET now and then, all mixed. What holds for real software is measured in the lab.
func TestEstimateOfMadeUpSessions(t *testing.T) {
	t.Parallel()
	var total score
	for i := range wordings {
		var all score
		for seed := range uint64(60) {
			rng := dice(seed, uint64(i))
			s := &insider{w: &wordings[i], rng: rng}
			if rng.IntN(4) == 0 {
				s.refuse = func(string) bool { return rng.IntN(3) == 0 }
			}
			client, server, how := pairTLS(rng)
			count := []int{1, 1, 2, 5, 20, 100}[rng.IntN(6)]
			size := []int{100, 400, 1000, 5000, 30000}[rng.IntN(5)]
			rcpts := []int{1, 1, 1, 2, 5, 50}[rng.IntN(6)]
			d := hello().c("STARTTLS\n").s("220 go\n")
			var k talker
			truth := d.inside(client, server, s, func(c *talker) {
				c.pipelining = !s.w.noPipelining && rng.IntN(2) == 0
				c.oneByOne = rng.IntN(2) == 0
				c.chunking = s.w.chunking && rng.IntN(3) == 0
				c.quitBehind = rng.IntN(3) == 0
				c.ask("EHLO client.example\r\n")
				c.flush()
				for n := range count {
					if n > 0 && rng.IntN(10) == 0 {
						c.ask("RSET\r\n")
						c.flush()
					}
					c.message(rcpts, size, n == count-1)
				}
				c.ask("QUIT\r\n")
				c.flush()
				k = *c
			})
			d.close()
			o := replay(Options{}, d.steps, steered)
			name := fmt.Sprintf("%s %d, %s, %d messages of %d bytes to %d, pipelining %v/%v, chunking %v, quit behind %v, refused %v", s.w.name, seed, how, count, size, rcpts, k.pipelining, k.oneByOne, k.chunking, k.quitBehind, s.refuse != nil)
			all.add(t, name, o.facts, truth)
			lawful(t, name, o)
		}
		t.Logf("%s: %+v", wordings[i].name, all)
		total.inside += all.inside
		total.narrow += all.narrow
		total.sessions += all.sessions
	}
	if total.inside*100 < total.sessions*98 || total.narrow*1000 < total.sessions*470 {
		t.Errorf("of %d sessions %d were estimated rightly, %d narrowly", total.sessions, total.inside, total.narrow)
	}
}

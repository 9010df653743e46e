package session

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// flown is a flight: bytes of the client that it acknowledges, and the lengths of the server's replies.
type flown struct {
	up      int64
	records []int
}

// times is n flights of one length.
func times(n int, records ...int) (out []int) {
	for range n {
		out = append(out, records...)
	}
	return out
}

func list(parts ...[]int) (out []int) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// hear estimates a session of such flights, which the server ends.
func hear(doubt bool, flights ...flown) (lo, hi int) {
	const add = 17
	var e estimate
	e.begin(framing{add: add}, 0, doubt)
	ack := int64(0)
	for _, f := range flights {
		ack += f.up
		for _, n := range f.records {
			e.record(n+add, ack)
		}
	}
	e.end(true, true)
	return e.bounds()
}

// TestBurstsOfRealServers: what Postfix and Exim of Debian 12 and OpenSMTPD said when whole messages came at once, each
// sequence as it was captured.
func TestBurstsOfRealServers(t *testing.T) {
	t.Parallel()
	const postfixEHLO, eximEHLO = 140, 181
	for _, row := range []struct {
		why         string
		flights     []flown
		truth       int
		least, most int // the estimate may be as wide
	}{
		{"Postfix, 20 by DATA, QUIT behind", []flown{{50, []int{postfixEHLO}}, {13992, []int{371, 510, 612, 102, 460}}}, 20, 20, 20},
		{"Postfix, the same in other pieces", []flown{{50, []int{postfixEHLO}}, {13934, []int{575, 612, 612, 256}}}, 20, 20, 20},
		{"Postfix, 20 by BDAT, QUIT behind", []flown{{50, []int{postfixEHLO}}, {14112, []int{253, 375, 450, 75, 362}}}, 20, 0, 64},
		{"Postfix, 20 by BDAT, a record for each reply", []flown{{50, []int{postfixEHLO}}, {15765, list(times(20, 14, 14, 47), []int{15})}}, 20, 0, 30},
		{"Postfix, 10 by DATA ten times", []flown{{50, []int{postfixEHLO}}, {8100, times(10, 14, 14, 37, 37)}, {8100, times(10, 14, 14, 37, 37)}, {28, []int{15}}}, 20, 10, 25},
		{"Exim, 20 by DATA, QUIT behind", []flown{{50, []int{eximEHLO}}, {13872, list([]int{78}, times(19, 106), []int{67})}}, 20, 20, 20},
		{"Exim, 10 by DATA and 10 more", []flown{{50, []int{eximEHLO}}, {6899, list([]int{78}, times(9, 106), []int{28})}, {6938, list([]int{78}, times(9, 106), []int{67})}}, 20, 20, 20},
		{"Exim, 20 by BDAT, QUIT behind", []flown{{50, []int{eximEHLO}}, {15645, list([]int{8, 14}, times(19, 68, 14), []int{99})}}, 20, 20, 60},
		{"Exim, two by DATA, QUIT behind", []flown{{50, []int{eximEHLO}}, {1209, []int{78, 106, 67}}}, 2, 0, 19},
		{"OpenSMTPD, 10 by DATA and 10 more", []flown{{50, []int{180}}, {8130, times(10, 14, 51, 50, 50)}, {8140, times(10, 14, 51, 50, 50)}, {28, []int{15}}}, 20, 10, 32},
		{"Postfix, one in chunks of 1000 bytes, all at once", []flown{{50, []int{postfixEHLO}}, {124107, list([]int{181}, times(22, 104))}, {99328, times(20, 104)}, {90000, []int{104, 130, 104, 141}}}, 1, 0, 435},
	} {
		lo, hi := hear(false, row.flights...)
		if lo > row.truth || hi < row.truth || lo < row.least || hi > row.most {
			t.Errorf("%s: %d..%d of %d, wanted %d..%d at most", row.why, lo, hi, row.truth, row.least, row.most)
		}
	}
}

// TestRefusedAtOnce: the same bursts with nothing taken.
func TestRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why     string
		flights []flown
	}{
		{"Postfix, header_checks", []flown{{50, []int{140}}, {14000, list([]int{65}, times(19, 101), []int{36 + 15})}}},
		{"Postfix, header_checks, a record for each reply", []flown{{50, []int{140}}, {14000, times(20, 14, 14, 37, 36)}, {28, []int{15}}}},
		{"Exim, an ACL", []flown{{50, []int{181}}, {14000, list([]int{78}, times(19, 124), []int{46 + 39})}}},
		{"nobody's words", []flown{{50, []int{130}}, {14000, list([]int{90}, times(19, 130), []int{40 + 30})}}},
		{"Postfix, no recipient", []flown{{50, []int{140}}, {4000, times(20, 14, 66, 44, 14)}, {28, []int{15}}}},
	} {
		if lo, _ := hear(false, row.flights...); lo > 0 {
			t.Errorf("%s: at least %d messages", row.why, lo)
		}
	}
}

// atOnce sends whole messages before it reads an answer.
func (k *talker) atOnce(n, rcpts, size int, quit bool) {
	text := ""
	for range n {
		text += "MAIL FROM:<" + k.address() + ">\r\n"
		for range rcpts {
			text += "RCPT TO:<" + k.address() + ">\r\n"
		}
		body := "Subject: " + k.word(3, 20) + "\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
		k.n += 2 + rcpts
		if k.chunking {
			text += fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body)
			continue
		}
		text += "DATA\r\n" + body + ".\r\n"
		k.n++
	}
	if quit {
		text += "QUIT\r\n"
		k.n++
	}
	k.c.Write([]byte(text))
	k.flush()
}

// TestMessagesAtOnce: whole messages sent at once, in the words of all servers: the number is in lo..hi.
func TestMessagesAtOnce(t *testing.T) {
	t.Parallel()
	var all score
	low := 0
	for i := range wordings {
		if wordings[i].noPipelining {
			continue
		}
		for seed := range uint64(24) {
			rng := dice(seed, uint64(i)+100)
			s := &insider{w: &wordings[i], rng: rng}
			client, server := trusting(), &tls.Config{}
			n, bursts := []int{3, 5, 20, 60}[rng.IntN(4)], 1+rng.IntN(3)
			size := []int{300, 1000, 4000}[rng.IntN(3)]
			d := hello().c("STARTTLS\n").s("220 go\n")
			truth := d.inside(client, server, s, func(k *talker) {
				k.chunking = s.w.chunking && rng.IntN(2) == 0
				k.ask("EHLO client.example\r\n")
				k.flush()
				for b := range bursts {
					k.atOnce(n, 1+rng.IntN(2), size, b == bursts-1)
				}
			})
			d.close()
			o := replay(Options{}, d.steps, steered)
			name := fmt.Sprintf("%s %d, %d times %d messages of %d bytes", s.w.name, seed, bursts, n, size)
			if truth != n*bursts {
				t.Fatalf("%s: the server took %d", name, truth)
			}
			all.add(t, name, o.facts, truth)
			if o.facts.MessagesLo > truth {
				low++
				t.Errorf("%s: at least %d messages", name, o.facts.MessagesLo)
			}
			lawful(t, name, o)
		}
	}
	t.Logf("%+v", all)
	if all.inside*100 < all.sessions*92 {
		t.Errorf("of %d sessions %d were estimated rightly", all.sessions, all.inside)
	}
}

// TestSomethingElseOn465: what is not SMTP has no messages, whatever it sounds like.
func TestSomethingElseOn465(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why     string
		flights []flown
	}{
		{"HTTP, uploads of some size", []flown{{0, []int{250, 250}}, {120, []int{180}}, {300, []int{90}}, {60, []int{60}}, {5000, []int{70}}, {90, []int{80}}, {4000, []int{70}}}},
		{"HTTP, short answers", []flown{{0, []int{120}}, {80, []int{60}}, {70, []int{27}}, {70, []int{27}}, {2000, []int{27}}, {70, []int{27}}, {2000, []int{27}}}},
		{"HTTP/2", []flown{{0, []int{250, 40}}, {110, []int{60}}, {40, []int{30}}, {40, []int{30}}, {3000, []int{30}}, {40, []int{30}}, {3000, []int{30}}}},
		{"POP3", []flown{{0, []int{250, 40}}, {6, []int{90}}, {13, []int{14}}, {14, []int{14}}, {6, []int{11}}, {8, []int{3000}}, {6, []int{14}}}},
		{"IMAP", []flown{{0, []int{250, 90}}, {15, []int{100}}, {28, []int{60}}, {19, []int{150}}, {60, []int{20}}, {1000, []int{40}}, {12, []int{60}}}},
	} {
		if lo, hi := hear(true, row.flights...); lo > 0 {
			t.Errorf("%s: %d..%d messages", row.why, lo, hi)
		}
	}
}

// FuzzEstimate: whatever the lengths, what was told of stays true, and the bounds are in order.
func FuzzEstimate(f *testing.F) {
	f.Add([]byte{0, 0, 0, 60, 0, 50, 0, 140, 54, 168, 1, 115, 0, 0, 1, 254, 0, 0, 2, 100})
	f.Add([]byte{0, 50, 0, 181, 54, 40, 0, 78, 0, 0, 0, 106, 0, 0, 0, 106, 0, 0, 0, 67})
	f.Fuzz(func(t *testing.T, in []byte) {
		var e estimate
		e.begin(framing{add: 17}, 0, len(in)%2 == 0)
		ack, told := int64(0), 0
		for len(in) >= 4 {
			ack += int64(binary.BigEndian.Uint16(in))
			e.record(int(binary.BigEndian.Uint16(in[2:])), ack)
			in = in[4:]
			lo, hi := e.bounds()
			if lo < 0 || hi < lo || e.n < 1 {
				t.Fatalf("%d..%d of %d guesses", lo, hi, e.n)
			}
			if told < e.least() {
				told = e.least()
			}
		}
		e.end(true, true)
		if lo, hi := e.bounds(); lo < 0 || hi < lo {
			t.Fatalf("%d..%d", lo, hi)
		}
	})
}

package session

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wording is how a server answers; %a is the address, %i an id that is new for every message.
type wording struct {
	name, ehlo, mail, rcpt, refused, data, final, chunk, rset, quit, no, vrfy string
	whole                                                                     bool // replies go out when all input was read, else one by one
	noPipelining, chunking                                                    bool
}

var wordings = []wording{
	{name: "Postfix", ehlo: "250-mx1.example.net\n250-PIPELINING\n250-SIZE 10240000\n250-ETRN\n250-AUTH PLAIN LOGIN\n250-ENHANCEDSTATUSCODES\n250-8BITMIME\n250-DSN\n250 CHUNKING\n",
		mail: "250 2.1.0 Ok\n", rcpt: "250 2.1.5 Ok\n", refused: "550 5.1.1 <%a>: Recipient address rejected: User unknown in local recipient table\n", data: "354 End data with <CR><LF>.<CR><LF>\n",
		final: "250 2.0.0 Ok: queued as 4F2%i1B\n", chunk: "250 2.0.0 Ok: 1000 bytes\n", rset: "250 2.0.0 Ok\n", quit: "221 2.0.0 Bye\n", no: "554 5.5.1 Error: no valid recipients\n", vrfy: "252 2.0.0 %a\n", whole: true, chunking: true},
	{name: "Exim", ehlo: "250-mx2.example.net Hello client.example [192.0.2.1]\n250-SIZE 52428800\n250-8BITMIME\n250-PIPELINING\n250-CHUNKING\n250-PRDR\n250 HELP\n",
		mail: "250 OK\n", rcpt: "250 Accepted\n", refused: "550 Unrouteable address\n", data: "354 Enter message, ending with \".\" on a line by itself\n",
		final: "250 OK id=1r8Xyz-%i-1A\n", chunk: "250 1000 byte chunk\n", rset: "250 Reset OK\n", quit: "221 mx2.example.net closing connection\n", no: "503 Valid RCPT command must precede DATA\n", vrfy: "252 Administrative prohibition\n", chunking: true},
	{name: "OpenSMTPD", ehlo: "250-mx3.example.net Hello client.example [192.0.2.1], pleased to meet you\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n250-SIZE 36700160\n250-DSN\n250 HELP\n",
		mail: "250 2.0.0 Ok\n", rcpt: "250 2.1.5 Destination address valid: Recipient ok\n", refused: "550 Invalid recipient: <%a>\n", data: "354 Enter mail, end with \".\" on a line by itself\n",
		final: "250 2.0.0 a1%i Message accepted for delivery\n", rset: "250 2.0.0 Reset state\n", quit: "221 2.0.0 Bye\n", no: "503 5.5.1 Invalid command: No recipient specified\n", vrfy: "252 5.5.1 Invalid command: VRFY unimplemented\n", noPipelining: true},
	{name: "Sendmail", ehlo: "250-mx4.example.net Hello client.example [192.0.2.1], pleased to meet you\n250-ENHANCEDSTATUSCODES\n250-PIPELINING\n250-8BITMIME\n250-SIZE\n250-DSN\n250-DELIVERBY\n250 HELP\n",
		mail: "250 2.1.0 <sender@client.example>... Sender ok\n", rcpt: "250 2.1.5 <%a>... Recipient ok\n", refused: "550 5.1.1 <%a>... User unknown\n", data: "354 Enter mail, end with \".\" on a line by itself\n",
		final: "250 2.0.0 3ASAb%i Message accepted for delivery\n", rset: "250 2.0.0 Reset state\n", quit: "221 2.0.0 mx4.example.net closing connection\n", no: "503 5.0.0 Need RCPT (recipient)\n", vrfy: "252 2.5.2 Cannot VRFY user; try RCPT to attempt delivery (or try finger)\n"},
	{name: "qmail", ehlo: "250-mx5.example.net\n250-PIPELINING\n250 8BITMIME\n", mail: "250 ok\n", rcpt: "250 ok\n", refused: "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)\n", data: "354 go ahead\n",
		final: "250 ok 17643%i qp 12345\n", rset: "250 flushed\n", quit: "221 mx5.example.net\n", no: "503 RCPT first (#5.5.1)\n", vrfy: "252 send some mail, i'll try my best\n", whole: true},
	{name: "Exchange", ehlo: "250-mx6.example.net Hello [192.0.2.1]\n250-SIZE 37748736\n250-PIPELINING\n250-DSN\n250-ENHANCEDSTATUSCODES\n250-8BITMIME\n250-BINARYMIME\n250 CHUNKING\n",
		mail: "250 2.1.0 Sender OK\n", rcpt: "250 2.1.5 Recipient OK\n", refused: "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient %a not found by SMTP address lookup\n", data: "354 Start mail input; end with <CRLF>.<CRLF>\n",
		final: "250 2.6.0 <%i@client.example> [InternalId=12345678901234, Hostname=mx6.example.net] 8123 bytes in 0.112, 70.822 KB/sec Queued mail for delivery\n", chunk: "250 2.6.0 CHUNK received OK, 1000 octets\n",
		rset: "250 2.0.0 Resetting\n", quit: "221 2.0.0 Service closing transmission channel\n", no: "503 5.5.2 Need rcpt command\n", vrfy: "252 2.1.5 Cannot VRFY user\n", chunking: true},
	{name: "Gmail", ehlo: "250-mx.google.com at your service, [192.0.2.1]\n250-SIZE 157286400\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n250-PIPELINING\n250-CHUNKING\n250 SMTPUTF8\n",
		mail: "250 2.1.0 OK a1-20020a170902b58100%i - gsmtp\n", rcpt: "250 2.1.5 OK a1-20020a170902b58100%i - gsmtp\n", refused: "550-5.1.1 The email account that you tried to reach does not exist. Please try\n550-5.1.1 double-checking the recipient's email address for typos or\n550 5.1.1 https://support.google.com/mail/?p=NoSuchUser a1%i - gsmtp\n",
		data: "354 Go ahead a1-20020a170902b58100%i - gsmtp\n", final: "250 2.0.0 OK  1764352342 a1-20020a170902b58100%i - gsmtp\n", chunk: "250 2.0.0 OK a1%i - gsmtp\n", rset: "250 2.1.5 Flushed a1%i - gsmtp\n", quit: "221 2.0.0 closing connection a1%i - gsmtp\n",
		no: "503 5.5.1 RCPT first. a1%i - gsmtp\n", vrfy: "252 2.1.5 Send some mail, I'll try my best a1%i - gsmtp\n", chunking: true},
	{name: "plain", ehlo: "250-mx8.example.net\n250 SIZE 1000000\n", mail: "250 OK\n", rcpt: "250 OK\n", refused: "550 no\n", data: "354 End data with <CR><LF>.<CR><LF>\n",
		final: "250 OK\n", rset: "250 OK\n", quit: "221 Bye\n", no: "503 no\n", vrfy: "252 ok\n", noPipelining: true},
}

// shared is a source for a client and a server at once.
type shared struct {
	mu  sync.Mutex
	pcg *rand.PCG
}

func (s *shared) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pcg.Uint64()
}

func dice(seed, stream uint64) *rand.Rand {
	return rand.New(&shared{pcg: rand.NewPCG(seed, stream)})
}

// insider is a server inside TLS, with the truth.
type insider struct {
	w        *wording
	rng      *rand.Rand
	accepted int
	refuse   func(addr string) bool
	greets   bool
}

func (s *insider) say(text, addr string) []byte {
	text = strings.ReplaceAll(text, "%a", addr)
	text = strings.ReplaceAll(text, "%i", fmt.Sprintf("%06X", s.rng.IntN(1<<24)))
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}

func (s *insider) serve(c io.ReadWriter) {
	in := bufio.NewReaderSize(c, 1<<16)
	var out []byte
	flush := func(force bool) {
		if len(out) > 0 && (force || !s.w.whole || in.Buffered() == 0) {
			c.Write(out)
			out = nil
		}
	}
	say := func(text, addr string) {
		out = append(out, s.say(text, addr)...)
		flush(false)
	}
	if s.greets {
		say("220 mx.example ESMTP\n", "")
	}
	mail, rcpts, got := false, 0, 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		up := strings.ToUpper(line)
		addr := ""
		if i := strings.IndexByte(line, '<'); i >= 0 {
			addr, _, _ = strings.Cut(line[i+1:], ">")
		}
		switch {
		case strings.HasPrefix(up, "EHLO"), strings.HasPrefix(up, "HELO"):
			say(s.w.ehlo, "")
		case strings.HasPrefix(up, "MAIL"):
			mail, rcpts, got = true, 0, 0
			say(s.w.mail, addr)
		case strings.HasPrefix(up, "RCPT"):
			switch {
			case !mail:
				say("503 5.5.1 Error: need MAIL command\n", "")
			case s.refuse != nil && s.refuse(addr):
				say(s.w.refused, addr)
			default:
				rcpts++
				say(s.w.rcpt, addr)
			}
		case up == "DATA":
			if rcpts == 0 {
				say(s.w.no, "")
				continue
			}
			say(s.w.data, "")
			flush(true)
			for {
				text, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if text == ".\r\n" {
					break
				}
			}
			s.accepted++
			mail, rcpts = false, 0
			say(s.w.final, "")
		case strings.HasPrefix(up, "BDAT"):
			f := strings.Fields(up)
			n, _ := strconv.Atoi(f[1])
			io.CopyN(io.Discard, in, int64(n))
			got += n
			switch {
			case rcpts == 0:
				say(s.w.no, "")
			case len(f) > 2:
				s.accepted++
				mail, rcpts = false, 0
				say(s.w.final, "")
			default:
				say(s.w.chunk, "")
			}
		case up == "RSET":
			mail, rcpts = false, 0
			say(s.w.rset, "")
		case up == "QUIT":
			say(s.w.quit, "")
			flush(true)
			return
		case strings.HasPrefix(up, "VRFY"):
			say(s.w.vrfy, line[4:])
		case up == "NOOP":
			say(s.w.rset, "")
		case strings.HasPrefix(up, "AUTH"):
			rounds := 0
			switch f := strings.Fields(up); {
			case f[1] == "LOGIN" && len(f) == 2:
				rounds = 2
			case f[1] == "LOGIN", f[1] == "CRAM-MD5", f[1] == "PLAIN" && len(f) == 2:
				rounds = 1
			case f[1] == "SCRAM-SHA-256":
				rounds = 1
			case f[1] == "GSSAPI":
				rounds = 3
			}
			for i := range rounds {
				challenge := "334 VXNlcm5hbWU6\n"
				if strings.Contains(up, "CRAM") || strings.Contains(up, "SCRAM") {
					challenge = "334 " + strings.Repeat("c", 40+s.rng.IntN(60)) + "\n"
				}
				if strings.Contains(up, "GSSAPI") {
					challenge = []string{"334 \n", "334 " + strings.Repeat("g", 200) + "\n", "334 " + strings.Repeat("w", 60) + "\n"}[i]
				}
				say(challenge, "")
				flush(true)
				if _, err := in.ReadString('\n'); err != nil {
					return
				}
			}
			if strings.Contains(up, "GOOD") || s.rng.IntN(2) == 0 {
				say("235 2.7.0 Authentication successful\n", "")
			} else {
				say("535 5.7.8 Error: authentication failed: authentication failure\n", "")
			}
		default:
			say("502 5.5.2 Error: command not recognized\n", "")
		}
	}
}

// talker is a client inside TLS.
type talker struct {
	c    io.ReadWriter
	in   *bufio.Reader
	out  []byte
	n    int    // replies to come
	last string // line of a reply
	rng  *rand.Rand

	pipelining, oneByOne, chunking, quitBehind bool
}

// ask sends a command, at once or with those that follow.
func (k *talker) ask(line string) {
	k.out = append(k.out, line...)
	k.n++
	if !k.pipelining {
		k.flush()
	} else if k.oneByOne {
		k.c.Write(k.out)
		k.out = nil
	}
}

func (k *talker) flush() {
	if len(k.out) > 0 {
		k.c.Write(k.out)
		k.out = nil
	}
	for ; k.n > 0; k.n-- {
		for {
			line, err := k.in.ReadString('\n')
			if err != nil {
				k.n = 0
				return
			}
			k.last = line
			if len(line) < 4 || line[3] != '-' {
				break
			}
		}
	}
}

func (k *talker) word(least, most int) string {
	b := make([]byte, least+k.rng.IntN(most-least+1))
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[k.rng.IntN(36)]
	}
	return string(b)
}

func (k *talker) address() string { return k.word(1, 14) + "@" + k.word(2, 14) + ".example" }

// message sends one message with so many recipients and bytes.
func (k *talker) message(rcpts, size int, last bool) {
	param := []string{"", " SIZE=" + strconv.Itoa(size), " SIZE=" + strconv.Itoa(size) + " BODY=8BITMIME"}[k.rng.IntN(3)]
	k.ask("MAIL FROM:<" + k.address() + ">" + param + "\r\n")
	for range rcpts {
		k.ask("RCPT TO:<" + k.address() + ">\r\n")
	}
	head := "From: <a@client.example>\r\nTo: <b@example.net>\r\nSubject: " + k.word(3, 20) + "\r\n\r\n"
	body := head + strings.Repeat(strings.Repeat("x", 70)+"\r\n", max(size-len(head), 0)/72) + strings.Repeat("y", max(size-len(head), 0)%72) + "\r\n"
	if k.chunking {
		if k.rng.IntN(3) == 0 {
			half := len(body) / 2
			k.ask(fmt.Sprintf("BDAT %d\r\n%s", half, body[:half]))
			k.ask(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body)-half, body[half:]))
		} else {
			k.ask(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
		}
		k.flush()
		return
	}
	k.ask("DATA\r\n")
	if k.flush(); !strings.HasPrefix(k.last, "354") {
		k.ask("RSET\r\n")
		k.flush()
		return
	}
	text := body + ".\r\n"
	k.n++
	if last && k.quitBehind {
		k.n++
		text += "QUIT\r\n"
	}
	for len(text) > 0 {
		n := min(len(text), 4096)
		k.c.Write([]byte(text[:n]))
		text = text[n:]
	}
	k.flush()
}

// inside runs a client and a server inside TLS and puts what they wrote into the dialogue. It gives the messages that the server took.
func (d *dialogue) inside(client, server *tls.Config, s *insider, talk func(k *talker)) int {
	log := &recording{}
	log.more = sync.NewCond(log)
	a, b := end{dir: Up, log: log}, end{dir: Down, log: log}
	server.Certificates = []tls.Certificate{certificate()}
	var ends sync.WaitGroup
	ends.Go(func() {
		c := tls.Server(b, server)
		if c.Handshake() == nil {
			s.serve(c)
			c.Close()
		}
		b.Close()
	})
	c := tls.Client(a, client)
	k := &talker{c: c, in: bufio.NewReader(c), rng: s.rng}
	if c.Handshake() == nil {
		if s.greets {
			k.n = 1
			k.flush()
		}
		talk(k)
		c.Close()
	}
	a.Close()
	ends.Wait()
	for i, p := range log.pieces {
		for len(p) > 1460 {
			d.raw(log.dirs[i], bytes.Clone(p[:1460]))
			p = p[1460:]
		}
		d.raw(log.dirs[i], p)
	}
	return s.accepted
}

// SetWriteDeadline is for a close of TLS: writes never wait here.
func (e end) SetWriteDeadline(time.Time) error { return nil }

type insideStory struct {
	why     string
	talk    *dialogue
	truth   int
	servers *wording
}

// insideStories are sessions with mail inside TLS, by STARTTLS and from the start.
func insideStories() (all []insideStory) {
	for i, row := range []struct {
		why        string
		version    uint16
		suite      uint16
		implicit   bool
		pipelining bool
		oneByOne   bool
		messages   int
	}{
		{"TLS 1.3, one by one", tls.VersionTLS13, 0, false, false, false, 5},
		{"TLS 1.3, pipelining", tls.VersionTLS13, 0, false, true, false, 5},
		{"TLS 1.3, pipelining, a record for each command", tls.VersionTLS13, 0, false, true, true, 5},
		{"TLS 1.2 with AES-GCM", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false, false, false, 3},
		{"TLS 1.2 with ChaCha20, pipelining", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false, true, false, 3},
		{"TLS 1.2 with AES-CBC", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false, false, false, 3},
		{"TLS 1.3 from the start", tls.VersionTLS13, 0, true, false, false, 4},
		{"TLS 1.2 from the start, pipelining", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true, true, false, 4},
	} {
		rng := dice(uint64(i), 7)
		s := &insider{w: &wordings[i%2], rng: rng, greets: row.implicit}
		client, server := trusting(), &tls.Config{}
		client.MaxVersion = row.version
		if row.suite != 0 {
			client.CipherSuites = []uint16{row.suite}
		}
		d := newDialogue()
		if !row.implicit {
			d = hello().c("STARTTLS\n").s("220 go\n")
		}
		truth := d.inside(client, server, s, func(k *talker) {
			k.pipelining, k.oneByOne = row.pipelining, row.oneByOne
			k.ask("EHLO client.example\r\n")
			k.flush()
			for n := range row.messages {
				k.message(1+n%3, 900+300*n, false)
			}
			k.ask("QUIT\r\n")
			k.flush()
		})
		all = append(all, insideStory{row.why, d.close(), truth, s.w})
	}
	return all
}

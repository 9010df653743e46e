package session

import (
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/packet"
)

// hello is how most stories begin.
func hello() *dialogue {
	return newDialogue().s("220 mx.example ESMTP\n").c("EHLO home.example\n").
		s("250-mx.example\n250-PIPELINING\n250-CHUNKING\n250 STARTTLS\n")
}

const begun = "established, greeting 220, starttls_offered"

// stories are sessions in clear and what must be told about them.
var stories = []struct {
	why  string
	talk *dialogue
	want string // events
	lo   int    // messages
	hi   int
	rcpt int
	no   int // rejected
}{
	{why: "one message, step by step",
		talk: hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("RCPT TO:<c@y>\n").s("251 will forward\n").
			c("DATA\n").s("354 go\n").c("Subject: x\n\nbody\n.\n").s("250 queued\n").c("QUIT\n").s("221 bye\n").close(),
		want: begun + ", message 250 2, ended fin", lo: 1, hi: 1, rcpt: 2},
	{why: "lower case, blanks around the verb, bare LF, a reply with nothing behind its code",
		talk: newDialogue().s("220\n").c("helo x\n").s("250\n").c(" mail from:<a@x>\n").s("250\n").c("rcpt  to:<b@y>\n").s("250\n").
			raws(Up, "data \n").s("354\n").c("x\n.\n").s("250\n"),
		want: "established, greeting 220, message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "PIPELINING, one recipient refused",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nRCPT TO:<d@y>\nDATA\n").
			s("250 ok\n250 ok\n550 no such user\n250 ok\n354 go\n").c("body\n.\nQUIT\n").s("250 queued\n221 bye\n"),
		want: begun + ", rejected 550, message 250 2", lo: 1, hi: 1, rcpt: 2, no: 1},
	{why: "PIPELINING, DATA refused because every recipient was: what follows are commands",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n550 no\n554 no valid recipients\n").c("RSET\nMAIL FROM:<a@x>\n").
			s("250 ok\n250 ok\n").c("QUIT\n").s("221 bye\n"),
		want: begun + ", rejected 550, rejected 554", no: 2},
	{why: "DATA refused although the client had sent the content already: its lines were commands",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\nhello\n.\n").s("250 ok\n450 later\n503 no recipients\n500 what\n500 what\n").
			c("RSET\n").s("250 ok\n").c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c(".\n").s("250 ok\n"),
		want: begun + ", rejected 450, rejected 503, message 250 1", lo: 1, hi: 1, rcpt: 1, no: 2},
	{why: "the content sent before the 354 is content",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\nMAIL FROM:<no@command>\n.\nQUIT\n").s("250 ok\n250 ok\n354 go\n250 queued\n221 bye\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "a client that says all it has before the greeting",
		talk: newDialogue().c("EHLO x\nMAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\nbody\n.\nQUIT\n").s("220 mx\n250 mx\n250 ok\n250 ok\n354 go\n250 queued\n221 bye\n"),
		want: "established, greeting 220, message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "dot-stuffing, and lines that only look like the end",
		talk: hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").
			c("..\n.x\n. \n").raws(Up, "\n.\n\r.\r\n.\rQUIT\r\n").c(".\nRSET\n").s("250 queued\n250 reset\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "an empty message",
		talk: hello().c("MAIL FROM:<>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c(".\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "the message refused at its end, the next one accepted",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("spam\n.\n").s("554 spam\n").
			c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nDATA\n").s("250 ok\n250 ok\n250 ok\n354 go\n").c("ham\n.\n").s("250 ok\n"),
		want: begun + ", rejected 554, message 250 2", lo: 1, hi: 1, rcpt: 2, no: 1},
	{why: "RSET and a second EHLO forget the recipients",
		talk: hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("RSET\n").s("250 ok\n").c("MAIL FROM:<a@x>\n").s("250 ok\n").
			c("RCPT TO:<b@y>\n").s("250 ok\n").c("EHLO x\n").s("250 mx\n").c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").
			c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "the server turns the session away",
		talk: newDialogue().s("554-no\n554 service here\n").c("QUIT\n").s("221 bye\n").close(),
		want: "established, greeting 554, ended fin"},
	{why: "421 greeting",
		talk: newDialogue().s("421 4.7.0 too busy\n").close(),
		want: "established, greeting 421, ended fin"},
	{why: "421 in the middle, after MAIL",
		talk: hello().c("MAIL FROM:<a@x>\n").s("421 4.4.2 shutting down\n").close(),
		want: begun + ", rejected 421, ended fin", no: 1},
	{why: "421 to nobody",
		talk: hello().s("421 4.4.2 timeout\n").close(),
		want: begun + ", ended fin"},
	{why: "multi-line replies to everything",
		talk: hello().c("MAIL FROM:<a@x>\n").s("250-2.1.0\n250 ok\n").c("RCPT TO:<b@y>\n").s("250-a\n250-b\n250 c\n").c("DATA\n").s("354-go\n354 on\n").
			c("x\n.\n").s("250-well\n250 done\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "AUTH with two challenges: what the client answers is no command",
		talk: hello().c("AUTH LOGIN\n").s("334 VXNlcm5hbWU6\n").c("DATA\n").s("334 UGFzc3dvcmQ6\n").c("QUIT\n").s("235 ok\n").
			c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "AUTH with an initial response, refused",
		talk: hello().c("AUTH PLAIN AGEAYg==\n").s("535 no\n").c("QUIT\n").s("221 bye\n"),
		want: begun},
	{why: "BDAT: chunks, LAST in lower case, commands in the chunk's bytes",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 12\nMAIL FROM:\n").s("250 12 octets\n").
			c("bdat 6 last\nDATA\n").s("250 queued\n").c("QUIT\n").s("221 bye\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "BDAT pipelined with the next message, replies in one go",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nBDAT 4\nabcdBDAT 0 LAST\nMAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nBDAT 3 LAST\nxyz").
			s("250 ok\n250 ok\n250 4\n250 queued\n250 ok\n250 ok\n250 ok\n250 queued\n"),
		want: begun + ", message 250 1, message 250 2", lo: 2, hi: 2, rcpt: 3},
	{why: "BDAT without a transaction: the server reads the chunk and refuses",
		talk: hello().c("BDAT 10 LAST\n0123456789").s("503 need MAIL\n").c("RSET\n").s("250 ok\n"),
		want: begun + ", rejected 503", no: 1},
	{why: "BDAT at a server without CHUNKING: the rest of the chunk are commands",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 1000 LAST\n").s("502 not implemented\n").
			c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", rejected 502, message 250 1", lo: 1, hi: 1, rcpt: 1, no: 1},
	{why: "BDAT with a negative size, an absurd size, none, and rubbish: no chunk follows",
		talk: hello().c("BDAT -1 LAST\n").s("501 bad\n").c("BDAT 99999999999999999999999 LAST\n").s("501 bad\n").c("BDAT\n").s("501 bad\n").
			c("BDAT 5 FIRST\n").s("501 bad\n").c("BDAT 5LAST\n").s("501 bad\n").c("QUIT\n").s("221 bye\n").close(),
		want: begun + strings.Repeat(", rejected 501", 5) + ", ended fin", no: 5},
	{why: "BDAT as forgiving servers read it",
		talk: oddly(hello()), want: begun + strings.Repeat(", message 250 1", len(oddChunks)+1), lo: len(oddChunks) + 1, hi: len(oddChunks) + 1, rcpt: len(oddChunks) + 1},
	{why: "an odd BDAT that the server takes although we do not know the chunk: counted, and what follows too",
		talk: plainly(hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("BDAT 0x11 LAST\nSubject: x\n\nab\n").s("250 ok\n")),
		want: begun + ", message 250 1, message 250 1", lo: 2, hi: 2, rcpt: 2},
	{why: "a size that wraps around, at a server that counts in 32 bits",
		talk: plainly(hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("BDAT 4294967313 LAST\nSubject: x\n\nab\n").s("250 ok\n")),
		want: begun + ", message 250 1, message 250 1", lo: 2, hi: 2, rcpt: 2},
	{why: "an odd BDAT that may have been a message",
		talk: plainly(hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("BDAT 17 ENDE\nSubject: x\n\nab\n").s("250 ok\n")),
		want: begun + ", message 250 1", lo: 1, hi: 2, rcpt: 1},
	{why: "an odd BDAT with a chunk larger than what is held",
		talk: plainly(hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("BDAT +20000 LAST\n").bulk(20000).s("250 ok\n")),
		want: begun + ", message 250 1, message 250 1", lo: 2, hi: 2, rcpt: 2},
	{why: "odd BDATs that the server refuses, commands behind them",
		talk: plainly(hello().c("BDAT +17 LAST\nNOOP\n").s("501 bad\n250 ok\n").c("BDAT17 LAST\nNOOP\n").s("500 what\n250 ok\n")),
		want: begun + ", rejected 501, rejected 500, message 250 1", lo: 1, hi: 1, rcpt: 1, no: 2},
	{why: "XEXCH50: 354 and a blob, but no message",
		talk: hello().c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("XEXCH50 6 2\n").s("354 send\n").c("DATA\n").s("250 got it\n").
			c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "an empty line that the server does not answer",
		talk: hello().c("\nMAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "an empty line that the server does answer",
		talk: hello().c("\nMAIL FROM:<a@x>\n").s("500 what\n250 ok\n").c("RCPT TO:<b@y>\n").s("550 no\n"),
		want: begun + ", rejected 550", no: 1},
	{why: "a command that the server leaves unanswered does not shift the counts for ever",
		talk: hello().c("NOOP\nMAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\nDATA\n").s("250 ok\n354 go\n").c("x\n.\n").s("250 ok\n").
			c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 0, message 250 1", lo: 2, hi: 2, rcpt: 1},
	{why: "a server that takes LF.LF for the end: its replies decide, also about what was smuggled behind it",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").
			raws(Up, "x\n.\nMAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nDATA\ny\r\n.\r\n").s("250 ok\n250 ok\n250 ok\n250 ok\n354 go\n250 ok\n").
			c("QUIT\n").s("221 bye\n"),
		want: begun + ", message 250 1, message 250 2", lo: 2, hi: 2, rcpt: 3},
	{why: "a client that hides DATA from us behind a verb we do not know",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("DA\x00TA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "STARTTLS refused: what was pipelined behind it are commands",
		talk: hello().c("STARTTLS\nMAIL FROM:<a@x>\n").s("454 not now\n250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", starttls_asked, starttls_refused 454, message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "long lines in both directions",
		talk: hello().c("NOOP " + strings.Repeat("x", 5000) + "\n").s("250 " + strings.Repeat("y", 5000) + "\n").c("MAIL FROM:<" + strings.Repeat("a", 3000) + "@x>\n").
			s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1", lo: 1, hi: 1, rcpt: 1},
	{why: "a thousand recipients in one go",
		talk: hello().c("MAIL FROM:<a@x>\n" + strings.Repeat("RCPT TO:<b@y>\n", 1000) + "DATA\n").s("250 ok\n" + strings.Repeat("250 ok\n", 1000) + "354 go\n").
			c("x\n.\n").s("250 ok\n"),
		want: begun + ", message 250 1000", lo: 1, hi: 1, rcpt: 1000},
	{why: "the end of the content, then nothing: it may have been accepted",
		talk: hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n"),
		want: begun, hi: 1},
	{why: "a server that is not SMTP",
		talk: newDialogue().s("SSH-2.0-OpenSSH\n").c("SSH-2.0-x\n").close(),
		want: "established, ended fin", hi: -1},
	{why: "a client that speaks HTTP to a mail server",
		talk: newDialogue().c("GET / HTTP/1.0\nHost: x\n\n").s("220 mx\n500 what\n500 what\n500 what\n").close(),
		want: "established, greeting 220, ended fin"},
	{why: "a reset before anything was said",
		talk: newDialogue().flags(Down, packet.RST),
		want: "established, ended rst"},
}

// oddChunks are ways to say BDAT 17 LAST that some server takes.
var oddChunks = []string{"BDAT 17 LAST", "BDAT " + strings.Repeat("0", 5000) + "17 LAST", "BDAT +17 LAST", "BDAT 17LAST", "BDAT\v17\vLAST", "\fBDAT\f17 LAST", strings.Repeat(" ", 70) + "BDAT 17 LAST",
	"BDAT 17" + strings.Repeat(" ", 3000) + "LAST", "BDAT 17 LAST" + strings.Repeat(" \t\v", 3000), "\x00BDAT 17 LAST", "bdat" + strings.Repeat("\t", 100) + "+" + strings.Repeat("0", 100) + "17last", "BDAT 017\r LAST"}

func oddly(d *dialogue) *dialogue {
	for _, chunk := range oddChunks {
		d.c("MAIL FROM:<a@x>\n").s("250 2.1.0 Ok\n").c("RCPT TO:<b@y>\n").s("250 2.1.5 Ok\n").c(chunk + "\nSubject: x\n\nab\n").s("250 2.0.0 Ok: queued\n")
	}
	return plainly(d)
}

func plainly(d *dialogue) *dialogue {
	return d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n")
}

func (d *dialogue) raws(dir Direction, text string) *dialogue { d.raw(dir, []byte(text)); return d }

func (d *dialogue) flags(dir Direction, f packet.Flags) *dialogue { d.send(dir, f, nil); return d }

func TestStories(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		o := replay(Options{}, s.talk.steps, nil)
		want := s.want
		if !strings.Contains(want, "ended") {
			want += ", ended timeout"
		}
		f := o.facts
		if got := told(o.events); got != want || f.MessagesLo != s.lo || f.MessagesHi != s.hi || f.Recipients != s.rcpt || f.Rejected != s.no {
			t.Errorf("%s:\n got %s\nwant %s\n got messages %d..%d recipients %d rejected %d, want %d..%d %d %d",
				s.why, got, want, f.MessagesLo, f.MessagesHi, f.Recipients, f.Rejected, s.lo, s.hi, s.rcpt, s.no)
		}
		if f.Gaps != 0 {
			t.Errorf("%s: %d gaps where there were none", s.why, f.Gaps)
		}
		lawful(t, s.why, o)
	}
	t.Logf("%d stories", len(stories))
}

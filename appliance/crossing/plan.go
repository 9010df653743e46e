package crossing

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// Plan gives the cases that a client is to do with a server.
type Plan func(c client, s *Server) []Case

// zeros are sessions that bring no message.
var zeros = []Case{
	{Kind: Leave}, {Kind: Leave, Implicit: true}, {Kind: Leave, Resume: true}, {Kind: Leave, Resume: true}, {Kind: Hangup}, {Kind: Empty}, {Kind: Empty, Implicit: true},
	{Kind: BadLogin}, {Kind: BadLogin, Implicit: true}, {Kind: Verify}, {Kind: Verify, Messages: 95}, {Kind: Verify, Messages: 3, Implicit: true},
	{Kind: Envelope}, {Kind: Envelope, Messages: 5}, {Kind: NoOne}, {Kind: NoOne, Refused: 10}, {Kind: NoOne, Messages: 3, Pipelining: true},
	{Kind: LookAtCert}, {Kind: LookAtCert, Implicit: true}, {Kind: LookAtCert, Resume: true},

	// What looks like messages by its sizes: tokens are as long as contents, and long addresses as several short ones.
	{Kind: Attempts, Messages: 10, Lines: []string{oauth}},
	{Kind: Attempts, Messages: 5, Lines: []string{oauth, "EHLO client.example"}},
	{Kind: Attempts, Messages: 3, Lines: []string{"NOOP", oauth}},
	{Kind: Attempts, Messages: 3, Lines: []string{"MAIL FROM:<me@client.example>", oauth, "RSET"}},
	{Kind: Attempts, Messages: 20, Lines: []string{"AUTH PLAIN {80-120}"}},
	{Kind: Attempts, Messages: 30, Lines: []string{"VRFY {90-140}"}},
	{Kind: Attempts, Messages: 20, AtOnce: 3, Lines: []string{"MAIL FROM:<{50-60}@client.example>", "RCPT TO:<refused{50-60}@>", "RSET"}},
	{Kind: Attempts, Messages: 30, AtOnce: 3, Lines: []string{"MAIL FROM:<>", "RCPT TO:<you{30-60}@>", "RSET"}},
	{Kind: Attempts, Messages: 5, AtOnce: 3, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<refused{4-8}@>", "BDAT 900 LAST", "RSET"}},
	{Kind: Attempts, Messages: 3, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<refused{4-8}@>", "BDAT 3000", "BDAT 900 LAST", "RSET"}},

	// RSET, NOOP and a DATA that is refused are as long as a DATA that is taken, and what comes behind them as a short content.
	{Kind: Attempts, Messages: 20, Lines: []string{"AUTH PLAIN {100-110}", "RSET"}},
	{Kind: Attempts, Messages: 10, Lines: []string{"AUTH PLAIN {150-160}", "RSET"}},
	{Kind: Attempts, Messages: 20, Lines: []string{"MAIL FROM:<{110-120}@client.example> SIZE=12345 BODY=8BITMIME", "RCPT TO:<you{10-14}@>", "RCPT TO:<refused{10-14}@>", "RSET"}},
	{Kind: Attempts, Messages: 10, Lines: []string{"MAIL FROM:<{190-200}@client.example> SIZE=12345", "RCPT TO:<refused{10-14}@>", "DATA"}},
	{Kind: Attempts, Messages: 8, Lines: []string{"MAIL FROM:<{10-14}@client.example>", "RCPT TO:<you{10-14}@>", "NOOP", "VRFY {100-120}"}},
	{Kind: Attempts, Messages: 8, Lines: []string{"MAIL FROM:<{10-14}@client.example>", "RCPT TO:<you{10-14}@>", "RSET", "AUTH PLAIN {150-160}"}},
	{Kind: Attempts, Messages: 8, Lines: []string{"XFORWARD NAME={60-70} ADDR=192.0.2.1 PROTO=ESMTP HELO={40-50}", "MAIL FROM:<{10-14}@client.example>", "RCPT TO:<you{10-14}@>", "RSET"}},
	{Kind: Attempts, Messages: 10, AtOnce: 6, Lines: []string{"MAIL FROM:<{4-8}@client.example>", "RCPT TO:<you{4-8}@>", "RCPT TO:<refused{4-8}@>", "RCPT TO:<you{4-8}@>", "RCPT TO:<refused{4-8}@>", "RSET"}},

	// A refused recipient with long parameters, and an AUTH that comes too late, are answered as long as a message by BDAT is.
	{Kind: Attempts, Messages: 5, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "RCPT TO:<ab@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{90-120}@client.example", "RSET"}},
	{Kind: Attempts, Messages: 30, Lines: []string{"MAIL FROM:<me@client.example> RET=HDRS ENVID=abcdef", "RCPT TO:<you{4-8}@>", "RCPT TO:<{8-12}@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{8-12}@x.example", "RSET"}},
	{Kind: Attempts, Messages: 5, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "AUTH PLAIN {100-120}", "RSET"}},
	{Kind: Attempts, Messages: 3, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "AUTH PLAIN {600-700}", "AUTH PLAIN {1600-1700}", "RSET"}},
	{Kind: Attempts, Messages: 5, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "HELP", "AUTH PLAIN {600-700}", "RSET"}},
	{Kind: Attempts, Messages: 5, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "RSET", "HELP", "AUTH PLAIN {600-700}"}},

	// A recipient that is taken behind these is answered like MAIL.
	{Kind: Attempts, Messages: 10, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "RCPT TO:<{8-12}@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{30-60}@client.example", "RCPT TO:<you{4-8}@>", "RSET"}},
	{Kind: Attempts, Messages: 20, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@> NOTIFY=NEVER", "RCPT TO:<{8-12}@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{30-60}@client.example", "RCPT TO:<you{4-8}@> NOTIFY=NEVER", "RSET"}},
	{Kind: Attempts, Messages: 3, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "RCPT TO:<{8-12}@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{90-120}@client.example", "RCPT TO:<you{4-8}@>", "RSET"}},
	{Kind: Attempts, Messages: 5, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", "AUTH PLAIN {100-120}", "RCPT TO:<you{4-8}@>", "RSET"}},
	{Kind: Attempts, Messages: 3, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", oauth, "RCPT TO:<you{4-8}@>", "RCPT TO:<you{4-8}@>", "RSET"}},
	{Kind: Attempts, Messages: 10, Lines: []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you{4-8}@>", oauth, "RCPT TO:<you{4-8}@>", "RCPT TO:<you{4-8}@>", oauth, "RCPT TO:<you{4-8}@>", "RSET"}},
}

// oauth is an attempt to log in with a token as large providers have them.
const oauth = "AUTH XOAUTH2 {1500-1700}"

// known are the cases that every pair is to do once: one of each thing that makes a difference.
var known = []Case{
	{Kind: Mail},
	{Kind: Mail, Implicit: true, Messages: 2},
	{Kind: Mail, Messages: 5, Recipients: 3},
	{Kind: Mail, Messages: 20, Sizes: []int{100, 3000, 20000}},
	{Kind: Mail, Size: 1 << 20},
	{Kind: Mail, Recipients: 50},
	{Kind: Mail, Messages: 3, Recipients: 2, Refused: 2, Reset: true},
	{Kind: Mail, Messages: 5, Broken: true, Noise: true},
	{Kind: Mail, Messages: 5, Pipelining: true, Recipients: 5},
	{Kind: Mail, Messages: 5, Pipelining: true, Chunking: 50000, Size: 120000},
	{Kind: Mail, Messages: 3, Chunking: 1 << 20},
	{Kind: Mail, Messages: 2, Login: true},
	{Kind: Mail, Messages: 2, Resume: true},
	{Kind: Mail, Messages: 2, Resume: true},
	{Kind: Mail, Messages: 2, IPv6: true},
}

// refusing are the cases in which the server refuses messages after their content.
var refusing = []Case{
	{Kind: NotWanted}, {Kind: Mail, Messages: 4, Unwanted: 2},

	// A refusal that is as long as a Postfix's acceptance and what it says to QUIT or RSET behind it.
	{Kind: NotWanted, Messages: 10, Why: "The content of this message is not wanted."},
	{Kind: NotWanted, Messages: 10, Reset: true, Why: "Our content filter refused this message."},
	{Kind: Mail, Messages: 6, Unwanted: 2, Why: "Our content filter refused this message."},
}

// bursting are clients that do not wait: whole messages one behind the other, by BDAT and by DATA.
var bursting = []Case{
	{Kind: Burst, Messages: 20}, {Kind: Burst, Messages: 20, Chunking: 1 << 20}, {Kind: Burst, Messages: 20, Chunking: 1 << 20, Pieces: true, Implicit: true},
	{Kind: Burst, Messages: 100, AtOnce: 10, Pieces: true}, {Kind: Burst, Messages: 2, Chunking: 1 << 20}, {Kind: Burst, Messages: 5, Recipients: 3, Chunking: 300},
}

// Short is a plan of few cases a pair, the i-th of n parts of what every pair is to do.
func Short(i, n int) Plan {
	all := slices.Concat(known, zeros, refusing, bursting)
	return func(c client, s *Server) []Case {
		var out []Case
		for j, what := range all {
			// Not every pair does the same part.
			if (j+len(c.name())+len(s.Name))%n == i {
				out = append(out, what)
			}
		}
		return out
	}
}

// Whole is every known case, those that bring no message included.
func Whole() Plan { return Short(0, 1) }

// Drawn is n cases for each pair that are drawn with the seed among those that both ends are able to do: of the kind only, if
// that is not "".
func Drawn(seed uint64, n int, only Kind) Plan {
	return func(c client, s *Server) []Case {
		name := fnv.New64a()
		fmt.Fprint(name, c.name(), c.line().Name, s.Name)
		r := rand.New(rand.NewPCG(seed, name.Sum64()))
		var out []Case
		const tries = 1000 // of a client that can next to nothing
		for range tries {
			if len(out) == n {
				break
			}
			if what := draw(r, only); c.can(what, s) && s.does(what) {
				out = append(out, what)
			}
		}
		return out
	}
}

// Only is what is of a kind in the plan.
func (p Plan) Only(kind Kind) Plan {
	return func(c client, s *Server) []Case {
		return slices.DeleteFunc(p(c, s), func(c Case) bool { return c.Kind != kind })
	}
}

// Then is one plan after the other.
func (p Plan) Then(next Plan) Plan {
	return func(c client, s *Server) []Case { return append(p(c, s), next(c, s)...) }
}

// draw makes a case.
func draw(r *rand.Rand, only Kind) Case {
	pick := func(of ...int) int { return of[r.IntN(len(of))] }
	one := func(in int) bool { return r.IntN(in) == 0 }
	c := Case{
		Kind: Mail, Messages: pick(1, 1, 2, 5, 20, 100), Recipients: pick(1, 1, 2, 7, 50), Implicit: one(4), IPv6: one(4),
		Reset: one(4), Broken: one(8), Noise: one(8), Login: one(6), Resume: one(4), Pipelining: one(2),
	}
	if only == Burst || only == "" && one(8) {
		c = Case{Kind: Burst, Messages: pick(1, 2, 3, 5, 20, 60), Recipients: pick(1, 1, 1, 2, 5), Implicit: c.Implicit, IPv6: c.IPv6, Pieces: one(2), AtOnce: pick(0, 0, 2, 5, 20)}
	}
	if one(4) || c.Kind == Burst && one(2) {
		c.Chunking = pick(1000, 60000, 1<<20)
	}
	if one(5) {
		c.Refused = pick(1, 3)
	}
	const most = 4 << 20 // bytes of a session
	for range 3 {
		c.Sizes = append(c.Sizes, min(pick(100, 700, 3000, 16000, 100000, 1<<20), most/c.Messages))
	}
	return c
}

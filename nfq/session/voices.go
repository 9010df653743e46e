package session

// voice is the wording of a server's replies, by their lengths in bytes: it is known
// by its answers to MAIL, RCPT and DATA, and then what it says when it has taken a message is known, too.
type voice struct {
	mail, rcpt, data        int
	finalLeast, finalMost   int
	chunkedLeast, chunkMost int  // the final reply after BDAT
	partLeast, partMost     int  // to a BDAT that is not the last
	quitLeast, quitMost     int  // to QUIT
	reset                   int  // to RSET
	step                    int  // the final reply has finalLeast bytes, or so many more, or twice so many more ...
	same                    bool // the final reply is of one length in a session
}

// voices are those of servers that are met often. The first is nobody's.
var voices = [...]voice{
	{},
	// "250 2.1.0 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>", "250 2.0.0 Ok: queued as 4XYZ",
	// "250 2.0.0 Ok: 1234 bytes queued as 4XYZ", "250 2.0.0 Ok: 1234 bytes"
	{mail: 14, rcpt: 14, data: 37, finalLeast: 34, finalMost: 43, chunkedLeast: 42, chunkMost: 58, partLeast: 23, partMost: 32, quitLeast: 15, quitMost: 15, reset: 14, step: 1, same: true}, // Postfix
	// "250 OK", "250 Accepted", `354 Enter message, ending with "." on a line by itself`,
	// "250 OK id=1r8Xyz-000abc-1A" (since 4.97 with seven more); after BDAT behind "250- 123 byte chunk, total 123"
	{mail: 8, rcpt: 14, data: 56, finalLeast: 28, finalMost: 35, chunkedLeast: 56, chunkMost: 88, partLeast: 27, partMost: 35, quitLeast: 26, quitMost: 60, reset: 14, step: 7, same: true}, // Exim
	// "250 2.0.0 Ok", "250 2.1.5 Destination address valid: Recipient ok", `354 Enter mail, end with "." on a line by itself`,
	// "250 2.0.0 c7b8ab4a Message accepted for delivery"
	{mail: 14, rcpt: 51, data: 50, finalLeast: 50, finalMost: 50, quitLeast: 15, quitMost: 15, reset: 23, step: 1, same: true}, // OpenSMTPD
	// "250 2.1.0 Sender OK", "250 2.1.5 Recipient OK", "354 Start mail input; end with <CRLF>.<CRLF>",
	// "250 2.6.0 <id@host> [InternalId=..., Hostname=...] 1234 bytes in 0.1, 12.3 KB/sec Queued mail for delivery"
	{mail: 21, rcpt: 24, data: 46, finalLeast: 100, finalMost: 400, chunkedLeast: 100, chunkMost: 400, quitLeast: 48, quitMost: 48, reset: 21, step: 1}, // Exchange
}

// envelopeMost is how many bytes a client says in front of a chunk, as a rule.
const envelopeMost = 1000

// postfix is the index of Postfix, and postfixRefusal the length of "550 5.7.1 message content rejected", which is what it says to
// a message that header_checks or body_checks refuse, if they say nothing else: some of its acceptances are as long.
const (
	postfix        = 1
	postfixRefusal = 36
)

// startMailInput is the length of "354 Start mail input; end with <CRLF>.<CRLF>" (RFC 5321 section 4.1.1.4 and appendix D), which servers say whose answers
// to MAIL and RCPT are as long as Postfix's (Stalwart), and none of those in voices says to another command of four letters.
const startMailInput = 46

// What Postfix says to an AUTH between MAIL and the message, "503 5.5.1 Error: authentication not enabled" and "503 5.5.1 Error: MAIL
// transaction in progress": some of its acceptances of a message by BDAT are as long, and a token is as long as a message.
const (
	postfixNoAuth   = 45
	postfixLateAuth = 47
)

// maybeLateAuth reports whether the flight's answer is as long as these.
func (f *flight) maybeLateAuth() bool { return f.down == postfixNoAuth || f.down == postfixLateAuth }

// voiceOf gives the index of the voice that answers with these lengths.
func voiceOf(mail, rcpt, data int) uint8 {
	for i := 1; i < len(voices); i++ {
		if v := &voices[i]; v.mail == mail && v.rcpt == rcpt && v.data == data {
			return uint8(i)
		}
	}
	return 0
}

// voiceTo is the same for what a guess has heard, some of which may have been refusals, and an answer to DATA.
func (g *guess) voiceTo(data int) uint8 {
	for _, rcpt := range [...]uint16{g.rcpt.last, g.rcpt.other} {
		for _, mail := range [...]uint16{g.mail.last, g.mail.other} {
			if v := voiceOf(int(mail), int(rcpt), data); v != 0 {
				return v
			}
		}
	}
	return 0
}

// voiceOfGroup is the same for one MAIL, RCPT any number of times, and DATA, all answered with so many bytes. The client has said up bytes at most: what
// is answered has to have room there, else any number of bytes in a dozen or so would be the words of somebody.
func voiceOfGroup(down int, up int64) uint8 {
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		if k := down - v.mail - v.data; k >= v.rcpt && k%v.rcpt == 0 && mailLeast+int64(k/v.rcpt)*plainRcpt <= up {
			return uint8(i)
		}
	}
	return 0
}

// voiceOfChunks is the same where BDAT was said instead of DATA, and the last one was answered with so many bytes.
func voiceOfChunks(g *guess, final int) uint8 {
	for i := 1; i < len(voices); i++ {
		v, part := &voices[i], int(g.chunk.last)
		if v.chunkMost == 0 || v.chunkMost-v.chunkedLeast > 2*vague || final < v.chunkedLeast || final > v.chunkMost {
			continue
		}
		if part != 0 && (part < v.partLeast || part > v.partMost) {
			continue
		}
		if int(g.mail.last) == v.mail && int(g.rcpt.last) == v.rcpt || g.mail.last == 0 && v.isEnvelope(int(g.group.last)) {
			return uint8(i)
		}
	}
	return 0
}

// accepts reports whether a final reply of n bytes is one with which v takes a message.
func (v *voice) accepts(n, slack int, chunks bool) bool {
	if chunks && v.chunkMost > 0 {
		return n >= v.chunkedLeast && n-slack <= v.chunkMost
	}
	return n >= v.finalLeast && n-slack <= v.finalMost && (slack > 0 || (n-v.finalLeast)%v.step == 0)
}

// proves reports whether n bytes are a final reply with which v takes a message, and which few other things it says are as long as.
func (v *voice) proves(n int, chunks bool) bool {
	return !v.vague(chunks) && v.accepts(n, 0, chunks) && !v.isEnvelope(n)
}

// vague reports whether what v says when it takes a message has so many lengths that refusals are as long.
func (v *voice) vague(chunks bool) bool {
	if chunks && v.chunkMost > 0 {
		return v.chunkMost-v.chunkedLeast > 2*vague
	}
	return v.finalMost-v.finalLeast > 2*vague
}

// takesLeave reports whether n bytes are a final reply that takes a message, and one to QUIT behind it.
func (v *voice) takesLeave(n, slack int) bool {
	return n >= v.finalLeast+v.quitLeast && n-slack <= v.finalMost+v.quitMost
}

// names reports whether an answer of n bytes to a BDAT that is not the last can be about a chunk, of a thousand bytes and more, that is most of so
// many bytes of the client: those that are known say how many bytes the chunk has.
func (v *voice) names(n int, up int64) bool {
	if n < v.partLeast+3 {
		return false
	}
	least := int64(1)
	for ; n > v.partLeast; n-- {
		least *= 10
	}
	return up >= least && up <= 10*least+10*least/8+envelopeMost
}

// answers reports whether n bytes are the answers to some RCPT, with the one to MAIL before them if it is with.
func (v *voice) answers(n int, mail bool) bool {
	if mail {
		n -= v.mail
	}
	return n >= v.rcpt && n%v.rcpt == 0
}

// takesChunked reports whether n bytes are what it says at the end of a message that came by BDAT, and to QUIT behind it.
func (v *voice) takesChunked(n int) bool {
	return v.chunkMost > 0 && n >= v.chunkedLeast+v.quitLeast && n <= v.chunkMost+v.quitMost
}

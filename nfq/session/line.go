package session

import "bytes"

// linePrefix is how much of a line is kept: enough for "BDAT" with a 20-digit
// size and LAST, and for an EHLO keyword.
const linePrefix = 64

// line collects one line; what lies beyond linePrefix is counted, not kept.
type line struct {
	buf  [linePrefix]byte
	n    int // bytes in buf
	size int // bytes of the line, its LF not counted

	// Of a command line:
	blank bool // blanks came that are not in buf yet
	cut   bool // more came than buf holds
	odd   bool // with control characters, which servers read as they like
	last  byte // in front of its LF
}

// feed takes p up to and including the first LF, says how many bytes that was,
// and whether the line is whole.
func (l *line) feed(p []byte) (int, bool) {
	i := bytes.IndexByte(p, '\n')
	body := p
	if i >= 0 {
		body = p[:i]
	}
	l.n += copy(l.buf[l.n:], body)
	l.size += len(body)
	if i < 0 {
		return len(p), false
	}
	return i + 1, true
}

// feedCommand is feed for a command line, of which servers forgive much: a run of
// blanks is kept as one, none at the start and the end, and no zeros before a number.
func (l *line) feedCommand(p []byte) (int, bool) {
	i := bytes.IndexByte(p, '\n')
	body := p
	if i >= 0 {
		body = p[:i]
	}
	l.size += len(body)
	if len(body) > 0 {
		l.last = body[len(body)-1]
	}
	for _, b := range body {
		if l.cut {
			break
		}
		l.command(b)
	}
	if i < 0 {
		return len(p), false
	}
	return i + 1, true
}

func (l *line) command(b byte) {
	switch b {
	case '\v', '\f':
		l.odd = true
		fallthrough
	case ' ', '\t', '\r':
		l.blank = true
		return
	}
	l.odd = l.odd || b < ' '
	if l.blank && l.n > 0 && l.n < linePrefix {
		l.buf[l.n] = ' '
		l.n++
	}
	l.blank = false
	zero := l.n >= 2 && l.buf[l.n-1] == '0' && (l.buf[l.n-2] == ' ' || l.buf[l.n-2] == '+')
	switch {
	case zero && b >= '0' && b <= '9':
		l.buf[l.n-1] = b
	case l.n == linePrefix:
		l.cut = true
	default:
		l.buf[l.n] = b
		l.n++
	}
}

// regular reports whether every server reads the line as we do.
func (l *line) regular() bool { return !l.odd && !l.cut && l.size <= linePrefix }

// text is the kept part without a CR at its end.
func (l *line) text() []byte { return bytes.TrimSuffix(l.buf[:l.n], []byte{'\r'}) }

// bare reports whether the whole line ends without a CR, so that to some servers it goes on.
func (l *line) bare() bool { return l.last != '\r' }

func (l *line) reset() { l.n, l.size, l.blank, l.cut, l.odd, l.last = 0, 0, false, false, false, 0 }

// verb is a client's command, as far as its replies differ.
type verb uint8

const (
	other    verb = iota // what we do not know: any final reply will do
	noop                 // NOOP, VRFY, EXPN, HELP: the same, but known
	empty                // an empty line: a server answers 5xx or not at all
	greeting             // no command: the server speaks first
	ehlo
	helo // answered without a list (RFC 5321, section 4.1.1.1)
	mail
	rcpt
	data
	endOfData // no command: the end of the content
	bdat
	bdatLast
	oddBdat     // a BDAT of which servers differ whether it is one
	oddBdatLast // ... and it is the last of a message if it is one
	rset
	startTLS
	auth
	quit
	xexch50 // Exchange's binary blob: 354, a counted blob, a final reply
)

// final reports whether a 2xx to v means that a message was taken.
func (v verb) final() bool { return v == endOfData || v == bdatLast || v == oddBdatLast }

// envelope reports whether a 4xx or 5xx to v counts as rejected.
func (v verb) envelope() bool {
	switch v {
	case mail, rcpt, data, endOfData, bdat, bdatLast, oddBdat, oddBdatLast:
		return true
	}
	return false
}

// command reads the verb of a command line and what follows it. Servers forgive
// blanks around a verb and lower case, so do we.
func command(text []byte) (verb, []byte) {
	text = bytes.TrimLeft(text, " \t")
	end := bytes.IndexAny(text, " \t")
	if end < 0 {
		end = len(text)
	}
	word, rest := text[:end], bytes.Trim(text[end:], " \t\r")
	switch {
	case len(word) == 0:
		return empty, nil
	case is(word, "RCPT"):
		return rcpt, rest
	case is(word, "MAIL"):
		return mail, rest
	case is(word, "DATA"):
		return data, rest
	case is(word, "EHLO"):
		return ehlo, rest
	case is(word, "HELO"):
		return helo, rest
	case is(word, "RSET"):
		return rset, rest
	case is(word, "QUIT"):
		return quit, rest
	case is(word, "BDAT"):
		return bdat, rest
	case is(word, "STARTTLS"):
		return startTLS, rest
	case is(word, "AUTH"):
		return auth, rest
	case is(word, "XEXCH50"):
		return xexch50, rest
	case is(word, "NOOP"), is(word, "VRFY"), is(word, "EXPN"), is(word, "HELP"):
		return noop, rest
	}
	if i := bytes.Index(bytes.ToUpper(word), []byte("BDAT")); i == 0 || i > 0 && word[i-1] < ' ' {
		return oddBdat, text[i+len("BDAT"):]
	}
	return other, rest
}

func is(word []byte, upper string) bool {
	return len(word) == len(upper) && bytes.EqualFold(word, []byte(upper))
}

// maxChunk is the largest BDAT chunk that is followed by its size; nobody accepts
// one so large, but there are servers that drop the bits above.
const maxChunk = 1<<32 - 1

// chunkSize reads the arguments of BDAT: a size and perhaps LAST (RFC 3030,
// section 2). Anything else, negative and too large sizes too, is not ok: most
// servers refuse such a command and read no chunk.
func chunkSize(args []byte) (size int64, last, ok bool) {
	i := 0
	for ; i < len(args) && args[i] >= '0' && args[i] <= '9'; i++ {
		if size = size*10 + int64(args[i]-'0'); size > maxChunk {
			return 0, false, false
		}
	}
	if i == 0 {
		return 0, false, false
	}
	rest := bytes.Trim(args[i:], " \t")
	switch {
	case len(rest) == 0:
		return size, false, true
	case i < len(args) && (args[i] == ' ' || args[i] == '\t') && is(rest, "LAST"):
		return size, true, true
	}
	return 0, false, false
}

// oddChunk reads the arguments of a BDAT that is not regular as the most forgiving
// servers do: a plus sign, LAST without a blank before it. A size of -1 says that
// it is not known how long the chunk is for those.
func oddChunk(args []byte) (size int64, last bool) {
	digits := bytes.TrimPrefix(bytes.Trim(args, " "), []byte{'+'})
	last = bytes.Contains(bytes.ToUpper(args), []byte("LAST"))
	i := 0
	for i < len(digits) && digits[i] >= '0' && digits[i] <= '9' {
		i++
	}
	size, _, ok := chunkSize(digits[:i])
	if rest := bytes.TrimLeft(digits[i:], " "); !ok || len(rest) > 0 && !is(rest, "LAST") {
		size = -1
	}
	return size, last
}

// replyLine reads a line of the server: "250-text", "250 text" or "250"
// (RFC 5321, section 4.2). more says that the reply goes on.
func replyLine(text []byte) (code int, more, ok bool) {
	if len(text) < 3 {
		return 0, false, false
	}
	for _, c := range text[:3] {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || code > 599 {
		return 0, false, false
	}
	if len(text) == 3 {
		return code, false, true
	}
	switch text[3] {
	case '-':
		return code, true, true
	case ' ', '\t':
		return code, false, true
	}
	return 0, false, false
}

// offersStartTLS reports whether a line of an EHLO reply, other than the first, which is a
// greeting, has the STARTTLS keyword (RFC 5321, section 4.1.1.1; RFC 3207, section 2).
func offersStartTLS(text []byte) bool {
	if len(text) < 4 {
		return false
	}
	word, _, _ := bytes.Cut(text[4:], []byte{' '})
	return is(word, "STARTTLS")
}

// isReset reports whether a reply reads like one to RSET: "Reset OK" (Exim),
// "Reset state" (Sendmail), "Resetting" (Exchange), "flushed" (qmail),
// "2.1.5 Flushed" (Gmail). Postfix says "2.0.0 Ok".
func isReset(text []byte) bool {
	return bytes.Contains(text, []byte("eset")) || bytes.Contains(text, []byte("lushed"))
}

// status reads the second and third number of an enhanced status code of class 2
// ("250 2.1.5 Ok": '1' and '5', RFC 3463, section 3), zeros where a reply has none.
func status(text []byte) (subject, detail byte) {
	if len(text) < 9 || text[4] != '2' || text[5] != '.' || text[7] != '.' || text[8] < '0' || text[8] > '9' {
		return 0, 0
	}
	return text[6], text[8]
}

package crossing

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/lab"
)

// talk is the client's half of SMTP inside TLS, whoever does the TLS. It counts what the server took by its replies.
type talk struct {
	r     *bufio.Reader
	w     io.Writer
	login lab.Login

	took, recipients int // accepted messages, and recipients of them
}

// run does the case from EHLO on. A connection that the case closes itself is the caller's to close.
func (k *talk) run(c Case, to string) error {
	if _, err := k.say(2, "EHLO client.example"); err != nil {
		return err
	}
	if c.Login || c.Kind == BadLogin {
		name, password, want := k.login.Name, k.login.Password, 2
		if c.Kind == BadLogin {
			password, want = "wrong", 5
		}
		token := base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
		if _, err := k.say(want, "AUTH PLAIN "+token); err != nil {
			return err
		}
	}
	switch c.Kind {
	case Hangup, Empty:
		return nil
	case Verify:
		for i := range c.messages() {
			if _, err := k.say(0, "VRFY "+"somebodywithalongname"[:3+i*7%18]); err != nil {
				return err
			}
		}
	case Envelope:
		for range c.messages() {
			for _, line := range []string{"MAIL FROM:<me@client.example>", "RCPT TO:<you@" + to + ">", "RSET"} {
				if _, err := k.say(2, line); err != nil {
					return err
				}
			}
		}
	case Attempts:
		err := k.attempts(c, to)
		if err == nil {
			_, err = k.say(0, "QUIT")
		}
		if err != nil { // servers hang up on who is wrong again and again
			return errors.Join(errHungUp, err)
		}
		return nil
	case Burst:
		return k.bursts(c, to)
	case Mail, NoOne, NotWanted:
		for i := range c.messages() {
			if err := k.message(c, i, to); err != nil {
				return fmt.Errorf("message %d: %w", i+1, err)
			}
		}
	}
	_, err := k.say(2, "QUIT")
	return err
}

// message sends the i-th message.
func (k *talk) message(c Case, i int, to string) error {
	if c.Noise {
		if _, err := k.say(0, "NOOP"); err != nil {
			return err
		}
		if _, err := k.say(0, "VRFY you"); err != nil {
			return err
		}
	}
	if c.Broken {
		if _, err := k.say(2, "MAIL FROM:<me@client.example>"); err != nil {
			return err
		}
		if _, err := k.say(2, "RCPT TO:<you@"+to+">"); err != nil {
			return err
		}
		if _, err := k.say(2, "RSET"); err != nil {
			return err
		}
	}
	took, err := k.transact(c, i, to)
	if err != nil {
		return err
	}
	if c.Reset || took == 0 {
		_, err = k.say(2, "RSET")
	}
	return err
}

// transact is MAIL, RCPT, DATA or BDAT of one message; took is 1 if the server has it.
func (k *talk) transact(c Case, i int, to string) (took int, err error) {
	envelope := []string{"MAIL FROM:<me@client.example>"}
	for _, a := range addresses(c, to) {
		envelope = append(envelope, "RCPT TO:<"+a+">")
	}
	data := c.Chunking == 0
	if data && c.Pipelining {
		envelope = append(envelope, "DATA")
	}
	accepted, code := 0, 0
	if c.Pipelining {
		if _, err := io.WriteString(k.w, strings.Join(envelope, "\r\n")+"\r\n"); err != nil {
			return 0, err
		}
	}
	for _, line := range envelope {
		if c.Pipelining {
			code, err = k.reply()
		} else {
			code, err = k.say(0, line)
		}
		if err != nil {
			return 0, err
		}
		if code/100 == 2 && strings.HasPrefix(line, "RCPT") {
			accepted++
		}
	}
	body := compose(c, i, to)
	if !data {
		return k.chunks(c, body, accepted)
	}
	if !c.Pipelining {
		if accepted == 0 {
			return 0, nil
		}
		if code, err = k.say(0, "DATA"); err != nil {
			return 0, err
		}
	}
	if code != 354 {
		return 0, nil
	}
	if accepted == 0 {
		body = nil // RFC 2920: a 354 without recipients is answered with an empty message
	}
	if _, err := k.w.Write(append(body, ".\r\n"...)); err != nil {
		return 0, err
	}
	code, err = k.reply()
	return k.count(code, accepted), err
}

func (k *talk) count(code, recipients int) int {
	if code/100 != 2 {
		return 0
	}
	k.took++
	k.recipients += recipients
	return 1
}

// chunks sends the content by BDAT (RFC 3030), all chunks at once with pipelining.
func (k *talk) chunks(c Case, body []byte, accepted int) (int, error) {
	if accepted == 0 {
		return 0, nil
	}
	var parts []string
	for len(body) > 0 {
		n := min(c.Chunking, len(body))
		last := ""
		if n == len(body) {
			last = " LAST"
		}
		parts = append(parts, fmt.Sprintf("BDAT %d%s\r\n%s", n, last, body[:n]))
		body = body[n:]
	}
	code := 0
	if c.Pipelining {
		if _, err := io.WriteString(k.w, strings.Join(parts, "")); err != nil {
			return 0, err
		}
	}
	for _, p := range parts {
		if !c.Pipelining {
			if _, err := io.WriteString(k.w, p); err != nil {
				return 0, err
			}
		}
		var err error
		if code, err = k.reply(); err != nil {
			return 0, err
		}
	}
	return k.count(code, accepted), nil
}

// say sends a line and reads the reply; its first digit is to be class, if that is not 0.
func (k *talk) say(class int, line string) (int, error) {
	if _, err := io.WriteString(k.w, line+"\r\n"); err != nil {
		return 0, err
	}
	code, err := k.reply()
	if err == nil && class != 0 && code/100 != class {
		err = fmt.Errorf("%s: reply %d", line, code)
	}
	return code, err
}

// reply reads one, however many lines it has.
func (k *talk) reply() (int, error) {
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		line = strings.TrimRight(line, "\r\n")
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || len(line) < 3 {
			return 0, errors.New("not a reply: " + strconv.Quote(line))
		}
		if len(line) == 3 || line[3] != '-' {
			return code, nil
		}
	}
}

// addresses are the recipients of a message of the case, those that are refused among the others.
func addresses(c Case, to string) []string {
	var out []string
	if c.Kind != NoOne {
		for i := range c.recipients() {
			out = append(out, fmt.Sprintf("you%d@%s", i, to))
		}
	}
	for i := range c.refused() {
		out = append(out[:min(i*2, len(out))], append([]string{fmt.Sprintf("refused%d@%s", i, to)}, out[min(i*2, len(out)):]...)...)
	}
	return out
}

func (c Case) refused() int {
	if c.Kind == NoOne {
		return max(1, c.Refused)
	}
	return c.Refused
}

// unwanted: the server refuses the i-th message after its content.
func (c Case) unwanted(i int) bool {
	return c.Kind == NotWanted || c.Unwanted > 0 && i%c.Unwanted == c.Unwanted-1
}

// compose writes the i-th message of the case: CRLF, and no line that begins with a dot.
func compose(c Case, i int, to string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <me@client.example>\r\nTo: <you0@%s>\r\nMessage-ID: <%d.%p@client.example>\r\nSubject: crossing\r\n", to, i, &b)
	if c.unwanted(i) {
		fmt.Fprintf(&b, "X-Refuse: %s\r\n", cmp.Or(c.Why, "yes"))
	}
	b.WriteString("\r\n")
	line := strings.Repeat("mailweir crossing ", 4) + "\r\n"
	for end := b.Len() + c.size(i); b.Len() < end; {
		b.WriteString(line[max(0, len(line)-(end-b.Len())):])
	}
	if !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

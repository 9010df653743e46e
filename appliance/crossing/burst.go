package crossing

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// bursts sends messages whole, one behind the other, before an answer to the first of them is read: what RFC 2920 allows
// for BDAT, and forbids for DATA, where servers bear it all the same or hang up.
func (k *talk) bursts(c Case, to string) error {
	atOnce := c.AtOnce
	if atOnce == 0 {
		atOnce = c.messages()
	}
	for i := 0; i < c.messages(); i += atOnce {
		last := min(i+atOnce, c.messages())
		var parts []string
		var ends []bool // for each reply: it is to the end of a message
		for j := i; j < last; j++ {
			p, e := wholeMessage(c, j, to)
			parts, ends = append(parts, p...), append(ends, e...)
		}
		if last == c.messages() {
			parts, ends = append(parts, "QUIT\r\n"), append(ends, false)
		}
		if err := k.burst(parts, ends, c.Pieces); err != nil {
			return err
		}
	}
	return nil
}

// wholeMessage is all that a message takes, and for each reply to it whether it is the one that ends the message.
func wholeMessage(c Case, i int, to string) (parts []string, ends []bool) {
	parts = append(parts, "MAIL FROM:<me@client.example>\r\n")
	for _, a := range addresses(c, to) {
		parts = append(parts, "RCPT TO:<"+a+">\r\n")
	}
	ends = make([]bool, len(parts), len(parts)+2)
	body := compose(c, i, to)
	if c.Chunking == 0 {
		return append(parts, "DATA\r\n", string(body)+".\r\n"), append(ends, false, true)
	}
	for len(body) > c.Chunking {
		parts, ends = append(parts, fmt.Sprintf("BDAT %d\r\n%s", c.Chunking, body[:c.Chunking])), append(ends, false)
		body = body[c.Chunking:]
	}
	return append(parts, fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body)), append(ends, true)
}

// burst writes the parts and reads their replies at the same time: both ends may have more to say than a connection holds.
// A server that hangs up has taken what it said it took.
func (k *talk) burst(parts []string, ends []bool, pieces bool) error {
	if !pieces {
		parts = []string{strings.Join(parts, "")}
	}
	wrote := make(chan error, 1)
	go func() {
		for _, p := range parts {
			if _, err := io.WriteString(k.w, p); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for _, end := range ends {
		code, err := k.reply()
		if err != nil {
			return errors.Join(errHungUp, err)
		}
		if end {
			k.count(code, 0)
		}
	}
	return <-wrote
}

// errHungUp: the server closed before it answered all.
var errHungUp = errors.New("the server hung up")

package crossing

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// attempts says the lines of c again and again, AtOnce of them before it reads what is answered. {5-9} stands for a word of five to nine letters,
// another one each time, "@>" for an address at the server's domain, and a BDAT comes with its content.
func (k *talk) attempts(c Case, to string) error {
	var out bytes.Buffer
	asked, words := 0, 0
	flush := func() error {
		if _, err := k.w.Write(out.Bytes()); err != nil {
			return err
		}
		out.Reset()
		for ; asked > 0; asked-- {
			if _, err := k.answer(); err != nil {
				return err
			}
		}
		return nil
	}
	for range c.messages() {
		for _, line := range c.Lines {
			line = wordOf.ReplaceAllStringFunc(line, func(bounds string) string {
				from, to, _ := strings.Cut(strings.Trim(bounds, "{}"), "-")
				least, _ := strconv.Atoi(from) // digits
				most, _ := strconv.Atoi(to)
				words += 7
				return strings.Repeat("abcdefghijklm", most/13+1)[:least+words%(most-least+1)]
			})
			out.WriteString(strings.ReplaceAll(line, "@>", "@"+to+">") + "\r\n")
			var content int
			if n, _ := fmt.Sscanf(line, "BDAT %d", &content); n == 1 {
				out.WriteString(strings.Repeat("z", content))
			}
			if asked++; asked < max(1, c.AtOnce) {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

var wordOf = regexp.MustCompile(`{\d+-\d+}`)

// answer is reply, and an empty answer to whoever asks for more of a login.
func (k *talk) answer() (code int, err error) {
	for {
		if code, err = k.reply(); err != nil || code != 334 {
			return code, err
		}
		if _, err = k.w.Write([]byte("\r\n")); err != nil {
			return 0, err
		}
	}
}

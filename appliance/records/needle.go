package records

import (
	"bytes"
	"strings"
)

// mark is how a parameter stands in a record, for a first look before the record is taken apart.
func mark(name, value string) []byte { return params(nil).add(name, value) }

// Needle is what records are looked through for: it is made once, and takes no record apart that cannot be meant. The zero Needle fits all.
type Needle struct {
	text  []byte // in lower case, escaped as in a parameter
	plain []byte // in lower case, as in the text for people
	marks [][]byte
}

// NewNeedle is of records that say text, be it in the value of a parameter or in their text for people, without regard to the case of ASCII letters, and that have these parameters (an
// empty value asks for nothing). What every record has (seq, prev, box, event, mode, policy, text_sum) is not looked through: half of it is random digits.
func NewNeedle(text string, has ...Param) Needle {
	var n Needle
	if text != "" {
		escaped := mark("x", text)
		n.text = lowered(string(escaped[len(` x="`) : len(escaped)-1]))
		n.plain = lowered(text)
	}
	for _, p := range has {
		if p.Value != "" {
			n.marks = append(n.marks, mark(p.Name, p.Value))
		}
	}
	return n
}

func lowered(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return b
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// common are the parameters that every record has.
var common = strings.Fields("seq prev box event mode policy text_sum")

// In tells whether a record with this canonical form and this text for people fits. It allocates nothing.
func (n *Needle) In(canonical, text []byte) bool {
	for _, m := range n.marks {
		if !bytes.Contains(canonical, m) {
			return false
		}
	}
	if len(n.text) == 0 || contains(text, n.plain) {
		return true
	}
	at := bytes.Index(canonical, []byte(dataBegin))
	if at < 0 || !bytes.HasSuffix(canonical, []byte(dataEnd)) {
		return false
	}
	p := params(canonical[at+len(dataBegin) : len(canonical)-len(dataEnd)])
	if !p.sound() {
		return false
	}
	for {
		name, value, rest, ok := p.next()
		if !ok {
			return false
		}
		if len(value) >= len(n.text) && !isCommon(name) && contains(value, n.text) {
			return true
		}
		p = rest
	}
}

func isCommon(name []byte) bool {
	for _, c := range common {
		if string(name) == c {
			return true
		}
	}
	return false
}

// contains tells whether part, which is in lower case, is in b.
func contains(b, part []byte) bool {
	for i := 0; i+len(part) <= len(b); i++ {
		n := 0
		for n < len(part) && lower(b[i+n]) == part[n] {
			n++
		}
		if n == len(part) {
			return true
		}
	}
	return false
}

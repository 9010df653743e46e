package records

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Param is one parameter. Its order in a record is part of the chain.
type Param struct{ Name, Value string }

// params are parameters as they stand in the line: of each a space, the name, an equals sign, and in quotes the value, cleaned
// and escaped. An empty value is left out. They are written once, where something happened, and copied from then on.
type params []byte

// maxValue bounds a parameter, in bytes, before it is escaped.
const maxValue = 1024

// MaxLine bounds the line of a record, in bytes: a rsyslog with its default of 8 KiB (maxMessageSize) takes 8096 (measured, 8.2302); of what is longer it loses the end or makes
// two messages, and over RELP it acknowledges it all the same.
const MaxLine = 8000

func (p params) begin(name string) params {
	p = append(p, ' ')
	p = append(p, name...)
	return append(p, '=', '"')
}

// add appends a parameter of any value.
func (p params) add(name, value string) params {
	if value == "" {
		return p
	}
	p = p.begin(name)
	value = clean(value)
	from := 0
	for i := range len(value) { // RFC 5424 section 6.3.3: only these three are escaped
		switch value[i] {
		case '"', '\\', ']':
			p = append(append(p, value[from:i]...), '\\')
			from = i
		}
	}
	return append(append(p, value[from:]...), '"')
}

// number appends n, if it is known, which a negative number is not.
func (p params) number(name string, n int64) params {
	if n < 0 {
		return p
	}
	return append(strconv.AppendInt(p.begin(name), n, 10), '"')
}

// share is part/whole with three digits, left out where there is nothing to divide.
func (p params) share(name string, part, whole int64) params {
	if part <= 0 || whole <= 0 {
		return p
	}
	return append(strconv.AppendFloat(p.begin(name), float64(part)/float64(whole), 'f', 3, 64), '"')
}

// counted is number for what goes without saying when it is zero.
func (p params) counted(name string, n int64) params {
	if n == 0 {
		return p
	}
	return p.number(name, n)
}

// time appends a time as Stamp writes it, unless it is zero.
func (p params) time(name string, t time.Time) params {
	if t.IsZero() {
		return p
	}
	return append(t.UTC().AppendFormat(p.begin(name), timeLayout), '"')
}

// endpoint appends an address and a port, if there are any.
func (p params) endpoint(addr, port string, a netip.AddrPort) params {
	if !a.IsValid() {
		return p
	}
	if a.Addr().Zone() != "" { // which could be anything
		p = p.add(addr, a.Addr().String())
	} else {
		p = append(a.Addr().AppendTo(p.begin(addr)), '"')
	}
	return p.number(port, int64(a.Port()))
}

// next cuts the first parameter off; ok is false at the end. value is still escaped.
func (p params) next() (name, value []byte, rest params, ok bool) {
	if len(p) == 0 {
		return nil, nil, nil, false
	}
	name, p, _ = bytes.Cut(p[1:], []byte(`="`))
	end := 0
	for p[end] != '"' {
		if p[end] == '\\' {
			end++
		}
		end++
	}
	return name, p[:end], p[end+1:], true
}

func (p params) list() []Param {
	all := make([]Param, 0, 32)
	for {
		name, value, rest, ok := p.next()
		if !ok {
			return all
		}
		all = append(all, Param{string(name), unescape(value)})
		p = rest
	}
}

func (p params) value(of string) string { return unescape(p.raw(of)) }

// raw is the named value as it stands in the line, nil where there is none.
func (p params) raw(of string) []byte {
	for {
		name, value, rest, ok := p.next()
		if !ok {
			return nil
		}
		if string(name) == of {
			return value
		}
		p = rest
	}
}

func unescape(value []byte) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value)
	}
	var s strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			i++
		}
		s.WriteByte(value[i])
	}
	return s.String()
}

// clean makes a value safe to print wherever it ends up: valid UTF-8, no line ends or other controls, nothing that turns the
// direction of text, and no longer than maxValue. What a client chose (SNI, JA4) passes through here like everything else.
func clean(s string) string {
	if plain(s) { // which nearly all are
		return s
	}
	s = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' || c == '\uFEFF' {
			return unicode.ReplacementChar
		}
		return c
	}, s)
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue-3], "") + "..."
}

// fit shortens the longest values so that all parameters take room bytes at most, which must be enough for short ones.
func (p params) fit(room int) params {
	if len(p) <= room {
		return p
	}
	most, least := 2*maxValue, len("...")
	for most-least > 1 {
		if try := (most + least) / 2; len(p.shortened(try)) <= room {
			least = try
		} else {
			most = try
		}
	}
	return p.shortened(least)
}

// shortened is the parameters with no value that takes more than so many bytes in the line.
func (p params) shortened(most int) (out params) {
	for {
		name, value, rest, ok := p.next()
		if !ok {
			return out
		}
		p = rest
		out = out.begin(string(name))
		if len(value) <= most {
			out = append(append(out, value...), '"')
			continue
		}
		value = bytes.ToValidUTF8(value[:most-len("...")], nil)
		if (len(value)-len(bytes.TrimRight(value, `\\`)))%2 == 1 { // of an escape
			value = value[:len(value)-1]
		}
		out = append(append(out, value...), `..."`...)
	}
}

// plain tells whether s is printable ASCII and short enough: then there is nothing to clean.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= maxValue
}

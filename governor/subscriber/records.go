package subscriber

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxLine is how long a line may be, in bytes; it holds for a record whose quoted fields go over several lines, too.
const MaxLine = 64 << 10

// records reads comma-separated values (RFC 4180), one record after the other, in memory that does not grow with the
// file. Blanks around a field do not count; blank lines and those that begin with '#' are passed over. What is wrong is
// told with its place and costs one line.
type records struct {
	r    *bufio.Reader
	back []byte // lines to be read once more, before those of r
	no   int    // number of the line last read, from 1
	next int    // number of the one that is read next
	then int    // what next is after those in back
	bad  func(line, column int, format string, args ...any)
	err  error // why r ended, other than io.EOF

	record []byte // the one last read, without the end of its line
	line   int    // its number
	fields []field
	lines  []byte // a record of several lines
	text   []byte // values that differ from what stands in the file
}

// field is a value, and where it begins in the record.
type field struct {
	value []byte
	at    int
}

var (
	bom       = []byte("\ufeff")
	newline   = []byte{'\n'}
	errTooBig = fmt.Errorf("larger than %d MiB", MaxSize>>20)
)

func newRecords(r io.Reader, bad func(line, column int, format string, args ...any)) *records {
	// One byte more than allowed, so that a file that is too large can be told from one that is just not.
	s := &records{r: bufio.NewReaderSize(&limited{r: r, left: MaxSize + 1}, MaxLine), next: 1, bad: bad}
	if b, _ := s.r.Peek(len(bom)); bytes.Equal(b, bom) {
		s.r.Discard(len(bom))
	}
	return s
}

// limited fails with errTooBig after left bytes.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b[:min(len(b), l.left)])
	if l.left -= n; l.left == 0 {
		return n, errTooBig
	}
	return n, err
}

// read gives the next record that is in order; false: there is none, see err.
func (s *records) read() bool {
	for {
		line, ok := s.readLine()
		if !ok {
			return false
		}
		s.line = s.no
		if line == nil || !s.sound(line) || len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		switch s.split(line) {
		case whole:
			return true
		case open:
			if s.readOn(line) {
				return true
			}
		}
	}
}

// readOn reads the lines over which a record goes on that begins with first. If they do not end it they are read again,
// as lines of their own.
func (s *records) readOn(first []byte) bool {
	s.lines = append(s.lines[:0], first...)
	end := len(first)
	s.split(s.lines) // the next line overwrites first
	for {
		line, ok := s.readLine()
		s.lines = append(s.lines, line...)
		if !ok || line == nil || len(s.lines) > MaxLine {
			break
		}
		if !s.sound(line) {
			return false
		}
		if bytes.IndexByte(line, '"') < 0 {
			continue
		}
		switch s.split(s.lines) {
		case whole:
			return true
		case broken:
			s.again(s.lines[end:])
			return false
		}
	}
	no, column := s.place(s.fields[len(s.fields)-1].at)
	s.bad(no, column, "this quote is not closed (%s)", quoting)
	s.again(s.lines[end:])
	return false
}

// again has lines read once more that followed upon s.line.
func (s *records) again(lines []byte) {
	if len(s.back) == 0 {
		s.then = s.next
	}
	s.back = append(bytes.Clone(lines), s.back...)
	if s.next = s.line + 1; len(s.back) == 0 {
		s.next = s.then
	}
}

// readLine gives a line with its end; nil if it is too long, which is told. False: there is none.
func (s *records) readLine() (line []byte, ok bool) {
	s.no = s.next
	s.next++
	if n := len(s.back); n > 0 {
		if i := bytes.IndexByte(s.back, '\n'); i >= 0 {
			n = i + 1
		}
		line, s.back = s.back[:n], s.back[n:]
		if len(s.back) == 0 {
			s.next = s.then
		}
		return line, true
	}
	line, err := s.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.bad(s.no, 1, "longer than %d KiB; lines end in LF or CR LF", MaxLine>>10)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = s.r.ReadSlice('\n')
		}
		line = nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return nil, false
	}
	return line, line == nil || len(line) > 0
}

// sound tells whether a line is text.
func (s *records) sound(line []byte) bool {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		s.bad(s.no, i+1, "a zero byte")
		return false
	}
	if !utf8.Valid(line) {
		for i := 0; i < len(line); {
			r, n := utf8.DecodeRune(line[i:])
			if r == utf8.RuneError && n <= 1 {
				s.bad(s.no, i+1, "not UTF-8: byte 0x%02x", line[i])
				break
			}
			i += n
		}
		return false
	}
	for at := 0; ; at++ {
		i := bytes.IndexByte(line[at:], '\r')
		if i < 0 {
			return true
		}
		if at += i; at < len(line)-2 || at == len(line)-2 && line[at+1] != '\n' {
			s.bad(s.no, at+1, "a carriage return without a line feed; lines end in LF or CR LF")
			return false
		}
	}
}

// What split finds.
type outcome int

const (
	broken outcome = iota // it was told why
	open                  // a quoted field goes on
	whole
)

const quoting = `a field with a quote is written "like ""this"""`

// split finds the fields of a record.
func (s *records) split(record []byte) outcome {
	record = bytes.TrimSuffix(record, newline)
	record = bytes.TrimSuffix(record, []byte{'\r'})
	s.record, s.fields, s.text = record, s.fields[:0], s.text[:0]
	for at := 0; ; {
		for at < len(record) && (record[at] == ' ' || record[at] == '\t') {
			at++
		}
		one := field{at: at}
		if at < len(record) && record[at] == '"' {
			var closed bool
			if one.value, at, closed = s.quoted(at + 1); !closed {
				s.fields = append(s.fields, one)
				return open
			}
			if at < len(record) && record[at] != ',' {
				return s.misquoted(one.at)
			}
		} else {
			n := bytes.IndexByte(record[at:], ',')
			if n < 0 {
				n = len(record) - at
			}
			if one.value = record[at : at+n]; bytes.IndexByte(one.value, '"') >= 0 {
				return s.misquoted(one.at)
			}
			at += n
		}
		one.value = bytes.TrimSpace(one.value)
		s.fields = append(s.fields, one)
		if at == len(record) {
			return whole
		}
		at++ // the comma
	}
}

// quoted reads a value from after its quote up to the comma or the end of the record.
func (s *records) quoted(at int) (value []byte, next int, closed bool) {
	from := len(s.text)
	for {
		n := bytes.IndexByte(s.record[at:], '"')
		if n < 0 {
			return nil, at, false
		}
		s.text = append(s.text, s.record[at:at+n]...)
		if at += n + 1; at == len(s.record) || s.record[at] != '"' {
			break
		}
		s.text = append(s.text, '"')
		at++
	}
	for at < len(s.record) && (s.record[at] == ' ' || s.record[at] == '\t') {
		at++
	}
	value = bytes.ReplaceAll(s.text[from:], []byte("\r\n"), newline)
	return value, at, true
}

func (s *records) misquoted(at int) outcome {
	line, column := s.place(at)
	s.bad(line, column, "a quote in the middle of a field (%s)", quoting)
	return broken
}

// place is the line and the column, from 1, of what stands at a place of the record.
func (s *records) place(at int) (line, column int) {
	before := s.record[:at]
	return s.line + bytes.Count(before, newline), at - bytes.LastIndexByte(before, '\n')
}

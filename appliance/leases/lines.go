package leases

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// errLong is a line that nobody reads to its end.
var errLong = fmt.Errorf("is longer than %d bytes", maxLine)

// parser reads the lines of one file from its beginning, in order, into a table. An error concerns the one line; it says what
// is wrong, without file and line.
type parser interface {
	line(text string, into *table) error
}

// newParser makes the parser of a file's format.
func newParser(f Format) parser {
	if f == KeaCSV {
		return &kea{}
	}
	return dnsmasq{}
}

// reading is how far a file was read.
type reading struct {
	parser parser
	file   string // its name, for messages
	offset int64  // behind the last whole line
	lines  int    // whole lines so far
	bad    int    // of them, not understood
	first  string // what is wrong with the first of those
	broken bool   // there is more behind the last whole line: a line that is still being written
}

// read takes in the whole lines from in, which continues at r.offset. It returns only errors of in.
func (r *reading) read(in io.Reader, into *table) error {
	buffered := bufio.NewReaderSize(in, maxLine)
	r.broken = false
	for {
		text, n, err := readLine(buffered)
		switch {
		case errors.Is(err, io.EOF):
			r.broken = n > 0
			return nil
		case err != nil && !errors.Is(err, errLong):
			return err
		case err == nil:
			err = r.parser.line(text, into)
		}
		r.offset += n
		r.lines++
		if err != nil {
			if r.bad++; r.first == "" {
				r.first = fmt.Sprintf("%s:%d: %v", r.file, r.lines, err)
			}
		}
	}
}

// readLine reads up to and with the next line feed, of which and of a carriage return before it the text is freed. n is what
// was read. At the end of the file the error is io.EOF, n then the length of a line without end.
func readLine(in *bufio.Reader) (text string, n int64, err error) {
	b, err := in.ReadSlice('\n')
	n = int64(len(b))
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			b, err = in.ReadSlice('\n')
			n += int64(len(b))
		}
		if err == nil {
			err = errLong
		}
		return "", n, err
	}
	if err != nil {
		return "", n, err
	}
	b = b[:len(b)-1]
	if len(b) > 0 && b[len(b)-1] == '\r' {
		b = b[:len(b)-1]
	}
	return string(b), n, nil
}

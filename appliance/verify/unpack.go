package verify

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLine bounds a line of a log, in bytes. Of a longer one only the beginning is looked at.
const maxLine = 1 << 20

// packings that are known by their first bytes and not read here, with what unpacks them.
var packings = []struct{ magic, with string }{
	{"\x28\xb5\x2f\xfd", "zstd -d"},
	{"\xfd7zXZ\x00", "xz -d"},
	{"\x04\x22\x4d\x18", "lz4 -d"},
	{"LZIP", "lzip -d"},
	{"\x1f\x9d", "uncompress"},
	{"7z\xbc\xaf\x27\x1c", "7z x"},
	{"PK\x03\x04", "unzip"},
}

// text is a file of lines, unpacked where it was packed with gzip or bzip2, whatever its name.
type text struct {
	file   *os.File
	in     *bufio.Reader
	line   int   // the number of the next one, from 1
	at     int64 // where it begins, in bytes of the text
	binary bool  // it does not begin as text does
	buf    []byte
}

// openText opens a file. unread says why nothing can be read of it, "" if it can; err is that of a file that cannot be opened.
func openText(path string) (t *text, unread string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	raw := bufio.NewReaderSize(f, 64<<10)
	head, err := raw.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err.Error(), nil
	}
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			f.Close()
			return nil, fmt.Sprintf("it is packed, and was not read: unpack it first (%s)", p.with), nil
		}
	}
	t = &text{file: f, in: raw, line: 1}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(raw)
		if err != nil {
			f.Close()
			return nil, fmt.Sprintf("nothing of it can be unpacked: %v", err), nil
		}
		t.in = bufio.NewReaderSize(z, 64<<10)
	case bytes.HasPrefix(head, []byte("BZh")):
		t.in = bufio.NewReaderSize(bzip2.NewReader(raw), 64<<10)
	}
	head, _ = t.in.Peek(512) // an error comes again
	t.binary = bytes.IndexByte(head, 0) >= 0
	return t, "", nil
}

// next is the next line without its line feed, its number and where it begins, valid until the call after; long: it is longer than maxLine, and this is its beginning. err is io.EOF at
// the end; with another one, what was read of the line is lost.
func (t *text) next() (line []byte, n int, at int64, long bool, err error) {
	n, at = t.line, t.at
	t.buf = t.buf[:0]
	for {
		part, err := t.in.ReadSlice('\n')
		t.at += int64(len(part))
		room := maxLine - len(t.buf)
		long = long || len(part) > room
		t.buf = append(t.buf, part[:min(room, len(part))]...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && t.at > at: // the last line, without its end
		case err != nil:
			return nil, n, at, false, err
		}
		t.line++
		return bytes.TrimSuffix(t.buf, []byte{'\n'}), n, at, long, nil
	}
}

func (t *text) close() { t.file.Close() } // it was read only

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A file of budgets is a row of frames and nothing else. A frame is a header of headerLen bytes and a payload:
//
//	0  magic, 4 bytes
//	4  version of the form of the payload
//	5  kind
//	6  zero, 2 bytes
//	8  length of the payload, 4 bytes, big-endian like all numbers here
//	12 records in the payload, 4 bytes
//	16 CRC-32C of the payload
//	20 CRC-32C of the 20 bytes before
//
// Both sums begin with the salt, a random number in the file's name. A payload holds names that subscribers may choose;
// since they do not know the salt, nothing they choose is taken for a frame when one is looked for behind damage.
const (
	headerLen = 24
	version   = 1

	kindRecords byte = 1
	kindEnd     byte = 2 // the last frame of a snapshot: it is whole

	// maxPayload bounds what a reader takes for a frame. We write frameFull and at most one record more.
	maxPayload = 1 << 20
	frameFull  = 32 << 10

	// maxUnread is how many places of a file may be unreadable (each 4 KiB, and a disk may try each for seconds) before
	// the rest is given up.
	maxUnread = 64
)

var (
	magic      = []byte("MWf\xb5")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errOtherVersion = errors.New("written by another version")
)

// seal writes the header of the frame that begins at b[from:], whose payload is there already.
func seal(b []byte, from int, kind byte, records int, salt uint32) {
	h, payload := b[from:from+headerLen], b[from+headerLen:]
	copy(h, magic)
	h[4], h[5], h[6], h[7] = version, kind, 0, 0
	binary.BigEndian.PutUint32(h[8:], uint32(len(payload)))
	binary.BigEndian.PutUint32(h[12:], uint32(records))
	binary.BigEndian.PutUint32(h[16:], crc32.Update(salt, castagnoli, payload))
	binary.BigEndian.PutUint32(h[20:], crc32.Update(salt, castagnoli, h[:20]))
}

type header struct {
	version, kind byte
	length        int
	records       uint64
	sum           uint32
}

func parseHeader(h []byte, salt uint32) (header, bool) {
	if !bytes.Equal(h[:4], magic) || crc32.Update(salt, castagnoli, h[:20]) != binary.BigEndian.Uint32(h[20:]) {
		return header{}, false
	}
	n := binary.BigEndian.Uint32(h[8:])
	return header{version: h[4], kind: h[5], length: int(min(n, maxPayload+1)), records: uint64(binary.BigEndian.Uint32(h[12:])),
		sum: binary.BigEndian.Uint32(h[16:])}, n <= maxPayload
}

// walked is what walk found.
type walked struct {
	end   int64  // behind the last good frame
	lost  uint64 // records between good frames that are damaged; a place where nobody can tell how many counts as one
	tail  uint64 // the same, behind the last good frame: what a power cut does to a log
	whole bool   // the last good frame is the end of a snapshot
	first error  // the first damage between good frames
	blind bool   // the disk gave an error, so that what is there may be good
}

// walk gives every good frame of a file to each, in order, and goes round damage. The payload is valid until each
// returns. An error is what each returned.
func walk(f io.ReaderAt, size int64, salt uint32, each func(kind byte, payload []byte, records uint64) error) (walked, error) {
	var w walked
	var bad struct { // the damage since the last good frame
		records uint64
		first   error
		looking bool
	}
	damage := func(records uint64, at int64, why error) {
		bad.records += records
		if bad.first == nil {
			bad.first = fmt.Errorf("at byte %d: %w", at, why)
		}
	}
	win := &window{f: f, size: size}
	unread := 0
	for at := int64(0); at < size; {
		var err error
		h, ok, whole := header{}, false, false
		var b []byte
		if at+headerLen <= size {
			if b, err = win.bytes(at, headerLen); err == nil {
				h, ok = parseHeader(b, salt)
			}
		}
		if whole = ok && at+headerLen+int64(h.length) <= size; whole {
			b, err = win.bytes(at+headerLen, h.length)
		}
		switch {
		case err != nil: // of the disk; the next block may be readable
			damage(1, at, err)
			w.blind = true
			if unread++; unread >= maxUnread {
				at = size
			} else {
				at, bad.looking = at&^4095+4096, true
			}
			continue
		case !ok:
			if !bad.looking {
				damage(1, at, errors.New("no frame"))
			}
			bad.looking = true
			if at, err = win.find(at+1, magic); err != nil {
				damage(1, at, err)
				w.blind = true
				if unread++; unread >= maxUnread {
					at = size
				} else {
					at = at&^4095 + 4096
				}
			}
			continue
		case !whole:
			damage(h.records, at, errors.New("the file ends within a frame"))
			bad.looking = true
			at++ // the length is right, but what was cut may have been written over
			continue
		}
		next := at + headerLen + int64(h.length)
		bad.looking = false
		if crc32.Update(salt, castagnoli, b) != h.sum {
			damage(h.records, at, errors.New("the checksum of a frame is wrong"))
			at = next
			continue
		}
		if h.version != version {
			damage(h.records, at, fmt.Errorf("%w (form %d)", errOtherVersion, h.version))
		} else if err := each(h.kind, b, h.records); err != nil {
			return w, fmt.Errorf("at byte %d: %w", at, err)
		}
		w.whole = h.kind == kindEnd && h.version == version
		w.end, at = next, next
		if w.lost += bad.records; w.first == nil {
			w.first = bad.first
		}
		bad.records, bad.first = 0, nil
	}
	w.tail = bad.records
	return w, nil
}

// window reads a file in pieces that are larger than a frame.
type window struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	at   int64 // where buf begins
}

const windowSize = 256 << 10

// bytes is n bytes of the file at off, which must lie within it; they are valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		if err := w.fill(off, n); err != nil {
			return nil, err
		}
	}
	from := int(off - w.at)
	return w.buf[from : from+n : from+n], nil
}

func (w *window) fill(off int64, n int) error {
	want := int(min(int64(max(n, windowSize)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, 0, want)
	}
	got, err := w.f.ReadAt(w.buf[:want], off)
	w.buf, w.at = w.buf[:got], off
	if got >= n {
		return nil
	}
	return err
}

// find is where the next needle begins at or behind off; the end of the file if nowhere. On an error it is the place
// that cannot be read.
func (w *window) find(off int64, needle []byte) (int64, error) {
	for off+int64(len(needle)) <= w.size {
		if err := w.fill(off, len(needle)); err != nil {
			return off, err
		}
		if i := bytes.Index(w.buf, needle); i >= 0 {
			return off + int64(i), nil
		}
		off += int64(len(w.buf) - len(needle) + 1)
	}
	return w.size, nil
}

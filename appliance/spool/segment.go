package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

const (
	suffix       = ".spool"
	unreadable   = ".unreadable" // after it: a segment that could not be read
	lineOverhead = 10            // checksum, space and line feed
	chunk        = 256 << 10
	maxTrailer   = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is a file of the spool. Spool.disk guards it; held and version change under Spool.mu, too, so that either is enough to look at them.
type segment struct {
	path      string
	after     uint64 // the record before its first
	afterHash string
	began     time.Time // when it was made, of the one that is written to
	bad       int       // damaged lines found when it was read
	held

	file    file // nil: nobody writes to it any more
	synced  held // as it was when it was last on the disk
	dirty   bool
	sealed  bool
	version int // counts rewritings
}

// held is what a segment holds.
type held struct {
	size     int64 // bytes
	first    uint64
	last     uint64 // numbers; while it is empty, last is that of the record before
	lastHash string
	n        [classes]int
	oldest   [classes]int64 // milliseconds since 1970
	newest   [classes]int64
}

func (h *held) count() int { return h.n[0] + h.n[1] + h.n[2] }

func (h *held) add(it *Item) {
	if h.count() == 0 {
		h.first = it.Seq
	}
	if h.n[it.kind] == 0 || it.at < h.oldest[it.kind] {
		h.oldest[it.kind] = it.at
	}
	if h.n[it.kind] == 0 || it.at > h.newest[it.kind] {
		h.newest[it.kind] = it.at
	}
	h.last, h.lastHash = it.Seq, it.hash
	h.n[it.kind]++
}

func appendSummed(b, line []byte) []byte {
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(line, castagnoli))
	return append(append(b, line...), '\n')
}

// summed is what stands behind the checksum of a line (without its line feed), false where it does not fit: as it is written, since another form of the same number is a changed byte, too.
func summed(line []byte) ([]byte, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	var want [8]byte
	hex.Encode(want[:], binary.BigEndian.AppendUint32(nil, crc32.Checksum(line[9:], castagnoli)))
	return line[9:], string(want[:]) == string(line[:8])
}

func segmentPath(dir string, after uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", after+1, suffix))
}

func newSegment(o Options, after uint64, hash string) (*segment, error) {
	g := &segment{path: segmentPath(o.Dir, after), after: after, afterHash: hash, began: o.Now()}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil { // there was none when the spool was opened
		return nil, err
	}
	f, err := o.create(g.path)
	if errors.Is(err, os.ErrExist) { // one from which nothing could be read, or that holds nothing
		if err = os.Remove(g.path); err == nil {
			f, err = o.create(g.path)
		}
	}
	if err != nil {
		return nil, err
	}
	header := appendSummed(nil, g.header())
	if n, err := f.Write(header); err != nil || n < len(header) {
		return nil, errors.Join(orShort(err), f.Close(), os.Remove(g.path))
	}
	g.file, g.size, g.dirty = f, int64(len(header)), true
	g.last, g.lastHash = after, hash
	g.synced = g.held
	if err := o.syncDir(o.Dir); err != nil { // nobody is to write to a file that a power cut may take
		return nil, errors.Join(err, f.Close(), os.Remove(g.path))
	}
	return g, nil
}

func (g *segment) header() []byte {
	hash := g.afterHash
	if hash == "" {
		hash = "-"
	}
	return fmt.Appendf(nil, "# after %d %s", g.after, hash)
}

func orShort(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

// append writes items until the segment has limit bytes or more, with one write, and says how many, and what it holds then. After an error the file is
// as it was before.
func (g *segment) append(items []Item, limit int64) (n int, next held, err error) {
	next = g.held
	var b []byte
	for n < len(items) && (n == 0 || next.size < limit) {
		from := len(b)
		b = appendSummed(b, items[n].Line)
		next.size += int64(len(b) - from)
		if items[n].hash == "" && (n+1 == len(items) || next.size >= limit) { // the last one here says what comes after
			if l, err := records.ParseLine(items[n].Line); err == nil {
				items[n].hash = l.Hash()
			}
		}
		next.add(&items[n])
		n++
	}
	if w, err := g.file.Write(b); err != nil || w < len(b) {
		return 0, g.held, errors.Join(orShort(err), g.cut(g.size))
	}
	g.dirty = true
	return n, next, nil
}

// cut takes the file back to size. One that cannot be taken back is not written to any more: its end is found when it is read.
func (g *segment) cut(size int64) error {
	err := g.file.Truncate(size)
	if err == nil {
		_, err = g.file.Seek(size, io.SeekStart)
	}
	if err != nil {
		g.close()
	}
	return err
}

func (g *segment) close() {
	if g.file != nil {
		g.file.Close() // what counts was said by Sync
		g.file = nil
	}
}

// seal ends the segment with what it holds, and gives that. It stays open until it is on the disk.
func (g *segment) seal() (next held, err error) {
	if next = g.held; g.sealed {
		return next, nil
	}
	b := appendSummed(nil, g.trailer())
	if n, err := g.file.Write(b); err != nil || n < len(b) {
		return next, errors.Join(orShort(err), g.cut(g.size))
	}
	next.size += int64(len(b))
	g.sealed, g.dirty = true, true
	return next, nil
}

const trailerForm = "# holds %d %d %s sessions %d %d %d others %d %d %d decisions %d %d %d"

func (h *held) trailer() []byte {
	hash := h.lastHash
	if hash == "" {
		hash = "-"
	}
	return fmt.Appendf(nil, trailerForm, h.first, h.last, hash,
		h.n[0], h.oldest[0], h.newest[0], h.n[1], h.oldest[1], h.newest[1], h.n[2], h.oldest[2], h.newest[2])
}

// loadSegment finds out what a segment holds: from its last line, or else by reading all of it.
func loadSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	g := &segment{path: path}
	name := strings.TrimSuffix(filepath.Base(path), suffix)
	if first, err := strconv.ParseUint(name, 10, 64); err == nil && first > 0 {
		g.after = first - 1
	}
	g.size = info.Size()
	if line, ok := (&lines{file: f, to: g.size}).next(); ok && line[0] == '#' {
		g.note(line)
	}
	from := max(g.size-maxTrailer, 0)
	end := make([]byte, g.size-from)
	if _, err := f.ReadAt(end, from); err == nil && g.parseTrailer(end) {
		g.sealed = true
		return g, nil
	}
	g.held = held{size: g.size}
	r := lines{file: f, to: g.size}
	for {
		line, ok := r.next()
		if line == nil {
			break
		}
		if !ok {
			g.bad++
			continue
		}
		g.note(line)
	}
	if r.err != nil {
		return nil, fmt.Errorf("read %s: %w", path, r.err)
	}
	if r.torn > 0 { // the usual end of a process or a machine that died
		g.size -= r.torn
		os.Truncate(path, g.size) // nobody reads beyond size nor writes to it: where it cannot be cut the next life tries again
	}
	return g, nil
}

// note takes a sound line into account.
func (g *segment) note(line []byte) {
	if line[0] == '#' {
		var hash string
		if n, _ := fmt.Sscanf(string(line), "# after %d %s", &g.after, &hash); n == 2 && hash != "-" {
			g.afterHash = hash
		}
		if g.count() == 0 {
			g.last, g.lastHash = g.after, g.afterHash
		}
		return
	}
	l, err := records.ParseLine(line)
	if err != nil || l.Seq <= g.last {
		g.bad++
		return
	}
	g.add(&Item{Seq: l.Seq, kind: classOf(l.Kind()), at: l.Time.UnixMilli(), hash: l.Hash()})
}

func (g *segment) parseTrailer(end []byte) bool {
	if len(end) == 0 || end[len(end)-1] != '\n' {
		return false
	}
	end = end[:len(end)-1]
	line, ok := summed(end[bytes.LastIndexByte(end, '\n')+1:])
	if !ok {
		return false
	}
	h := held{size: g.size}
	n, _ := fmt.Sscanf(string(line), trailerForm, &h.first, &h.last, &h.lastHash,
		&h.n[0], &h.oldest[0], &h.newest[0], &h.n[1], &h.oldest[1], &h.newest[1], &h.n[2], &h.oldest[2], &h.newest[2])
	if n != 12 {
		return false
	}
	if h.lastHash == "-" {
		h.lastHash = ""
	}
	g.held = h
	return true
}

// lines reads a file line by line, from an offset up to another.
type lines struct {
	file   io.ReaderAt
	at, to int64 // the next line; the end of what is to be read
	buf    []byte
	have   []byte // of buf, not yet given out
	torn   int64  // bytes of the last line, without a line feed
	err    error  // why it ended before its end
}

// next is the next line's content, which is valid until the call after; nil at the end. ok is false where its checksum does not fit.
func (r *lines) next() (line []byte, ok bool) {
	for {
		if i := bytes.IndexByte(r.have, '\n'); i >= 0 {
			line, r.have = r.have[:i], r.have[i+1:]
			r.at += int64(i + 1)
			content, ok := summed(line)
			if !ok {
				return []byte{}, false
			}
			return content, true
		}
		if r.buf == nil {
			r.buf = make([]byte, chunk)
		}
		n := copy(r.buf, r.have)
		room := min(int64(len(r.buf)-n), r.to-r.at-int64(n))
		if room <= 0 {
			if n == len(r.buf) { // no line is so long: damaged
				r.at, r.have = r.at+int64(n), nil
				return []byte{}, false
			}
			r.torn, r.have = int64(n), r.buf[:n]
			return nil, false
		}
		m, err := r.file.ReadAt(r.buf[n:n+int(room)], r.at+int64(n))
		r.have = r.buf[:n+m]
		if m == 0 {
			if !errors.Is(err, io.EOF) {
				r.err = err
			}
			r.torn = int64(n)
			return nil, false
		}
	}
}

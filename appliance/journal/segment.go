package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// The two families of files.
const (
	recordsFamily = "records"
	inputsFamily  = "inputs"
)

const (
	magic     = "mailweir journal 1 "
	frameHead = 8
	maxFrame  = 4 << 20
	trailer   = "mwj-end\n" // the end of a file that is complete, behind the length of its last frame
)

// The first byte of a payload says what it is.
const (
	rowRecord  = 'R'
	rowStub    = 'S'
	rowSummary = 'F'
	rowInputs  = 'J'
	rowBegin   = 'C' // inputs, with one from which a tape can be played: see governor.Op.Begins

	// The same with states in JSON, as the first version wrote them. Since then states are binary.
	rowInputsOlder = 'I'
	rowBeginOlder  = 'B'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// summary is what a file holds, without its rows. Times are Unix milliseconds; rows that are held beyond their time count
// only in Held.
type summary struct {
	Sessions      int    `json:"sessions,omitempty"` // SESSION records; in a file of inputs: frames
	OldestSession int64  `json:"oldest_session,omitempty"`
	Others        int    `json:"others,omitempty"` // records of all other kinds
	OldestOther   int64  `json:"oldest_other,omitempty"`
	Held          int    `json:"held,omitempty"`
	Stubs         int    `json:"stubs,omitempty"`
	Oldest        int64  `json:"oldest,omitempty"` // of anything, stubs too
	Newest        int64  `json:"newest,omitempty"`
	FirstSeq      uint64 `json:"first_seq,omitempty"`
	LastSeq       uint64 `json:"last_seq,omitempty"`
	Begins        int64  `json:"begins,omitempty"` // inputs: the file begins with something from which a tape can be played, of this time
}

func (s *summary) rows() int { return s.Sessions + s.Others + s.Held }

// oldestRow is the time of the oldest row that is not held beyond its time; 0: there is none.
func (s *summary) oldestRow() int64 {
	if s.Sessions > 0 && (s.Others == 0 || s.OldestSession < s.OldestOther) {
		return s.OldestSession
	}
	return s.OldestOther
}

// at notes a time that something in the file is of.
func (s *summary) at(ms int64) {
	if s.Oldest == 0 || ms < s.Oldest {
		s.Oldest = ms
	}
	s.Newest = max(s.Newest, ms)
}

func (s *summary) numbers(first, last uint64) {
	if s.FirstSeq == 0 {
		s.FirstSeq = first
	}
	s.LastSeq = last
}

// segment is a file of the journal.
type segment struct {
	family string
	number int
	path   string
	sum    summary
	size   int64
	f      *os.File // nil: complete
	dirty  bool     // written to since it was last synced
}

func segmentPath(dir, family string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%08d.seg", family, number))
}

// segmentsIn lists the files of a family, in their order.
func segmentsIn(dir, family string) ([]*segment, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*segment
	for _, e := range names {
		rest, ok := strings.CutPrefix(e.Name(), family+"-")
		digits, seg := strings.CutSuffix(rest, ".seg")
		n, err := strconv.Atoi(digits)
		if ok && seg && err == nil {
			all = append(all, &segment{family: family, number: n, path: filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b *segment) int { return a.number - b.number })
	return all, nil
}

// begin makes a new file.
func begin(dir, family string, number int) (*segment, error) {
	s := &segment{family: family, number: number, path: segmentPath(dir, family, number)}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s.f = f
	err = s.write(appendFrame(nil, []byte(magic+family+"\n")))
	if err == nil {
		err = durable.SyncDir(dir) // or a power cut may take the file, whatever of it was synced
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(s.path))
	}
	return s, nil
}

// write appends frames. What an error left half written is written over by the next.
func (s *segment) write(frames []byte) error {
	n, err := s.f.WriteAt(frames, s.size)
	s.dirty = true
	if err != nil {
		return err
	}
	s.size += int64(n)
	return nil
}

func (s *segment) sync() error {
	if s.f == nil || !s.dirty {
		return nil
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// seal completes the file.
func (s *segment) seal() error {
	end, err := ending(&s.sum)
	if err != nil {
		return err
	}
	rows := s.size
	if err = s.write(end); err == nil {
		err = s.f.Truncate(s.size) // what a write that failed left behind
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil { // it goes on without its end, as far as the disk lets it
		s.size = rows
		return errors.Join(err, s.f.Truncate(rows))
	}
	// By the open file, which may have lost its name: it is complete whatever comes of this.
	err = errors.Join(s.sum.date(fmt.Sprintf("/proc/self/fd/%d", s.f.Fd())), s.f.Close())
	s.f = nil
	return err
}

func (s *segment) dated() error { return s.sum.date(s.path) }

// date has the file say that it was last written at the newest moment that is in it, whenever it was completed or written anew: once it cannot be read that is all there is to tell its time by.
func (s *summary) date(path string) error {
	if s.Newest == 0 {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	newest := time.UnixMilli(s.Newest)
	if !newest.Before(info.ModTime()) { // as by a clock that was ahead
		return nil
	}
	return os.Chtimes(path, newest, newest)
}

// ending is what stands at the end of a complete file.
func ending(sum *summary) ([]byte, error) {
	b, err := json.Marshal(sum)
	if err != nil {
		return nil, err
	}
	frame := appendFrame(nil, append([]byte{rowSummary}, b...))
	return append(binary.LittleEndian.AppendUint32(frame, uint32(len(frame))), trailer...), nil
}

// peek reads the summary of a complete file; false: it is not complete.
func (s *segment) peek() (complete bool, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	s.size = info.Size()
	end := make([]byte, 4+len(trailer))
	if _, err := f.ReadAt(end, s.size-int64(len(end))); err != nil || string(end[4:]) != trailer {
		return false, ignoreEOF(err, s.size < int64(len(end)))
	}
	n := int64(binary.LittleEndian.Uint32(end))
	at := s.size - int64(len(end)) - n
	if n < frameHead || n > maxFrame || at < 0 {
		return false, nil
	}
	frame := make([]byte, n)
	if _, err := f.ReadAt(frame, at); err != nil {
		return false, err
	}
	payload, bad := frameAt(frame, 0)
	if bad != "" || len(payload) == 0 || payload[0] != rowSummary || json.Unmarshal(payload[1:], &s.sum) != nil {
		return false, nil
	}
	return true, nil
}

func ignoreEOF(err error, short bool) error {
	if short || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// frameAt is the payload of the frame at an offset; bad says what is wrong with it. "torn": the file ends in it.
func frameAt(data []byte, at int) (payload []byte, bad string) {
	if len(data)-at < frameHead {
		return nil, torn
	}
	n := int(binary.LittleEndian.Uint32(data[at:]))
	switch {
	case n > maxFrame, n == 0:
		return nil, impossible
	case len(data)-at-frameHead < n:
		return nil, torn
	}
	payload = data[at+frameHead : at+frameHead+n]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[at+4:]) {
		return payload, damaged
	}
	return payload, ""
}

const (
	torn       = "the file ends within a frame"
	damaged    = "a frame's checksum is wrong"
	unended    = "what stands behind the last frame is not the end of a complete file"
	impossible = "a frame's length is not possible"
)

// frames gives every sound frame of a file's content behind the first, with its offset. Where something is damaged it gives that stretch,
// and what is wrong with it, and goes on with the next sound frame. whole is where the last sound one ends; end is the offset of the
// summary, 0 where there is none or something comes behind it.
func frames(data []byte, give func(at int, payload []byte, bad string) error) (whole, end int, err error) {
	for at := 0; at < len(data); {
		if end > 0 && string(data[at:]) == string(binary.LittleEndian.AppendUint32(nil, uint32(at-end)))+trailer {
			return len(data), end, nil
		}
		payload, bad := frameAt(data, at)
		if bad != "" {
			next := resume(data, at+1)
			switch {
			case end > 0 && next == len(data): // what is half written is the end itself
				return whole, end, nil
			case next < len(data) && bad == torn:
				bad = impossible
			case next == len(data) && !slices.ContainsFunc(data[at:], func(b byte) bool { return b != 0 }):
				bad = torn // a file system that had the length on the disk, and not the content
			}
			if err := give(at, data[at:next], bad); err != nil {
				return whole, end, err
			}
			at = next
			continue
		}
		switch {
		case at == 0 && !strings.HasPrefix(string(payload), magic):
			return 0, 0, give(0, nil, "no file of a journal of this version")
		case at == 0:
		case payload[0] == rowSummary:
			end = at
		default:
			end = 0
			if err := give(at, payload, ""); err != nil {
				return whole, end, err
			}
		}
		at += frameHead + len(payload)
		whole = at
	}
	return whole, end, nil
}

// resume is where the next sound frame begins, from an offset on; the end of data where there is none. The text of a record has no zero
// bytes, as the length of a frame has, so that nobody can write a frame into it.
func resume(data []byte, from int) int {
	for at := from; at < len(data)-frameHead; at++ {
		if data[at+3] == 0 && isRow(data[at+frameHead]) { // a length of less than 16 MiB
			if _, bad := frameAt(data, at); bad == "" {
				return at
			}
		}
	}
	return len(data)
}

func isRow(b byte) bool {
	switch b {
	case rowRecord, rowStub, rowSummary, rowInputs, rowBegin, rowInputsOlder, rowBeginOlder:
		return true
	}
	return false
}

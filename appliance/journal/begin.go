package journal

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// Begin says where a journal begins, since its first files went on time: without it, files that somebody removed would look the same.
type Begin struct {
	After uint64 // the last number of which not even a stub is left
	Hash  string // of that record, hexadecimal; "": not known
}

const (
	beginFile  = "begin"
	beginMagic = "mailweir-journal-begin-1"
)

// BeginOf is what a journal's directory says of where it begins; fs.ErrNotExist where it says nothing, as one of which no file has gone.
func BeginOf(dir string) (b Begin, err error) {
	path := filepath.Join(dir, beginFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	var magic, sum string
	if n, _ := fmt.Sscanf(string(data), "%s %d %s %s", &magic, &b.After, &b.Hash, &sum); n != 4 || magic != beginMagic || string(data) != b.line() {
		return Begin{}, fmt.Errorf("%s is damaged", path)
	}
	b.Hash = strings.TrimPrefix(b.Hash, "-")
	return b, nil
}

func (b Begin) line() string {
	return summed(fmt.Sprintf("%s %d %s ", beginMagic, b.After, cmp.Or(b.Hash, "-")))
}

// summed is a line with its checksum behind it.
func summed(content string) string {
	return fmt.Sprintf("%s%08x\n", content, crc32.Checksum([]byte(content), castagnoli))
}

// forgotten writes down up to where the journal forgets everything when these files, its first, go. The caller holds j.disk.
func (j *Journal) forgotten(going []*segment) error {
	var to Begin
	for _, s := range going {
		if s.sum.LastSeq == 0 {
			continue // nothing but its first frame
		}
		data, _ := os.ReadFile(s.path) // where it cannot be read the hash is not known
		to = Begin{After: s.sum.LastSeq}
		s.sift(data, func(payload []byte) {
			if _, stub, err := decodeRow(payload); err == nil && stub != nil && stub.Last == to.After {
				to.Hash = hex.EncodeToString(stub.Hash[:])
			}
		}, nil)
	}
	if to.After == 0 {
		return nil
	}
	if err := durable.Replace(filepath.Join(j.opt.Dir, beginFile), []byte(to.line())); err != nil {
		return fmt.Errorf("write down where the journal begins: %w", err)
	}
	return nil
}

// Never says that the journal never got the records with the numbers from one to another, since there was none, or the process died before they were
// written. prev is the hash of the record before them and hash that of the last, hexadecimal, "" where it is not known. It is called before the first Add.
func (j *Journal) Never(from, to uint64, prev, hash string, now time.Time) {
	s := Stub{First: from, Last: to, Why: Lost, Oldest: now.UnixMilli(), Newest: now.UnixMilli()}
	decode := func(into *[32]byte, text string) {
		if b, err := hex.DecodeString(text); err == nil && len(b) == len(into) {
			copy(into[:], b)
		}
	}
	decode(&s.Prev, prev)
	decode(&s.Hash, hash)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(j.waiting, item{stub: &s})
}

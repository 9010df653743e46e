package journal

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailweir/mailweir/appliance/durable"
)

// Last says what a journal had when it was closed. It lies outside the journal's directory: what somebody took from that since is missing, and not what the journal never got.
type Last struct {
	After uint64 // the last record before the first that the journal knew of
	Seq   uint64 // the last that it knew of
	Hash  string // of that record, hexadecimal; "": not known
}

const lastMagic = "mailweir-journal-last-1"

func lastPath(data string) string { return filepath.Join(data, "journal.last") }

func (l Last) line() string {
	return summed(fmt.Sprintf("%s %d %d %s ", lastMagic, l.After, l.Seq, cmp.Or(l.Hash, "-")))
}

// LastOf is what a data directory says of its journal; the zero value where that was never closed.
func LastOf(data string) (l Last, err error) {
	content, err := os.ReadFile(lastPath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	} else if err != nil {
		return l, err
	}
	var magic, sum string
	if n, _ := fmt.Sscanf(string(content), "%s %d %d %s %s", &magic, &l.After, &l.Seq, &l.Hash, &sum); n != 5 || magic != lastMagic || string(content) != l.line() {
		return Last{}, fmt.Errorf("%s is damaged", lastPath(data))
	}
	l.Hash = strings.TrimPrefix(l.Hash, "-")
	return l, nil
}

// Last is the record with the highest number that the journal knows of, with its hash in hexadecimal; 0 where there is none. It reads the file
// in which that is.
func (j *Journal) Last() (seq uint64, hash string, err error) {
	j.disk.Lock()
	defer j.disk.Unlock()
	var data []byte
	in := -1
	for data == nil {
		in = -1
		for i, s := range j.records {
			if s.sum.LastSeq > 0 && (in < 0 || s.sum.LastSeq >= j.records[in].sum.LastSeq) {
				in = i
			}
		}
		if in < 0 { // all has gone, or nothing ever came
			b, err := BeginOf(j.opt.Dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, "", fmt.Errorf("journal: %w", err)
			}
			return b.After, b.Hash, nil
		}
		if data, err = os.ReadFile(j.records[in].path); err != nil {
			if err = j.without(&j.records, in, cannotRead(err)); err != nil {
				return 0, "", fmt.Errorf("journal: %w", err)
			}
		}
	}
	j.records[in].sift(data, func(payload []byte) {
		r, stub, err := decodeRow(payload)
		switch {
		case err != nil:
		case stub != nil && stub.Last >= seq:
			seq, hash = stub.Last, hex.EncodeToString(stub.Hash[:])
		case stub == nil && r.seq >= seq:
			if rec, err := r.record(); err == nil {
				seq, hash = rec.Seq, rec.HexHash()
			}
		}
	}, nil)
	return seq, hash, nil
}

// noteLast writes down what the journal has.
func (j *Journal) noteLast() error {
	seq, hash, err := j.Last()
	if err != nil {
		return err
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	l := Last{Seq: seq, Hash: hash}
	if first := j.first(); first > 0 {
		l.After = first - 1
	} else {
		l.After = seq
	}
	return durable.Replace(lastPath(filepath.Dir(j.opt.Dir)), []byte(l.line()))
}

// first is the first record that the files know of; 0: there is none.
func (j *Journal) first() uint64 {
	for _, s := range j.records {
		if s.sum.FirstSeq > 0 {
			return s.sum.FirstSeq
		}
	}
	return 0
}

// Missing says that the journal had what l says. Where its first files are gone, and not even it says why, that is written down as where it begins: so what came behind is
// missing to whoever reads it. It is called before the first Add.
func (j *Journal) Missing(l Last) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	if first := j.first(); first > 0 && first <= l.After+1 {
		return nil
	}
	if _, err := BeginOf(j.opt.Dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Replace(filepath.Join(j.opt.Dir, beginFile), []byte(Begin{After: l.After}.line()))
}

package journal

import (
	"cmp"
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

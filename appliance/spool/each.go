package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mailweir/mailweir/appliance/records"
)

// Place is a line of a spool.
type Place struct {
	File   string
	Line   int           // from 1
	Record *records.Line // nil: a segment's first or last line, which says with Seq and Hash what a record was; valid until the next one
	Seq    uint64
	Hash   string // "" where it is not known
	Damage string // what is wrong with the line, otherwise ""
}

// ErrRewritten is that records were moved to another file, or deleted since all have them, while the spool was read. Read anew, it is whole.
var ErrRewritten = errors.New("the spool was rewritten while it was read")

// Each gives every line of a spool in its order, without changing anything, also while a box writes to it; it ends with the first error of give, or with
// ErrRewritten. An end that is not written yet is passed over.
func Each(dir string, give func(Place) error) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := eachIn(name, give); err != nil {
			return err
		}
	}
	return nil
}

func eachIn(name string, give func(Place) error) error {
	f, err := os.Open(name)
	if os.IsNotExist(err) {
		return ErrRewritten
	} else if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := lines{file: f, to: info.Size()}
	for n := 1; ; n++ {
		line, ok := r.next()
		if line == nil {
			if r.err != nil {
				return fmt.Errorf("%s:%d: %w", name, n, r.err)
			}
			return nil
		}
		p := Place{File: name, Line: n}
		switch {
		case !ok:
			p.Damage = "the line does not fit its checksum"
		case line[0] == '#':
			var first uint64
			if k, _ := fmt.Sscanf(string(line), "# after %d %s", &p.Seq, &p.Hash); k != 2 {
				fmt.Sscanf(string(line), "# holds %d %d %s", &first, &p.Seq, &p.Hash)
			}
			if p.Hash == "-" {
				p.Hash = ""
			}
		default:
			l, err := records.ParseLine(line)
			if p.Record = &l; err != nil {
				p.Record, p.Damage = nil, err.Error()
			}
		}
		if err := give(p); err != nil {
			return err
		}
	}
}

// Positions are up to where the readers of a spool need nothing any more, and the files of those whose position cannot be read.
func Positions(dir string) (positions []uint64, unreadable []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, positionPrefix+"*"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue // its reader was forgotten meanwhile
		}
		if seq, ok := parsePosition(string(data)); ok {
			positions = append(positions, seq)
		} else {
			unreadable = append(unreadable, path)
		}
	}
	return positions, unreadable, nil
}

// Unreadable are the segments of a spool that were set aside since they could not be read.
func Unreadable(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "*"+suffix+unreadable))
}

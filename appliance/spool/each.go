package spool

import (
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

// Each gives every line of a spool in its order, without changing anything, also while a box writes to it; it ends with the first error of give. An end
// that is not written yet is passed over.
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
		return nil // all have it meanwhile
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

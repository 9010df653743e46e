package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/mailweir/mailweir/appliance/durable"
)

// Damage is a stretch of a file that cannot be read.
type Damage struct {
	File          string
	Offset, Bytes int64
	What          string
	Torn          bool   // the file ends in it, as after a power cut
	Inputs        bool   // it is of what the governor was told, not of records
	Aside         string // what the file is called since: none of it can be read; "": something can
	Gone          bool   // there is no such file any more
	With          string // a file that could not be read, either, and of which the same numbers are said to be lost; "": there is none
	After, Before uint64 // the numbers of the records around it; 0: there is none in this file, where something of it can be read
}

// Lost are the numbers of the records that are lost; 0: they are not known, or somebody took the file away.
func (d Damage) Lost() (first, last uint64) {
	if d.Inputs || d.Torn || d.Gone || d.With != "" || d.After == 0 && d.Aside == "" || d.Before <= d.After+1 {
		return 0, 0
	}
	return d.After + 1, d.Before - 1
}

// String says what is lost, and where.
func (d Damage) String() string {
	where := fmt.Sprintf("%s: %d bytes from byte %d on", d.File, d.Bytes, d.Offset)
	switch {
	case d.Gone:
		return fmt.Sprintf("%s is gone, and it was not the journal that removed it: what it had is missing", d.File)
	case d.Aside != "":
		where = fmt.Sprintf("%s cannot be read, and is set aside as %s: its %d bytes", d.File, d.Aside, d.Bytes)
	}
	switch {
	case d.Torn:
		return where + " are an entry that was not written to its end, as after a power cut"
	case d.Inputs:
		return fmt.Sprintf("%s are damaged (%s): what the governor was told there is lost, and a what-if over that time is an estimate", where, d.What)
	}
	lost := "the records there are lost"
	switch first, last := d.Lost(); {
	case d.With != "":
		lost = "its records are among those that are said to be lost of " + d.With
	case first > 0:
		lost = fmt.Sprintf("the records with the numbers %d to %d are lost", first, last)
	case d.After > 0 && d.Before > 0:
		lost = "no record is lost"
	case d.After > 0:
		lost = fmt.Sprintf("the records behind number %d are lost, to the end of the file", d.After)
	case d.Before > 0:
		lost = fmt.Sprintf("the records before number %d are lost, from the begin of the file", d.Before)
	}
	return fmt.Sprintf("%s are damaged (%s): %s", where, d.What, lost)
}

// mostFound is how many damages are kept until Damaged is called.
const mostFound = 64

// Damaged gives the damage that was found since the last call, beside what Open gave.
func (j *Journal) Damaged() []Damage {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	found := j.found
	j.found = nil
	return found
}

// noteDamage keeps what was found for Damaged.
func (j *Journal) noteDamage(found []Damage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.found = append(j.found, found[:min(len(found), mostFound-len(j.found))]...)
}

// sift goes through a file's content, gives what is sound, and finds what is not. hole is called where something is damaged; nil: nothing is.
func (s *segment) sift(data []byte, give func(payload []byte), hole func(Damage)) (found []Damage, whole, end int) {
	var last uint64 // number of a record
	whole, end, _ = frames(data, func(at int, payload []byte, bad string) error {
		if bad != "" {
			found = append(found, Damage{File: s.path, Offset: int64(at), Bytes: int64(len(payload)), What: bad, Torn: bad == torn, Inputs: s.family == inputsFamily, After: last})
			if hole != nil {
				hole(found[len(found)-1])
			}
			return nil
		}
		if first, to := numbersOf(payload); first > 0 {
			for i := len(found) - 1; i >= 0 && found[i].Before == 0; i-- {
				found[i].Before = first
			}
			last = to
		}
		give(payload)
		return nil
	})
	return found, whole, end
}

// recoverAll completes the files of a family that are not complete, and sets aside those that cannot be read.
func (j *Journal) recoverAll(of *[]*segment) (found []Damage, err error) {
	why := map[int]error{}
	for i, s := range *of {
		here, err := s.recover()
		if err != nil {
			why[i] = fmt.Errorf("%s: %w", s.path, err)
		}
		found = append(found, here...)
	}
	var behind Damage
	for _, i := range slices.Backward(slices.Sorted(maps.Keys(why))) { // now that it is known what the others have
		d, err := j.setAside(of, i, why[i])
		if err != nil {
			return found, err
		}
		if first, _ := d.Lost(); first > 0 && d.After == behind.After && d.Before == behind.Before { // nobody knows which of them each had
			d.With = behind.File
		} else {
			behind = d
		}
		found = append(found, d)
	}
	return found, nil
}

// around looks for the numbers around a damage in the files before and behind it, where its own does not have them.
func (j *Journal) around(found []Damage) {
	for i := range found {
		d := &found[i]
		at := slices.IndexFunc(j.records, func(s *segment) bool { return s.path == d.File })
		if at < 0 {
			continue
		}
		for k := at - 1; k >= 0 && d.After == 0; k-- {
			d.After = j.records[k].sum.LastSeq
		}
		for k := at + 1; k < len(j.records) && d.Before == 0; k++ {
			d.Before = j.records[k].sum.FirstSeq
		}
	}
}

// numbersOf are the first and the last number of what a payload tells of; 0: it is of no record.
func numbersOf(payload []byte) (first, last uint64) {
	switch r, stub, err := decodeRow(payload); {
	case err != nil:
		return 0, 0
	case stub != nil:
		return stub.First, stub.Last
	default:
		return r.seq, r.seq
	}
}

// recover completes a file that is not complete, and gives what was not whole in it. What is damaged between sound frames is taken out: it may
// hold an address, and nobody could tell when its time is over.
func (s *segment) recover() ([]Damage, error) {
	complete, err := s.peek()
	if err != nil {
		return nil, cannotRead(err)
	}
	if complete {
		return nil, s.dated()
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return nil, cannotRead(err)
	}
	s.sum = summary{}
	out := appendFrame(nil, []byte(magic+s.family+"\n"))
	head := len(out)
	var newest int64
	found, whole, end := s.sift(data, func(payload []byte) {
		if f, ok := inputsOf(payload); ok {
			newest = f.newest
		}
		s.take(payload)
		out = appendFrame(out, payload)
	}, func(d Damage) {
		if s.family == inputsFamily && !d.Torn { // whoever plays it is to know, and where
			lost := missing(newest)
			s.take(lost)
			out = appendFrame(out, lost)
		}
	})
	hole := slices.ContainsFunc(found, func(d Damage) bool { return !d.Torn || d.Offset+d.Bytes < int64(len(data)) })
	switch {
	case hole:
		if err := durable.Replace(s.path, out); err != nil {
			return found, enough(err) // where there is no room the next life will
		}
		s.size = int64(len(out))
	case end > 0: // the end is half written
		s.size = int64(end)
	default:
		s.size = int64(whole)
	}
	if s.f, err = os.OpenFile(s.path, os.O_RDWR, 0o600); err != nil {
		return found, err
	}
	s.dirty = true
	if s.size < int64(head) { // not even the first frame
		s.size = 0
		err = s.write(out[:head])
	}
	if err = errors.Join(err, s.seal()); err != nil && enough(err) == nil {
		err = errors.Join(s.f.Close(), os.Truncate(s.path, s.size))
		s.f = nil
	}
	return found, err
}

// enough is nil for a disk that is full.
func enough(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// missing is the payload of inputs that says that some are missing, at a time in Unix milliseconds.
func missing(at int64) []byte {
	return binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint([]byte{rowInputs}, at), at), 1)
}

// take adds a payload to the file's summary. One that cannot be read is nothing.
func (s *segment) take(payload []byte) {
	if f, ok := inputsOf(payload); ok {
		s.sum.frame(&f)
		return
	}
	if r, stub, err := decodeRow(payload); err == nil {
		s.sum.counted(&r, stub, false)
	}
}

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/governor"
)

// What is held stands in holds.json, with a checksum. A list without one is taken, too: it is of an earlier version, or a person wrote it. While it is not known what is held, since
// the file is damaged or gone, or says what cannot be, nothing of any case may go; that lasts until somebody writes a whole list, `[]` where nothing is held.

// held is what is held.
type held struct {
	all     []Hold
	unknown string // why there may be more; "": there is not
}

// holdsOnDisk is holds.json.
type holdsOnDisk struct {
	Holds      json.RawMessage `json:"holds"`
	Incomplete string          `json:"incomplete,omitempty"` // why there may be more
	Sum        string          `json:"crc32c"`               // of both, hexadecimal
}

const (
	holdsFile  = "holds.json"
	holdsAside = holdsFile + ".damaged-" // before the time at which it was found
	holdsMark  = "holds.kept"            // there is a holds.json, and where there is none it was taken away
)

// HoldsPath is where a data directory says what is held.
func HoldsPath(data string) string { return filepath.Join(Dir(data), holdsFile) }

// holdsSum is the checksum of holds in JSON without blanks.
func holdsSum(compact []byte, incomplete string) string {
	return fmt.Sprintf("%08x", crc32.Update(crc32.Checksum(compact, castagnoli), castagnoli, []byte(incomplete)))
}

// readHolds gives what a directory says is held. Where it cannot be read that is an error.
func readHolds(dir string) (h held, err error) {
	path := filepath.Join(dir, holdsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if mark := filepath.Join(dir, holdsMark); there(mark) {
			h.unknown = fmt.Sprintf("there is no %s, and there was one, as %s says", path, mark)
		} else if aside, _ := filepath.Glob(filepath.Join(dir, holdsAside+"*")); len(aside) > 0 {
			h.unknown = fmt.Sprintf("there is no %s, and one that was damaged was set aside as %s", path, aside[len(aside)-1])
		}
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if list := bytes.TrimSpace(b); len(list) > 0 && list[0] == '[' {
		if h.all, err = listOf(list); err != nil {
			return held{}, fmt.Errorf("%s: %w", path, err)
		}
		return h, nil
	}
	var f holdsOnDisk
	if err := json.Unmarshal(b, &f); err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, f.Holds); err != nil {
		return h, fmt.Errorf("%s: holds: %w", path, err)
	}
	if sum := holdsSum(compact.Bytes(), f.Incomplete); sum != f.Sum {
		return h, fmt.Errorf("%s: its checksum crc32c is %q, of what stands there it is %q", path, f.Sum, sum)
	}
	if h.all, err = listOf(f.Holds); err != nil {
		return held{}, fmt.Errorf("%s: holds: %w", path, err)
	}
	h.unknown = f.Incomplete
	return h, nil
}

// listOf reads a list of holds. A person may have written it, and what is misread there is deleted.
func listOf(list []byte) ([]Hold, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, err
	}
	all := make([]Hold, len(items))
	for i, item := range items {
		h := &all[i]
		in := json.NewDecoder(bytes.NewReader(item))
		in.DisallowUnknownFields()
		err := in.Decode(h)
		if err == nil {
			err = h.check()
		}
		if err == nil && slices.ContainsFunc(all[:i], func(o Hold) bool { return o.Case == h.Case }) {
			err = errors.New("the list has it twice")
		}
		if err != nil {
			return nil, fmt.Errorf("item %d (case %q): %w", i+1, h.Case, err)
		}
	}
	return all, nil
}

// check tells what is wrong with a hold.
func (h *Hold) check() error {
	n, ok := governor.ParseCase(h.Case)
	switch {
	case !ok:
		return errors.New(`"case" has to be the number of a case, as "00007" is`)
	case h.Case != governor.CaseNumber(n):
		return fmt.Errorf(`"case" has to be written as %q`, governor.CaseNumber(n))
	case h.Subscriber == "":
		return errors.New(`"subscriber" is missing: whose records the case keeps`)
	case h.From.IsZero():
		return errors.New(`"from" is missing: since when the records of its subscriber are kept, as "2026-11-21T12:00:00Z" says it`)
	case !h.To.IsZero() && h.To.Before(h.From):
		return fmt.Errorf(`"to" (%s) is before "from" (%s)`, h.To.Format(time.RFC3339), h.From.Format(time.RFC3339))
	}
	return nil
}

func writeHolds(dir string, h held) error {
	list, err := json.Marshal(append([]Hold{}, h.all...)) // never null
	if err != nil {
		return err
	}
	unknown := strings.ToValidUTF8(h.unknown, "?") // as it will be read
	b, err := json.MarshalIndent(holdsOnDisk{list, unknown, holdsSum(list, unknown)}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(dir, holdsFile), append(b, '\n')); err != nil {
		return err
	}
	return markHolds(dir)
}

// markHolds says that there is a holds.json.
func markHolds(dir string) error {
	mark := filepath.Join(dir, holdsMark)
	if there(mark) {
		return nil
	}
	return durable.Replace(mark, []byte("Beside this is "+holdsFile+". While it is not, nothing of any case is deleted.\n"))
}

// setHoldsAside gives a holds.json that cannot be read another name, and writes one that has what is known all the same, and says that it is not complete.
// Where that is not possible the next life finds it again.
func setHoldsAside(dir string, why error, known []Hold) held {
	now := time.Now()
	aside := filepath.Join(dir, holdsAside+now.UTC().Format(asideTime))
	h := held{known, fmt.Sprintf("%v; set aside as %s", why, aside)}
	if err := os.Rename(filepath.Join(dir, holdsFile), aside); err != nil {
		h.unknown = fmt.Sprintf("%v; it could not be set aside: %v", why, err)
		return h
	}
	if err := os.Chtimes(aside, now, now); err != nil { // its time begins
		h.unknown += fmt.Sprintf("; %v", err)
	}
	if err := writeHolds(dir, h); err != nil { // the one that was set aside says so, too
		h.unknown += fmt.Sprintf("; %v", err)
	}
	return h
}

// learn looks whether somebody has said what is held, where that is not known, and gives whether that is so. The caller holds j.disk.
func (j *Journal) learn() bool {
	now := j.holdsNow()
	if now.unknown == "" {
		return true
	}
	said, err := readHolds(j.opt.Dir)
	if err != nil { // whoever wrote it is told, and what is known is written down in its place
		refused := setHoldsAside(j.opt.Dir, err, now.all)
		j.held.Store(&refused)
		return false
	}
	if said.unknown != "" || !there(filepath.Join(j.opt.Dir, holdsFile)) {
		return false
	}
	for _, h := range now.all { // meanwhile by the API
		if !slices.ContainsFunc(said.all, func(o Hold) bool { return o.Case == h.Case }) {
			said.all = append(said.all, h)
		}
	}
	if err := writeHolds(j.opt.Dir, said); err != nil {
		return false // tried again
	}
	j.held.Store(&said)
	j.again = true
	return true
}

// mayBeOfACase tells whether a row names a case or a subscriber, so that a hold could be about it.
func mayBeOfACase(r *row) bool {
	return bytes.Contains(r.canonical, []byte(` case="`)) || bytes.Contains(r.canonical, []byte(` subscriber="`))
}

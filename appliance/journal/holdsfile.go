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
)

// What is held stands in holds.json, with a checksum. A list without one is taken, too: it is of an earlier version, or a person wrote it. While it is not known what is held, since
// the file is damaged, nothing of any case may go; that lasts until somebody writes a whole list, `[]` where nothing is held.

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
		if aside, _ := filepath.Glob(filepath.Join(dir, holdsAside+"*")); len(aside) > 0 {
			h.unknown = fmt.Sprintf("there is no %s, and one that was damaged was set aside as %s", path, aside[len(aside)-1])
		}
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if list := bytes.TrimSpace(b); len(list) > 0 && list[0] == '[' {
		if err := json.Unmarshal(list, &h.all); err != nil {
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
	if err := json.Unmarshal(f.Holds, &h.all); err != nil {
		return held{}, fmt.Errorf("%s: holds: %w", path, err)
	}
	h.unknown = f.Incomplete
	return h, nil
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
	return durable.Replace(filepath.Join(dir, holdsFile), append(b, '\n'))
}

// setHoldsAside gives a holds.json that cannot be read another name, and writes one that says that it is not complete. Where that is not possible the
// next life finds it again.
func setHoldsAside(dir string, why error) held {
	aside := filepath.Join(dir, holdsAside+time.Now().UTC().Format("20060102T150405.000000000Z"))
	err := os.Rename(filepath.Join(dir, holdsFile), aside)
	h := held{unknown: fmt.Sprintf("%v; set aside as %s", why, aside)}
	if err != nil {
		return held{unknown: fmt.Sprintf("%v; it could not be set aside: %v", why, err)}
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
	if err != nil || said.unknown != "" || !there(filepath.Join(j.opt.Dir, holdsFile)) {
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

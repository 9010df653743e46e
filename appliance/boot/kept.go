package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/layout"
)

// kept is where the last shape of the ports is that came up, beside GRUB's files: whatever becomes of the data partition, the next start has it at once.
type kept struct{ esp envFile }

// keptHere is that of the disk which the box was started from, once that is known.
func keptHere() (kept, error) {
	disk := readString(diskFile)
	if disk == "" {
		return kept{}, errors.New("it is not known which disk this box was started from")
	}
	esp, err := partition("/sys", "/dev", disk, layout.ESP)
	return kept{envFile{esp}}, err
}

// keptOn is that of a disk.
func keptOn(disk string) (kept, error) {
	esp, err := partition("/sys", "/dev", disk, layout.ESP)
	return kept{envFile{esp}}, err
}

func (k kept) open(how uintptr, do func(file string) error) error {
	return k.esp.mounted(how, func(grubenv string) error {
		return do(filepath.Join(filepath.Dir(grubenv), path.Base(layout.KeptFile)))
	})
}

// keptShape is what is kept: the shape, and the permanent hardware addresses of the ports by their names. An older version kept none, and reads the shape all the same.
type keptShape struct {
	shape
	MACs map[string]string `json:"macs,omitempty"`
}

func readKept(text []byte) (s *shape, macs map[string]string) {
	if s = readShape(text, nil); s == nil {
		return nil, nil
	}
	var k keptShape
	if json.Unmarshal(text, &k) != nil {
		return s, nil
	}
	return s, k.MACs
}

// read is what was written last; nil: nothing was. One that is damaged is an error: it is not known then what a box was.
func (k kept) read() (s *shape, macs map[string]string, err error) {
	err = k.open(unix.MS_RDONLY, func(file string) error {
		b, err := os.ReadFile(file)
		if err == nil {
			s, macs, err = readWhole(b)
		}
		return err
	})
	return s, macs, err
}

func readWhole(b []byte) (s *shape, macs map[string]string, err error) {
	if s, macs = readKept(layout.Kept(b)); s == nil && len(bytes.Trim(b, "\x00")) > 0 {
		err = fmt.Errorf("%s of the EFI system partition is damaged: neither of its two texts is whole", layout.KeptFile)
	}
	return s, macs, err
}

// write keeps another one; the same again is not written.
func (k kept) write(s keptShape) error {
	same := false
	err := k.open(unix.MS_RDONLY, func(file string) error {
		b, _, err := toKeep(file, s)
		same = len(b) == 0
		return err
	})
	if err != nil || same {
		return err
	}
	return k.open(0, func(file string) error { return keepIn(file, s) })
}

func keepIn(file string, s keptShape) error {
	b, at, err := toKeep(file, s)
	if err != nil || len(b) == 0 {
		return err
	}
	return overwriteAt(file, b, at)
}

// toKeep are the bytes that the file is to have from there on; none: it may stay as it is.
func toKeep(file string, s keptShape) (b []byte, at int64, err error) {
	was, err := os.ReadFile(file)
	missing := errors.Is(err, os.ErrNotExist)
	if missing && !s.routed() {
		return nil, 0, nil // a box of which nothing is known is a bridge
	}
	if missing {
		return nil, 0, fmt.Errorf("the disk was flashed with an image that had no %s; flash it anew to have that", layout.KeptFile)
	}
	if err != nil {
		return nil, 0, err
	}
	text, err := json.Marshal(s)
	if err != nil || bytes.Equal(layout.Kept(was), text) {
		return nil, 0, err
	}
	return layout.Keep(was, text)
}

// erase forgets it, both texts that there may be, and reads back that it has.
func (k kept) erase() error { return k.open(0, eraseIn) }

func eraseIn(file string) error {
	nothing := make([]byte, layout.KeptSize)
	err := overwriteAt(file, nothing, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil { // it is read from the medium
		return os.NewSyscallError("fadvise", err)
	}
	is, err := io.ReadAll(f)
	if err == nil && len(bytes.Trim(is, "\x00")) > 0 {
		err = fmt.Errorf("%s was overwritten with zeros and is read back otherwise: the disk is not to be trusted", filepath.Base(file))
	}
	return err
}

// overwriteAt changes bytes of a file and nothing else of it.
func overwriteAt(file string, b []byte, at int64) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	s, err := f.Stat()
	if err == nil && s.Size() < at+int64(len(b)) {
		err = fmt.Errorf("%s has %d bytes and not %d", file, s.Size(), layout.KeptSize)
	}
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Package updatetest has what stands for a box's disk in tests of updates: slots as the image's builder makes them, and files in the place of partitions.
package updatetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailweir/mailweir/image/layout"
)

// Slot is a slot of about this many bytes.
func Slot(t testing.TB, a layout.About, size int) []byte {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{layout.SlotManifest, text}, {"vmlinuz", bytes.Repeat([]byte(a.Version), size/len(a.Version))}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Disk is a directory with a file for each slot and one for GRUB's environment block.
type Disk struct{ Dir string }

// NewDisk has these slots; slot a is active.
func NewDisk(t testing.TB, slots map[string][]byte) Disk {
	t.Helper()
	d := Disk{t.TempDir()}
	for name, content := range slots {
		if err := os.WriteFile(d.file(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Write(layout.Env{Active: layout.Slots[0]}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d Disk) file(name string) string { return filepath.Join(d.Dir, name) }

// Slot is what lies in one.
func (d Disk) Slot(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(d.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Partition is a slot's.
type Partition struct {
	*os.File
	Wrote func(n int) // called after each write; nil: nobody looks
}

// Open opens the partition of a slot.
func (d Disk) Open(name string) (Partition, error) {
	f, err := os.OpenFile(d.file(name), os.O_RDWR, 0)
	return Partition{File: f}, err
}

// WriteAt writes, and tells.
func (p Partition) WriteAt(b []byte, at int64) (int, error) {
	n, err := p.File.WriteAt(b, at)
	if p.Wrote != nil {
		p.Wrote(n)
	}
	return n, err
}

// Settle waits for the disk.
func (p Partition) Settle() error { return p.Sync() }

const env = "grubenv"

// Read reads GRUB's block.
func (d Disk) Read() (layout.Env, error) {
	b, err := os.ReadFile(d.file(env))
	if err != nil {
		return layout.Env{}, err
	}
	return layout.ParseEnv(b)
}

// Write writes it.
func (d Disk) Write(e layout.Env) error {
	f, err := os.OpenFile(d.file(env), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(e.Block(), 0)
	return errors.Join(err, f.Close())
}

// Package update writes updates into the slot that does not run, and keeps what came of them.
//
// A box has two slots. An update is checked before a byte of it is written: the signature of its manifest, and whether it is for this box and not older
// than what runs. Then the idle slot is written from behind its first block on, read back, and only then gets its first block; while that is missing GRUB does
// not take it for a slot. Last of all GRUB is told to try it, twice at most. So a power cut at any moment leaves the slot that runs as it was, and the
// next start is either of it or of a whole new one. Who commits the new one, once it is healthy, is process 1 (package boot).
package update

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

// Partition is a slot's.
type Partition interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Settle returns when all that was written is on the medium; what is read after it comes from there.
	Settle() error
}

// EnvFile keeps GRUB's environment block.
type EnvFile interface {
	Read() (layout.Env, error)
	Write(layout.Env) error // it is on the medium on return
}

// Box is a machine with two slots.
type Box struct {
	About   layout.About // of what runs
	Running string       // the slot it was started from
	Floor   int64        // no build below this one is taken; About.Floor counts, too
	Open    func(slot string) (Partition, error)
	Env     EnvFile
}

// RefusedError says why an update cannot be for this box. Nothing was written.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why + "; nothing was written" }

func refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Idle is the slot that does not run.
func (b *Box) Idle() string { return other(b.Running) }

func other(slot string) string {
	if slot == layout.Slots[0] {
		return layout.Slots[1]
	}
	return layout.Slots[0]
}

// Peek reads the manifest of a bundle and no further.
func (b *Box) Peek(r io.Reader) (m bundle.Manifest, err error) {
	u, err := b.open(r)
	if err == nil {
		m = u.Manifest
	}
	return m, err
}

// Check reads a bundle to its end and writes nothing.
func (b *Box) Check(r io.Reader) (bundle.Manifest, error) {
	u, err := b.open(r)
	if err != nil {
		return bundle.Manifest{}, err
	}
	if err := u.Slot(io.Discard); err != nil {
		return u.Manifest, refused("%v", err)
	}
	return u.Manifest, nil
}

// open reads the manifest, and says whether the update is for this box as it is now.
func (b *Box) open(r io.Reader) (*bundle.Bundle, error) {
	if !slices.Contains(layout.Slots, b.Running) {
		return nil, refused("it is not known which slot runs (%q)", b.Running)
	}
	keys, err := bundle.ParseKeys(b.About.Keys)
	if err != nil {
		return nil, fmt.Errorf("keys of this image: %w", err)
	}
	if len(keys) == 0 {
		return nil, refused("this image was built without keys, so it can trust no update; flash a new one")
	}
	u, err := bundle.Open(r, keys)
	if err != nil {
		return nil, refused("%v", err)
	}
	m, a := u.Manifest, b.About
	switch floor := max(a.Floor, b.Floor); {
	case m.Product != a.Product:
		return nil, refused("it is for %q, this is %q", m.Product, a.Product)
	case m.Board != a.Board:
		return nil, refused("it is for the board %s, this is %s", m.Board, a.Board)
	case m.Build < a.Build:
		return nil, refused("its build %d (%s) is older than build %d (%s), which runs", m.Build, m.Version, a.Build, a.Version)
	case m.Build < floor:
		return nil, refused("its build %d (%s) is below the floor %d of what ran here", m.Build, m.Version, floor)
	}
	env, err := b.Env.Read()
	if err != nil {
		return nil, fmt.Errorf("read GRUB's state: %w", err)
	}
	if env.Next == b.Running {
		return nil, refused("slot %s runs on trial; wait until it is committed or given up", b.Running)
	}
	return u, nil
}

// head is what of a slot is written last: the sector in which its tar begins. A power cut leaves it as it was or as it is to be.
const head = 512

// Apply checks a bundle, writes it into the idle slot, and has GRUB try it at the next start. After an error that is no *RefusedError the
// idle slot may be half written; GRUB is then not told of it, and would not take it.
func (b *Box) Apply(r io.Reader) (m bundle.Manifest, err error) {
	u, err := b.open(r)
	if err != nil {
		return m, err
	}
	m = u.Manifest
	slot := b.Idle()
	if slot == b.Running {
		panic("update: the idle slot runs")
	}
	// A trial that waits already is called off first: GRUB may not be sent to a slot that is being written. And what runs is what works.
	if err := b.Env.Write(layout.Env{Active: b.Running}); err != nil {
		return m, fmt.Errorf("tell GRUB to stay at slot %s: %w", b.Running, err)
	}
	p, err := b.Open(slot)
	if err != nil {
		return m, fmt.Errorf("open slot %s: %w", slot, err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := write(u, p); err != nil {
		return m, fmt.Errorf("slot %s: %w", slot, err)
	}
	if err := b.Env.Write(layout.Env{Active: b.Running, Next: slot, Tries: layout.EnvTries}); err != nil {
		return m, fmt.Errorf("tell GRUB to try slot %s: %w", slot, err)
	}
	return m, nil
}

// write streams the slot into its partition, and leaves a whole one or none.
func write(u *bundle.Bundle, p Partition) error {
	if _, err := p.WriteAt(make([]byte, head), 0); err != nil {
		return fmt.Errorf("take the old one away: %w", err)
	}
	if err := p.Settle(); err != nil {
		return fmt.Errorf("take the old one away: %w", err)
	}
	w := &behindHead{p: p}
	if err := u.Slot(w); err != nil {
		return err
	}
	if err := p.Settle(); err != nil {
		return err
	}
	sum := sha256.New()
	sum.Write(w.head)
	if rest := u.SlotSize - int64(len(w.head)); rest > 0 {
		if _, err := io.Copy(sum, io.NewSectionReader(p, head, rest)); err != nil {
			return fmt.Errorf("read it back: %w", err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != u.SlotSHA256 {
		return fmt.Errorf("what was read back has SHA-256 %s, what was written %s: the disk is not to be trusted", got, u.SlotSHA256)
	}
	if _, err := p.WriteAt(w.head, 0); err != nil {
		return err
	}
	if err := p.Settle(); err != nil {
		return err
	}
	again := make([]byte, len(w.head))
	if _, err := p.ReadAt(again, 0); err != nil || !bytes.Equal(again, w.head) {
		return errors.Join(err, errors.New("its beginning was read back otherwise than it was written: the disk is not to be trusted"))
	}
	return nil
}

// behindHead writes to a partition what comes after the head, and keeps the head.
type behindHead struct {
	p    Partition
	head []byte
	at   int64
}

func (w *behindHead) Write(b []byte) (int, error) {
	total := len(b)
	if w.at < head {
		n := min(head-int(w.at), len(b))
		w.head = append(w.head, b[:n]...)
		w.at += int64(n)
		b = b[n:]
	}
	if len(b) > 0 {
		if _, err := w.p.WriteAt(b, w.at); err != nil {
			return total - len(b), err
		}
		w.at += int64(len(b))
	}
	return total, nil
}

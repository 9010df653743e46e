package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// bbolt believes what its pages say of each other: a branch that is its own child fills the memory before anything
// notices, and there is no recovering from that. So the pages are looked at before bbolt walks over them: from the roots
// on, each must be there, of its kind and met once, and what it says of its own inside must lie inside. Keys and values
// are not looked at; that is verify's work, and bbolt's own check's.
//
// The format is that of bbolt's internal/common, in the byte order of the machine.

const (
	pageHeader   = 16 // id 8, kind 2, count 2, overflow 4
	pageElement  = 16 // branch: pos 4, key 4, child 8; leaf: flags 4, pos 4, key 4, value 4
	bucketHeader = 16 // root 8, sequence 8; root 0: a page follows inline
	bucketFlag   = 1  // of a leaf element

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)
)

var native = binary.NativeEndian

// lookAtPages looks at the pages of path, under bbolt's lock for readers. That there is no file yet is well.
func lookAtPages(path string, timeout time.Duration) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Size() == 0 || !info.Mode().IsRegular():
		return nil // bbolt begins it, or says what it is
	}
	db, err := guardedOpen(path, &bolt.Options{Timeout: timeout, ReadOnly: true}) // which reads no more than the meta pages
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err == nil {
		if info, err = f.Stat(); err == nil {
			err = checkPages(f, info.Size(), int64(db.Info().PageSize))
		}
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, guard(db.Close))
}

// checkPages looks at the pages that are in use or free in a file of so many bytes.
func checkPages(f io.ReaderAt, length, pageSize int64) error {
	c := pageCheck{f: f, size: pageSize}
	root, freelist, err := c.meta()
	if err != nil {
		return err
	}
	if c.high > uint64(length/pageSize) {
		return fmt.Errorf("%w: only %d bytes of %d pages are there", errDamaged, length, c.high)
	}
	c.met = make([]uint64, c.high/64+1)
	c.todo = []tree{{root, true}}
	for len(c.todo) > 0 {
		next := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		if err := c.node(next); err != nil {
			return err
		}
	}
	if freelist == noFreelist {
		return nil
	}
	return c.free(freelist)
}

type pageCheck struct {
	f    io.ReaderAt
	size int64    // of a page
	high uint64   // no page from here on is in use
	met  []uint64 // a bit for each page
	todo []tree
	buf  []byte
}

// tree is a page with all below it.
type tree struct {
	page uint64
	root bool // of the bucket of buckets
}

// meta finds the newest meta page that is whole, as bbolt does.
func (c *pageCheck) meta() (root, freelist uint64, err error) {
	var newest uint64
	for i := range int64(2) {
		b, err := c.read(i*c.size+pageHeader, 64)
		if err != nil {
			return 0, 0, err
		}
		sum := fnv.New64a()
		sum.Write(b[:56])
		if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion || native.Uint64(b[56:]) != sum.Sum64() {
			continue
		}
		if tx := native.Uint64(b[48:]); c.high == 0 || tx > newest {
			newest, root, freelist, c.high = tx, native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:])
		}
	}
	if c.high == 0 {
		return 0, 0, fmt.Errorf("%w: no meta page is whole", errDamaged)
	}
	return root, freelist, nil
}

// read gives n bytes at off, good until the next read. What cannot be read is damage, as a fault in bbolt's map is.
func (c *pageCheck) read(off, n int64) ([]byte, error) {
	if int64(cap(c.buf)) < n {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	if _, err := c.f.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return b, nil
}

// meet notes that page id is in use or free.
func (c *pageCheck) meet(id uint64) error {
	switch {
	case id < 2 || id >= c.high:
		return fmt.Errorf("%w: page %d of %d", errDamaged, id, c.high)
	case c.met[id/64]&(1<<(id%64)) != 0:
		return fmt.Errorf("%w: page %d is there twice", errDamaged, id)
	}
	c.met[id/64] |= 1 << (id % 64)
	return nil
}

// pageHead is a page's own word on itself.
type pageHead struct {
	kind, count uint16
	bytes       int64 // with its overflow
}

// page meets page id and reads its head.
func (c *pageCheck) page(id uint64) (h pageHead, err error) {
	if err := c.meet(id); err != nil {
		return h, err
	}
	b, err := c.read(int64(id)*c.size, pageHeader)
	if err != nil {
		return h, err
	}
	more := uint64(native.Uint32(b[12:]))
	if says := native.Uint64(b); says != id || more >= c.high-id {
		return h, fmt.Errorf("%w: page %d calls itself %d, and %d pages more are its", errDamaged, id, says, more)
	}
	for i := range more {
		if err := c.meet(id + 1 + i); err != nil {
			return h, err
		}
	}
	return pageHead{native.Uint16(b[8:]), native.Uint16(b[10:]), int64(more+1) * c.size}, nil
}

// node looks at a page of a tree, and puts what is below it on the list.
func (c *pageCheck) node(t tree) error {
	h, err := c.page(t.page)
	if err != nil {
		return err
	}
	wrong := func() error { return fmt.Errorf("%w: page %d makes no sense", errDamaged, t.page) }
	if h.kind != branchPage && h.kind != leafPage || h.kind == branchPage && h.count == 0 || pageHeader+int64(h.count)*pageElement > h.bytes {
		return wrong()
	}
	at := int64(t.page) * c.size
	elements, err := c.read(at+pageHeader, int64(h.count)*pageElement)
	if err != nil {
		return err
	}
	var buckets []span
	for i := range int64(h.count) {
		e := elements[i*pageElement:]
		if h.kind == branchPage {
			key := span{i*pageElement + int64(native.Uint32(e)), int64(native.Uint32(e[4:]))}
			if key.n == 0 || key.beyond(h.bytes-pageHeader) {
				return wrong()
			}
			c.todo = append(c.todo, tree{native.Uint64(e[8:]), t.root})
			continue
		}
		value, bucket, ok := leafElement(e, i, h.bytes-pageHeader)
		if !ok || bucket && (!t.root || value.n < bucketHeader) {
			return wrong()
		}
		if bucket {
			buckets = append(buckets, value)
		}
	}
	for _, v := range buckets {
		b, err := c.read(at+pageHeader+v.at, v.n)
		switch {
		case err != nil:
			return err
		case native.Uint64(b) != 0:
			c.todo = append(c.todo, tree{page: native.Uint64(b)})
		case !soundInline(b[bucketHeader:]):
			return wrong()
		}
	}
	return nil
}

// span is a part of what follows a page's header.
type span struct{ at, n int64 }

func (s span) beyond(n int64) bool { return s.at+s.n > n }

// leafElement is where the value of element i of a leaf lies, and whether it is a bucket; not ok if it has no key or does
// not lie within the bytes that there are.
func leafElement(e []byte, i, bytes int64) (value span, bucket, ok bool) {
	key := span{i*pageElement + int64(native.Uint32(e[4:])), int64(native.Uint32(e[8:]))}
	value = span{key.at + key.n, int64(native.Uint32(e[12:]))}
	return value, native.Uint32(e)&bucketFlag != 0, key.n > 0 && !value.beyond(bytes)
}

// soundInline looks at a page that lies in its bucket's value: a leaf without buckets.
func soundInline(p []byte) bool {
	if len(p) < pageHeader || native.Uint16(p[8:]) != leafPage {
		return false
	}
	count, p := int64(native.Uint16(p[10:])), p[pageHeader:]
	if count*pageElement > int64(len(p)) {
		return false
	}
	for i := range count {
		if _, bucket, ok := leafElement(p[i*pageElement:], i, int64(len(p))); bucket || !ok {
			return false
		}
	}
	return true
}

// free looks at the list of free pages.
func (c *pageCheck) free(id uint64) error {
	h, err := c.page(id)
	if err != nil {
		return err
	}
	n, first := uint64(h.count), int64(id)*c.size+pageHeader
	if h.count == 0xFFFF { // the number is the first of the list
		b, err := c.read(first, 8)
		if err != nil {
			return err
		}
		n, first, h.bytes = native.Uint64(b), first+8, h.bytes-8
	}
	if h.kind != freelistPage || n > uint64(h.bytes-pageHeader)/8 {
		return fmt.Errorf("%w: page %d makes no sense as the list of free pages", errDamaged, id)
	}
	b, err := c.read(first, int64(n)*8)
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[8:] {
		if err := c.meet(native.Uint64(b)); err != nil {
			return err
		}
	}
	return nil
}

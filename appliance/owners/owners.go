// Package owners says whose a network is, by an MMDB file of the operator: databases of autonomous systems such as
// GeoLite2-ASN, DB-IP ASN Lite or IPinfo. None comes with mailweir.
//
// The file is read into memory as a whole and checked before it is used. Mapping it would be cheaper, but then a file that
// somebody writes in place, instead of putting another in its place, would end the process.
package owners

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxBytes is the largest file that is read. Those of autonomous systems have about 10 MB.
const maxBytes = 128 << 20

// Book is safe for concurrent use; its zero value knows nobody.
type Book struct {
	db atomic.Pointer[maxminddb.Reader]

	mu   sync.Mutex // guards all below; one look at a time
	path string
	seen string // state of the file when it was last read, or could not be
	next string // and as the last look found it
	err  error  // why what is on the disk is not in force
}

// Owner is who has a network. The zero Owner is not known.
type Owner struct {
	AS   uint64 // its number
	Name string
}

// record is what the databases that are about call the same things.
type record struct {
	Number uint64 `maxminddb:"autonomous_system_number"`
	Name   string `maxminddb:"autonomous_system_organization"`
	AS     string `maxminddb:"asn"` // IPinfo: "AS64500"
	ASName string `maxminddb:"as_name"`
	Label  string `maxminddb:"name"`
}

// Of is the owner of the network that addr is in.
func (b *Book) Of(addr netip.Addr) Owner {
	db := b.db.Load()
	if db == nil || !addr.IsValid() {
		return Owner{}
	}
	var r record
	found := db.Lookup(addr)
	if !found.Found() || found.Decode(&r) != nil {
		return Owner{}
	}
	o := Owner{AS: r.Number, Name: cmp.Or(r.Name, r.ASName, r.Label)}
	if o.AS == 0 {
		fmt.Sscanf(r.AS, "AS%d", &o.AS)
	}
	return o
}

// Built is when the database in use was made; zero without one.
func (b *Book) Built() time.Time {
	db := b.db.Load()
	if db == nil {
		return time.Time{}
	}
	return time.Unix(int64(db.Metadata.BuildEpoch), 0)
}

// Use takes a file from now on, and reads it; "" is none. An error says what is wrong with it: then the names known before
// stay in use if the path is the same, and there are none if it is another.
func (b *Book) Use(path string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if path != b.path {
		b.path, b.seen = path, ""
		b.db.Store(nil)
	}
	if path == "" {
		b.err = nil
		return nil
	}
	b.seen = state(path)
	b.next = b.seen
	b.err = b.read()
	return b.err
}

// Look reads the file again when it changed and is not just being written: two looks must find it the same. changed tells
// that it was read.
func (b *Book) Look() (changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.path == "" {
		return false, nil
	}
	now := state(b.path)
	settled := now == b.next
	b.next = now
	if now == b.seen || !settled {
		return false, b.err
	}
	b.seen = now
	b.err = b.read()
	return true, b.err
}

// Err is why the file on the disk is not in use; nil when it is, or there is to be none.
func (b *Book) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// read puts what is in the file in the place of what is known, or leaves that.
func (b *Book) read() error {
	info, err := os.Stat(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there", b.path)
	case err != nil:
		return err
	case info.Size() > maxBytes:
		return fmt.Errorf("%s has %d bytes; at most %d are read: use a database of autonomous systems", b.path, info.Size(), int64(maxBytes))
	}
	bytes, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	db, err := maxminddb.OpenBytes(bytes)
	if err == nil {
		err = sound(db)
	}
	if err != nil {
		return fmt.Errorf("%s is no sound MMDB file: %w", b.path, err)
	}
	b.db.Store(db)
	return nil
}

// sound looks everything up that there is: what is damaged is not to come to light later. Reader.Verify would also refuse
// a file for an empty description.
func sound(db *maxminddb.Reader) error {
	var r record
	for found := range db.Networks() {
		if err := found.Decode(&r); err != nil {
			if _, other := errors.AsType[maxminddb.UnmarshalTypeError](err); !other { // a name of another type is no damage
				return err
			}
		}
	}
	return nil
}

// state is equal as long as a file is the same; "" when there is none.
func state(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Sys().(*syscall.Stat_t).Ino)
}

//go:build qemu

package imagetest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/mailweir/mailweir/image/layout"
)

const sector = 512

// volatile is a disk with a write cache, which a power cut empties: of what was written after the last flush nobody knows what is left.
// QEMU reaches it by NBD (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).
type volatile struct {
	socket string
	size   int64
	parts  map[int]extent // partitions that stay where they are: all but the last, by number

	mu      sync.Mutex
	file    *os.File
	cache   map[int64][]byte // sectors that were not flushed, by number
	written map[int]int64    // bytes that were written to each of parts
	writes  map[int]int      // and in how many requests
	trap    func() bool      // is asked at each write whether the power goes now; nil: it does not
	sprung  chan struct{}    // closed then
	over    chan struct{}    // closed when the machine is off
}

// extent is a part of the disk, in bytes.
type extent struct{ from, size int64 }

func newVolatile(t *testing.T, path string) *volatile {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &volatile{socket: filepath.Join(t.TempDir(), "nbd"), file: f, parts: map[int]extent{}, cache: map[int64][]byte{}, written: map[int]int64{}, writes: map[int]int{}}
	if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(file.New(f, true), sector, sector)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Partitions {
		if p.Start > 0 && p.Index != layout.Data {
			d.parts[p.Index] = extent{int64(p.Start) * sector, int64(p.End-p.Start+1) * sector}
		}
	}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.sprung, d.over = make(chan struct{}), make(chan struct{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := d.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Logf("disk: %v", err)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); f.Close() })
	return d
}

// drive is the disk as QEMU's option -drive wants it.
func (d *volatile) drive() string {
	return "driver=raw,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path=" + d.socket
}

// Of the protocol: what QEMU asks for.
const (
	nbdGo, nbdAbort                = 7, 2            // options
	nbdAck, nbdInfo                = 1, 3            // answers to them
	nbdUnsupported                 = 1<<31 | 1       //
	nbdHasFlags, nbdFlush          = 1 << 0, 1 << 2  // what the disk can do
	nbdFUA                         = 1 << 3          //
	cmdRead, cmdWrite              = 0, 1            // requests
	cmdDisconnect, cmdFlush        = 2, 3            //
	flagFUA                        = 1 << 0          // of a write
	nbdInvalid              uint32 = 22              // EINVAL
	replyMagic              uint64 = 0x3e889045565a9 // of options
)

func (d *volatile) serve(c net.Conn) error {
	in := bufio.NewReaderSize(c, 1<<20)
	if err := d.greet(c, in); err != nil {
		return err
	}
	for {
		var r struct {
			Magic          uint32
			Flags, Type    uint16
			Cookie, Offset uint64
			Length         uint32
		}
		if err := binary.Read(in, binary.BigEndian, &r); err != nil {
			return err
		}
		var data []byte
		var fault uint32
		switch at := int64(r.Offset); r.Type {
		case cmdRead:
			data = make([]byte, r.Length)
			if err := d.read(data, at); err != nil {
				return err
			}
		case cmdWrite:
			b := make([]byte, r.Length)
			if _, err := io.ReadFull(in, b); err != nil {
				return err
			}
			if over, goes := d.write(b, at); goes {
				<-over // no answer: there is nobody left
				return nil
			}
			if r.Flags&flagFUA != 0 {
				if err := d.flush(); err != nil {
					return err
				}
			}
		case cmdFlush:
			if err := d.flush(); err != nil {
				return err
			}
		case cmdDisconnect:
			return nil
		default:
			fault = nbdInvalid
		}
		var out bytes.Buffer
		binary.Write(&out, binary.BigEndian, struct {
			Magic, Error uint32
			Cookie       uint64
		}{0x67446698, fault, r.Cookie})
		out.Write(data)
		if _, err := c.Write(out.Bytes()); err != nil {
			return err
		}
	}
}

// greet agrees on the options, of which there is one.
func (d *volatile) greet(c net.Conn, in io.Reader) error {
	if _, err := io.WriteString(c, "NBDMAGICIHAVEOPT\x00\x03"); err != nil { // fixed newstyle, no zeroes
		return err
	}
	var flags uint32
	if err := binary.Read(in, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var o struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(in, binary.BigEndian, &o); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, in, int64(o.Length)); err != nil {
			return err
		}
		var out bytes.Buffer
		reply := func(kind uint32, data []byte) {
			binary.Write(&out, binary.BigEndian, struct {
				Magic                uint64
				Option, Kind, Length uint32
			}{replyMagic, o.Option, kind, uint32(len(data))})
			out.Write(data)
		}
		switch o.Option {
		case nbdGo:
			export := binary.BigEndian.AppendUint16(nil, 0)
			export = binary.BigEndian.AppendUint64(export, uint64(d.size))
			reply(nbdInfo, binary.BigEndian.AppendUint16(export, nbdHasFlags|nbdFlush|nbdFUA))
			reply(nbdAck, nil)
		case nbdAbort:
			reply(nbdAck, nil)
		default:
			reply(nbdUnsupported, nil)
		}
		if _, err := c.Write(out.Bytes()); err != nil {
			return err
		}
		switch o.Option {
		case nbdGo:
			return nil
		case nbdAbort:
			return io.EOF
		}
	}
}

// read is what the machine reads: the cache, too.
func (d *volatile) read(b []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.file.ReadAt(b, at); err != nil {
		return err
	}
	if len(d.cache) == 0 {
		return nil
	}
	for n := 0; n < len(b); n += sector {
		if s, ok := d.cache[(at+int64(n))/sector]; ok {
			copy(b[n:], s)
		}
	}
	return nil
}

// write puts whole sectors into the cache. It tells when the power goes at this write; over is closed when it is gone.
func (d *volatile) write(b []byte, at int64) (over <-chan struct{}, goes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := 0; n < len(b); n += sector {
		d.cache[(at+int64(n))/sector] = b[n : n+sector]
	}
	for part, e := range d.parts {
		if at >= e.from && at < e.from+e.size {
			d.written[part] += int64(len(b))
			d.writes[part]++
		}
	}
	if d.trap != nil && d.trap() {
		d.trap = nil
		close(d.sprung)
		return d.over, true
	}
	return nil, false
}

func (d *volatile) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settle(func() bool { return true })
}

// settle puts those sectors of the cache on the medium that stay; d.mu is held.
func (d *volatile) settle(stays func() bool) error {
	for _, n := range slices.Sorted(maps.Keys(d.cache)) {
		if stays() {
			if _, err := d.file.WriteAt(d.cache[n], n*sector); err != nil {
				return err
			}
		}
	}
	clear(d.cache)
	return nil
}

// arm sets the trap: trip is asked at each write to a partition of parts, with what was written to each since now.
func (d *volatile) arm(trip func(written map[int]int64, writes map[int]int) bool) (sprung <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bytes, requests := maps.Clone(d.written), maps.Clone(d.writes)
	d.sprung = make(chan struct{})
	d.trap = func() bool {
		written, writes := map[int]int64{}, map[int]int{}
		for part := range d.parts {
			written[part], writes[part] = d.written[part]-bytes[part], d.writes[part]-requests[part]
		}
		return trip(written, writes)
	}
	return d.sprung
}

// lose is what a power cut does to the cache: all of it is gone, or nothing, or any sector may be either. The machine is off.
func (d *volatile) lose(t *testing.T, chance *rand.Rand) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.over)
	d.over = make(chan struct{})
	unflushed, left := len(d.cache), 0
	share := []float64{0, 0.5, 1}[chance.IntN(3)]
	err := d.settle(func() bool {
		stays := chance.Float64() < share
		if stays {
			left++
		}
		return stays
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d sectors that were not flushed %d are left", unflushed, left)
}

// begins tells whether there is something in the first sector of a partition; d.mu is held.
func (d *volatile) begins(part int) bool {
	n := d.parts[part].from / sector
	s, ok := d.cache[n]
	if !ok {
		s = make([]byte, sector)
		if _, err := d.file.ReadAt(s, n*sector); err != nil {
			return false
		}
	}
	return !bytes.Equal(s, make([]byte, sector))
}

// sum is the SHA-256 of a partition as it is now.
func (d *volatile) sum(t *testing.T, part int) string {
	t.Helper()
	e, ok := d.parts[part]
	if !ok {
		t.Fatalf("no partition %d", part)
	}
	b := make([]byte, e.size)
	if err := d.read(b, e.from); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

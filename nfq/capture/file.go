package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxFrame is the longest frame that is believed: libpcap's MAXIMUM_SNAPLEN.
const maxFrame = 256 << 10

// frame is one record of a file.
type frame struct {
	time   time.Time
	link   uint16
	data   []byte // the reader's own, until its next frame
	length int    // on the wire
}

// format is one of pcapgo's readers.
type format interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// file is one capture file and the frame of it that is in hand.
type file struct {
	name   string
	stream bool // cannot be opened again
	parked bool // closed; the frame in hand is its first

	src    *os.File // nil: somebody else's
	order  int      // of the files
	format format
	link   func(gopacket.CaptureInfo) layers.LinkType
	at     func() int64 // bytes read, of what is inside if it is packed
	why    func() error // what ended reading, if it was not the format's reader; nil: it was
	frame  frame
	frames uint64
}

// open opens the file and reads its header.
func (f *file) open() error {
	src, err := openFile(f.name)
	if err != nil {
		if reason := (*fs.PathError)(nil); errors.As(err, &reason) {
			err = reason.Err
		}
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.src = src
	if info, err := src.Stat(); err == nil {
		f.stream = f.stream || !info.Mode().IsRegular()
	}
	if err := f.begin(src); err != nil {
		f.close()
		return err
	}
	return nil
}

// begin finds out what r is and reads the header.
func (f *file) begin(r io.Reader) error {
	f.frames, f.why = 0, nil
	in := bufio.NewReaderSize(r, 64<<10)
	magic, err := in.Peek(4)
	if len(magic) > 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("%s: packed with gzip, and damaged: %w", f.name, err)
		}
		in = bufio.NewReaderSize(z, 64<<10)
		magic, err = in.Peek(4)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: packed with gzip, and damaged: %w", f.name, err)
		}
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %w", f.name, err)
	case len(magic) < 4:
		return fmt.Errorf("%s: %d bytes are no capture: a pcap or pcapng file is needed", f.name, len(magic))
	}
	switch binary.BigEndian.Uint32(magic) {
	case 0x0a0d0d0a:
		err = f.beginBlocks(in)
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		err = f.beginClassic(in)
	default:
		err = fmt.Errorf("begins with %x: neither a pcap nor a pcapng file", magic)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

func (f *file) beginClassic(in *bufio.Reader) error {
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return fmt.Errorf("header of a pcap file: %w", whole(err))
	}
	r.SetSnaplen(maxFrame) // what the file says may be anything, and writers do not keep to it
	const header, record = 24, 16
	at := int64(header)
	f.format = counting{r, func(n int) { at += record + int64(n) }}
	f.at = func() int64 { return at }
	f.link = func(gopacket.CaptureInfo) layers.LinkType { return r.LinkType() }
	return nil
}

func (f *file) beginBlocks(in *bufio.Reader) error {
	b := &blocks{in: in}
	r, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		if b.err != nil {
			err = b.err
		}
		return fmt.Errorf("header of a pcapng file: %w", whole(err))
	}
	f.format, f.at = r, func() int64 { return b.at }
	f.why = func() error { return b.err }
	f.link = func(info gopacket.CaptureInfo) layers.LinkType {
		i, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			return layers.LinkType(^uint16(0)) // the reader has checked the index
		}
		return i.LinkType
	}
	return nil
}

// counting tells how much of a pcap file its frames took.
type counting struct {
	format
	took func(n int)
}

func (c counting) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	data, info, err := c.format.ZeroCopyReadPacketData()
	switch {
	case err == nil:
		c.took(len(data))
	case errors.Is(err, io.EOF) && info.CaptureLength > 0:
		err = io.ErrUnexpectedEOF // right behind the record's header
	}
	return data, info, err
}

// whole says of a file that is over what it is: cut.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

var errCut = errors.New("the file is cut off")

// next takes the next frame in hand. io.EOF: the file is at its end; any other error is its damage.
func (f *file) next() error {
	data, info, err := f.format.ZeroCopyReadPacketData()
	if f.why != nil && f.why() != nil && err != nil {
		err = f.why()
	}
	switch {
	case err == nil:
		f.frames++
		f.frame = frame{time: info.Timestamp, link: uint16(f.link(info)), data: data, length: info.Length}
		return nil
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("%s: damaged behind packet %d, at byte %d: %w", f.name, f.frames, f.at(), whole(err))
}

// park closes the file until its turn comes.
func (f *file) park() {
	f.close()
	f.parked = true
	f.frame.data, f.format = nil, nil
}

// resume opens the file again, with its first frame in hand.
func (f *file) resume() error {
	f.parked = false
	err := f.open()
	if err == nil {
		err = f.next()
	}
	if err != nil {
		f.close()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: became shorter while it was read", f.name)
		}
	}
	return err
}

func (f *file) close() {
	if f.src != nil && f.src != os.Stdin {
		f.src.Close() // was only read
	}
	f.src = nil
}

package capture

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng) that packets need.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

const (
	// maxBlock is the longest block that is taken in: a frame, and what may be said of it.
	maxBlock = maxFrame + 64<<10
	// maxInterfaces bounds what is remembered of a section.
	maxInterfaces = 1 << 14
)

// blocks is a pcapng file as pcapgo's reader gets to see it: sections, interfaces and packets, each with lengths that
// agree, without any option but what an interface's times need. That reader believes a block's lengths and options,
// and keeps name records and interfaces as long as a section lasts.
type blocks struct {
	in    *bufio.Reader
	at    int64 // bytes of whole blocks read
	order binary.ByteOrder
	links int    // interfaces of the section
	snap  uint32 // of its first interface
	buf   []byte // of the block in hand
	made  []byte // the block made of it
	out   []byte // what of that was not handed out yet
	err   error  // why there is no more; io.EOF: that was all
}

// Read hands out the block in hand, so that what was read is never far ahead of what is used.
func (b *blocks) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.err = b.block()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// block reads one block; b.out is empty if it is of no use.
func (b *blocks) block() error {
	var head [12]byte
	if n, err := io.ReadFull(b.in, head[:8]); err != nil {
		if n == 0 && err == io.EOF {
			return io.EOF
		}
		return whole(err)
	}
	kind, behind := binary.BigEndian.Uint32(head[:]), 8
	if kind == blockSection {
		if _, err := io.ReadFull(b.in, head[8:]); err != nil {
			return whole(err)
		}
		behind = 12
		switch uint32(0x1a2b3c4d) {
		case binary.BigEndian.Uint32(head[8:]):
			b.order = binary.BigEndian
		case binary.LittleEndian.Uint32(head[8:]):
			b.order = binary.LittleEndian
		default:
			return fmt.Errorf("a section's byte order is %x", head[8:])
		}
	}
	if b.order == nil {
		return fmt.Errorf("begins with a block of type %#x", kind)
	}
	kind = b.order.Uint32(head[:])
	length := int64(b.order.Uint32(head[4:]))
	if length < int64(behind)+4 || length%4 != 0 {
		return fmt.Errorf("a block of type %#x says that it is %d bytes long", kind, length)
	}
	rest := length - int64(behind)
	switch kind {
	case blockSection, blockInterface, blockPacket, blockSimple, blockEnhanced:
	default:
		for left := rest; left > 0; {
			n, err := b.in.Discard(int(min(left, 1<<30)))
			if left -= int64(n); err != nil {
				return whole(err)
			}
		}
		b.at += length
		return nil
	}
	if length > maxBlock {
		return fmt.Errorf("a block of type %#x says that it is %d bytes long; at most %d are believed", kind, length, maxBlock)
	}
	if int64(cap(b.buf)) < rest {
		b.buf = make([]byte, rest)
	}
	body := b.buf[:rest]
	if _, err := io.ReadFull(b.in, body); err != nil {
		return whole(err)
	}
	if again := b.order.Uint32(body[rest-4:]); int64(again) != length {
		return fmt.Errorf("a block of type %#x says that it is %d bytes long, and at its end %d", kind, length, again)
	}
	if err := b.rebuild(kind, body[:rest-4]); err != nil {
		return err
	}
	b.at += length
	return nil
}

// rebuild makes b.out of a block's body.
func (b *blocks) rebuild(kind uint32, body []byte) error {
	switch kind {
	case blockSection:
		return b.section(body)
	case blockInterface:
		return b.describe(body)
	case blockSimple:
		return b.simple(body)
	}
	if len(body) < 20 {
		return fmt.Errorf("a packet's block of %d bytes is too short", len(body))
	}
	captured := int(b.order.Uint32(body[12:]))
	if captured < 0 || captured > maxFrame || padded(captured) > len(body)-20 {
		return fmt.Errorf("a packet of %d bytes in a block of %d", uint32(captured), len(body))
	}
	index := int(b.order.Uint32(body))
	if kind == blockPacket {
		index = int(b.order.Uint16(body))
	}
	if index < 0 || index >= b.links {
		return fmt.Errorf("a packet of interface %d, of which nothing is said", uint32(index))
	}
	b.hand(kind, body[:20], body[20:20+padded(captured)])
	return nil
}

func (b *blocks) section(body []byte) error {
	if len(body) < 12 {
		return fmt.Errorf("a section's header of %d bytes is too short", len(body))
	}
	major, minor := b.order.Uint16(body), b.order.Uint16(body[2:])
	if major != 1 || minor != 0 && minor != 2 { // 1.2 was written for what is 1.0
		return fmt.Errorf("a section in version %d.%d of the format", major, minor)
	}
	b.links, b.snap = 0, 0
	header := make([]byte, 16)
	b.order.PutUint32(header, 0x1a2b3c4d)
	b.order.PutUint16(header[4:], 1)
	for i := 8; i < 16; i++ {
		header[i] = 0xff // its length: not told
	}
	b.hand(blockSection, header)
	return nil
}

// describe passes on an interface, of whose options only those that its times need.
func (b *blocks) describe(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("an interface's description of %d bytes is too short", len(body))
	}
	if b.links++; b.links > maxInterfaces {
		return fmt.Errorf("a section with more than %d interfaces", maxInterfaces)
	}
	if b.links == 1 {
		b.snap = b.order.Uint32(body[4:])
	}
	const resolution, offset = 9, 14
	var keep []byte
	for rest := body[8:]; len(rest) >= 4; {
		code, n := b.order.Uint16(rest), int(b.order.Uint16(rest[2:]))
		if code == 0 {
			break
		}
		end := 4 + padded(n)
		if end > len(rest) {
			return fmt.Errorf("an option of %d bytes in an interface's description of %d", n, len(body))
		}
		switch {
		case code == resolution && n == 1:
			if e := rest[4] & 0x7f; rest[4]&0x80 == 0 && e > 19 || e > 63 {
				return fmt.Errorf("an interface's times are in units of %#x", rest[4])
			}
			keep = append(keep, rest[:end]...)
		case code == offset && n == 8:
			keep = append(keep, rest[:end]...)
		}
		rest = rest[end:]
	}
	b.hand(blockInterface, body[:8], keep)
	return nil
}

// simple passes on a packet whose length is told by the first interface.
func (b *blocks) simple(body []byte) error {
	if len(body) < 4 || b.links == 0 {
		return fmt.Errorf("a simple packet in a block of %d bytes, with %d interfaces", len(body), b.links)
	}
	length := b.order.Uint32(body)
	captured := length
	if b.snap != 0 {
		captured = min(captured, b.snap)
	}
	if captured > maxFrame || padded(int(captured)) > len(body)-4 {
		return fmt.Errorf("a simple packet of %d bytes in a block of %d", captured, len(body))
	}
	b.hand(blockSimple, body[:4], body[4:4+padded(int(captured))])
	return nil
}

// hand makes a block of parts.
func (b *blocks) hand(kind uint32, parts ...[]byte) {
	length := 12
	for _, p := range parts {
		length += len(p)
	}
	out := b.word(b.made[:0], kind)
	out = b.word(out, uint32(length))
	for _, p := range parts {
		out = append(out, p...)
	}
	b.made = b.word(out, uint32(length))
	b.out = b.made
}

func (b *blocks) word(out []byte, v uint32) []byte {
	var w [4]byte
	b.order.PutUint32(w[:], v)
	return append(out, w[:]...)
}

// padded is n rounded up to words of four bytes.
func padded(n int) int { return (n + 3) &^ 3 }

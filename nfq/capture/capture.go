// Package capture reads files of captured packets (pcap and pcapng, packed with gzip or not) down to their IP packets,
// in the order of their times, one at a time: a file of any size takes the same memory.
//
// # What is trusted
//
// Nothing. A file may be cut, damaged or made to do harm. pcapgo reads the formats; before it, every length is held
// against maxFrame, and of pcapng only the blocks that packets need are let through, rebuilt from what was understood
// (blocks.go). What comes before the damage is given, and the damage is an error that names file, packet and byte.
//
// # What is given
//
// The IP packet in a frame: through Ethernet with VLAN tags, PPPoE, PPP, Linux cooked captures, BSD loopback or nothing
// at all (link.go). Fragments are joined, as a kernel joins them before its netfilter hooks see them (fragments.go); a
// packet whose fragments are not all there is not given and is counted. Packets that the capture cut short are given as
// they are: their headers say how long they were.
package capture

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"
)

// Packet is one IP packet.
type Packet struct {
	Time   time.Time
	IP     []byte // from the IPv4 or IPv6 header on; padding of the link may follow. Valid until the next Next
	Length int    // bytes that it had on the wire; more than IP where the capture cut it and no header tells
}

// Stats counts what was read.
type Stats struct {
	Frames    uint64            // read, of any kind
	Packets   uint64            // given
	NoIP      uint64            // frames without an IP packet
	Links     map[uint16]uint64 // of these, frames of link types that are not known, by type
	Cut       uint64            // frames that the capture cut short
	CutBytes  uint64            // and how many bytes are not there
	NoTime    uint64            // frames without a time, or with an impossible one: the last frame's is taken
	Fragments FragmentStats
}

// Capture is one capture, in one file or several.
type Capture struct {
	files  byTime // by the time of the frame that each has in hand
	last   *file  // which gave the packet that the caller has
	time   time.Time
	joiner joiner
	stats  Stats
	damage []error
}

// Open opens the files at paths, of which the packets are given in the order of their times: files that follow each
// other, or that were written beside each other. "-" is the standard input. An error says which file is no capture.
func Open(paths ...string) (*Capture, error) {
	c := empty()
	for i, path := range paths {
		f := &file{name: path, order: i, stream: path == "-"}
		if err := f.open(); err != nil {
			c.Close()
			return nil, err
		}
		if !c.load(f) {
			continue
		}
		// Of many files only those are open whose turn has come.
		if len(paths) > 1 && !f.stream {
			f.park()
		}
	}
	return c, nil
}

func empty() *Capture {
	return &Capture{time: time.Unix(0, 0).UTC(), stats: Stats{Links: map[uint16]uint64{}}}
}

// New reads one capture from r; name is for errors.
func New(name string, r io.Reader) (*Capture, error) {
	c := empty()
	f := &file{name: name, stream: true}
	if err := f.begin(r); err != nil {
		return nil, err
	}
	c.load(f)
	return c, nil
}

// load takes the next frame of f in hand, and f back among the files; false: it is at its end.
func (c *Capture) load(f *file) bool {
	switch err := f.next(); {
	case err == nil:
		heap.Push(&c.files, f)
		return true
	case !errors.Is(err, io.EOF):
		c.damage = append(c.damage, err)
	}
	f.close()
	return false
}

// Next reads the next packet; io.EOF: there is none any more. Damaged files end where their damage begins: see Damage.
func (c *Capture) Next(p *Packet) error {
	for {
		if c.last != nil {
			c.load(c.last)
			c.last = nil
		}
		if len(c.files) == 0 {
			return io.EOF
		}
		f := heap.Pop(&c.files).(*file)
		if f.parked {
			if err := f.resume(); err != nil {
				c.damage = append(c.damage, err)
				continue
			}
		}
		c.last = f
		if c.packet(&f.frame, p) {
			c.stats.Packets++
			return nil
		}
	}
}

// packet finds the IP packet of a frame; false if there is none to be given.
func (c *Capture) packet(f *frame, p *Packet) bool {
	c.stats.Frames++
	if !possible(f.time) {
		c.stats.NoTime++
		f.time = c.time
	}
	c.time = f.time
	cut := f.length - len(f.data)
	if cut > 0 {
		c.stats.Cut++
		c.stats.CutBytes += uint64(cut)
	}
	ip := IP(f.link, f.data)
	if ip == nil {
		c.stats.NoIP++
		if !Known(f.link) {
			c.stats.Links[f.link]++
		}
		return false
	}
	if isFragment(ip) {
		if ip = c.joiner.take(ip, f.time); ip == nil {
			return false
		}
	}
	*p = Packet{Time: f.time, IP: ip, Length: wireLength(ip, max(cut, 0))}
	return true
}

// possible tells whether a packet can have been captured at t: files may hold any number.
func possible(t time.Time) bool { return t.Unix() >= 0 && t.Year() < 2200 }

// wireLength is how long ip was, where its capture lacks cut bytes. Its header knows better what belongs to it, unless
// the length there is zero, as in packets above 64 KiB.
func wireLength(ip []byte, cut int) int {
	field := 2
	if ip[0]>>4 == 6 {
		field = 4
	}
	if len(ip) >= field+2 && binary.BigEndian.Uint16(ip[field:]) == 0 {
		return len(ip) + cut
	}
	return len(ip)
}

// Stats is what was read so far.
func (c *Capture) Stats() Stats {
	s := c.stats
	s.Fragments = c.joiner.stats
	s.Fragments.Missing += uint64(len(c.joiner.open))
	return s
}

// Damage is what was wrong with the files, nil if nothing was.
func (c *Capture) Damage() error { return errors.Join(c.damage...) }

// Close closes the files.
func (c *Capture) Close() {
	if c.last != nil {
		c.last.close()
	}
	for _, f := range c.files {
		f.close()
	}
}

// byTime is a heap of files, the one with the earliest frame at its root; of equals the one that was named first.
type byTime []*file

func (h byTime) Len() int      { return len(h) }
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h byTime) Less(i, j int) bool {
	return cmp.Or(h[i].frame.time.Compare(h[j].frame.time), cmp.Compare(h[i].order, h[j].order)) < 0
}

// Push is for container/heap.
func (h *byTime) Push(x any) { *h = append(*h, x.(*file)) }

// Pop is for container/heap.
func (h *byTime) Pop() any {
	old := *h
	f := old[len(old)-1]
	*h = old[:len(old)-1]
	return f
}

// openFile opens a file, or the standard input.
func openFile(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	return os.Open(path)
}

package nfqtest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailweir/mailweir/nfq/capture"
)

// Packet is one IP packet of a capture.
type Packet struct {
	Frame int // number of its frame in the capture, from 1, as Wireshark counts
	Time  time.Time
	IP    []byte // from the IPv4 or IPv6 header on; padding of the link may follow
}

// Capture is a capture file read down to its IP packets.
type Capture struct {
	Name    string // file name without its folder
	Packets []Packet
	Frames  int   // frames in the file, those without an IP packet included
	Damage  error // why reading stopped before the end of the file, nil if it did not
}

// Read reads the capture at path. A file that ends early or is damaged gives what could be read and Damage; a file
// that is no capture at all fails the test.
func Read(t testing.TB, path string) *Capture {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	c.Name = filepath.Base(path)
	return c
}

// ReadArchive reads all captures of a .tar.gz, in the archive's order. Members that are no captures are left out.
func ReadArchive(t testing.TB, path string) []*Capture {
	t.Helper()
	var all []*Capture
	Archive(t, path, func(name string, content []byte) {
		c, err := read(bytes.NewReader(content))
		if err != nil {
			return
		}
		c.Name = filepath.Base(name)
		all = append(all, c)
	})
	return all
}

// source is what both of pcapgo's readers offer.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

func read(r io.Reader) (*Capture, error) {
	in := bufio.NewReader(r)
	magic, err := in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("read the first bytes: %w", err)
	}
	if bytes.Equal(magic[:2], []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		return read(z)
	}
	var from source
	var link func(gopacket.CaptureInfo) layers.LinkType
	if bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		ng, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("open pcapng: %w", err)
		}
		from = ng
		link = func(info gopacket.CaptureInfo) layers.LinkType {
			i, err := ng.Interface(info.InterfaceIndex)
			if err != nil {
				return ng.LinkType()
			}
			return i.LinkType
		}
	} else {
		classic, err := pcapgo.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("open pcap: %w", err)
		}
		from = classic
		link = func(gopacket.CaptureInfo) layers.LinkType { return classic.LinkType() }
	}

	c := new(Capture)
	for {
		data, info, err := from.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			c.Damage = err
			return c, nil
		}
		c.Frames++
		if ip := capture.IP(uint16(link(info)), data); ip != nil {
			c.Packets = append(c.Packets, Packet{Frame: c.Frames, Time: info.Timestamp, IP: ip})
		}
	}
}

// Archive gives every member of a .tar.gz, in the archive's order.
func Archive(t testing.TB, path string, each func(name string, content []byte)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for members := tar.NewReader(z); ; {
		head, err := members.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if head.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(members)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, head.Name, err)
		}
		each(head.Name, content)
	}
}

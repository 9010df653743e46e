package nfqtest

import (
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// WritePcap writes packets into a pcap file of raw IP.
func WritePcap(to io.Writer, packets []Packet) error {
	w := pcapgo.NewWriterNanos(to)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeRaw); err != nil {
		return err
	}
	for _, p := range packets {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.IP), Length: len(p.IP)}, p.IP); err != nil {
			return err
		}
	}
	return nil
}

package crossing

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

// Flow is one TCP session of a capture, and what the tracker says about it.
type Flow struct {
	Client, Server netip.AddrPort
	Start          time.Time
	Facts          session.Facts
	Recording      session.Recording
}

// pair names a flow in one direction.
type pair struct{ from, to netip.AddrPort }

type tracked struct {
	*Flow
	tracker *session.Tracker
	last    time.Time
}

// Flows has every TCP session of a capture of Tap followed by a tracker. kernel is whether packets that the tracker
// releases stay from it, as they do in the box.
func Flows(path string, kernel bool) ([]Flow, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := pcapgo.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	open := map[pair]*tracked{}
	var all []*tracked
	for {
		frame, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		var s packet.Segment
		if len(frame) < 14 || packet.Decode(frame[14:], &s) != packet.OK {
			continue
		}
		way := pair{s.Src, s.Dst}
		f := open[way]
		if s.Flags&(packet.SYN|packet.ACK) == packet.SYN && (f == nil || f.tracker.Ended()) {
			f = &tracked{Flow: &Flow{Client: s.Src, Server: s.Dst, Start: info.Timestamp}}
			f.tracker = session.New(session.Options{ImplicitTLS: s.Dst.Port() == 465, Record: &f.Recording})
			open[way], open[pair{s.Dst, s.Src}] = f, f
			all = append(all, f)
		}
		if f == nil {
			continue
		}
		f.follow(&s, info.Timestamp, kernel)
	}
	out := make([]Flow, len(all))
	for i, f := range all {
		f.tracker.End(session.EndTimeout, f.last)
		f.Facts = f.tracker.Facts()
		out[i] = *f.Flow
	}
	return out, nil
}

func (f *tracked) follow(s *packet.Segment, at time.Time, kernel bool) {
	f.last = at
	dir := session.Up
	if s.Src != f.Client {
		dir = session.Down
	}
	if kernel && !s.Flags.Any(packet.SYN|packet.FIN|packet.RST) {
		rel := f.tracker.Release()
		if rel == session.ReleaseBoth || rel == session.ReleaseUp && dir == session.Up || len(s.Payload)+s.Missing == 0 {
			return
		}
	}
	f.tracker.Segment(dir, s, at, nil)
}

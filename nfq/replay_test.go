package nfq

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

func newReplay(t testing.TB, cfg Config) (*Replay, *policy) {
	t.Helper()
	p := &policy{}
	if cfg.Policy == nil {
		cfg.Policy = p
	}
	if cfg.Ports == nil {
		cfg.Ports = []uint16{25, 465}
	}
	r, err := NewReplay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

// TestAReplayIsWhatAQueuesWorkerSays: random sessions, with silences of seconds and hours, resets, ports used again and
// flows without a beginning, given to a queue's worker with a clock that ticks every second, and to a replay.
func TestAReplayIsWhatAQueuesWorkerSays(t *testing.T) {
	t.Parallel()
	sessions, packets, timeouts := 0, 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		b := newBench(t, Config{})
		r, got := newReplay(t, Config{})
		talks := make([]*talk, 12)
		for i := range talks {
			talks[i] = newTalk(uint16(4000 + i%8)) // some on the same ports
			talks[i].up, talks[i].down = rng.Uint32(), rng.Uint32()
		}
		for range 150 {
			var ip []byte
			switch c := talks[rng.IntN(len(talks))]; rng.IntN(12) {
			case 0, 1:
				ip = c.syn()
			case 2, 3:
				ip = c.synAck()
			case 4:
				ip = c.reply("220 hi\r\n")
			case 5:
				ip = c.say("EHLO c\r\n")
			case 6, 7:
				ip = c.reply("250 ok\r\n")
			case 8:
				ip = c.say("MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\n")
			case 9:
				ip = c.clientFIN()
			case 10:
				ip = c.serverFIN()
			case 11:
				ip = c.clientRST()
			}
			gap := time.Duration(rng.IntN(5)) * 300 * time.Millisecond
			if rng.IntN(20) == 0 {
				gap = time.Duration(rng.IntN(4000)) * time.Second
			}
			for ; gap > time.Second; gap -= time.Second {
				b.later(time.Second)
			}
			b.later(gap)
			b.take(ip)
			r.Packet(ip, len(ip), b.now)
			packets++
		}
		b.w.mu.Lock()
		b.w.endAll()
		b.w.mu.Unlock()
		r.Close()
		mine, theirs := ordered(got.closed()), ordered(b.policy.closed())
		if len(mine) != len(theirs) {
			t.Fatalf("seed %d: %d sessions, the worker has %d", seed, len(mine), len(theirs))
		}
		sessions += len(mine)
		for i := range mine {
			m, w := mine[i], theirs[i]
			if m.EndReason == session.EndTimeout {
				timeouts++
			}
			if d := w.End.Sub(m.End); d < 0 || d > time.Second { // silence is noticed when it is due, there once a second
				t.Errorf("seed %d, %v: ends at %v, with the worker at %v", seed, m.flow, m.End, w.End)
			}
			m.End, w.End = time.Time{}, time.Time{}
			if fmt.Sprint(m.Summary) != fmt.Sprint(w.Summary) || (m.handle == nil) != (w.handle == nil) {
				t.Errorf("seed %d, %v:\n got %+v\nwant %+v", seed, m.flow, m.Summary, w.Summary)
			}
		}
		if m, w := got.opened(), b.policy.opened(); !slices.Equal(m, w) {
			t.Errorf("seed %d: opened %v, the worker %v", seed, m, w)
		}
	}
	t.Logf("%d packets, %d sessions, %d of them timed out", packets, sessions, timeouts)
	if timeouts < 100 {
		t.Errorf("only %d sessions timed out", timeouts)
	}
}

func ordered(all []closing) []closing {
	slices.SortFunc(all, func(a, b closing) int {
		return cmp.Or(a.flow.Client.Compare(b.flow.Client), a.flow.Server.Compare(b.flow.Server), a.Start.Compare(b.Start), a.End.Compare(b.End))
	})
	return all
}

// TestTheCapturesClock: silence ends a session when it was long enough, not when the next packet comes; times that go
// back a little mean nothing, and a clock that was set is followed.
func TestTheCapturesClock(t *testing.T) {
	t.Parallel()
	r, p := newReplay(t, Config{})
	at := time.Unix(1_000_000, 0)
	c, other := newTalk(4000), newTalk(4001)
	give := func(ip []byte, now time.Time) { r.Packet(ip, len(ip), now) }
	give(c.syn(), at)
	give(c.synAck(), at)
	give(c.reply("220 hi\r\n"), at.Add(time.Second))
	give(other.syn(), at.Add(5*time.Hour))
	closed := p.closed()
	if len(closed) != 1 || !closed[0].End.Equal(at.Add(time.Second+defaultTimeouts[running])) || closed[0].EndReason != session.EndTimeout {
		t.Errorf("%+v", closed)
	}
	give(other.synAck(), at.Add(5*time.Hour-30*time.Second))
	if now := r.Now(); !now.Equal(at.Add(5 * time.Hour)) {
		t.Errorf("after a small step back it is %v", now)
	}
	give(other.reply("220 hi\r\n"), at.Add(time.Hour))
	if now := r.Now(); !now.Equal(at.Add(time.Hour)) {
		t.Errorf("after the clock was set it is %v", now)
	}
	give(other.say("QUIT\r\n"), at.Add(time.Hour))
	give(other.clientFIN(), at.Add(time.Hour))
	give(other.serverFIN(), at.Add(time.Hour))
	r.Close()
	if closed = p.closed(); len(closed) != 2 || closed[1].EndReason != session.EndFIN || closed[1].End.Before(closed[1].Start) {
		t.Errorf("%+v", closed)
	}
}

func TestWhatIsNoReplay(t *testing.T) {
	t.Parallel()
	for why, cfg := range map[string]Config{
		"no policy": {Ports: []uint16{25}},
		"no port":   {Policy: &policy{}},
	} {
		if _, err := NewReplay(cfg); err == nil {
			t.Errorf("%s: no error", why)
		}
	}
}

// everyPort governs whatever a capture has.
func everyPort() []uint16 {
	all := make([]uint16, 0, 1<<16-1)
	for p := range uint16(1<<16 - 1) {
		all = append(all, p+1)
	}
	return all
}

// TestSeeds: odd and broken packets, as captures, through reader, flows and trackers, all ports governed.
func TestSeeds(t *testing.T) {
	t.Parallel()
	files, refused, packets, sessions := 0, 0, 0, 0
	ports := everyPort()
	for _, path := range nfqtest.Captures(t, "seeds") {
		nfqtest.Archive(t, path, func(name string, content []byte) {
			files++
			c, err := capture.New(name, bytes.NewReader(content))
			if err != nil {
				refused++
				return
			}
			r, p := newReplay(t, Config{Ports: ports, MaxFlows: 4096})
			var one capture.Packet
			for c.Next(&one) == nil {
				packets++
				r.Packet(one.IP, one.Length, one.Time)
			}
			r.Close()
			s := r.Stats()
			if s.Panics != 0 || s.Flows != 0 {
				t.Errorf("%s: %d panics, %d flows left", name, s.Panics, s.Flows)
			}
			for _, one := range p.closed() {
				sessions++
				if one.Start.IsZero() || one.End.Before(one.Start) || one.BytesUp < 0 || one.BytesDown < 0 {
					t.Errorf("%s: %+v", name, one)
				}
			}
		})
	}
	t.Logf("%d files of captures/seeds, %d are no captures; %d packets, %d sessions", files, refused, packets, sessions)
	if files < 1186 {
		t.Errorf("%d files, there should be 1186", files)
	}
}

// FuzzReplay: no capture file makes reader, flows and trackers panic, or leaves something behind.
func FuzzReplay(f *testing.F) {
	for _, folder := range []string{"smtp", "tls"} {
		for _, path := range nfqtest.Captures(f, folder) {
			if c := nfqtest.Read(f, path); len(c.Packets) > 0 && len(c.Packets) < 12 {
				f.Add(capturedFile(c.Packets))
			}
		}
	}
	c := newTalk(4000)
	var talk []nfqtest.Packet
	for i, ip := range [][]byte{c.syn(), c.synAck(), c.reply("220 a\r\n"), c.say("EHLO c\r\n"), c.reply("250-a\r\n250 STARTTLS\r\n"), c.say("STARTTLS\r\n"), c.reply("220 go\r\n"), c.clientFIN(), c.serverFIN()} {
		talk = append(talk, nfqtest.Packet{Time: time.Unix(int64(i), 0), IP: ip})
	}
	f.Add(capturedFile(talk))
	f.Fuzz(func(t *testing.T, file []byte) {
		from, err := capture.New("x", bytes.NewReader(file))
		if err != nil {
			return
		}
		r, p := newReplay(t, Config{Ports: []uint16{25, 443, 465}, MaxFlows: 64})
		var one capture.Packet
		for from.Next(&one) == nil {
			r.Packet(one.IP, one.Length, one.Time)
		}
		r.Close()
		if s := r.Stats(); s.Panics != 0 || s.Flows != 0 {
			t.Fatalf("%d panics, %d flows left", s.Panics, s.Flows)
		}
		if len(p.closed()) < len(p.opened()) {
			t.Fatalf("%d sessions opened, %d closed", len(p.opened()), len(p.closed()))
		}
	})
}

func capturedFile(packets []nfqtest.Packet) []byte {
	var b bytes.Buffer
	if err := nfqtest.WritePcap(&b, packets); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// TestManyFlowsAreBounded: SYNs without end, each from another address, leave no more flows than the table has room for.
func TestManyFlowsAreBounded(t *testing.T) {
	t.Parallel()
	r, p := newReplay(t, Config{MaxFlows: 1000})
	for i := range 20_000 {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		ip := nfqtest.TCP{Src: client, Dst: netip.AddrPortFrom(server4, 25), Seq: 1, Flags: packet.SYN}.Packet()
		r.Packet(ip, len(ip), time.Unix(1000, int64(i)))
	}
	if n := r.Stats().Flows; n > 1000 {
		t.Errorf("%d flows", n)
	}
	r.Close()
	if n := len(p.closed()); n != 20_000 {
		t.Errorf("%d sessions closed", n)
	}
}

package nfq

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

// goHello is what Go's own client says first: with its ML-KEM key share it is above 1,460 bytes.
func goHello(t testing.TB) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{ServerName: "mx.example"}).Handshake() // fails: nobody answers
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// padded is a hello with an extension of padding (RFC 7685) that makes its handshake message size bytes long, in as
// many records as that takes.
func paddedHello(t testing.TB, hello []byte, size int) (records []byte) {
	t.Helper()
	message := append([]byte(nil), hello[5:]...)
	at := 4 + 2 + 32
	at += 1 + int(message[at])
	at += 2 + int(binary.BigEndian.Uint16(message[at:]))
	at += 1 + int(message[at])
	n := size - len(message) - 4
	message = binary.BigEndian.AppendUint16(message, 21)
	message = binary.BigEndian.AppendUint16(message, uint16(n))
	message = append(message, make([]byte, n)...)
	binary.BigEndian.PutUint16(message[at:], uint16(len(message)-at-2))
	message[1], message[2], message[3] = byte((size-4)>>16), byte((size-4)>>8), byte(size-4)
	for len(message) > 0 {
		k := min(len(message), 1<<14)
		records = append(binary.BigEndian.AppendUint16(append(records, 22, 3, 1), uint16(k)), message[:k]...)
		message = message[k:]
	}
	return records
}

// inTLS is a session up to where a ClientHello comes.
func inTLS(r *Replay, give func([]byte)) *talk {
	c := newTalk(4000)
	for _, ip := range [][]byte{c.syn(), c.synAck(), c.reply("220 mx\r\n"), c.say("EHLO c\r\n"), c.reply("250-mx\r\n250 STARTTLS\r\n"), c.say("STARTTLS\r\n"), c.reply("220 go\r\n")} {
		give(ip)
	}
	return c
}

// TestAHelloCutAnywhere: wherever a ClientHello is cut, it is the same: Go's own at each byte, and one of 16 KiB.
func TestAHelloCutAnywhere(t *testing.T) {
	t.Parallel()
	hello := goHello(t)
	for _, row := range []struct {
		why   string
		said  []byte
		every int // beyond the first and before the last 2000 bytes, which are padding
	}{{"Go's own", hello, 1}, {"16 KiB", paddedHello(t, hello, 1<<14), 5}} {
		var first session.Facts
		cuts := 0
		for at := 1; at < len(row.said); at++ {
			if at > 2000 && at < len(row.said)-2000 && at%row.every != 0 {
				continue
			}
			r, p := newReplay(t, Config{MaxFlows: 16})
			give := func(ip []byte) { r.Packet(ip, len(ip), time.Unix(1000, 0)) }
			c := inTLS(r, give)
			for _, part := range [][]byte{row.said[:at], row.said[at:]} {
				for len(part) > 0 { // segments of the usual length, and one that ends at the cut
					n := min(len(part), 1448)
					give(c.say(string(part[:n])))
					part = part[n:]
				}
			}
			r.Close()
			f := p.closed()[0].Facts
			if cuts++; cuts == 1 {
				first = f
			}
			if f.TLS != session.TLSStartTLS || f.JA4 == "" || f.JA4 != first.JA4 || f.JA3 != first.JA3 || f.SNI != "mx.example" || f.TLSVersion != "TLS1.3" || f.Gaps != 0 {
				t.Fatalf("%s, cut at byte %d: %+v", row.why, at, f)
			}
		}
		t.Logf("%s: %d bytes, %d cuts, JA4 %q", row.why, len(row.said), cuts, first.JA4)
	}
}

// TestLongHellos: Go's own ClientHello in two segments, and one of 16 KiB, are read; a longer one is not, and costs
// no more memory, nor does one of 1 GiB.
func TestLongHellos(t *testing.T) {
	hello := goHello(t)
	if len(hello) < 1460 {
		t.Fatalf("Go's hello is %d bytes, one segment would do", len(hello))
	}
	for _, row := range []struct {
		why  string
		said []byte
		read bool
	}{
		{"Go's own", hello, true},
		{"16 KiB", paddedHello(t, hello, 1<<14), true},
		{"16 KiB and more", paddedHello(t, hello, 1<<14+64), false},
	} {
		r, p := newReplay(t, Config{})
		at := time.Unix(1000, 0)
		give := func(ip []byte) { r.Packet(ip, len(ip), at) }
		c := inTLS(r, give)
		segments := 0
		for rest := row.said; len(rest) > 0; segments++ {
			n := min(len(rest), 1448)
			give(c.say(string(rest[:n])))
			rest = rest[n:]
		}
		r.Close()
		f := p.closed()[0].Facts
		if f.TLS != session.TLSStartTLS || (f.JA4 != "") != row.read || row.read && (f.SNI != "mx.example" || f.TLSVersion != "TLS1.3") {
			t.Errorf("%s, %d bytes in %d segments: %+v", row.why, len(row.said), segments, f)
		}
		t.Logf("%s: %d bytes in %d segments, JA4 %q", row.why, len(row.said), segments, f.JA4)
	}

	r, p := newReplay(t, Config{MaxFlows: 16})
	c := inTLS(r, func(ip []byte) { r.Packet(ip, len(ip), time.Unix(1000, 0)) })
	const gib = 1 << 30
	message := append([]byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff, 3, 3}, make([]byte, 1<<14-6)...) // records of 16 KiB
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	for sent := 0; sent < gib; {
		off := sent % len(message)
		n := min(len(message)-off, 1448)
		ip := c.say(string(message[off : off+n]))
		if off+n == len(message) {
			copy(message[5:], make([]byte, 6)) // only the first record begins the message
		}
		r.Packet(ip, len(ip), time.Unix(1000, 0))
		if sent += n; sent%(64<<10) < n {
			ack := nfqtest.TCP{Src: c.server, Dst: c.client, Seq: c.down, Ack: c.up, Flags: packet.ACK}.Packet()
			r.Packet(ack, len(ack), time.Unix(1000, 0))
		}
		if sent%(gib/16) < n {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	runtime.KeepAlive(r)
	if most > before+32<<10 {
		t.Errorf("a hello of 1 GiB takes %d bytes", most-before)
	}
	t.Logf("a hello of 1 GiB: %d bytes more than before it", int64(most)-int64(before))
	r.Close()
	if f := p.closed()[0].Facts; f.JA4 != "" || f.BytesUp < gib {
		t.Errorf("%+v", f)
	}
}

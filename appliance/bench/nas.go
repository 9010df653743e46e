package bench

import (
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// accountingTask is a flood of Accounting-Requests (RFC 2866), every one of which moves an address: lines take turns, and
// each gets the address after its last one, which another line had before.
type accountingTask struct {
	To     netip.AddrPort
	NAS    netip.Addr // in the requests
	Secret string     // another than the box's makes them forged
	Rate   int        // a second
	Lines  int        // acct-0000000 on
	First  netip.Addr // of twice as many addresses as lines
}

type accountingResult struct{ Sent, Answered uint64 }

// accountingTick is how often some are sent: they come in small bursts, as from a NAS.
const accountingTick = time.Millisecond

func accounting(task accountingTask, stop <-chan struct{}) (accountingResult, error) {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(task.To))
	if err != nil {
		return accountingResult{}, err
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(4 << 20)
	var answered atomic.Uint64
	go func() { // ends with the socket
		for b := make([]byte, 4096); ; {
			if _, err := conn.Read(b); err != nil {
				return
			}
			answered.Add(1)
		}
	}()
	var r accountingResult
	var b []byte
	var n uint64
	began := time.Now()
	for tick := time.NewTicker(accountingTick); ; {
		select {
		case <-stop:
			r.Answered = answered.Load()
			return r, nil
		case <-tick.C:
		}
		// At most a tenth of a second is made up for: behind that the machine has no room for more.
		due := uint64(time.Since(began).Seconds() * float64(task.Rate))
		for n = max(n, due-min(due, uint64(task.Rate/10))); n < due; n++ {
			r.Sent++
			b = task.request(b[:0], int(n), time.Now())
			if _, err := conn.Write(b); err != nil && !refused(err) {
				return r, fmt.Errorf("send accounting: %w", err)
			}
		}
	}
}

// refused tells whether a socket reports what became of an earlier datagram, or is short of memory: UDP loses some.
func refused(err error) bool {
	var ne net.Error
	return !errors.Is(err, net.ErrClosed) && errors.As(err, &ne)
}

// request is the n-th one.
func (t *accountingTask) request(b []byte, n int, now time.Time) []byte {
	line, round := n%t.Lines, n/t.Lines
	addr := nth(t.First, (2*line+round)%(2*t.Lines)).As4()
	const request, interim, ipv4 = 4, 3, 4
	b = append(b, request, byte(n), 0, 0)
	b = append(b, make([]byte, md5.Size)...)
	attribute := func(kind byte, value []byte) { b = append(append(b, kind, byte(2+len(value))), value...) }
	number := func(kind byte, v uint32) { attribute(kind, binary.BigEndian.AppendUint32(nil, v)) }
	nas := t.NAS.As4()
	attribute(ipv4, nas[:])                                // NAS-IP-Address
	attribute(1, fmt.Appendf(nil, "acct-%07d", line))      // User-Name
	attribute(44, fmt.Appendf(nil, "session-%07d", line))  // Acct-Session-Id
	attribute(87, fmt.Appendf(nil, "olt1/3/7:%07d", line)) // NAS-Port-Id
	attribute(8, addr[:])                                  // Framed-IP-Address
	number(40, interim)                                    // Acct-Status-Type
	number(55, uint32(now.Unix()))                         // Event-Timestamp
	number(42, uint32(n))                                  // Acct-Input-Octets
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))      // Length
	sum := md5.Sum(append(b[:len(b):len(b)], t.Secret...)) // RFC 2866 section 3
	copy(b[4:], sum[:])
	return b
}

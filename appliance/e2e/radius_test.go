package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// What is not a NAS's own word moves nobody: another secret, a forged
// authenticator, a source that is no NAS, an old request sent again, broken
// packets. All of it is counted. Attributes that nobody knows do no harm.
func TestOnlyTheNASMovesALine(t *testing.T) {
	l, ctx := startLab(t)
	home, attacker := addHome(t, l, "home"), addHome(t, l, "attacker")
	nas := addNAS(t, ctx, l)
	tap := newWire(t, nas)
	b := newBox(t, ctx, l, withRADIUS(t, l, nas, config("enforce", "")),
		"subscriber,plan,circuits\nhome,free,acct-home\nvictim,free,acct-victim\n")
	b.start()
	// The line has its address by a request that somebody listened to.
	check(t, nas.Account(ctx, tap.at, radiusSecret, accounting("Start", "acct-home", "home-1", home.Line)...))
	recorded := tap.last()
	holds := func(why, want string) {
		t.Helper()
		if got := b.holder(home.IPv4, time.Time{}); got != want {
			t.Errorf("%s: %v is held by %q, want %q", why, home.IPv4, got, want)
		}
	}
	holds("after the Start", "home")

	silence := func(err error) error {
		if errors.Is(err, lab.ErrNoAnswer) {
			return nil
		}
		return fmt.Errorf("wanted no answer, got %w", err)
	}
	take := accounting("Start", "acct-victim", "stolen", home.Line)
	forged := append([]byte(nil), recorded...)
	forged[len(forged)-1] ^= 1 // one bit of the last attribute; the authenticator is that of before
	for _, row := range []struct {
		why, reason string
		do          func() error
	}{
		{"a NAS with another secret", "wrong_secret", func() error { return silence(nas.Account(ctx, nas.to, "another secret", take...)) }},
		{"a subscriber who knows the secret", "not_allowed", func() error {
			return silence(l.Account(ctx, attacker.Line, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1813), radiusSecret, take...))
		}},
		{"one bit changed on the way", "wrong_secret", func() error { return tap.unanswered(forged) }},
		{"a length beyond the packet", "malformed", func() error { return tap.unanswered(append([]byte{4, 9, 4, 0}, recorded[4:]...)) }},
		{"an attribute of no length", "malformed", func() error {
			return tap.unanswered(append(append([]byte{4, 9, 0, 22}, recorded[4:20]...), 1, 0))
		}},
		{"half a header", "malformed", func() error { return tap.unanswered(recorded[:11]) }},
		{"another code", "unknown_code", func() error { return tap.unanswered(append([]byte{1}, recorded[1:]...)) }},
	} {
		name := fmt.Sprintf(`mailweir_radius_requests_total{result=%q}`, row.reason)
		before := sum(b.metrics(), name)
		if err := row.do(); err != nil {
			t.Errorf("%s: %v", row.why, err)
		}
		await(t, 5*time.Second, row.why+": to be counted as "+row.reason, func() bool { return sum(b.metrics(), name) > before })
		holds(row.why, "home")
	}

	// A NAS of another make.
	check(t, nas.Account(ctx, nas.to, radiusSecret, append(accounting("Interim-Update", "acct-home", "home-1", home.Line),
		"Attr-250 = 0x0102030405", `Cisco-AVPair = "something=else"`, `Class = 0xdeadbeef`, `ADSL-Agent-Circuit-Id = "olt1/3/7:12"`)...))
	holds("after attributes that nobody knows", "home")

	// The same bytes again: at once they are answered, since the answer may have
	// been lost; after the line has let go of its address they are history.
	if err := tap.answered(recorded); err != nil {
		t.Errorf("a request that came twice: %v", err)
	}
	nas.stop("acct-home", "home-1", home.Line)
	holds("after the Stop", "")
	await(t, 5*time.Second, "the address to be the next one's", func() bool {
		nas.start("acct-victim", "victim-1", home.Line)
		return b.holder(home.IPv4, time.Time{}) == "victim"
	})
	for _, from := range []*wire{tap, newWire(t, nas)} { // from where it came, and from elsewhere
		if _, err := from.send(recorded); err != nil {
			t.Error(err)
		}
	}
	nas.stop("acct-home", "home-1", home.Line) // and a Stop that the NAS says again
	holds("after it was replayed", "victim")

	for _, line := range strings.Split(b.metrics(), "\n") {
		if strings.HasPrefix(line, "mailweir_radius_") && !strings.HasSuffix(line, " 0") {
			t.Log(line)
		}
	}
	if s := b.status(); !s.Ready {
		t.Error("not ready any more")
	}
}

// wire is a place on the management network that passes requests on to the box
// and remembers their bytes, as somebody would who listens there.
type wire struct {
	at   netip.AddrPort // where requests go in
	up   net.PacketConn
	box  net.Addr
	mu   sync.Mutex
	seen []byte
}

func newWire(t *testing.T, nas teller) *wire {
	t.Helper()
	in, err := nas.Namespace.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	up, err := nas.Namespace.ListenPacket("udp4", nas.IPv4.String()+":0")
	check(t, err)
	t.Cleanup(func() { in.Close(); up.Close() })
	w := &wire{at: in.LocalAddr().(*net.UDPAddr).AddrPort(), up: up, box: net.UDPAddrFromAddrPort(nas.to)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := in.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, err := w.send(buf[:n])
			if err == nil && answer != nil {
				_, _ = in.WriteTo(answer, from)
			}
		}
	}()
	return w
}

// send passes a request on and waits for the answer; nil: there was none within
// half a second.
func (w *wire) send(request []byte) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append([]byte(nil), request...)
	if _, err := w.up.WriteTo(request, w.box); err != nil {
		return nil, err
	}
	if err := w.up.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, _, err := w.up.ReadFrom(buf)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return nil, nil
	}
	return buf[:n], err
}

func (w *wire) last() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

func (w *wire) unanswered(request []byte) error {
	answer, err := w.send(request)
	if err == nil && answer != nil {
		err = fmt.Errorf("it was answered with code %d", answer[0])
	}
	return err
}

func (w *wire) answered(request []byte) error {
	answer, err := w.send(request)
	if err == nil && (len(answer) < 20 || answer[0] != 5 || answer[1] != request[1]) {
		err = fmt.Errorf("the answer was %x", answer)
	}
	return err
}

package appliance

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq/session"
)

// TestWhoStopsOfferingSTARTTLS: it is told once, after three sessions without the offer, and once when it is back.
func TestWhoStopsOfferingSTARTTLS(t *testing.T) {
	t.Parallel()
	var told []string
	e := newEncryption(func(r records.Entry) bool { told = append(told, r.Text); return true })
	mx := netip.MustParseAddrPort("192.0.2.25:25")
	with := session.Facts{StartTLS: session.Accepted, Offer: session.IsOffered}
	without := session.Facts{Offer: session.NotOffered}
	asked := session.Facts{StartTLS: session.Asked, Offer: session.NotOffered} // without an offer
	for _, row := range []struct {
		why   string
		facts session.Facts
		times int
		told  int
	}{
		{"a server that never offered it", without, 10, 0},
		{"a client that asks for what was not offered does not make it offered", asked, 5, 0},
		{"then it is not gone either", without, 5, 0},
		{"nor does one that asks without EHLO", session.Facts{StartTLS: session.Accepted}, 5, 0},
		{"still it never did", without, 5, 0},
		{"it offers", with, 2, 0},
		{"twice is not usual", without, 10, 0},
		{"it offers", with, 3, 0},
		{"HELO, where nobody offers anything", session.Facts{}, 10, 0},
		{"found in mid-air", session.Facts{Offer: session.NotOffered, Unknown: true}, 10, 0},
		{"twice without", without, 2, 0},
		{"and again", with, 1, 0},
		{"three times without", without, 3, 1},
		{"it goes on", without, 20, 1},
		{"who asks for it does not bring it back", asked, 5, 1},
		{"it is back", with, 1, 2},
		{"one that asks does not keep the record from coming", asked, 3, 3},
	} {
		for range row.times {
			e.saw(mx, row.facts, time.Unix(0, 0))
		}
		if len(told) != row.told {
			t.Fatalf("%s: told %q", row.why, told)
		}
	}
	if !strings.Contains(told[0], "192.0.2.25:25") || !strings.Contains(told[1], "again") {
		t.Errorf("%q", told)
	}
}

// What found no room among the records is told with the next session that shows it.
func TestAnOfferGoneIsToldUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	var told []string
	full := true
	e := newEncryption(func(r records.Entry) bool {
		if full {
			return false
		}
		told = append(told, r.Text)
		return true
	})
	see := func(offer session.Offer, times int) {
		for range times {
			e.saw(netip.MustParseAddrPort("192.0.2.25:25"), session.Facts{Offer: offer}, time.Unix(0, 0))
		}
	}
	see(session.IsOffered, 3)
	see(session.NotOffered, 5)
	full = false
	see(session.NotOffered, 5)
	if len(told) != 1 {
		t.Errorf("%q", told)
	}
	full = true
	see(session.IsOffered, 2)
	full = false
	see(session.IsOffered, 2)
	if len(told) != 2 || !strings.Contains(told[1], "again") {
		t.Errorf("%q", told)
	}
}

// TestServersRememberedAreBounded: the ones seen last stay.
func TestServersRememberedAreBounded(t *testing.T) {
	t.Parallel()
	e := newEncryption(func(records.Entry) bool { return true })
	server := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 25)
	}
	for i := range 3 * encryptionMost {
		e.note(server(i), true, opened)
		e.note(server(0), true, opened)
	}
	if len(e.servers) != encryptionMost || e.servers[server(0)] == nil || e.servers[server(3*encryptionMost-1)] == nil || e.servers[server(encryptionMost)] != nil {
		t.Errorf("%d servers", len(e.servers))
	}
	n := 1
	for o := e.oldest.next; o != e.oldest; o = o.next {
		n++
	}
	if n != encryptionMost {
		t.Errorf("%d in the ring", n)
	}
}

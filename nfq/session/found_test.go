package session

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/nfq/packet"
)

// TestFoundAtItsHello: a session on a TLS port whose first packet that came by is the ClientHello is read, though it stays unknown.
func TestFoundAtItsHello(t *testing.T) {
	t.Parallel()
	d := newDialogue().handshake(&tls.Config{InsecureSkipVerify: true, ServerName: "mx.example"}, &tls.Config{}).close()
	from := slices.IndexFunc(d.steps, func(s step) bool { return len(s.seg.Payload) > 0 })
	opt := Options{ImplicitTLS: true, MidAir: true}
	for why, steps := range map[string][]step{"whole": d.steps[from:], "in bytes": cut(d.steps[from:], 1)} {
		f := replay(opt, steps, nil).facts
		if !f.Unknown || f.TLS != TLSImplicit || f.SNI != "mx.example" || f.JA4 == "" || f.Handshake != Complete || f.MessagesHi != -1 {
			t.Errorf("%s: %+v", why, f)
		}
	}
	for why, steps := range map[string][]step{
		"behind the hello":          d.steps[slices.IndexFunc(d.steps, func(s step) bool { return s.dir == Down && len(s.seg.Payload) > 0 }):],
		"the end of another record": append([]step{{dir: Up, seg: packet.Segment{Seq: d.steps[from].seg.Seq - 9, Payload: []byte("rest of it"[:9])}}}, d.steps[from:]...),
	} {
		if f := replay(opt, steps, nil).facts; f.TLS != TLSNone || f.JA4 != "" {
			t.Errorf("%s: %+v", why, f)
		}
	}
}

package session

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate is a self-signed pair for mx.example.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// end is one end of a connection in memory that notes what is written to it. Writes never wait.
type end struct {
	net.Conn // nil: only what is below is used
	dir      Direction
	log      *recording
}

// recording is all that was written, in order; arrived[dir] is what dir's peer has yet to read.
type recording struct {
	sync.Mutex
	more    *sync.Cond
	dirs    []Direction
	pieces  [][]byte
	arrived [2][]byte
	closed  [2]bool
}

func (e end) Write(p []byte) (int, error) {
	r := e.log
	r.Lock()
	defer r.Unlock()
	r.dirs = append(r.dirs, e.dir)
	r.pieces = append(r.pieces, bytes.Clone(p))
	r.arrived[e.dir] = append(r.arrived[e.dir], p...)
	r.more.Broadcast()
	return len(p), nil
}

func (e end) Read(p []byte) (int, error) {
	r := e.log
	r.Lock()
	defer r.Unlock()
	from := 1 - e.dir
	for len(r.arrived[from]) == 0 {
		if r.closed[from] {
			return 0, io.EOF
		}
		r.more.Wait()
	}
	n := copy(p, r.arrived[from])
	r.arrived[from] = r.arrived[from][n:]
	return n, nil
}

func (e end) Close() error {
	e.log.Lock()
	defer e.log.Unlock()
	e.log.closed[e.dir] = true
	e.log.more.Broadcast()
	return nil
}

// handshake runs a TLS handshake between two ends of Go's own library and puts what they wrote into the dialogue,
// followed by one line of the client and one of the server if it came to that.
func (d *dialogue) handshake(client, server *tls.Config) *dialogue {
	log := &recording{}
	log.more = sync.NewCond(log)
	a, b := end{dir: Up, log: log}, end{dir: Down, log: log}
	server.Certificates = []tls.Certificate{certificate()}
	var ends sync.WaitGroup
	ends.Go(func() {
		c := tls.Server(b, server)
		buf := make([]byte, 100)
		if _, err := c.Read(buf); err == nil {
			c.Write([]byte("250 mx\r\n"))
		}
		b.Close()
	})
	c := tls.Client(a, client)
	if _, err := c.Write([]byte("EHLO x\r\n")); err == nil {
		buf := make([]byte, 100)
		c.Read(buf)
	}
	a.Close()
	ends.Wait()
	for i, p := range log.pieces {
		for len(p) > 1460 { // as segments come
			d.raw(log.dirs[i], p[:1460])
			p = p[1460:]
		}
		d.raw(log.dirs[i], p)
	}
	return d
}

func trusting() *tls.Config { return &tls.Config{ServerName: "mx.example", InsecureSkipVerify: true} }

func TestHandshakes(t *testing.T) {
	t.Parallel()
	only12 := func(c *tls.Config) *tls.Config { c.MaxVersion = tls.VersionTLS12; return c }
	large := trusting()
	for range 70 {
		large.NextProtos = append(large.NextProtos, strings.Repeat("a", 250))
	}
	for _, row := range []struct {
		why            string
		client, server *tls.Config
		want           string // events after starttls_accepted
		facts          Facts  // TLSVersion, Handshake, Alert
	}{
		{"TLS 1.3, a ClientHello of two segments", trusting(), &tls.Config{},
			"client_hello mx.example, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.3", Handshake: Complete}},
		{"TLS 1.3 after a HelloRetryRequest", &tls.Config{ServerName: "mx.example", InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}},
			&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}},
			"client_hello mx.example, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.3", Handshake: Complete}},
		{"TLS 1.3, a ClientHello of 17 KiB", large, &tls.Config{},
			"client_hello unread, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.3", Handshake: Complete}},
		{"TLS 1.2", only12(trusting()), &tls.Config{},
			"client_hello mx.example, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.2", Handshake: Complete}},
		{"TLS 1.2 and a client certificate asked for", only12(trusting()), &tls.Config{ClientAuth: tls.RequestClientCert},
			"client_hello mx.example, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.2", Handshake: Complete}},
		{"TLS 1.3 and a client certificate asked for", trusting(), &tls.Config{ClientAuth: tls.RequestClientCert},
			"client_hello mx.example, handshake_complete, ended fin", Facts{TLSVersion: "TLS1.3", Handshake: Complete}},
		{"TLS 1.2, the client refuses the certificate: an alert in clear", only12(&tls.Config{ServerName: "mx.example"}), &tls.Config{},
			"client_hello mx.example, handshake_failed bad_certificate, ended fin", Facts{TLSVersion: "TLS1.2", Handshake: Failed, Alert: "bad_certificate"}},
		{"TLS 1.3, the client refuses the certificate: the alert is encrypted", &tls.Config{ServerName: "mx.example"}, &tls.Config{},
			"client_hello mx.example, handshake_failed, ended fin", Facts{TLSVersion: "TLS1.3", Handshake: Failed}},
		{"no version in common", only12(trusting()), &tls.Config{MinVersion: tls.VersionTLS13},
			"client_hello mx.example, handshake_failed protocol_version, ended fin", Facts{TLSVersion: "TLS1.2", Handshake: Failed, Alert: "protocol_version"}},
		{"no cipher in common", &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}},
			"client_hello, handshake_failed handshake_failure, ended fin", Facts{TLSVersion: "TLS1.2", Handshake: Failed, Alert: "handshake_failure"}},
	} {
		d := hello().c("STARTTLS\n").s("220 go\n").handshake(row.client, row.server).close()
		for how, steps := range map[string][]step{"as sent": d.steps, "byte by byte": cut(d.steps, 1), "doubled": doubled(d.steps), "swapped": swapped(d.steps)} {
			o := replay(Options{}, steps, nil)
			want := begun + ", starttls_asked, starttls_accepted, " + row.want
			got := Facts{TLSVersion: o.facts.TLSVersion, Handshake: o.facts.Handshake, Alert: o.facts.Alert}
			if told(o.events) != want || got != row.facts || o.facts.Gaps != 0 {
				t.Errorf("%s, %s:\n got %s\nwant %s\n got %+v\nwant %+v", row.why, how, told(o.events), want, got, row.facts)
			}
			lawful(t, row.why, o)
		}
		whole := replay(Options{}, d.steps, nil).facts
		part := replay(Options{}, d.steps, steered).facts
		if whole != part {
			t.Errorf("%s: the kernel's passing changes the facts:\n%+v\n%+v", row.why, whole, part)
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	d := newDialogue().handshake(trusting(), &tls.Config{}).close()
	for _, opt := range []Options{{ImplicitTLS: true}, {}} {
		o := replay(opt, d.steps, nil)
		if want := "established, client_hello mx.example, handshake_complete, ended fin"; told(o.events) != want || o.facts.TLS != TLSImplicit || o.facts.MessagesHi != 0 {
			t.Errorf("%+v: %s, %+v", opt, told(o.events), o.facts)
		}
	}
	clear := newDialogue().s("220 mx\n").c("EHLO x\n").s("250 mx\n").c("MAIL FROM:<a@x>\nRCPT TO:<b@x>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n").close()
	o := replay(Options{ImplicitTLS: true}, clear.steps, nil)
	if want := "established, greeting 220, message 250 1, ended fin"; told(o.events) != want || o.facts.TLS != TLSNone {
		t.Errorf("a server in clear where TLS was expected: %s", told(o.events))
	}
}

// TestTLSOddities are sessions around STARTTLS that no library would make.
func TestTLSOddities(t *testing.T) {
	t.Parallel()
	real := newDialogue().handshake(trusting(), &tls.Config{})
	var up, down []byte // the first flight of each side
	for _, st := range real.steps {
		switch {
		case st.dir == Up && down == nil:
			up = append(up, st.seg.Payload...)
		case st.dir == Down && st.seg.Payload != nil:
			down = append(down, st.seg.Payload...)
		}
	}
	asked := func() *dialogue { return hello().c("STARTTLS\n") }
	const accepted = begun + ", starttls_asked, starttls_accepted"
	for _, row := range []struct {
		why  string
		talk *dialogue
		want string
		out  Handshake
	}{
		{"the server closes after the ClientHello", asked().s("220 go\n").raws(Up, string(up)).close(), accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"nobody says a word after 220", asked().s("220 go\n").close(), accepted + ", ended fin", Abandoned},
		{"commands pipelined behind STARTTLS are not read", hello().c("STARTTLS\nMAIL FROM:<a@x>\n").s("220 go\n").raws(Up, string(up)).close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"the ClientHello comes with STARTTLS", hello().raws(Up, "STARTTLS\r\n"+string(up)).s("220 go\n").raws(Down, string(down)).close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"a reply in clear behind the 220, in the same segment, is not read", asked().s("220 go\n250 injected\n").raws(Up, string(up)).close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"the client goes on in clear", asked().s("220 go\n").c("MAIL FROM:<a@x>\n").close(), accepted + ", handshake_failed, ended fin", Failed},
		{"the server goes on in clear", asked().s("220 go\n").raws(Up, string(up)).s("454 no\n").close(), accepted + ", client_hello mx.example, handshake_failed, ended fin", Failed},
		{"a warning does not end it", asked().s("220 go\n").raws(Up, string(up)).raws(Down, "\x15\x03\x03\x00\x02\x01\x70").close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"close_notify is no failure", asked().s("220 go\n").raws(Up, string(up)).raws(Down, "\x15\x03\x03\x00\x02\x01\x00").close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"an alert that has no name", asked().s("220 go\n").raws(Up, string(up)).raws(Down, "\x15\x03\x03\x00\x02\x02\xc8").close(),
			accepted + ", client_hello mx.example, handshake_failed alert_200, ended fin", Failed},
		{"an alert instead of a ClientHello", asked().s("220 go\n").raws(Up, "\x15\x03\x01\x00\x02\x02\x50").close(), accepted + ", handshake_failed internal_error, ended fin", Failed},
		{"a record longer than any", asked().s("220 go\n").raws(Up, "\x16\x03\x01\xff\xff").close(), accepted + ", client_hello unread, handshake_failed, ended fin", Failed},
		{"a hello that is malformed", asked().s("220 go\n").raws(Up, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00").raws(Down, "\x15\x03\x03\x00\x02\x02\x32").close(),
			accepted + ", client_hello unread, handshake_failed decode_error, ended fin", Failed},
		{"a hello of SSL 2.0", asked().s("220 go\n").raws(Up, "\x80\x2e\x01\x03\x01").close(), accepted + ", client_hello unread, handshake_failed, ended fin", Failed},
		{"a hello that stops in its middle", asked().s("220 go\n").raws(Up, string(up[:100])).close(), accepted + ", ended fin", Abandoned},
		{"a warning before the hello", asked().s("220 go\n").raws(Up, "\x15\x03\x01\x00\x02\x01\x5a"+string(up)).close(),
			accepted + ", client_hello mx.example, ended fin", Abandoned},
		{"reset in the middle", asked().s("220 go\n").raws(Up, string(up)).flags(Up, 1<<2), accepted + ", client_hello mx.example, ended rst", Abandoned},
	} {
		for how, steps := range map[string][]step{"as sent": row.talk.steps, "doubled": doubled(row.talk.steps)} {
			o := replay(Options{}, steps, nil)
			if got := told(o.events); got != row.want || o.facts.Handshake != row.out {
				t.Errorf("%s, %s:\n got %s, %v\nwant %s, %v", row.why, how, got, o.facts.Handshake, row.want, row.out)
			}
			lawful(t, row.why, o)
		}
	}
}

// TestHandshakeWithHoles: a hole inside a record that is not read does no harm, any other one ends our reading, without a verdict.
func TestHandshakeWithHoles(t *testing.T) {
	t.Parallel()
	d := hello().c("STARTTLS\n").s("220 go\n").handshake(&tls.Config{ServerName: "mx.example", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, &tls.Config{}).close()
	outcomes := map[Handshake]int{}
	for lost := range d.steps {
		if len(d.steps[lost].seg.Payload) == 0 {
			continue
		}
		for _, size := range []int{1 << 20, 100, 7} {
			var steps []step
			at := d.steps[lost].seg
			for _, st := range cut(d.steps, size) {
				if st.dir == d.steps[lost].dir && st.seg.Seq == at.Seq+uint32(len(at.Payload)/2/size*size) && len(st.seg.Payload) > 0 {
					continue // the middle piece of that segment never comes
				}
				steps = append(steps, st)
			}
			o := replay(Options{}, steps, nil)
			if o.facts.Gaps == 0 && o.facts.Handshake != Complete { // once complete nothing is read, so nothing is missed
				t.Errorf("segment %d in pieces of %d: a hole without a gap: %s", lost, size, told(o.events))
			}
			if strings.Contains(told(o.events), "handshake_failed") {
				t.Errorf("segment %d in pieces of %d: a hole is taken for a failure: %s", lost, size, told(o.events))
			}
			outcomes[o.facts.Handshake]++
			lawful(t, "hole", o)
		}
	}
	if outcomes[Complete] == 0 || outcomes[HandshakeNone] == 0 {
		t.Errorf("outcomes %v", outcomes)
	}
}

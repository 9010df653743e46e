package session

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/mailweir/mailweir/nfq/packet"
)

// oneMessage is the rest of a session after hello, with one message in it.
func oneMessage(d *dialogue) *dialogue {
	return d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n").c("QUIT\n").s("221 bye\n").close()
}

// forged adds a segment of the client that its server ignores, and gives the position back.
func (d *dialogue) forged(flags packet.Flags, seq, ack int32, payload string) *dialogue {
	s := packet.Segment{Seq: d.seq[Up] + uint32(seq), Ack: d.seq[Down] + uint32(ack), Flags: flags, Payload: []byte(payload)}
	d.steps = append(d.steps, step{Up, s, d.now})
	return d
}

// TestForgeriesDoNotBlind: what a client sends to itself out of the session that the server is in does not change what is told.
func TestForgeriesDoNotBlind(t *testing.T) {
	t.Parallel()
	const garbage = "garbage\r\n"
	for why, d := range map[string]*dialogue{
		"RST far away":                        hello().forged(packet.RST, 1<<24, 0, ""),
		"RST in the window":                   hello().forged(packet.RST, 7, 0, ""),
		"RST just behind":                     hello().forged(packet.RST, -1, 0, ""),
		"RST behind":                          hello().forged(packet.RST|packet.ACK, -(1 << 22), 0, ""),
		"SYN in the middle":                   hello().forged(packet.SYN, 12345, 0, ""),
		"SYN with data in the middle":         hello().forged(packet.SYN, 0, 0, garbage),
		"FIN far away":                        hello().forged(packet.FIN|packet.ACK, 1<<28, 0, ""),
		"data beyond any window":              hello().forged(packet.ACK, 1<<28, 0, garbage),
		"data far beyond the reorder window":  hello().forged(packet.ACK, 1<<20, 0, garbage),
		"data just beyond the reorder window": hello().forged(packet.ACK, ringSize, 0, garbage),
		"old data":                            hello().forged(packet.ACK, -3, 0, "xyz"),
		"a keep-alive":                        hello().forged(packet.ACK, -1, 0, "x"),
		"acknowledges what was never sent":    hello().forged(packet.ACK, 0, 1<<16, ""),
		"acknowledges far too much":           hello().forged(packet.ACK, 0, 1<<30, ""),
		"acknowledges what was long ago":      hello().forged(packet.ACK, 0, -(1 << 20), ""),
		"nothing at all":                      hello().forged(0, 0, 0, ""),
		"every flag but RST":                  hello().forged(packet.SYN|packet.FIN|packet.ACK|packet.URG|packet.PSH, 777, 0, garbage),
	} {
		o := replay(Options{}, oneMessage(d).steps, nil)
		if want := begun + ", message 250 1, ended fin"; told(o.events) != want || o.facts.BytesUp != replay(Options{}, oneMessage(hello()).steps, nil).facts.BytesUp {
			t.Errorf("%s:\n got %s\nwant %s\n%+v", why, told(o.events), want, o.facts)
		}
	}
}

// TestResetsThatNeverArrive: a RST ends the session only as long as nobody goes on.
func TestResetsThatNeverArrive(t *testing.T) {
	t.Parallel()
	const revived = ", ended rst, revived"
	asServer := func(d *dialogue) *dialogue {
		d.steps = append(d.steps, step{Down, packet.Segment{Seq: d.seq[Down], Ack: d.seq[Up], Flags: packet.RST | packet.ACK}, d.now})
		return d
	}
	content := func() *dialogue {
		return hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").bulk(5000)
	}
	for _, row := range []struct {
		why  string
		talk *dialogue
		want string // events after begun
		hi   int
	}{
		{"the client's, at the exact number", oneMessage(hello().forged(packet.RST, 0, 0, "")), revived + ", message 250 1, ended fin", 1},
		{"twice, and the segment before once more", oneMessage(hello().forged(packet.RST, 0, 0, "").forged(packet.RST, 0, 0, "").forged(packet.ACK, -5, 0, "xxxxx")),
			revived + ", message 250 1, ended fin", 1},
		{"again and again", oneMessage(hello().forged(packet.RST, 0, 0, "").c("NOOP\n").s("250 ok\n").forged(packet.RST, 0, 0, "")), revived + revived + ", message 250 1, ended fin", 1},
		{"in the server's name", oneMessage(asServer(hello())), revived + ", message 250 1, ended fin", 1},
		{"in content, which is looked at again", content().forged(packet.RST, 0, 0, "").bulk(3000).c("\n.\n").s("250 ok\n").close(), revived + ", message 250 1, ended fin", 1},
		{"in content, the server has the last word", content().forged(packet.RST, 1<<20, 0, "").s("250 ok\n").close(), revived + ", message 250 1, ended fin", 1},
		{"a genuine one, the server's last reply under way", hello().c("QUIT\n").flags(Up, packet.RST).s("221 bye\n").flags(Up, packet.RST), revived + ", ended rst", 0},
		{"a genuine one, the server's FIN under way", func() *dialogue {
			d := hello().c("QUIT\n").s("221 bye\n")
			d.send(Up, packet.FIN|packet.ACK, nil)
			d.seq[Up]++
			return d.flags(Up, packet.RST).flags(Down, packet.FIN|packet.ACK)
		}(), ", ended rst", 0},
	} {
		for how, k := range map[string]kernel{"all": nil, "steered": steered} {
			o := replay(Options{}, row.talk.steps, k)
			if told(o.events) != begun+row.want || o.facts.MessagesHi != row.hi || o.facts.Gaps != 0 {
				t.Errorf("%s, %s:\n got %s\nwant %s\n%+v", row.why, how, told(o.events), begun+row.want, o.facts)
			}
			lawful(t, row.why, o)
		}
	}

	d := hello().c("STARTTLS\n").s("220 go\n").handshake(trusting(), &tls.Config{}).forged(packet.RST, 0, 0, "")
	tr := New(Options{})
	for i := range d.steps {
		tr.Segment(d.steps[i].dir, &d.steps[i].seg, d.now, nil)
	}
	if !tr.Ended() || tr.Release() != SeeAll {
		t.Errorf("after a RST inside TLS: ended %v, release %v", tr.Ended(), tr.Release())
	}
	s := packet.Segment{Seq: d.seq[Down], Ack: d.seq[Up], Flags: packet.ACK, Payload: []byte("\x17\x03\x03")}
	if ev := tr.Segment(Down, &s, d.now, nil); told(ev) != "revived" || tr.Ended() || tr.Release() != ReleaseUp || tr.Facts().EndReason != EndUnknown {
		t.Errorf("the server goes on inside TLS: %s, release %v, %+v", told(ev), tr.Release(), tr.Facts())
	}
}

// TestForgeriesInReleasedContent: the same while the client's bytes are not looked at, but its FIN and RST are.
func TestForgeriesInReleasedContent(t *testing.T) {
	t.Parallel()
	for _, far := range []int32{100, 1 << 15, 1 << 21, 1 << 28, -(1 << 20)} {
		for _, flags := range []packet.Flags{packet.FIN | packet.ACK, packet.SYN, packet.FIN} {
			d := hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").bulk(50_000).forged(flags, far, 0, "").c("\n.\n").s("250 ok\n").
				c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 3 LAST\nabc").s("250 ok\n").c("QUIT\n").s("221 bye\n").close()
			o := replay(Options{}, d.steps, steered)
			if want := begun + ", message 250 1, message 250 1, ended fin"; told(o.events) != want || o.facts.BytesUp != int64(d.seq[Up]-upISN-2) {
				t.Errorf("%v %d away: %s\n%+v, want %d bytes", flags, far, told(o.events), o.facts, d.seq[Up]-upISN-2)
			}
		}
	}
}

// TestWindowIsBounded: a flood of segments ahead of a hole is kept as far as the window goes, and the server's
// acknowledgement ends the hole.
func TestWindowIsBounded(t *testing.T) {
	t.Parallel()
	d := hello()
	tr := New(Options{})
	var events []Event
	for i := range d.steps {
		events = tr.Segment(d.steps[i].dir, &d.steps[i].seg, d.now, events)
	}
	for i := range 100_000 {
		s := packet.Segment{Seq: d.seq[Up] + 1 + uint32(i*7919%(4*ringSize)), Ack: d.seq[Down], Flags: packet.ACK, Payload: []byte("NOOP\r\n")}
		events = tr.Segment(Up, &s, d.now, events)
		sound(t, &tr.up)
	}
	if tr.up.off != int64(len("EHLO home.example\r\n")) {
		t.Errorf("the window moved to %d without a word of the server", tr.up.off)
	}
	d.seq[Up] += 4 * ringSize
	d.s("500 what\n")
	last := d.steps[len(d.steps)-1]
	events = tr.Segment(Down, &last.seg, d.now, events)
	if tr.up.off != int64(len("EHLO home.example\r\n"))+4*ringSize || tr.up.ring != nil || tr.Facts().Gaps == 0 {
		t.Errorf("the hole is not given up: %+v", tr.Facts())
	}
	oneMessage(d)
	for _, st := range d.steps[len(d.steps)-9:] {
		events = tr.Segment(st.dir, &st.seg, d.now, events)
	}
	if f := tr.Facts(); f.Messages != 1 || !tr.Ended() {
		t.Errorf("%+v: %s", f, told(events[len(events)-5:]))
	}
}

// TestManyOutstanding: commands that no queue can hold make the count uncertain, not wrong.
func TestManyOutstanding(t *testing.T) {
	t.Parallel()
	for _, rounds := range []int{5, 400, 3000} {
		d := hello()
		transaction := "MAIL FROM:<a@x>\nRCPT TO:<b@y>\nBDAT 1 LAST\nx"
		for range rounds {
			d.c(transaction)
		}
		d.s(strings.Repeat("250 ok\n250 ok\n250 ok\n", rounds))
		o := replay(Options{}, oneMessage(d).steps, nil)
		f := o.facts
		if f.Messages > rounds+1 || f.MessagesHi < rounds+1 || f.Recipients > rounds+1 || rounds < 300 && f.Messages != rounds+1 || f.Messages < 300 && rounds > 300 {
			t.Errorf("%d messages in one go: %d..%d, recipients %d", rounds+1, f.MessagesLo, f.MessagesHi, f.Recipients)
		}
		lawful(t, fmt.Sprint(rounds), o)
	}
}

// TestHeldBytesAreBounded: a client that does not wait for the 354 may send more than we hold.
func TestHeldBytesAreBounded(t *testing.T) {
	t.Parallel()
	d := hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").bulk(100_000).c("\n.\n").s("250 ok\n250 ok\n354 go\n250 queued\n").
		c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n").close()
	o := replay(Options{}, d.steps, nil)
	if want := begun + ", message 250 1, message 250 1, ended fin"; told(o.events) != want {
		t.Errorf("got %s", told(o.events))
	}
	d = hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").bulk(100_000).c("\n.\n").s("250 ok\n550 no\n554 no\n" + strings.Repeat("500 what\n", 1500)).
		c("RSET\n").s("250 ok\n").c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c("x\n.\n").s("250 ok\n").close()
	o = replay(Options{}, d.steps, nil)
	if o.facts.Messages != 1 || o.facts.MessagesHi < 1 {
		t.Errorf("%+v: %s", o.facts, told(o.events))
	}
}

// TestTLSOnlyByTheServersWord: what looks like TLS before the server spoke is a command line to a server in clear.
func TestTLSOnlyByTheServersWord(t *testing.T) {
	t.Parallel()
	real := newDialogue().handshake(trusting(), &tls.Config{})
	var hello []byte
	for _, st := range real.steps {
		if st.dir == Down && st.seg.Payload != nil {
			break
		}
		hello = append(hello, st.seg.Payload...)
	}
	for _, early := range []string{"\x16\n", "\x16\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n", "\x16\x03\x01\xff\xff\n", "\x17\x03\x03\x00\x20\n", "\x80\x2e\x01\x03\x01\n", "\x15\x03\x01\x00\x02\x02\x28\n",
		string(hello) + "\r\n", "EHLO x\r\n", "\x16" + strings.Repeat("x", 3*holdSize) + "\r\n", strings.Repeat("\x16\x03\x01\x40\x00"+strings.Repeat("x", 1<<14), 20) + "\r\n"} {
		for _, implicit := range []bool{false, true} {
			d := newDialogue().raws(Up, early).s("220 mx\n" + strings.Repeat("502 what\n", strings.Count(early, "\n"))).c("EHLO x\n").s("250 mx\n")
			for range 3 {
				d.c("MAIL FROM:<a@x>\n").s("250 ok\n").c("RCPT TO:<b@y>\n").s("250 ok\n").c("DATA\n").s("354 go\n").c("x\n.\n").s("250 ok\n")
			}
			o := replay(Options{ImplicitTLS: implicit}, d.close().steps, steered)
			if o.facts.Messages != 3 || o.facts.MessagesHi < 3 || !implicit && o.facts.MessagesHi > 4 || o.facts.TLS != TLSNone || o.count(Greeting) != 1 || o.count(HandshakeFailed) != 0 {
				t.Errorf("%.12q, implicit %v: %s\n%+v", early, implicit, told(o.events), o.facts)
			}
			lawful(t, early, o)
		}
	}
	for why, row := range map[string]struct {
		talk *dialogue
		want string
		opt  Options
	}{
		"an alert, nobody said that TLS comes":   {newDialogue().raws(Up, string(hello)).raws(Down, "\x15\x03\x03\x00\x02\x02\x28"), "established, client_hello mx.example, handshake_failed handshake_failure, ended timeout", Options{}},
		"rubbish, and the server says so":        {newDialogue().raws(Up, "\x16\x03\x01\xff\xff").raws(Down, "\x15\x03\x03\x00\x02\x02\x16"), "established, client_hello unread, handshake_failed record_overflow, ended timeout", Options{}},
		"rubbish on a TLS port":                  {newDialogue().c("EHLO x\n").raws(Down, "\x15\x03\x03\x00\x02\x02\x16"), "established, handshake_failed record_overflow, ended timeout", Options{ImplicitTLS: true}},
		"rubbish, but the server understands it": {newDialogue().c("EHLO x\n").raws(Down, "\x16\x03\x03\x00\x02\x02\x16"), "established, client_hello unread, ended timeout", Options{ImplicitTLS: true}},
		"STARTTLS before the greeting": {oneMessage(newDialogue().raws(Up, "STARTTLS\r\n\x16").s("220 mx\n503 EHLO first\n").raws(Up, "\r\n").s("502 what\n").c("EHLO x\n").s("250 mx\n")),
			"established, starttls_asked, greeting 220, starttls_refused 503, message 250 1, ended fin", Options{}},
	} {
		for how, steps := range map[string][]step{"as sent": row.talk.steps, "byte by byte": cut(row.talk.steps, 1)} {
			o := replay(row.opt, steps, steered)
			if told(o.events) != row.want {
				t.Errorf("%s, %s:\n got %s\nwant %s", why, how, told(o.events), row.want)
			}
			lawful(t, why, o)
		}
	}
}

// TestFastOpen: data of a SYN (RFC 7413) was said if the server's SYN+ACK acknowledges it.
func TestFastOpen(t *testing.T) {
	t.Parallel()
	const early = "EHLO early\r\n"
	for _, row := range []struct {
		why  string
		syns []string
		took int
		gaps int
	}{
		{"not taken, as most servers do", []string{early}, 0, 0},
		{"not taken, and it looks like TLS", []string{"\x16\x03\x01"}, 0, 0},
		{"taken", []string{early}, len(early), 0},
		{"taken in part", []string{early}, 3, 0},
		{"sent twice, taken", []string{early, early}, len(early), 0},
		{"once with and once without, taken", []string{early, ""}, len(early), 0},
		{"sent twice, with different data", []string{early, "EHLO other\r\n"}, len(early), 1},
		{"more than is kept", []string{early + strings.Repeat("x", holdSize)}, len(early), 1},
	} {
		d := &dialogue{seq: [2]uint32{upISN, downISN}, now: newDialogue().now}
		for _, data := range row.syns {
			d.send(Up, packet.SYN, []byte(data))
			d.seq[Up] = upISN
		}
		d.seq[Up] = upISN + 1 + uint32(row.took)
		d.send(Down, packet.SYN|packet.ACK, nil)
		d.seq[Down]++
		d.raws(Up, early[row.took:]).s("220 mx\n250-mx\n250 STARTTLS\n")
		o := replay(Options{}, oneMessage(d).steps, steered)
		want := begun + ", message 250 1, ended fin"
		if row.gaps > 0 {
			want = "established, gap up, greeting 220, starttls_offered, message 250 1, ended fin"
		}
		if told(o.events) != want || o.facts.Gaps != row.gaps || o.facts.MessagesHi < 1 || row.gaps == 0 && o.facts.MessagesHi != 1 {
			t.Errorf("%s:\n got %s\nwant %s\n%+v", row.why, told(o.events), want, o.facts)
		}
		lawful(t, row.why, o)
	}
}

// TestPortsAreUsedAgain: a SYN to a running session is believed once the server agrees to it.
func TestPortsAreUsedAgain(t *testing.T) {
	t.Parallel()
	d := hello()
	d.forged(packet.SYN, 1_000_000, 0, "")
	isn := d.seq[Up] + 1_000_000
	s := packet.Segment{Seq: 5, Ack: isn + 1, Flags: packet.SYN | packet.ACK}
	d.steps = append(d.steps, step{Down, s, d.now})
	o := replay(Options{}, d.steps, nil)
	if want := begun + ", ended unknown"; told(o.events) != want {
		t.Errorf("got %s, want %s", told(o.events), want)
	}

	for why, d := range map[string]*dialogue{
		"after the server's FIN": func() *dialogue {
			d := hello().s("421 bye\n")
			d.send(Down, packet.FIN|packet.ACK, nil)
			return d
		}(),
		"after a RST":                   hello().flags(Up, packet.RST),
		"after nothing that we saw":     hello(),
		"after a RST that ends nothing": hello().forged(packet.RST, 7, 0, ""),
		"after both FINs":               hello().close(),
	} {
		d.seq = [2]uint32{upISN, 0x2000_0000} // the client's number is the same, the server's is not
		d.send(Up, packet.SYN, nil)
		d.seq[Up]++
		d.send(Down, packet.SYN|packet.ACK, nil)
		d.seq[Down]++
		tr := New(Options{})
		n := len(d.steps)
		for i := range d.steps {
			if tr.Renewed() && i < n-1 {
				t.Errorf("%s: renewed before segment %d of %d", why, i, n)
			}
			tr.Segment(d.steps[i].dir, &d.steps[i].seg, d.now, nil)
		}
		if !tr.Renewed() || !tr.Ended() || tr.End(EndTimeout, d.now) != nil {
			t.Errorf("%s: renewed %v, ended %v", why, tr.Renewed(), tr.Ended())
		}
		d.steps = d.steps[n-1:] // the SYN+ACK in hand begins the next tracker
		o := replay(Options{}, oneMessage(d.s("220 mx\n").c("EHLO x\n").s("250 mx\n")).steps, nil)
		if want := "established, greeting 220, message 250 1, ended fin"; told(o.events) != want || o.facts.Unknown {
			t.Errorf("%s: got %s, want %s", why, told(o.events), want)
		}
	}
	tr := New(Options{})
	for _, st := range doubled(hello().steps) {
		tr.Segment(st.dir, &st.seg, st.time, nil)
	}
	if tr.Renewed() {
		t.Error("a retransmitted SYN+ACK is taken for another session")
	}

	again := newDialogue() // the first SYN was never answered
	again.steps = append([]step{{Up, packet.Segment{Seq: 99, Flags: packet.SYN}, again.now}}, again.steps...)
	o = replay(Options{}, oneMessage(again.s("220 mx\n").c("EHLO x\n").s("250 mx\n")).steps, nil)
	if want := "established, greeting 220, message 250 1, ended fin"; told(o.events) != want || o.facts.Gaps != 0 {
		t.Errorf("got %s, want %s", told(o.events), want)
	}
}

// TestHiddenBehindContent: a client that hides messages by BDAT behind released content does it once.
func TestHiddenBehindContent(t *testing.T) {
	t.Parallel()
	d := hello()
	for range 5 {
		d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n")
		d.c("x\n.\n" + strings.Repeat("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nBDAT 1 LAST\nx", 10)).s("250 ok\n" + strings.Repeat("250 ok\n250 ok\n250 ok\n", 10))
	}
	o := replay(Options{}, d.close().steps, steered)
	if f := o.facts; f.Messages != 45 || f.MessagesHi != 55 {
		t.Errorf("messages %d..%d of 55: %s", f.MessagesLo, f.MessagesHi, told(o.events))
	}
}

// TestClockSteps: times come from the caller, and one that steps back does not make a session end before it began.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	d := oneMessage(hello())
	for i := range d.steps {
		d.steps[i].time = d.now.AddDate(-i, 0, 0)
	}
	if f := replay(Options{}, d.steps, nil).facts; f.End.Before(f.Start) || f.Messages != 1 {
		t.Errorf("%+v", f)
	}
}

// TestSize holds the tracker to what its text says.
func TestSize(t *testing.T) {
	t.Parallel()
	size := unsafe.Sizeof(Tracker{})
	if size > 2048 {
		t.Errorf("a tracker is %d bytes", size)
	}
	t.Logf("a tracker is %d bytes, its queue at most %d, its handshake %d", size, unsafe.Sizeof([maxOutstanding]outstanding{}), unsafe.Sizeof(handshake{}))
}

// TestAllocations: a session in clear costs one allocation, the tracker.
func TestAllocations(t *testing.T) {
	d := hello()
	for range 20 {
		d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").bulk(5000).c("\n.\n").s("250 ok\n")
	}
	d.close()
	ev := make([]Event, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		tr := New(Options{})
		for i := range d.steps {
			ev = tr.Segment(d.steps[i].dir, &d.steps[i].seg, d.steps[i].time, ev[:0])
		}
	}); n > 1 {
		t.Errorf("%.1f allocations a session", n)
	}
}

// BenchmarkSession is a session of one message of 20 kB, with what the kernel lets through once the content is released.
func BenchmarkSession(b *testing.B) {
	d := hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").bulk(20_000).c("\n.\n").s("250 ok\n").c("QUIT\n").s("221 bye\n").close()
	ev := make([]Event, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		tr := New(Options{})
		for i := range d.steps {
			if st := &d.steps[i]; steered(tr.Release(), st) {
				ev = tr.Segment(st.dir, &st.seg, st.time, ev[:0])
			}
		}
	}
}

// BenchmarkHostile is one segment each of what costs most.
func BenchmarkHostile(b *testing.B) {
	for name, payload := range map[string]string{
		"newlines":     strings.Repeat("\n", 65000),
		"alternating":  strings.Repeat("NOOP\nRSET\n", 6500),
		"BDAT 0":       strings.Repeat("BDAT 0\n", 9000),
		"dots":         strings.Repeat("\r\n.", 21000),
		"no line":      strings.Repeat("x", 65000),
		"empty chunks": strings.Repeat("BDAT 0 LAST\n", 5400),
	} {
		b.Run(name, func(b *testing.B) {
			d := hello().raws(Up, payload)
			d.s(strings.Repeat("354\n221\n", 8000))
			ev := make([]Event, 0, 70_000)
			for b.Loop() {
				tr := New(Options{})
				for i := range d.steps {
					ev = tr.Segment(d.steps[i].dir, &d.steps[i].seg, d.steps[i].time, ev[:0])
				}
				tr.End(EndTimeout, d.now)
			}
		})
	}
}

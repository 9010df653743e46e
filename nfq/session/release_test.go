package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/packet"
)

type releaseStory struct {
	why  string
	talk *dialogue
	most Release // the widest release that must come up
}

// releaseStories are sessions with enough in them for the kernel to pass.
func releaseStories() []releaseStory {
	envelope := func(d *dialogue) *dialogue {
		return d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nDATA\n").s("250 ok\n250 ok\n250 ok\n354 go\n")
	}
	return []releaseStory{
		{"one large message", envelope(hello()).bulk(300_000).c("\n.\n").s("250 queued\n").c("QUIT\n").s("221 bye\n").close(), ReleaseUp},
		{"its end and QUIT in one segment", envelope(hello()).bulk(100_000).c("\n.\nQUIT\n").s("250 queued\n221 bye\n").close(), ReleaseUp},
		{"its end with the next envelope, up to DATA", envelope(envelope(hello()).bulk(100_000).c("\n.\nRSET\n").s("250 queued\n250 reset\n")).
			c("x\n.\nMAIL FROM:<a@x>\nRCPT TO:<b@y>\nRCPT TO:<c@y>\nDATA\n").s("250 queued\n250 ok\n250 ok\n550 no\n354 go\n").bulk(5000).c("\n.\n").s("250 ok\n").
			c("QUIT\n").s("221 bye\n").close(), ReleaseUp},
		{"its end with MAIL, the rest of the envelope later", envelope(hello()).bulk(9000).c("\n.\nMAIL FROM:<a@x>\n").s("250 queued\n250 ok\n").
			c("RCPT TO:<b@y>\nDATA\n").s("250 ok\n354 go\n").bulk(9000).c("\n.\n").s("250 ok\n").close(), ReleaseUp},
		{"two hundred messages", func() *dialogue {
			d := hello()
			for range 200 {
				envelope(d).bulk(3000).c("\n.\n").s("250 queued\n")
			}
			return d.c("QUIT\n").s("221 bye\n").close()
		}(), ReleaseUp},
		{"refused at its end", envelope(envelope(hello()).bulk(9000).c("\n.\n").s("552 too large\n")).bulk(9000).c("\n.\n").s("250 ok\n").close(), ReleaseUp},
		{"the server hangs up in the content", envelope(hello()).bulk(9000).s("421 no more\n").close(), ReleaseUp},
		{"the client's end comes with the last content", func() *dialogue {
			d := envelope(hello()).bulk(9000)
			d.send(Up, packet.FIN|packet.ACK, []byte("\r\n.\r\nQUIT\r\n"))
			d.seq[Up]++
			d.s("250 ok\n221 bye\n")
			d.send(Down, packet.FIN|packet.ACK, nil)
			return d
		}(), ReleaseUp},
		{"a large chunk", hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 200000 LAST\n").bulk(200_000).s("250 queued\n").
			c("QUIT\n").s("221 bye\n").close(), ReleaseUp},
		{"large chunks one by one", hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 100000\n").bulk(100_000).s("250 more\n").
			c("BDAT 70000 LAST\n").bulk(70_000).s("250 queued\n").c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 3 LAST\nabc").s("250 queued\n").close(), ReleaseUp},
		{"a large chunk, the next envelope right behind it", hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 100000 LAST\n").bulk(100_000).
			c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 queued\n250 ok\n250 ok\n354 go\n").bulk(9000).c("\n.\n").s("250 ok\n").close(), ReleaseUp},
		{"small chunks are not worth it", hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\n").s("250 ok\n250 ok\n").c("BDAT 60000\n").bulk(60_000).s("250 more\n").
			c("BDAT 0 LAST\n").s("250 queued\n").close(), SeeAll},
	}
}

// TestReleaseDoesNotMatter: whether the kernel passes what it may, at once or a few packets late, messages, recipients
// and byte totals stay the same, and no gap is seen.
func TestReleaseDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, s := range allSessions(t) {
		whole := timeless(s.whole.facts)
		for _, lag := range []int{0, 1, 2, 5, 20} {
			o := replay(Options{}, s.steps, lagging(lag))
			if o.seen == 0 {
				continue // nothing but acknowledgements
			}
			part := timeless(o.facts)
			if whole.MessagesHi < 0 || s.whole.facts.Gaps > 0 {
				part.Gaps, part.MessagesHi = whole.Gaps, whole.MessagesHi
			}
			if whole.EndReason == EndTimeout {
				part.BytesUp, part.BytesDown = whole.BytesUp, whole.BytesDown // no FIN and no acknowledgement tells where it ended
			}
			if part != whole {
				t.Errorf("%s, release takes hold %d segments late:\n got %+v\nwant %+v\n%s", s.name, lag, part, whole, told(o.events))
			}
			lawful(t, s.name, o)
		}
	}
}

// lagging is steered, but what was released stays in the queue for some segments more. It is not late in taking a release
// back: that goes with the reply which ends it, and nobody answers a reply before it comes.
func lagging(n int) kernel {
	var past []Release
	return func(rel Release, st *step) bool {
		past = append(past, rel)
		return steered(slices.Min(past[max(0, len(past)-1-n):]), st)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	for _, s := range releaseStories() {
		most := SeeAll
		o := replay(Options{}, s.talk.steps, func(rel Release, st *step) bool {
			if rel != ReleaseBoth { // once it is over
				most = max(most, rel)
			}
			return steered(rel, st)
		})
		if most != s.most {
			t.Errorf("%s: released %v, want %v", s.why, most, s.most)
		}
		all := 0
		for i := range s.talk.steps {
			if steered(SeeAll, &s.talk.steps[i]) {
				all++
			}
		}
		t.Logf("%s: %d of %d segments with payload were looked at, messages %d", s.why, o.seen, all, o.facts.Messages)
	}
}

// TestReleasedTotals: byte totals come from sequence numbers, so a session that nobody looked at has them right, also beyond 4 GiB as long as a reply comes now and then.
func TestReleasedTotals(t *testing.T) {
	t.Parallel()
	d := newDialogue().s("220 mx\n").c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n")
	var sent int64
	for _, st := range d.steps {
		if st.dir == Up {
			sent += int64(len(st.seg.Payload))
		}
	}
	for i := range 3 {
		d.seq[Up] += 3 << 30 // the kernel passes 3 GiB
		sent += 3 << 30
		d.s(fmt.Sprintf("250 queued %d\n", i))
		d.c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n")
		sent += int64(len("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"))
	}
	d.seq[Up] += 1 << 30
	sent += 1 << 30
	d.s("250 queued\n").close()
	o := replay(Options{}, d.steps, steered)
	if o.facts.BytesUp != sent || o.facts.Messages != 4 || o.facts.Recipients != 4 || o.facts.Gaps != 0 {
		t.Errorf("sent %d: %+v", sent, o.facts)
	}

	quiet := newDialogue().s("SSH-2.0-x\n").c("SSH-2.0-y\n")
	quiet.seq[Up] += 2_500_000_000
	quiet.seq[Down] += 3_900_000_000
	quiet.close()
	o = replay(Options{}, quiet.steps, steered)
	if o.facts.BytesUp != 2_500_000_011 || o.facts.BytesDown != 3_900_000_011 || o.facts.EndReason != EndFIN {
		t.Errorf("%+v", o.facts)
	}
}

// TestContentIsNotRead: commands inside a message that we see whole are content.
func TestContentIsNotRead(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("STARTTLS\nMAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\nBDAT 5 LAST\n", 50)
	d := hello().c("MAIL FROM:<a@x>\nRCPT TO:<b@y>\nDATA\n").s("250 ok\n250 ok\n354 go\n").c(text + ".\n").s("250 ok\n").close()
	o := replay(Options{}, d.steps, nil)
	if want := begun + ", message 250 1, ended fin"; told(o.events) != want {
		t.Errorf("got %s", told(o.events))
	}
}

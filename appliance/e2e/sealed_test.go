package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

var bothLanes = map[string]string{"fast lane": "fast_lane: auto", "queue lane": "fast_lane: off"}

// Inside TLS nobody reads, and yet who sends many messages in one session is slowed in that session: the server's replies
// are held, nothing is lost, and neither side notices more than a wait.
func TestMessagesInsideTLSArePaced(t *testing.T) {
	for name, queue := range bothLanes {
		for _, software := range []lab.Software{lab.Postfix, lab.Exim} {
			t.Run(name+", "+software.String(), func(t *testing.T) { sealedPaced(t, queue, software) })
		}
	}
}

func sealedPaced(t *testing.T, queue string, software lab.Software) {
	const messages = 8
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: software, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: pace
    budgets:
      - {of: messages, limit: 4, per: 8s}
    ladder: {warn_at: 25, pace_at: 50, pace_max: 3s}
`)+"queue: {"+queue+"}\n", fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	s := home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true, Sessions: 1, Messages: messages, Size: 20000, Linger: 150 * time.Millisecond})[0] // as over the line of a home: copies of a session of 70 ms are judged when it is over, where there is no processor for them
	if s.Result != lab.Sent || len(s.Accepted) != messages {
		t.Fatalf("%v, %d accepted: %v", s.Result, len(s.Accepted), s.Err)
	}
	await(t, 10*time.Second, "the SESSION record", func() bool { return len(b.records("kind=SESSION")) == 1 })
	line := b.records("kind=SESSION")[0].Line
	lo, hi, held := number(t, line, "messages_lo"), number(t, line, "messages_hi"), number(t, line, "held_ms")
	if param(line, "tls") != "starttls" || param(line, "handshake") != "complete" || lo > messages || hi < messages || lo < messages-1 || param(line, "gaps") != "" {
		t.Errorf("%s", line)
	}
	// What is charged, all but the last message of which the answer is not yet followed, takes 2 s each beyond the first two.
	if held < 2000 || held > int(s.Took.Milliseconds()) {
		t.Errorf("replies were held for %d ms of a session of %v", held, s.Took)
	}
	if v := b.subscriber("home"); v.Stage != "pace" && v.Stage != "warn" {
		t.Errorf("stage %s: %s", v.Stage, v.Reason)
	}
	await(t, 20*time.Second, "every message in the mailbox", func() bool {
		got, err := mx.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		return len(got) == messages
	})
	t.Logf("%d messages inside TLS told as %d to %d, held for %d ms of %v", messages, lo, hi, held, s.Took.Round(time.Millisecond))
}

// number is a parameter of a record that is one.
func number(t *testing.T, line, name string) int {
	t.Helper()
	n, err := strconv.Atoi(param(line, name))
	if err != nil {
		t.Errorf("%s is no number in %s", name, line)
	}
	return n
}

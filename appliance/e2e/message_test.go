package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Who sends many messages in one session meets the messages budget: the server's
// reply to each is held until there is room, and nothing is lost.
func TestMessagesInOneSessionArePaced(t *testing.T) {
	for _, loose := range []string{"1", "0"} {
		t.Run("nf_conntrack_tcp_loose="+loose, func(t *testing.T) { messagesPaced(t, loose) })
	}
}

// messagesPaced also where conntrack takes no connection in its middle, as on hardened machines.
func messagesPaced(t *testing.T, loose string) {
	const messages = 6
	l, ctx := startLab(t)
	if out, err := l.Box.Command(ctx, "sysctl", "-w", "net.netfilter.nf_conntrack_tcp_loose="+loose).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Exim, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: pace
    budgets:
      - {of: messages, limit: 4, per: 8s}
    ladder: {warn_at: 25, pace_at: 50, pace_max: 3s}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	s := home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1, Messages: messages, Size: 100000})[0]
	if s.Result != lab.Sent || len(s.Accepted) != messages {
		t.Fatalf("%v, %d accepted: %v", s.Result, len(s.Accepted), s.Err)
	}
	await(t, 10*time.Second, "the SESSION record", func() bool { return len(b.records("kind=SESSION")) == 1 })
	line := b.records("kind=SESSION")[0].Line
	for name, want := range map[string]string{"messages": "6", "recipients": "6", "end_reason": "fin", "gaps": ""} {
		if got := param(line, name); got != want {
			t.Errorf("%s is %q, want %q in %s", name, got, want, line)
		}
	}
	held, err := strconv.Atoi(param(line, "held_ms"))
	if err != nil || held < 2000 || held > int(s.Took.Milliseconds()) {
		t.Errorf("replies were held for %q ms of a session of %v", param(line, "held_ms"), s.Took)
	}
	if up, err := strconv.Atoi(param(line, "bytes_up")); err != nil || up < messages*100000 || up > messages*110000 {
		t.Errorf("%d bytes went up: most of them the kernel passed without us", up)
	}
	st := b.status()
	if st.Acted == 0 || st.Sessions.Open != 0 {
		t.Errorf("acted %d, open %d", st.Acted, st.Sessions.Open)
	}
	if strict := strings.Contains(st.Lanes.Fast.Tracked, "tcp_loose"); strict != (loose == "0") {
		t.Errorf("packets are tracked because of %q", st.Lanes.Fast.Tracked)
	}
	await(t, 10*time.Second, "every message in the mailbox", func() bool {
		got, err := mx.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		return len(got) == messages
	})
}

// Exim sends in chunks (BDAT, RFC 3030) to a server that takes them; they count
// like any message.
func TestChunkedMessagesAreCounted(t *testing.T) {
	const messages = 5
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	from := addServer(t, ctx, l, "business", lab.ServerOptions{Software: lab.Exim, Side: lab.Subscribers,
		Routes: []lab.Route{mx.RouteTo("mx.test", false, lab.TLSNever)}})
	b := newBox(t, ctx, l, config("enforce", ""), "subscriber,plan\n")
	b.start()
	if _, err := from.Send(ctx, messages, "me@business.test", "you@mx.test"); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "the SESSION records", func() bool { return len(b.records("kind=SESSION&limit=100")) >= messages })
	total := 0
	for _, r := range b.records("kind=SESSION&limit=100") {
		n, err := strconv.Atoi(param(r.Line, "messages"))
		if err != nil || param(r.Line, "recipients") != param(r.Line, "messages") {
			t.Errorf("%v: %s", err, r.Line)
		}
		total += n
	}
	if total != messages {
		t.Errorf("%d messages were counted, %d were sent", total, messages)
	}
	text, err := mx.Log()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "bdat=") {
		t.Errorf("no session used BDAT; the server's log:\n%s", text)
	}
}

// param is a parameter of a record, "" when it is left out.
func param(line, name string) string {
	if m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

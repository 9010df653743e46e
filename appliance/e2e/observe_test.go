package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Mode observe: the clients see, byte for byte, what they see without us, far
// over budget too; every decision is recorded, and acted stays 0.
func TestObserveNeverActs(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	bot := addHome(t, l, "bot")
	talk := func() (lines []string) {
		t.Helper()
		for _, ipv6 := range []bool{false, true} {
			for _, tls := range []bool{false, true} {
				for _, s := range bot.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test",
					StartTLS: tls, Sessions: 30, Concurrency: 1}) {
					if s.Result != lab.Sent || s.Greeting > time.Second {
						t.Fatalf("%v after %v: %v", s.Result, s.Greeting, s.Err)
					}
					for _, r := range s.Replies {
						if i := strings.Index(r, "queued as "); i >= 0 {
							r = r[:i+10] // the server's own number of the message
						}
						lines = append(lines, r)
					}
				}
			}
		}
		return lines
	}
	plain := talk()
	b := newBox(t, ctx, l, config("observe", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 5, per: 1h}
      - {of: concurrent_sessions, limit: 1}
`), fmt.Sprintf("subscriber,plan,prefixes\nbot,home,%s %s\n", bot.IPv4, bot.Prefix6))
	b.start()
	if through := talk(); !slices.Equal(plain, through) {
		t.Errorf("the clients noticed: %d lines without us, %d through us", len(plain), len(through))
	}
	s := b.status()
	t.Logf("decisions %+v, acted %d, would have acted %d", s.Actions, s.Acted, s.WouldHaveActed)
	if s.Acted != 0 {
		t.Errorf("acted %d", s.Acted)
	}
	if s.Actions.Deferred == 0 || s.Actions.Cut == 0 || s.WouldHaveActed == 0 {
		t.Errorf("nothing was decided: %+v", s.Actions)
	}
	items := b.records("kind=DECISION&subscriber=bot&limit=1000")
	if len(items) == 0 {
		t.Fatal("no DECISION was recorded")
	}
	for _, r := range items {
		if !strings.Contains(r.Line, `acted="0"`) || !strings.Contains(r.Line, `mode="observe"`) {
			t.Errorf("a decision that acted: %s", r.Line)
		}
	}
}

// records asks the API over the socket.
func (b *box) records(query string) []webadmin.Record {
	b.t.Helper()
	resp, err := b.api().Get("http://mailweir/api/v1/records?" + query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct {
		Items []webadmin.Record `json:"items"`
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("records: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		b.t.Fatal(err)
	}
	return page.Items
}

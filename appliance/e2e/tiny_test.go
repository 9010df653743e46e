package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// list replaces the subscribers' file in one step.
func (b *box) list(text string) {
	b.t.Helper()
	b.replace("subscribers.csv", text)
}

// replace writes a file of the lab's directory in one step.
func (b *box) replace(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.lab.Dir, name)
	check(b.t, os.WriteFile(path+".new", []byte(text), 0o600))
	check(b.t, os.Rename(path+".new", path))
}

// said is what mailweir said on stderr so far.
func (b *box) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stderr.String()
}

// tiny is one home under a plan that is full after two sessions, with a mail
// server to send to.
type tiny struct {
	*box
	home *lab.Home
	send func() lab.Session
}

func newTiny(t *testing.T, more string) tiny {
	t.Helper()
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`+more), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s %s\n", home.IPv4, home.Prefix6))
	return tiny{b, home, func() lab.Session {
		return home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test"})[0]
	}}
}

func (s tiny) expect(why string, want lab.Result) {
	s.t.Helper()
	if got := s.send(); got.Result != want {
		s.t.Errorf("%s: %v (%v), want %v", why, got.Result, got.Err, want)
	}
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

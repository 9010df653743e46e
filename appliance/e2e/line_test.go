package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A home whose address changes by RADIUS while it is deferred stays deferred on
// the new one, and while it is cut it stays cut there; the neighbour who gets the
// old address starts clean; over IPv4 and in the delegated prefix; and all of it
// is still so after a kill -9. Who had the address before is still known.
func TestThePenaltyFollowsTheLine(t *testing.T) {
	for _, stage := range []string{"defer", "cut"} {
		t.Run(stage, func(t *testing.T) { followsTheLine(t, stage) })
	}
}

const radiusSecret = "a secret of the lab"

func followsTheLine(t *testing.T, stage string) {
	refused := map[string]lab.Result{"defer": lab.Deferred, "cut": lab.Reset}[stage]
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home, neighbour := addHome(t, l, "home"), addHome(t, l, "neighbour")
	nas := addNAS(t, ctx, l)
	b := newBox(t, ctx, l, withRADIUS(t, l, nas, config("enforce", `  - name: small
    highest_stage: `+stage+`
    budgets:
      - {of: sessions, limit: 3, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s, cut_at: 300, cut_for: 1h}
`)), "subscriber,plan,circuits\nhome,small,acct-home\nneighbour,small,acct-neighbour\n")
	b.start()
	send := func(h *lab.Home, ipv6 bool) lab.Result {
		t.Helper()
		return h.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: ipv6})[0].Result
	}
	nas.start("acct-home", "home-1", home.Line)
	nas.start("acct-neighbour", "neighbour-1", neighbour.Line)
	for i := range 60 { // from the second attempt on most are retries
		if send(home, i%2 == 1); b.subscriber("home").Stage == stage {
			break
		}
	}
	if s := b.subscriber("home"); s.Stage != stage {
		t.Fatalf("home is in stage %s: %s", s.Stage, s.Reason)
	}
	for _, ipv6 := range []bool{false, true} {
		if got := send(home, ipv6); got != refused {
			t.Errorf("home in stage %s, ipv6=%v: %v", stage, ipv6, got)
		}
	}
	if stage == "cut" {
		await(t, 5*time.Second, "its addresses in the kernel's set", func() bool {
			rules := listRules(t, b)
			return strings.Contains(rules, home.IPv4.String()+" timeout") && strings.Contains(rules, net64(home.IPv6)+" timeout")
		})
	}
	old, before := home.Line, time.Now()

	// The access network gives the home other addresses and the neighbour those
	// that it had. The NAS tells the new before the end of the old, as they do.
	v4, p6, err := l.SpareAddresses()
	check(t, err)
	check(t, home.SetIPv4(v4))
	check(t, home.SetPrefix6(p6))
	check(t, neighbour.SetIPv4(old.IPv4))
	check(t, neighbour.SetPrefix6(old.Prefix6))
	begin := time.Now()
	nas.start("acct-home", "home-2", home.Line)
	told := time.Since(begin)
	for _, ipv6 := range []bool{false, true} {
		if got := send(home, ipv6); got != refused {
			t.Errorf("home on its new address, ipv6=%v: %v, want %v", ipv6, got, refused)
		}
	}
	moved := time.Since(begin)
	nas.start("acct-neighbour", "neighbour-2", neighbour.Line)
	nas.stop("acct-home", "home-1", old)
	for _, ipv6 := range []bool{false, true} {
		// What is cut the kernel refuses by itself; it is told within 0.1 s.
		got := send(neighbour, ipv6)
		for end := begin.Add(time.Second); got == lab.Reset && stage == "cut" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			got = send(neighbour, ipv6)
		}
		if got != lab.Sent {
			t.Errorf("the neighbour on what was the home's address, ipv6=%v: %v", ipv6, got)
		}
	}
	took := time.Since(begin)
	t.Logf("%s: radclient had its answer after %v, both families of the home were refused on the new addresses at %v, both of the neighbour were served on the old ones at %v",
		stage, ms(told), ms(moved), ms(took))
	if took > time.Second {
		// radclient itself takes some 100 ms to start; there are three of them in this.
		t.Errorf("it took %v until everything was where it belongs", took)
	}
	if s := b.subscriber("neighbour"); s.Stage == stage || budget(t, s, "sessions").Value != 2 || s.Case != "" {
		t.Errorf("the neighbour does not start clean: stage %s, %d used, case %q", s.Stage, budget(t, s, "sessions").Value, s.Case)
	}
	if stage == "cut" {
		await(t, 5*time.Second, "the kernel's set to have the new addresses and not the old", func() bool {
			rules := listRules(t, b)
			return strings.Contains(rules, home.IPv4.String()+" timeout") && strings.Contains(rules, net64(home.IPv6)+" timeout") &&
				!strings.Contains(rules, old.IPv4.String()+" timeout") && !strings.Contains(rules, net64(old.IPv6)+" timeout")
		})
	}
	held := func(why string) {
		t.Helper()
		for _, row := range []struct {
			addr netip.Addr
			at   time.Time
			want string
		}{
			{old.IPv4, before, "home"}, {old.IPv6, before, "home"},
			{old.IPv4, time.Time{}, "neighbour"}, {old.IPv6, time.Time{}, "neighbour"},
			{home.IPv4, time.Time{}, "home"}, {home.IPv6, time.Time{}, "home"}, {home.IPv4, before, ""},
		} {
			if got := b.holder(row.addr, row.at); got != row.want {
				t.Errorf("%s: %v was held by %q at %v, want %q", why, row.addr, got, row.at, row.want)
			}
		}
	}
	held("before the crash")

	casenum := b.subscriber("home").Case
	time.Sleep(1500 * time.Millisecond) // the stated save interval of 1 s: what a crash may forget
	b.kill()
	b.start()
	held("after the crash")
	for _, ipv6 := range []bool{false, true} {
		if got := send(home, ipv6); got != refused {
			t.Errorf("home after the crash, ipv6=%v: %v, want %v", ipv6, got, refused)
		}
	}
	if s := b.subscriber("home"); s.Stage != stage || s.Case != casenum || casenum == "" {
		t.Errorf("home after the crash: stage %s, case %q, was %q", s.Stage, s.Case, casenum)
	}
	if got := send(neighbour, false); got != lab.Sent {
		t.Errorf("the neighbour after the crash: %v", got)
	}
	if s := b.subscriber("neighbour"); budget(t, s, "sessions").Value != 3 {
		t.Errorf("the neighbour after the crash: %d used", budget(t, s, "sessions").Value)
	}

	// What the NAS said once is over: the same Stop again ends nothing, and with
	// the last session's Stop the address is nobody's.
	nas.stop("acct-home", "home-1", old)
	held("after a Stop that came twice")
	nas.stop("acct-home", "home-2", home.Line)
	if got := b.holder(home.IPv4, time.Time{}); got != "" {
		t.Errorf("after its Stop %v is held by %q", home.IPv4, got)
	}
	if got := send(home, false); got != lab.Sent { // under the plan free
		t.Errorf("a source that is nobody's line: %v", got)
	}
}

// teller is a NAS that speaks to the box.
type teller struct {
	*lab.NAS
	t   *testing.T
	ctx context.Context
	to  netip.AddrPort
}

func addNAS(t *testing.T, ctx context.Context, l *lab.Lab) teller {
	t.Helper()
	n, err := l.AddNAS("nas")
	check(t, err)
	return teller{n, t, ctx, l.RADIUS(false)}
}

// withRADIUS has the box listen to the NAS.
func withRADIUS(t *testing.T, l *lab.Lab, nas teller, config string) string {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(l.Dir, "radius.secret"), []byte(radiusSecret+"\n"), 0o600))
	return strings.Replace(config, "  unmapped_plan:", fmt.Sprintf(`  radius:
    listen: "%s"
    secret_file: radius.secret
    clients: ["%s"]
  unmapped_plan:`, nas.to, nas.IPv4), 1)
}

// start tells that a session of user began on the addresses of l; it returns
// with the box's answer.
func (n teller) start(user, session string, l lab.Line) {
	n.t.Helper()
	n.tell("Start", user, session, l)
}

func (n teller) stop(user, session string, l lab.Line) {
	n.t.Helper()
	n.tell("Stop", user, session, l)
}

func (n teller) tell(status, user, session string, l lab.Line) {
	n.t.Helper()
	check(n.t, n.Account(n.ctx, n.to, radiusSecret, accounting(status, user, session, l)...))
}

func accounting(status, user, session string, l lab.Line) []string {
	return []string{
		"Acct-Status-Type = " + status, "User-Name = " + user, `Acct-Session-Id = "` + session + `"`,
		"Framed-IP-Address = " + l.IPv4.String(), "Delegated-IPv6-Prefix = " + l.Prefix6.String(),
	}
}

// holder is who held an address, best first; "" nobody. The zero time is now.
func (b *box) holder(a netip.Addr, at time.Time) string {
	b.t.Helper()
	args := []string{"lookup", a.String()}
	if !at.IsZero() {
		args = append(args, "--at", at.UTC().Format(time.RFC3339Nano))
	}
	var l webadmin.Lookup
	b.cli(&l, args...)
	if len(l.Holders) == 0 {
		return ""
	}
	return l.Holders[0].Subscriber
}

// net64 is how the kernel's set shows an IPv6 address: its /64.
func net64(a netip.Addr) string { return netip.PrefixFrom(a, 64).Masked().Addr().String() }

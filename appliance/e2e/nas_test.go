package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A NAS that starts anew has no sessions: its lines have no addresses until it
// tells of them again, those of the other NAS keep theirs. A secret that is changed
// is in force with the next reload, and a secret that is not there is refused.
func TestNASStartsAnewAndChangesItsSecret(t *testing.T) {
	l, ctx := startLab(t)
	mine, others := addHome(t, l, "mine"), addHome(t, l, "others")
	nas := addNAS(t, ctx, l)
	second, err := l.AddNAS("nas2")
	check(t, err)
	nas2 := teller{second, t, ctx, l.RADIUS(true)}
	b := newBox(t, ctx, l, strings.Replace(withRADIUS(t, l, nas, config("enforce", "")),
		fmt.Sprintf(`listen: "%s"`, nas.to), `listen: ":1813"`, 1), "subscriber,plan,circuits\nmine,free,a\nothers,free,b\n")
	b.write(strings.Replace(b.configured(), `clients: ["192.0.2.11"]`, `clients: ["192.0.2.11", "2001:db8:e002::25"]`, 1))
	b.start()
	// Both name their sessions alike.
	nas.start("a", "0001", mine.Line)
	nas2.start("b", "0001", others.Line)
	is := func(why, first, second string) {
		t.Helper()
		if a, o := b.holder(mine.IPv4, time.Time{}), b.holder(others.IPv4, time.Time{}); a != first || o != second {
			t.Errorf("%s: %q and %q, want %q and %q", why, a, o, first, second)
		}
	}
	is("both told", "mine", "others")
	check(t, nas.Account(ctx, nas.to, radiusSecret, "Acct-Status-Type = Accounting-On", `Acct-Session-Id = "boot"`))
	booted := time.Now()
	is("one started anew", "", "others")
	nas.start("a", "0001", mine.Line)
	is("what it said before, without saying when it was", "", "others")
	// It counts its sessions from the beginning again, and says by its clock, which
	// has whole seconds, that this one is new.
	time.Sleep(time.Until(booted.Truncate(time.Second).Add(time.Second)))
	check(t, nas.Account(ctx, nas.to, radiusSecret, append(accounting("Start", "a", "0001", mine.Line), fmt.Sprintf("Event-Timestamp = %d", time.Now().Unix()))...))
	is("and told again", "mine", "others")
	check(t, nas2.Account(ctx, nas2.to, radiusSecret, "Acct-Status-Type = Accounting-Off", `Acct-Session-Id = "down"`))
	is("the other went down", "mine", "")

	reload := func(what string) {
		t.Helper()
		before := len(b.records("kind=CONFIG&limit=1000"))
		check(t, b.cmd.Process.Signal(syscall.SIGHUP))
		await(t, 10*time.Second, "a CONFIG record", func() bool { return len(b.records("kind=CONFIG&limit=1000")) > before })
		if r := b.records("kind=CONFIG&limit=1")[0]; param(r.Line, "what") != what {
			t.Errorf("want %s: %s", what, r.Line)
		}
	}
	const changed = "another secret of the lab"
	b.replace("radius.secret", changed)
	reload("reloaded")
	if err := nas.Account(ctx, nas.to, radiusSecret, accounting("Stop", "a", "0001", mine.Line)...); !errors.Is(err, lab.ErrNoAnswer) {
		t.Errorf("the old secret: %v", err)
	}
	is("after a Stop under the old secret", "mine", "")
	check(t, os.Remove(filepath.Join(l.Dir, "radius.secret")))
	reload("refused")
	check(t, nas2.Account(ctx, nas2.to, changed, accounting("Start", "b", "0002", others.Line)...))
	is("a Start under the new secret", "mine", "others")
}

// configured is the configuration as it was written last.
func (b *box) configured() string {
	b.t.Helper()
	text, err := os.ReadFile(b.config)
	check(b.t, err)
	return string(text)
}

package boot

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/layout"
)

const (
	trialTime  = 5 * time.Minute  // in which a new slot has to come up healthy
	trialCalm  = 10 * time.Second // and stay so, before it is committed
	trialPause = 2 * time.Second
)

// slots finds out what kind of start this is, and tells what came of an update that was given up. It returns whether the slot is on trial.
func (b *box) slots() (onTrial bool, err error) {
	if b.update, err = machine(b.about, b.options); err != nil {
		return false, err
	}
	env, err := b.update.Env.Read()
	if err != nil {
		// GRUB takes slot a then; what runs is what can be started.
		b.console.say("GRUB's state cannot be read and is made anew: %v", err)
		return false, b.update.Env.Write(layout.Env{Active: b.update.Running})
	}
	last, err := update.Load(stateDir)
	if err != nil {
		b.log.Error("outcome of the last update", "err", err)
	}
	switch kind, why := update.Look(env, b.update.Running); kind {
	case update.OnTrial:
		b.console.say("slot %s is on trial; starts left after this one: %d", b.update.Running, env.Tries)
		return true, nil
	case update.GivenUp:
		o := b.update.GaveUp(last, why, time.Now())
		b.console.say("update: %s", o)
		if err := o.Save(stateDir); err != nil {
			b.log.Error("outcome of the update", "err", err)
		}
		return false, b.update.Env.Write(layout.Env{Active: b.update.Running})
	case update.Fallback:
		b.console.say("%s; slot %s runs in its place", why, b.update.Running)
		o := b.update.Fell(why, time.Now())
		if last != nil && last.State == o.State && last.From == o.From {
			return false, nil // it was told
		}
		return false, o.Save(stateDir)
	}
	return false, nil
}

// afterStart sees a trial to its end, and then looks for updates on USB sticks.
func (b *box) afterStart(ctx context.Context, config string, m *modules, s *supervisor, onTrial bool) {
	if b.update == nil {
		return
	}
	stick := &child{name: "sticks", argv: []string{stickCommand}}
	if !onTrial {
		s.add(stick)
		return
	}
	o := update.Outcome{Slot: b.update.Running, To: update.Version{Version: b.about.Version, Build: b.about.Build}}
	if last, err := update.Load(stateDir); err == nil && last != nil && last.To == o.To {
		o = *last
	}
	go guard(func() {
		if b.trial(ctx, o, health(config, m, o.Links)) {
			s.add(stick)
		}
	})
}

// trial commits the slot that runs when all checks are satisfied, or has the box start the slot before; o is what is known of the update. It returns
// true if the slot stays.
func (b *box) trial(ctx context.Context, o update.Outcome, checks []check) bool {
	why := healthy(ctx, checks, trialTime)
	if ctx.Err() != nil {
		return false
	}
	o.Time = time.Now()
	if why == nil {
		if err := b.update.Commit(); err != nil {
			b.log.Error("commit", "err", err)
			return false
		}
		o.State, o.Why = update.Committed, ""
		o.Floor = max(o.Floor, b.update.Floor, b.about.Floor)
		b.console.say("update: %s", o)
		b.try("outcome of the update", func() error { return o.Save(stateDir) })
		return true
	}
	o.State, o.Why = update.RolledBack, strings.ReplaceAll(why.Error(), "\n", "; ")
	b.console.say("this slot is given up, and the one before is started: %s", o.Why)
	b.try("outcome of the update", func() error { return o.Save(stateDir) })
	b.try("give up", b.update.GiveUp) // if that fails GRUB counts on
	b.try("restart", func() error { return unix.Kill(os.Getpid(), unix.SIGTERM) })
	return false
}

// check is one thing that has to be well.
type check struct {
	what string
	ask  func(context.Context) error
}

// healthy returns nil when all checks were satisfied for a while, or after most what the last round found.
func healthy(ctx context.Context, checks []check, most time.Duration) error {
	begun := time.Now()
	var since time.Time
	for ctx.Err() == nil {
		err := all(ctx, checks)
		now := time.Now()
		switch {
		case err == nil && since.IsZero():
			since = now
		case err == nil && now.Sub(since) >= trialCalm:
			return nil
		case err != nil:
			since = time.Time{}
			if now.Sub(begun) >= most {
				return err
			}
		}
		wait(ctx, trialPause)
	}
	return ctx.Err()
}

// all runs each check, and names those that are not satisfied.
func all(ctx context.Context, checks []check) error {
	var bad []string
	for _, c := range checks {
		if err := c.ask(ctx); err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", c.what, err))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s", strings.Join(bad, "; "))
	}
	return nil
}

package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/netconf"
)

// portsLook is how often process 1 looks at the clock of ports that are tried.
const portsLook = 250 * time.Millisecond

// watchPorts ends the program that governs when nobody has confirmed in time what it tries, also one that hangs: its end takes the ports back, and its next life the configuration.
func (b *box) watchPorts(ctx context.Context, s *supervisor) {
	said, over := "", ""
	for ; ctx.Err() == nil; wait(ctx, portsLook) {
		t, err := cabled.Trial()
		if err != nil {
			b.log.Error("ports that are tried", "err", err)
			continue
		}
		if t == nil {
			continue
		}
		if t.ID != said {
			said = t.ID
			b.console.say("Other ports are tried. Unless somebody keeps them in the web admin they are taken back.")
		}
		if netconf.Uptime() < t.Until || over == t.ID {
			continue
		}
		over = t.ID
		b.console.say("Nobody has kept the ports that are tried: they are taken back.")
		b.try("ports that are tried", func() error { return cabled.SayWhy("nobody kept them in time") })
		s.renew(governChild)
	}
}

// portsBack has the ports be again what was confirmed last, after the end of a life that tried others. The life after it does the same with the configuration.
func (b *box) portsBack() error {
	t, err := cabled.Trial()
	if err == nil && t == nil {
		return nil
	}
	if cabled.Why() == "" {
		err = errors.Join(err, cabled.SayWhy("the program that governs ended while they were tried"))
	}
	last := b.last
	if k, bad := keptHere(); bad != nil {
		err = errors.Join(err, bad)
	} else if s, _, bad := k.read(); bad != nil {
		err = errors.Join(err, bad)
	} else {
		last = s
	}
	want := b.ports.bridge()
	if last != nil {
		want = *last
	}
	if is := shapeNow(); is == nil || !is.network().SamePorts(want.network()) { // else it was confirmed in its last moment
		if bad := b.ports.change(want, is, false); bad != nil {
			err = errors.Join(err, fmt.Errorf("take the ports back: %w", bad))
		} else {
			b.console.say("%s", b.ports.with(shapeNow()))
		}
	}
	return errors.Join(err, cabled.EndTrial())
}

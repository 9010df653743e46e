package appliance

import (
	"context"
	"errors"
	"reflect"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
)

// reloads reads the configuration again whenever it is asked to.
func (a *Appliance) reloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.opt.Reload:
			if err := a.reload(); err != nil {
				a.log.Error("configuration refused, the running one goes on", "err", err)
				detail := err.Error()
				if ps, ok := errors.AsType[config.Problems](err); ok {
					detail = ps.First()
				}
				a.writer.Say(records.Config(records.ConfigFacts{Time: a.now(), What: "refused", File: a.opt.ConfigFile, Detail: detail}))
			}
		}
	}
}

// reload takes a new configuration as a whole or not at all. What needs new
// queues or new addresses is kept as it is and said; everything else is in force
// when reload returns.
func (a *Appliance) reload() error {
	next, table, err := LoadConfig(a.opt.ConfigFile)
	if err != nil {
		return err
	}
	old := a.cfg.Load()
	if later := needsRestart(old, next); later != "" {
		return config.Problems{{File: next.Path(), Key: later, Message: "cannot change while running; restart mailweir to take it"}}
	}
	for _, w := range next.Warnings() {
		a.log.Warn(w.Error())
	}
	now := a.now()
	policy := next.Policy()
	leaving := modeOf(old) == governor.ModeEnforce && policy.Mode == governor.ModeObserve
	a.chain.SetPolicy(next.Mode, policy.Hash)
	a.who.set(next, table)
	a.judge.rules.Store(rulesOf(next))
	for _, c := range a.gov.SetPolicy(policy, now) {
		a.judge.changed(c, c.Mode)
		if c.From == governor.StageCut && c.To != governor.StageCut {
			a.cutter.release(c.Subscriber)
		}
	}
	a.cfg.Store(next)
	if !reflect.DeepEqual(old.Syslog, next.Syslog) {
		if err := a.syslog.use(a.syslogConfig(next)); err != nil {
			return err
		}
	}
	if old.Mode != next.Mode {
		a.since.Store(&now)
	}
	if leaving {
		a.letGo()
	}
	if !reflect.DeepEqual(old.Network.SubscriberInterfaces, next.Network.SubscriberInterfaces) {
		if err := a.steer(next); err != nil {
			return err
		}
	}
	a.log.Info("configuration reloaded", "file", next.Path(), "mode", next.Mode, "policy", policy.Hash)
	a.writer.Say(records.Config(records.ConfigFacts{Time: now, What: "reloaded", File: next.Path()}))
	return nil
}

// letGo ends what enforce holds when the mode becomes observe: held replies and
// cut addresses.
func (a *Appliance) letGo() {
	n := a.queues.Unhold(func(nfq.Flow, any) bool { return true })
	a.cutter.releaseAll()
	a.log.Info("mode observe: nothing is held or cut any more", "held_before", n)
}

// needsRestart names the first key that differs and cannot change while running.
func needsRestart(old, next *config.Config) string {
	switch {
	case old.Network.Topology != next.Network.Topology:
		return "network.topology"
	case !reflect.DeepEqual(old.Network.Ports(), next.Network.Ports()):
		return "network.limited_ports"
	case old.Network.OnFailure != next.Network.OnFailure:
		return "network.on_failure"
	case old.Network.MarkMask != next.Network.MarkMask:
		return "network.mark_mask"
	case old.Queue != next.Queue:
		return "queue"
	case old.Admin != next.Admin:
		return "admin"
	}
	return ""
}

func modeOf(c *config.Config) governor.Mode { return c.Policy().Mode }

func rulesOf(c *config.Config) *rules {
	return &rules{limited: c.Network.LimitedPorts, deferText: c.Defer.Text}
}

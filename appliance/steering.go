package appliance

import (
	"fmt"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

func (a *Appliance) rulesetOptions(cfg *config.Config) ruleset.Options {
	o := ruleset.Options{
		Marks: ruleset.Marks{Mask: uint32(cfg.Network.MarkMask)}, SubscriberIfs: cfg.Network.SubscriberInterfaces,
		Ports: cfg.Network.Ports(), LimitedPorts: cfg.Network.LimitedPorts, QueueFirst: cfg.Queue.First, QueueCount: queueCount(cfg),
		FailOpen: cfg.Network.FailOpen(), ResponderPort: a.answers.Port(),
	}
	o.Copies = a.queues.Copies()
	a.lane.options(&o)
	a.bridgeOptions(&o)
	return o
}

// steer writes the ruleset; from here on packets come to us.
func (a *Appliance) steer(cfg *config.Config) error {
	a.steering.Lock()
	defer a.steering.Unlock()
	if a.stopping {
		return nil
	}
	if err := a.lane.look(); err != nil {
		return err
	}
	a.lookAtBridge(cfg)
	rs, err := ruleset.Apply(a.rulesetOptions(cfg), a.kernel)
	if err != nil {
		return fmt.Errorf("steer packets into the queue: %w", err)
	}
	a.cutter.use(a.lane.cutting(rs))
	if old := a.rules.Swap(rs); old != nil {
		old.Close()
	}
	a.attachLane(cfg)
	return nil
}

// stopSteering sees to it that nothing is steered to us, or attached, any more.
func (a *Appliance) stopSteering() {
	a.steering.Lock()
	defer a.steering.Unlock()
	a.stopping = true
}

// disarm takes the rules out and keeps the hooks, and with them the packets that
// still wait for our verdict.
func (a *Appliance) disarm() {
	a.steering.Lock()
	defer a.steering.Unlock()
	rs := a.rules.Load()
	if rs == nil {
		return
	}
	if err := rs.Disarm(); err != nil {
		a.log.Error("stop steering; the queue rules let mail pass once nobody reads", "err", err)
	}
}

func (a *Appliance) isStopping() bool {
	a.steering.Lock()
	defer a.steering.Unlock()
	return a.stopping
}

func (a *Appliance) unsteer() error {
	if rs := a.rules.Swap(nil); rs != nil {
		rs.Close()
	}
	if err := ruleset.Remove(); err != nil {
		return fmt.Errorf("remove the ruleset: %w", err)
	}
	return nil
}

// steered tells whether the kernel has our rules: those of before, as a rule, when we are not ready. Where that cannot be seen the worse is taken for true, which
// is that with on_failure closed they keep mail from passing.
func (a *Appliance) steered() bool {
	there, err := ruleset.Steering(a.bridge != nil)
	return there || err != nil
}

// resteer writes the ruleset again when somebody removed it: without it mail
// passes unjudged and nobody would know.
func (a *Appliance) resteer() {
	if a.rules.Load() == nil || a.isStopping() {
		return
	}
	there, err := ruleset.Steering(a.bridge != nil)
	if err != nil {
		return // not to be asked now: the next look tells
	}
	if there {
		a.lookAtLane()
		return
	}
	a.log.Error("the rules of mailweir were removed by somebody else; writing them again")
	a.health.tell(records.HealthFacts{What: "ruleset", Detail: "somebody removed our nftables rules; mail passed unjudged until now, and they are written again"})
	if err := a.steer(a.cfg.Load()); err != nil {
		a.ready.Store(false)
		a.log.Error("write the ruleset again; mail passes unjudged", "err", err)
		return
	}
	if !a.isStopping() {
		a.ready.Store(true)
	}
}

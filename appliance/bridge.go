package appliance

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/bridge"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// openBridge finds out whether a bridge can be governed here; nil where the box routes.
func (a *Appliance) openBridge(cfg *config.Config) (err error) {
	if cfg.Network.Topology != config.Bridge {
		return nil
	}
	if err := ruleset.ProbeBridge(); err != nil {
		return err
	}
	a.bridge, err = bridge.Open(bridge.Options{
		Mark: deferMark(cfg), Mask: uint32(cfg.Network.MarkMask), File: filepath.Join(a.opt.DataDir, "bridge.json"), Log: a.log,
	})
	if err != nil {
		return fmt.Errorf("network.topology: bridge: %w", err)
	}
	return nil
}

// deferMark is what the responder's packets bear on a bridge; zero, nothing, elsewhere.
func deferMark(cfg *config.Config) uint32 {
	if cfg.Network.Topology != config.Bridge {
		return 0
	}
	return ruleset.Marks{Mask: uint32(cfg.Network.MarkMask)}.Value(ruleset.Deferred)
}

// lookAtBridge keeps the bridge as it must be, and says when it is not.
func (a *Appliance) lookAtBridge(cfg *config.Config) {
	if a.bridge == nil {
		return
	}
	a.bridge.Look(slices.Concat(cfg.Network.SubscriberInterfaces, cfg.Network.UpstreamInterfaces))
	a.lookAtTags(cfg)
	if s := a.bridge.State(); s.Why != "" {
		a.health.begin(records.HealthFacts{What: "bridge", Detail: s.Why})
	} else {
		a.health.end("bridge")
	}
}

// wayBack is what package nfq is given: a nil interface where routes lead to everybody.
func (a *Appliance) wayBack() nfq.WayBack {
	if a.bridge == nil {
		return nil
	}
	return a.bridge
}

// answerable tells whether a deferred session of this client can be answered.
func (a *Appliance) answerable(client netip.Addr) bool {
	return a.bridge == nil || a.bridge.Answerable(client)
}

// bridgeOptions are those of the ruleset.
func (a *Appliance) bridgeOptions(o *ruleset.Options) {
	if a.bridge != nil {
		o.Bridge = &ruleset.Bridge{Answer4: bridge.Answer4, Answer6: bridge.Answer6, OthersUntracked: a.lane.foreigners() == ""}
	}
}

// bridgeView is what status says of it; nil where the box routes.
func (a *Appliance) bridgeView(q nfq.Stats) *webadmin.Bridge {
	if a.bridge == nil {
		return nil
	}
	s := a.bridge.State()
	return &webadmin.Bridge{
		Name: s.Name, Why: s.Why, Changed: s.Changed, Answer4: s.Answer4, Answer6: s.Answer6,
		Tracked: a.lane.foreigners(), Unanswered: int64(unanswered(q)), Tagged: a.tagged.view(),
	}
}

// unanswered counts sessions that were reset, since they could not be told why they are deferred.
func unanswered(q nfq.Stats) (n uint64) {
	for _, one := range q.Queues {
		n += one.Unanswered
	}
	return n
}

// bridgeProblems are those of status.
func (a *Appliance) bridgeProblems() (found []webadmin.Problem) {
	s := a.bridge.State()
	if s.Why != "" {
		found = append(found, webadmin.Problem{
			What:    "The bridge is not as it has to be: " + s.Why + ".",
			Meaning: "Mail may pass unjudged, or who is deferred is reset instead of told why.",
			Do:      "Look at the ports in network.subscriber_interfaces and upstream_interfaces: all have to be of one bridge.",
		})
	}
	if s.Tagged {
		found = append(found, webadmin.Problem{
			What:    "Frames with a VLAN tag or PPPoE are shown to nftables (net.bridge.bridge-nf-filter-vlan-tagged or -pppoe-tagged).",
			Meaning: "This costs time, and mail in them is not judged by it: what is judged has its tags taken off before.",
			Do:      "Set both to 0, unless another program on this machine needs them.",
		})
	}
	if s.Name != "" { // else it is said already
		found = append(found, a.tagged.problems()...)
	}
	return found
}

// BridgeWarnings says what on this machine does not fit a configuration with a bridge.
func BridgeWarnings(cfg *config.Config) (warnings []string) {
	if cfg.Network.Topology != config.Bridge {
		return nil
	}
	if err := bridge.Missing(); err != nil {
		warnings = append(warnings, "network.topology: "+err.Error())
	}
	ports := slices.Concat(cfg.Network.SubscriberInterfaces, cfg.Network.UpstreamInterfaces)
	_, err := bridge.Of(ports)
	if err != nil {
		for _, why := range strings.Split(err.Error(), "\n") {
			warnings = append(warnings, "network.topology: bridge: on this machine "+why)
		}
	}
	return warnings
}

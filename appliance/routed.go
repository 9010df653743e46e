package appliance

import (
	"fmt"

	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// shapePorts has the ports be what the configuration says, where the box has its image's process 1 for that. Another shape than the one that was confirmed last is tried.
func (a *Appliance) shapePorts(cfg *config.Config) error {
	im := a.opt.Image
	if im == nil || im.Shape == nil {
		for _, w := range RoutingWarnings(cfg, false) {
			a.log.Warn(w)
		}
		return nil
	}
	const whatFor = "have the ports be what the configuration says: %w"
	kept := a.keptPorts()
	if kept != nil && !cfg.Network.SamePorts(*kept) {
		if err := a.tryPorts(*kept, cfg); err != nil {
			return fmt.Errorf(whatFor, err)
		}
		return nil
	}
	if err := im.Shape(cfg.Network); err != nil {
		return fmt.Errorf(whatFor, err)
	}
	a.keepPorts(cfg.Network)
	return nil
}

// fits says why the ports of this box cannot be what a change of the configuration wants. Of a backup of another box these are remarks only: the rest may be
// wanted, and a restart that does not come up falls back.
func (a *Appliance) fits(before, next *config.Config) (wrong config.Problems) {
	if a.opt.Image == nil || a.opt.Image.Fits == nil || next.Network.SameShape(before.Network) {
		return nil
	}
	for _, p := range a.opt.Image.Fits(next.Network) {
		wrong = append(wrong, next.ProblemAt(p.Key, p.Message))
	}
	return wrong
}

// RoutingWarnings says which keys do nothing on a machine that is not started from the image.
func RoutingWarnings(cfg *config.Config, image bool) (warnings []string) {
	const why = "does nothing on this machine: only mailweir's image gives its ports addresses and routes; here the machine's own network settings do"
	if image {
		return nil
	}
	if len(cfg.Network.Addresses) > 0 {
		warnings = append(warnings, cfg.ProblemAt("network.addresses", why).Error())
	}
	if len(cfg.Network.Routes) > 0 {
		warnings = append(warnings, cfg.ProblemAt("network.routes", why).Error())
	}
	return warnings
}

// routerView is what status says of a box that routes with its image's ports; nil elsewhere.
func (a *Appliance) routerView(cfg *config.Config) *webadmin.Router {
	if a.opt.Image == nil || cfg.Network.Topology != config.Routed {
		return nil
	}
	v := &webadmin.Router{Addresses: []webadmin.PortAddress{}, Routes: []webadmin.PortRoute{}}
	for _, one := range cfg.Network.Addresses {
		v.Addresses = append(v.Addresses, webadmin.PortAddress(one))
	}
	for _, one := range cfg.Network.Routes {
		v.Routes = append(v.Routes, webadmin.PortRoute(one))
	}
	return v
}

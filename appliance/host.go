package appliance

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/ntp"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// interfacesHere are the interfaces of this network namespace but the loopback one, in the kernel's order.
func interfacesHere() (all []webadmin.Interface) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil // what cannot be seen is not offered
	}
	names := map[int]string{}
	for _, l := range links {
		if l.Type() == "bridge" {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	for _, l := range links {
		at := l.Attrs()
		if at.RawFlags&unix.IFF_LOOPBACK != 0 {
			continue
		}
		one := webadmin.Interface{Name: at.Name, Up: at.RawFlags&unix.IFF_UP != 0 && at.OperState != netlink.OperDown, Bridge: names[at.MasterIndex], IsBridge: l.Type() == "bridge"}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue
		}
		for _, a := range addresses {
			addr, ok := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if ok && !addr.IsLinkLocalUnicast() {
				one.Addresses = append(one.Addresses, netip.PrefixFrom(addr.Unmap(), bits))
			}
		}
		all = append(all, one)
	}
	return all
}

// keptClock is what the image's keeper of the clock says; nil: there is none.
func (a *Appliance) keptClock() (*ntp.State, error) {
	kept, err := ntp.Load(a.opt.ClockFile)
	if kept == nil && err == nil && a.opt.Image != nil {
		kept = &ntp.State{Why: "no server was asked yet"} // nobody else keeps the clock there
	}
	return kept, err
}

// clockHere asks the kernel whether something disciplines its clock (adjtimex(2)), and whoever does that in the image how.
func (a *Appliance) clockHere() webadmin.Clock { return clockNow(a.keptClock()) }

// watchClock is called each second.
func (a *Appliance) watchClock() {
	kept, err := a.keptClock()
	a.clockWatch.look(a.now(), clockNow(kept, err), a.health)
	if kept == nil || kept.Stepped == nil {
		return
	}
	if err := a.clockWatch.keeperSet(*kept.Stepped, a.opt.ClockFile+"-told", a.health); err != nil {
		a.log.Error("tell that the clock was set", "err", err)
	}
}

func clockNow(kept *ntp.State, err error) webadmin.Clock {
	var t unix.Timex
	state, failed := unix.Adjtimex(&t)
	if failed != nil {
		return webadmin.Clock{}
	}
	return clockOf(state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, kept, err)
}

// errAgain ends a life of the box for another one.
var errAgain = errors.New("restart")

// Restart ends this life, and another one begins with what the configuration says then.
func (s *source) Restart(who string) {
	s.audit(who, "restart", "mailweir", "", "")
	select {
	case s.a.again <- struct{}{}:
	default: // somebody else wants it, too
	}
}

// Package netconf keeps the addresses of the image's management port as the configuration says: by DHCP or static, IPv4 and IPv6, with or without
// a VLAN. It runs in a child of process 1, so that neither the web admin nor governing can leave the port without an address. A change is
// tried first (Trial): what nobody confirms from the new address in time is taken back.
package netconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/appliance/config"
)

// look is how often it is looked whether there is something else to do.
const look = 250 * time.Millisecond

// again is how long after a failure the settings are applied once more.
const again = 5 * time.Second

// Port is the management port and where its state is kept.
type Port struct {
	Name     string
	Dir      Dir
	Resolv   string // the resolver's file, /etc/resolv.conf
	Settings func() config.Management
	Fresh    func() bool // nobody has set the box up yet
	Say      func(error)
	Own      func([]netip.Prefix) error // is told which addresses the port has, whenever that changes; nil: nobody is

	state State
	dhcp  *lease      // what DHCP said; nil: nothing
	told  string      // the last of Say
	heard chan *lease // from the DHCP client
	stop  func()      // ends the DHCP client and waits
	gives *server     // nil: nobody is given addresses
	owned bool        // Own knows the addresses of state
	retry time.Time   // when what failed is tried again; zero: nothing failed
}

// Run keeps the addresses until ctx ends. They stay then.
func (p *Port) Run(ctx context.Context) error {
	if err := os.MkdirAll(string(p.Dir), 0o700); err != nil {
		return err
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	defer func() { p.end() }()
	applied := false
	for {
		want, trial, err := p.wanted()
		if err != nil {
			p.say(err)
		}
		if !applied || !want.Equal(p.state.Settings) || !p.retry.IsZero() && time.Now().After(p.retry) {
			p.apply(ctx, want)
			applied = true
		}
		p.give() // before the report: who reads of another address finds no server of ours any more
		p.report(trial)
		select {
		case <-ctx.Done():
			return nil
		case l := <-p.heard:
			p.take(l)
		case <-tick.C:
		}
	}
}

// wanted are the settings that count now, and the id of the trial that they are of.
func (p *Port) wanted() (config.Management, string, error) {
	t, err := p.Dir.Trial()
	if err != nil || t == nil {
		return p.Settings(), "", err
	}
	now := Uptime()
	switch {
	case now >= t.Until:
		return p.Settings(), "", p.Dir.EndTrial(t.ID)
	case now < t.From:
		return p.Settings(), "", nil
	}
	return t.Settings, t.ID, nil
}

// apply has the port do what m says.
func (p *Port) apply(ctx context.Context, m config.Management) {
	p.end()
	p.dhcp, p.state.Settings, p.retry, p.state.Why = nil, m, time.Time{}, ""
	err := p.configure(ctx, m)
	err = errors.Join(err, p.names())
	if err != nil {
		p.state.Why = err.Error()
		p.retry = time.Now().Add(again)
		p.say(err)
	}
}

// give has addresses given as long as nobody else does and nobody has set the box up.
func (p *Port) give() {
	wanted := p.dhcp != nil && p.dhcp.alone && p.Fresh()
	switch {
	case wanted && p.gives == nil:
		s, err := serve(p.link(), time.Now)
		if err != nil {
			p.say(fmt.Errorf("give addresses: %w", err))
			return
		}
		p.gives = s
	case !wanted && p.gives != nil:
		p.gives.close()
		p.gives = nil
	}
}

// end ends the DHCP client, and the server.
func (p *Port) end() {
	if p.gives != nil {
		p.gives.close()
		p.gives = nil
	}
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

func (p *Port) say(err error) {
	if err == nil || err.Error() == p.told {
		return
	}
	p.told = err.Error()
	p.Say(err)
}

// names writes the resolver's file, and the NTP servers that DHCP named.
func (p *Port) names() error {
	servers := p.state.Settings.DNS
	var ntp []string
	if p.dhcp != nil {
		if len(servers) == 0 {
			servers = p.dhcp.dns
		}
		ntp = p.dhcp.ntp
	}
	var text strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&text, "nameserver %s\n", s)
	}
	return errors.Join(replaceChanged(p.Resolv, text.String()), replaceChanged(p.Dir.NTPServers(), strings.Join(ntp, "\n")))
}

// replaceChanged writes a file in memory that others read at any time, when it is not so already.
func replaceChanged(path, text string) error {
	if was, err := os.ReadFile(path); err == nil && string(was) == text {
		return nil
	}
	beside := path + ".new"
	if err := os.WriteFile(beside, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(beside, path)
}

// report writes what the port has now, when that changed.
func (p *Port) report(trial string) {
	p.state.Trial = trial
	link, err := netlink.LinkByName(p.link())
	if err == nil {
		was := p.state.Addresses
		p.state.Addresses, err = addressesOf(link)
		p.owned = p.owned && slices.Equal(was, p.state.Addresses)
	}
	if err == nil && p.Own != nil && !p.owned {
		err = p.Own(p.state.Addresses)
		p.owned = err == nil
	}
	if err == nil {
		err = p.Dir.saveState(p.state)
	}
	p.say(err)
}

// addressesOf are a link's usable addresses, IPv4 first. Link-local ones are not among them: no browser takes them.
func addressesOf(link netlink.Link) (all []netip.Prefix, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.AddrList(link, family)
		if err != nil {
			return nil, err
		}
		var some []netip.Prefix
		for _, a := range list {
			ip, ok := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if !ok || ip.Unmap().IsLinkLocalUnicast() && family == netlink.FAMILY_V6 || a.Flags&unusable != 0 {
				continue
			}
			some = append(some, netip.PrefixFrom(ip.Unmap(), bits))
		}
		slices.SortFunc(some, netip.Prefix.Compare)
		all = append(all, some...)
	}
	return all, nil
}

// link is the interface that has the addresses.
func (p *Port) link() string {
	if v := p.state.Settings.VLAN; v > 0 {
		return vlanName(p.Name, v)
	}
	return p.Name
}

func vlanName(port string, id uint16) string { return fmt.Sprintf("%s.%d", port, id) }

// ipNet is a prefix as netlink wants it: with the bits of the host.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Dir is the directory in memory where the state is.
type Dir string

// NTPServers is the file with the servers that DHCP named (option 42), one in a line.
func (d Dir) NTPServers() string { return filepath.Join(string(d), "ntp-servers") }

package netconf

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
)

// Fallback is the address of a management port in whose network nobody gives addresses.
var Fallback = netip.MustParsePrefix("192.168.77.1/24")

const (
	patience = 10 * time.Second // for an answer
	pause    = 10 * time.Second // between two askings that nobody answered
)

// lease is what a DHCP server said, or what is done without one.
type lease struct {
	address  netip.Prefix
	gateway  string
	dns, ntp []string
	alone    bool // nobody answered
	err      error
}

// ask starts the DHCP client (RFC 2131) on a link. What it hears comes by p.heard.
func (p *Port) ask(ctx context.Context, link netlink.Link) {
	ctx, cancel := context.WithCancel(ctx)
	heard, ended := make(chan *lease), make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := request(ctx, link.Attrs().Name, heard)
			if ctx.Err() == nil {
				send(ctx, heard, &lease{err: fmt.Errorf("DHCP: %w", err)})
				wait(ctx, again)
			}
		}
	}()
	p.heard = heard
	p.stop = func() {
		cancel()
		<-ended
		p.heard = nil
	}
}

// request asks for an address and renews it, until ctx ends. With no answer in 10 s the fallback is said, and DHCP is asked on.
func request(ctx context.Context, link string, heard chan<- *lease) error {
	carrier(ctx, link)
	c, err := nclient4.New(link, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(3)) // the time is doubled with each try
	if err != nil {
		return err
	}
	defer c.Close()
	options := dhcpv4.WithRequestedOptions(dhcpv4.OptionNTPServers)
	has := false
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, patience)
		l, err := c.Request(attempt, dhcpv4.WithOption(dhcpv4.OptHostName("mailweir")), options)
		cancel()
		if err != nil {
			if !has && ctx.Err() == nil {
				has = true
				send(ctx, heard, &lease{address: Fallback, alone: true})
			}
			wait(ctx, pause)
			continue
		}
		for ctx.Err() == nil {
			has = true
			send(ctx, heard, leaseOf(l.ACK))
			t := l.ACK.IPAddressLeaseTime(time.Hour)
			wait(ctx, t/2)
			next, err := c.Renew(ctx, l, options)
			if err != nil {
				wait(ctx, t/4)
				break // ask anew; the address stays meanwhile
			}
			l = next
		}
	}
	return ctx.Err()
}

// leaseOf is what an answer says.
func leaseOf(ack *dhcpv4.DHCPv4) *lease {
	l := &lease{}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	bits, _ := mask.Size()
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr)
	if !ok {
		return &lease{err: fmt.Errorf("DHCP: an answer without an address")}
	}
	l.address = netip.PrefixFrom(ip.Unmap(), bits)
	if r := ack.Router(); len(r) > 0 {
		l.gateway = r[0].String()
	}
	for _, s := range ack.DNS() {
		l.dns = append(l.dns, s.String())
	}
	for _, s := range ack.NTPServers() {
		l.ntp = append(l.ntp, s.String())
	}
	return l
}

// take gives the port what DHCP said.
func (p *Port) take(l *lease) {
	err := l.err
	if err == nil && p.state.Settings.IPv4 == config.DHCP {
		err = p.use(l)
	}
	p.state.Why = ""
	if err != nil {
		p.state.Why = err.Error()
	}
	p.say(err)
}

func (p *Port) use(l *lease) error {
	link, err := netlink.LinkByName(p.link())
	if err != nil {
		return err
	}
	was := p.dhcp
	p.dhcp = l
	if err := give(link, l.address); err != nil {
		return err
	}
	if was != nil && was.address != l.address {
		if err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(was.address)}); err != nil {
			return fmt.Errorf("take %v away: %w", was.address, err)
		}
	}
	if err := route(link, l.address.Addr(), l.gateway); err != nil {
		return err
	}
	return p.names()
}

// carrier waits until the link is there, but not for long: a switch takes its time.
func carrier(ctx context.Context, name string) {
	for deadline := time.Now().Add(5 * time.Second); ctx.Err() == nil && time.Now().Before(deadline); wait(ctx, 100*time.Millisecond) {
		if l, err := netlink.LinkByName(name); err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			return
		}
	}
}

func send(ctx context.Context, to chan<- *lease, l *lease) {
	select {
	case to <- l:
	case <-ctx.Done():
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

package boot

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fallback is the address of a management port in whose network nobody gives addresses.
const fallback = "192.168.77.1/24"

// addressFile has the management port's address, for the console.
const addressFile = runDir + "/management"

// manage is the child that keeps the address of the management port. It returns an exit code.
func manage(port string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := keepAddress(ctx, port); err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "mailweir: management port %s: %v\n", port, err)
		return 1
	}
	return 0
}

// keepAddress asks for an address by DHCP (RFC 2131) and renews it, until ctx ends. With no answer in 10 s the port gets the fallback
// address, and DHCP is asked on.
func keepAddress(ctx context.Context, port string) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	carrier(port, 5*time.Second)
	c, err := nclient4.New(port, nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(3))
	if err != nil {
		return err
	}
	defer c.Close()
	var has *netlink.Addr
	for ctx.Err() == nil {
		lease, err := c.Request(ctx, dhcpv4.WithOption(dhcpv4.OptHostName("mailweir")))
		if err != nil {
			if has == nil {
				if has, err = use(link, nil, fallback); err != nil {
					return err
				}
			}
			wait(ctx, 20*time.Second)
			continue
		}
		if has, err = take(link, has, lease.ACK); err != nil {
			return err
		}
		for ctx.Err() == nil {
			t := lease.ACK.IPAddressLeaseTime(time.Hour)
			wait(ctx, t/2)
			next, err := c.Renew(ctx, lease)
			if err != nil {
				wait(ctx, t/4)
				break // ask anew; the address stays meanwhile
			}
			lease = next
		}
	}
	return ctx.Err()
}

// take gives the port what a DHCP server said.
func take(link netlink.Link, has *netlink.Addr, ack *dhcpv4.DHCPv4) (*netlink.Addr, error) {
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	has, err := use(link, has, (&net.IPNet{IP: ack.YourIPAddr, Mask: mask}).String())
	if err != nil {
		return has, err
	}
	if r := ack.Router(); len(r) > 0 {
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: r[0]}); err != nil {
			return has, fmt.Errorf("route by %v: %w", r[0], err)
		}
	}
	var text strings.Builder
	for _, s := range ack.DNS() {
		fmt.Fprintf(&text, "nameserver %v\n", s)
	}
	return has, os.WriteFile("/etc/resolv.conf", []byte(text.String()), 0o644)
}

// use gives the port this address in place of the one that it has.
func use(link netlink.Link, has *netlink.Addr, address string) (*netlink.Addr, error) {
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return has, err
	}
	if has != nil && has.Equal(*a) {
		return has, nil
	}
	if err := netlink.AddrReplace(link, a); err != nil {
		return has, fmt.Errorf("address %s: %w", address, err)
	}
	if has != nil {
		if err := netlink.AddrDel(link, has); err != nil {
			return a, fmt.Errorf("take address %v away: %w", has.IPNet, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(addressFile), 0o700); err != nil {
		return a, err
	}
	return a, os.WriteFile(addressFile, []byte(a.IP.String()), 0o600)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

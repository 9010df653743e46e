package e2e

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// pppoe has homes reach the router by sessions of PPPoE, each its own, across the box's bridge.
func pppoe(t *testing.T, l *lab.Lab, homes ...*lab.Home) {
	t.Helper()
	open := func(at *lab.Namespace, dev string) (n *nfqtest.PPPoE) {
		check(t, at.Do(func() (err error) { n, err = nfqtest.NewPPPoE(dev, "ppp0"); return err }))
		return n
	}
	concentrator := open(l.Router, "lan0")
	for i, h := range homes {
		n, session := open(h.Namespace, "eth0"), uint16(i+1)
		n.Peer(netip.Addr{}, session, concentrator.MAC)
		concentrator.Peer(h.IPv4, session, n.MAC)
		concentrator.Peer(h.IPv6, session, n.MAC)
		check(t, h.Namespace.Do(func() error {
			return errors.Join(n.Route(netip.MustParsePrefix("0.0.0.0/0"), h.IPv4), n.Route(netip.MustParsePrefix("::/0"), h.IPv6))
		}))
		check(t, l.Router.Do(func() error {
			return errors.Join(concentrator.Route(netip.PrefixFrom(h.IPv4, h.IPv4.BitLen()), netip.Addr{}), concentrator.Route(netip.PrefixFrom(h.IPv6, h.IPv6.BitLen()), netip.Addr{}))
		}))
		n.Run(t)
	}
	concentrator.Run(t)
	for _, dev := range []string{"lan0", "wan0"} {
		check(t, l.Box.Do(func() error { return nfqtest.OwnChecksums(dev) }))
	}
}

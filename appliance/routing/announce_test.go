package routing

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// TestNeighboursLearnWhoHasTheAddressesNow has neighbours that know another box's hardware address, for good as it were.
func TestNeighboursLearnWhoHasTheAddressesNow(t *testing.T) {
	t.Parallel()
	box, inside := nfqtest.NewSpace(t), nfqtest.NewSpace(t)
	inside.Must(func() error { return nfqtest.Veth("lan0", "port2", box) })
	inside.Must(func() error { return nfqtest.Address("lan0", "10.1.0.2/16", "2001:db8:1::2/64") })
	own := ""
	box.Must(func() error {
		l, err := net.InterfaceByName("port2")
		if err == nil {
			own = l.HardwareAddr.String()
		}
		return err
	})
	const before = "02:00:00:00:00:99"
	addresses := []string{"10.1.0.1", "2001:db8:1::1"}
	stale := func() {
		t.Helper()
		for _, a := range addresses {
			inside.Must(func() error {
				return run("ip", "neigh", "replace", a, "lladdr", before, "dev", "lan0", "nud", "reachable")
			})
		}
	}
	knows := func(mac string) bool {
		all := true
		for _, a := range addresses {
			inside.Do(func() {
				out, _ := exec.Command("ip", "neigh", "show", a, "dev", "lan0").CombinedOutput()
				all = all && strings.Contains(string(out), "lladdr "+mac+" ")
			})
		}
		return all
	}
	ctx, end := context.WithCancel(t.Context())
	var a *Announcer
	box.Must(func() (err error) { a, err = NewAnnouncer([]string{"port2"}); return err })
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(err error) { t.Error(err) }) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	stale()
	plan := Plan{Ports: []Port{{Name: "port2", Subscriber: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16"), netip.MustParsePrefix("2001:db8:1::1/64")}}}}
	box.Must(func() error { return plan.Apply([]string{"port2"}) })
	nfqtest.Eventually(t, "neighbours learn as the addresses are given", func() bool { return knows(own) })
	stale()
	nfqtest.Eventually(t, "they are told a second time, and no more", func() bool { return knows(own) })

	// The cable goes to another switch, where one still knows the box of before.
	inside.Must(func() error { return run("ip", "link", "set", "lan0", "down") })
	nfqtest.Eventually(t, "the port has no carrier", func() bool {
		var err error
		box.Do(func() { err = run("sh", "-c", "ip link show port2 | grep -q NO-CARRIER") })
		return err == nil
	})
	inside.Must(func() error {
		return errors.Join(run("ip", "link", "set", "lan0", "up"), run("ip", "addr", "replace", "2001:db8:1::2/64", "dev", "lan0", "nodad"))
	})
	stale()
	nfqtest.Eventually(t, "neighbours learn as the cable is plugged in", func() bool { return knows(own) })
}

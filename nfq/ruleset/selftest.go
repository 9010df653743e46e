package ruleset

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// selfTestTable is not taken away again: with a hook that goes the kernel drops what waits in the queues.
const selfTestTable = "mailweir_selftest"

// SelfTest has the kernel queue what this machine sends to an IPv4 address of its own, without bypass: it arrives if somebody gave a
// verdict on it, and only then. Written once more it is the same.
func (k Kernel) SelfTest(to netip.Addr, number uint16) error {
	if !to.Is4() {
		return fmt.Errorf("self-test: %v is no IPv4 address", to)
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	t := c.AddTable(&nftables.Table{Name: selfTestTable, Family: nftables.TableFamilyINet})
	ch := c.AddChain(chain{name: "selftest", hook: nftables.ChainHookOutput, priority: *nftables.ChainPriorityFilter, kind: nftables.ChainTypeFilter}.nft(t))
	c.FlushChain(ch)
	const destination = 16 // in the header (RFC 791)
	address := to.As4()
	c.AddRule(rule{why: "is somebody there who gives verdicts?", exprs: join(family(unix.NFPROTO_IPV4),
		exprs{load(expr.PayloadBaseNetworkHeader, destination, 4), equal(address[:])}, queue(k.QueueForm, number, 1, false))}.nft(t, ch.Name))
	if err := c.flush(); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

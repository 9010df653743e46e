package boot

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// shutBridge keeps whoever is at a bridged port from the box itself: the bridge has a link-local IPv6 address, which the answers to deferred sessions need, and
// what listens at all addresses is there, too. The rules stand in a table of its own at the hook input, which no packet on its way through meets, and in the
// place of those of before. deferred: as for shutRouted.
func shutBridge(deferred bool) error {
	c, t, chain, err := guardTable()
	if err != nil {
		return err
	}
	shut(c, t, chain, []string{bridgeName}, deferred)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("keep the bridged ports from the box itself: %w", err)
	}
	return nil
}

// guardTable begins a table of ours with one chain, in the place of what was there.
func guardTable() (*nftables.Conn, *nftables.Table, *nftables.Chain, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, nil, nil, err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: "mailweir_image"}
	c.AddTable(t) // there may be none to take away
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	return c, t, chain, nil
}

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// shutRouted keeps whoever is at the ports of a router from the box itself, but for ICMP, and for sessions that are deferred, where somebody governs: those
// are led to the box, and the rules of who governs know them from others. Besides, no interface answers for the addresses of another. Packets on their way through meet
// none of it, and without deferred nothing asks conntrack.
func shutRouted(ports []string, deferred bool) error {
	c, t, chain, err := guardTable()
	if err != nil {
		return err
	}
	local := func(by bool, op expr.CmpOp) []expr.Any {
		return []expr.Any{
			&expr.Fib{Register: 1, FlagDADDR: true, FlagIIF: by, ResultADDRTYPE: true},
			&expr.Cmp{Op: op, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		}
	}
	notLoopback := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: ifname("lo")}}
	c.AddRule(verdict(chain, expr.VerdictDrop, notLoopback, local(false, expr.CmpOpEq), local(true, expr.CmpOpNeq)))
	shut(c, t, chain, ports, deferred)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("keep the ports of the router from the box itself: %w", err)
	}
	return nil
}

// shut drops what comes in by these interfaces but for ICMP and, if so, sessions that were led to the box.
func shut(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, names []string, deferred bool) {
	own := c.AddChain(&nftables.Chain{Name: "ports", Table: t})
	for _, name := range names {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(name)},
			&expr.Verdict{Kind: expr.VerdictJump, Chain: own.Name},
		}})
	}
	protocol := func(n byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}}}
	}
	c.AddRule(verdict(own, expr.VerdictReturn, protocol(unix.IPPROTO_ICMP)))
	c.AddRule(verdict(own, expr.VerdictReturn, protocol(unix.IPPROTO_ICMPV6)))
	if deferred {
		const dnat = 1 << 5 // IPS_DST_NAT
		c.AddRule(verdict(own, expr.VerdictReturn, protocol(unix.IPPROTO_TCP), []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dnat), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		}))
	}
	c.AddRule(verdict(own, expr.VerdictDrop))
}

func verdict(chain *nftables.Chain, what expr.VerdictKind, parts ...[]expr.Any) *nftables.Rule {
	return &nftables.Rule{Table: chain.Table, Chain: chain, Exprs: append(slices.Concat(parts...), &expr.Verdict{Kind: what})}
}

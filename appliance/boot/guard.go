package boot

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// adminPort is where the web admin listens unless the configuration says otherwise.
const adminPort = 8443

// shutBridge keeps whoever is at a bridged port from the web admin, at its usual port and at another one: the bridge has a link-local IPv6 address, which the
// answers to deferred sessions need. The rules stand in a table of its own at the hook input, which no packet on its way through meets, and in the place of
// those of before.
func shutBridge(port uint16) error {
	c, t, chain, err := guardTable()
	if err != nil {
		return err
	}
	ports := []uint16{adminPort}
	if port != adminPort {
		ports = append(ports, port)
	}
	for _, p := range ports {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(bridgeName)},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("keep the bridged ports from the web admin: %w", err)
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
	own := c.AddChain(&nftables.Chain{Name: "ports", Table: t})
	local := func(by bool, op expr.CmpOp) []expr.Any {
		return []expr.Any{
			&expr.Fib{Register: 1, FlagDADDR: true, FlagIIF: by, ResultADDRTYPE: true},
			&expr.Cmp{Op: op, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		}
	}
	protocol := func(n byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}}}
	}
	add := func(chain *nftables.Chain, verdict expr.VerdictKind, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(slices.Concat(parts...), &expr.Verdict{Kind: verdict})})
	}
	for _, name := range ports {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(name)},
			&expr.Verdict{Kind: expr.VerdictJump, Chain: own.Name},
		}})
	}
	notLoopback := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: ifname("lo")}}
	add(chain, expr.VerdictDrop, notLoopback, local(false, expr.CmpOpEq), local(true, expr.CmpOpNeq))

	add(own, expr.VerdictReturn, protocol(unix.IPPROTO_ICMP))
	add(own, expr.VerdictReturn, protocol(unix.IPPROTO_ICMPV6))
	if deferred {
		const dnat = 1 << 5 // IPS_DST_NAT
		add(own, expr.VerdictReturn, protocol(unix.IPPROTO_TCP), []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dnat), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		})
	}
	add(own, expr.VerdictDrop)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("keep the ports of the router from the box itself: %w", err)
	}
	return nil
}

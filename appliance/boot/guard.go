package boot

import (
	"fmt"

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
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "mailweir_image"})
	chain := c.AddChain(&nftables.Chain{Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.FlushChain(chain)
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridgeName)
	ports := []uint16{adminPort}
	if port != adminPort {
		ports = append(ports, port)
	}
	for _, p := range ports {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
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

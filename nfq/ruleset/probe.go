package ruleset

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Kernel is what Probe found out by doing.
type Kernel struct {
	QueueForm QueueForm
}

// QueueForm is the way in which this kernel lets a rule queue a packet.
type QueueForm string

// The forms; the zero value is not known.
const (
	QueueExpression QueueForm = "expression" // nft queue (CONFIG_NFT_QUEUE)
	QueueXT         QueueForm = "xt"         // xt NFQUEUE through nft compat
)

const probeTable = "mailweir_probe"

// Probe tries out, in a scratch table of this network namespace, what our table
// needs of the kernel, and leaves nothing behind. Its rules never match. The
// error names everything that is missing.
func Probe() (Kernel, error) {
	var missing []error
	for _, n := range needs() {
		if err := try(n.chain, n.exprs); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", n.what, err))
		}
	}
	k := Kernel{}
	var queueErrs []error
	for _, form := range []QueueForm{QueueExpression, QueueXT} {
		err := try(steerChain(), queue(form, 0, 2, true))
		if err == nil {
			k.QueueForm = form
			break
		}
		queueErrs = append(queueErrs, fmt.Errorf("as %s: %w", form, err))
	}
	if k.QueueForm == "" {
		missing = append(missing, fmt.Errorf("queue (CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT with CONFIG_NETFILTER_XT_TARGET_NFQUEUE): %w", errors.Join(queueErrs...)))
	}
	if len(missing) > 0 {
		return Kernel{}, fmt.Errorf("this kernel cannot carry mailweir's rules: %w", errors.Join(missing...))
	}
	return k, nil
}

type need struct {
	what  string
	chain chain
	exprs exprs
}

func needs() []need {
	m := Marks{Mask: DefaultMask}
	return []need{
		{"nftables with tables of family inet (CONFIG_NF_TABLES_INET)", steerChain(), accept()},
		{"conntrack marks (CONFIG_NFT_CT, CONFIG_NF_CONNTRACK_MARK)", steerChain(), m.setCT(See)},
		{"reject with tcp reset in prerouting (CONFIG_NFT_REJECT_INET, Linux 5.9 or later)", steerChain(), tcpReset()},
		{"redirect in family inet (CONFIG_NFT_REDIR, Linux 5.2 or later)",
			chain{name: "probe", hook: nftables.ChainHookPrerouting, priority: priorityDefer, kind: nftables.ChainTypeNAT}, redirect(25)},
	}
}

func steerChain() chain {
	return chain{name: "probe", hook: nftables.ChainHookPrerouting, priority: prioritySteer, kind: nftables.ChainTypeFilter}
}

// try adds one rule on its own hook and takes it away again. The rule's first
// condition keeps every packet from the rest: a protocol number that IANA
// reserves. Each try has its own socket, since a failed one leaves answers unread.
func try(ch chain, what exprs) error {
	t := &nftables.Table{Name: probeTable, Family: nftables.TableFamilyINet}
	if err := remove(t); err != nil { // of a probe that was killed
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	never := exprs{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal([]byte{255})}
	c.AddTable(t)
	c.AddChain(ch.nft(t))
	c.AddRule(rule{exprs: join(never, what)}.nft(t, ch.name))
	if err := c.flush(); err != nil {
		return err
	}
	return remove(t)
}

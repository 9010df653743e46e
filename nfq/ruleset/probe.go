package ruleset

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Kernel is what Probe found out by doing.
type Kernel struct {
	QueueForm   QueueForm
	ReversePath bool // rules can ask for the route back (CONFIG_NFT_FIB_INET); without it a subscriber can forge answers to himself
	Copies      bool // rules can copy packets (CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)
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
// needs of the kernel, and leaves nothing behind. The table is dormant: no
// packet meets it, and packets waiting in queues stay there (taking a hook away
// would make the kernel drop them). The error names everything that is missing.
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
	k.ReversePath = try(steerChain(), noReversePath()) == nil
	k.Copies = try(steerChain(), logTo(CopyGroup)) == nil
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

// try adds one rule on its own hook and takes it away again. Each try has its
// own socket, since a failed one may leave answers unread.
func try(ch chain, what exprs) error { return tryIn(nftables.TableFamilyINet, ch, what) }

func tryIn(family nftables.TableFamily, ch chain, what exprs) error {
	t := &nftables.Table{Name: probeTable, Family: family}
	if err := remove(t); err != nil { // of a probe that was killed
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.addDormant(t); err != nil {
		return err
	}
	c.AddChain(ch.nft(t))
	c.AddRule(rule{exprs: what}.nft(t, ch.name))
	return errors.Join(c.flush(), remove(t))
}

// addDormant makes a table whose chains are checked but not hooked in; the
// library always sends the flags 0.
func (c *conn) addDormant(t *nftables.Table) error {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.Name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binaryutil.BigEndian.PutUint32(unix.NFT_TABLE_F_DORMANT)},
	})
	if err != nil {
		return err
	}
	// struct nfgenmsg: family, version, res_id (the subsystem, for a batch)
	edge := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	batch := []netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: edge},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
			},
			Data: append([]byte{byte(t.Family), unix.NFNETLINK_V0, 0, 0}, attributes...),
		},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: edge},
	}
	if _, err := c.socket.SendMessages(batch); err != nil {
		return fmt.Errorf("add table %s: %w", t.Name, err)
	}
	if _, err := c.socket.Receive(); err != nil {
		return fmt.Errorf("add table %s: %w", t.Name, explain(err))
	}
	return nil
}

package ruleset

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Bridge is what is different where the subscriber interfaces are ports of a bridge,
// whose packets come to our chains through br_netfilter. Their interface is then the
// bridge, and nothing in family inet knows the port on every kernel (Linux 6.18 has no xt
// physdev there). So a table of family bridge, which sees the packets first, marks
// what comes from subscribers: Marks.Up, or Marks.UpSee where the lane has marked it See.
type Bridge struct {
	// Where the box takes the packets of deferred sessions. The bridge needs no
	// address, and may have none, so these are local addresses of our own (package bridge).
	Answer4, Answer6 netip.Addr
	// OthersUntracked takes what is not for us, and not for the box, out of conntrack, whose
	// table would otherwise have to hold every connection that crosses the bridge. It is, like
	// Untracked, for a box on which nobody else asks conntrack.
	OthersUntracked bool
}

func (b *Bridge) validate() error {
	if b == nil {
		return nil
	}
	if !b.Answer4.Is4() || !b.Answer6.Is6() || b.Answer6.Is4In6() {
		return fmt.Errorf("addresses %s and %s for deferred sessions: one of IPv4, one of IPv6", b.Answer4, b.Answer6)
	}
	return nil
}

// ProbeBridge tries out what a bridge needs beyond Probe's.
func ProbeBridge() error {
	var missing []error
	nat := chain{name: "probe", hook: nftables.ChainHookPrerouting, priority: priorityDefer, kind: nftables.ChainTypeNAT}
	m := Marks{Mask: DefaultMask}
	for _, n := range []struct {
		need
		family nftables.TableFamily
	}{
		{need{"nftables with tables of family bridge (CONFIG_NF_TABLES_BRIDGE)", bridgeChain(), markUp(m, "probe")[0].exprs}, nftables.TableFamilyBridge},
		{need{"the kind of an interface (Linux 5.6)", steerChain(), byBridge()}, nftables.TableFamilyINet},
		{need{"dnat in family inet (CONFIG_NFT_NAT, Linux 5.2)", nat, join(family(unix.NFPROTO_IPV4), dnat(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 25))}, nftables.TableFamilyINet},
	} {
		if err := tryIn(n.family, n.chain, n.exprs); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", n.what, err))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this kernel cannot govern a bridge: %w", errors.Join(missing...))
	}
	return nil
}

// bridgeTable is the one of family bridge.
func bridgeTable() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyBridge}
}

// bridgeChain comes before br_netfilter, whose priority is 0 (NF_BR_PRI_BRNF).
func bridgeChain() chain {
	return chain{name: "ports", hook: nftables.ChainHookPrerouting, priority: -1, kind: nftables.ChainTypeFilter}
}

// markUp marks what comes in by a port where subscribers are. What has a VLAN tag or a PPPoE
// header bears no mark, and so is nobody's mail to us: what the box says in answer would
// lack it. The kernel shows an outer tag where it was in the frame.
func markUp(m Marks, port string) (rules []rule) {
	name := exprs{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, equal(append([]byte(port), make([]byte, unix.IFNAMSIZ-len(port))...))}
	for _, ethertype := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
		plain := join(name, exprs{load(expr.PayloadBaseLLHeader, 12, 2), equal(net16(ethertype))})
		rules = append(rules,
			rule{"a subscribers' port", join(plain, m.packetUnmarked(), m.setPacket(m.Up()))},
			rule{"of a session that was handed over", join(plain, m.packetIs(See), m.setPacket(m.UpSee()))})
	}
	return rules
}

// byBridge matches what came over a bridge.
func byBridge() exprs {
	const metaIIFKind = 26 // NFT_META_IIFKIND, linux/netfilter/nf_tables.h
	return exprs{&expr.Meta{Key: metaIIFKind, Register: reg}, equal(append([]byte("bridge"), make([]byte, unix.IFNAMSIZ-len("bridge"))...))}
}

// writeBridge adds the table of family bridge to a transaction, or takes away one that is
// not wanted any more. The chain stays where it is there already: with a hook that goes, the kernel drops
// what waits in the queues.
func (c *conn) writeBridge(o Options) error {
	t, ch := bridgeTable(), bridgeChain()
	if o.Bridge == nil {
		tables, err := c.ListTablesOfFamily(t.Family)
		if err != nil {
			return nil // a kernel without the family
		}
		for _, have := range tables {
			if have.Name == t.Name {
				c.DelTable(t)
			}
		}
		return nil
	}
	c.AddTable(t)
	c.AddChain(ch.nft(t))
	c.FlushChain(&nftables.Chain{Table: t, Name: ch.name})
	for _, port := range sortedSet(o.SubscriberIfs) {
		for _, r := range markUp(o.Marks, port) {
			c.AddRule(r.nft(t, ch.name))
		}
	}
	return nil
}

// dnat leads a connection of the address' family there.
func dnat(to netip.Addr, port uint16) exprs {
	e := exprs{&expr.Immediate{Register: unix.NFT_REG_1, Data: to.AsSlice()}, &expr.Immediate{Register: unix.NFT_REG_2, Data: net16(port)}}
	family := uint32(unix.NFPROTO_IPV6)
	if to.Is4() {
		family = unix.NFPROTO_IPV4
	}
	return join(e, exprs{&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: unix.NFT_REG_1, RegProtoMin: unix.NFT_REG_2, Specified: true}})
}

func familyOf(a netip.Addr) exprs {
	if a.Is4() {
		return family(unix.NFPROTO_IPV4)
	}
	return family(unix.NFPROTO_IPV6)
}

// fromSubscribers matches what comes from subscribers. On a bridge that is a mark.
func (o Options) fromSubscribers() exprs {
	if o.Bridge == nil {
		return fromSubscribers()
	}
	// Nothing else has these bits: of the odd values only the two of Marks.Up.
	return exprs{packetMark(), mask(host32(o.upBits())), equal(host32(o.Up() & o.upBits()))}
}

// notPlain lets pass what has a tag also where it is an answer, which bears no mark of a
// port. It comes here only where the operator has br_netfilter look into tags.
func (o Options) notPlain() []rule {
	if o.Bridge == nil {
		return nil
	}
	return []rule{{"tagged: our answers would not be", join(exprs{load(expr.PayloadBaseLLHeader, 12, 2), notEqual(net16(unix.ETH_P_IP)), notEqual(net16(unix.ETH_P_IPV6))}, accept())}}
}

// others takes out of conntrack what crosses the bridge and is nobody's mail. What is for
// the box itself stays: its own filter may ask conntrack. Of the types of addresses
// (linux/rtnetlink.h) local, broadcast, anycast and multicast lie side by side; compared is
// memory, in which their only byte that is not zero decides.
func (o Options) others(k Kernel) []rule {
	if o.Bridge == nil || !o.Bridge.OthersUntracked || !k.ReversePath {
		return nil
	}
	return []rule{
		{"mail", join(tcp(), dportIn(setPorts), accept())},
		{"answers to mail", join(tcp(), sportIn(setPorts), accept())},
		{"crosses the bridge, and is not for us to follow", join(byBridge(), exprs{
			&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
			&expr.Range{Op: expr.CmpOpNeq, Register: reg, FromData: host32(unix.RTN_LOCAL), ToData: host32(unix.RTN_MULTICAST)},
		}, untrack())},
	}
}

// deferRules lead the connections that are deferred to the responder.
func (o Options) deferRules() []rule {
	deferred := join(o.packetIs(Deferred), tcp())
	if o.Bridge == nil {
		return []rule{{"", join(deferred, count(counterDeferred), redirect(o.ResponderPort))}}
	}
	var rules []rule
	for _, to := range []netip.Addr{o.Bridge.Answer4, o.Bridge.Answer6} {
		rules = append(rules, rule{"", join(deferred, familyOf(to), count(counterDeferred), dnat(to, o.ResponderPort))})
	}
	return rules
}

// toResponder lets pass what conntrack leads to the responder. On a bridge the mark stays
// on it: by that the kernel's check of the source address finds our route back.
func (o Options) toResponder() exprs {
	led := join(o.ctIs(Deferred), ctHas(expr.CtKeySTATUS, ctDestinationNAT))
	if o.Bridge == nil {
		return join(led, accept())
	}
	return join(led, o.setPacket(o.Value(Deferred)), accept())
}

// clean takes our bits out of what goes on.
func (o Options) clean() exprs {
	if o.Bridge == nil {
		return join(o.packetMarked(), o.clearPacket())
	}
	return join(o.packetMarked(), o.packetIsNot(Deferred), o.clearPacket())
}

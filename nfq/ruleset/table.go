package ruleset

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The names of the sets.
const (
	setSubscribers = "subscribers"
	setPorts       = "ports"
	setLimited     = "limited"
	setCut4        = "cut4"
	setCut6        = "cut6"
	setPureACK4    = "pure_ack4"
	setPureACK6    = "pure_ack6"
)

// The names of the counters.
const (
	counterCutReset   = "cut_reset"
	counterPureACK    = "pure_ack"
	counterReleased   = "released"
	counterQueuedUp   = "queued_up"
	counterQueuedDown = "queued_down"
	counterDeferred   = "deferred"
	counterInvalid    = "invalid"
	counterResponder  = "responder_drop"
	counterCopied     = "copied"
)

var counterNames = []string{
	counterCutReset, counterPureACK, counterReleased, counterQueuedUp, counterQueuedDown, counterDeferred, counterInvalid, counterResponder, counterCopied,
}

// Priorities in prerouting. Conntrack is at -200 and the kernel rewrites
// addresses at -100, whatever the priority of a nat chain: that only orders
// nat chains among themselves, and ours goes before other people's.
const (
	priorityCut   = -300
	prioritySteer = -150
	priorityApply = -140 // later than steer: a verdict of the queue goes on with the next chain
	priorityDefer = -101
	priorityClean = -90
)

// cutMax bounds each cut set; more addresses are refused with ENFILE.
const cutMax = 1 << 18

// pureACK is the value of the two bytes that hold data offset and flags, under
// pureACKMask, less the data offset: ACK and none of SYN, FIN and RST.
const (
	pureACKMask = 0xf000 | flagACK | flagRST | flagSYN | flagFIN
	pureACK     = flagACK
)

// A chain is one of ours as it ought to be; hook nil: only jumped to.
type chain struct {
	name     string
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	kind     nftables.ChainType
	rules    []rule
}

// A rule carries its reason into the kernel, as the comment that nft shows.
type rule struct {
	why   string
	exprs exprs
}

// design lists the chains in an order in which a rule only names chains that
// stand above it.
func design(o Options, k Kernel) []chain {
	m := o.Marks
	sendToQueue := queue(k.QueueForm, o.QueueFirst, o.QueueCount, o.FailOpen)
	quietFlags := flagsAre(flagFIN|flagSYN|flagRST, 0)
	first := []rule{
		{"the other end will not take it, so it must not tell us anything", join(ctInvalid(), count(counterInvalid), accept())},
		{"conntrack leads it to the responder", o.toResponder()},
		{"cut; a fresh SYN on the same ports is judged anew", join(m.ctIs(Cut), flagsAreNot(flagSYN|flagACK, flagSYN), goTo("reset"))},
		{"neither opens nor ends", join(quietFlags, jump("quiet"))},
	}
	chains := []chain{{name: chainTrack, rules: []rule{
		{"nobody comes here: the rule keeps conntrack at work when the others go", m.ctIs(Both)},
	}}, {name: "reset", rules: []rule{
		{"a reset passes: it cleans up the other end", join(flagsAre(flagRST, flagRST), accept())},
		{"", join(count(counterCutReset), tcpReset())},
	}}}
	chains = append(chains, []chain{
		{name: "quiet", rules: []rule{
			{"released both ways", join(m.ctIs(Both), count(counterReleased), accept())},
			{"no payload; IPv4 options make it go the long way", join(ipv4PureACK(), count(counterPureACK), accept())},
			{"no payload; extension headers make it go the long way", join(ipv6PureACK(), count(counterPureACK), accept())},
		}},
		{name: "up", rules: append(append(o.lastHop(), first...),
			rule{"the client's bulk", join(quietFlags, m.ctIs(Up), count(counterReleased), accept())},
			rule{"the client's, inside TLS", join(quietFlags, m.ctIs(Copied), count(counterReleased), accept())},
			rule{"", join(count(counterQueuedUp), sendToQueue)},
		)},
		{name: "down", rules: slices.Concat(o.forged(k), first, o.copyRules(), []rule{
			{"", join(count(counterQueuedDown), sendToQueue)},
		})},
	}...)
	opens := join(flagsAre(flagSYN|flagACK, flagSYN), dportIn(setLimited))
	chains = append(chains, []chain{
		{name: "cut", hook: nftables.ChainHookPrerouting, priority: priorityCut, kind: nftables.ChainTypeFilter, rules: slices.Concat([]rule{
			{"opens nothing, and costs nothing behind us", join(opens, o.fromSubscribers(), ipv4Cut(ipv4Source), goTo("reset"))},
			{"opens nothing, and costs nothing behind us", join(opens, o.fromSubscribers(), ipv6Cut(ipv6Source), goTo("reset"))},
		}, o.others(k))},
		{name: "steer", hook: nftables.ChainHookPrerouting, priority: prioritySteer, kind: nftables.ChainTypeFilter, rules: slices.Concat(o.notPlain(), o.cutRules(), []rule{
			{"subscribers' sessions", join(tcp(), dportIn(setPorts), o.fromSubscribers(), goTo("up"))},
			{"the answers to them, on whatever interface", join(tcp(), sportIn(setPorts), m.ctGoverned(), goTo("down"))},
		})},
		{name: "apply", hook: nftables.ChainHookPrerouting, priority: priorityApply, kind: nftables.ChainTypeFilter, rules: applyRules(m)},
	}...)
	if o.Lane {
		letFastPass(chains, o)
	}
	if o.ResponderPort != 0 {
		chains = append(chains, chain{
			name: "defer", hook: nftables.ChainHookPrerouting, priority: priorityDefer, kind: nftables.ChainTypeNAT, rules: o.deferRules(),
		})
	}
	chains = append(chains, chain{
		name: "clean", hook: nftables.ChainHookPrerouting, priority: priorityClean, kind: nftables.ChainTypeFilter, rules: []rule{
			{"our bits do not go further than here", o.clean()},
		},
	})
	if o.ResponderPort != 0 {
		chains = append(chains, chain{
			name: "responder", hook: nftables.ChainHookInput, priority: 0, kind: nftables.ChainTypeFilter, rules: []rule{
				{"", join(tcp(), dportIs(o.ResponderPort), m.ctIs(Deferred), accept())},
				{"nobody reaches the responder but by being deferred", join(tcp(), dportIs(o.ResponderPort), count(counterResponder), drop())},
			},
		})
	}
	return chains
}

// letFastPass puts a rule in front of the chains that judge, so that packets of the
// fast lane meet one rule in each. The nat chain sees none of them that is untracked,
// and the last one takes their mark off.
func letFastPass(chains []chain, o Options) {
	pass := rule{"the fast lane", join(o.packetFast(), accept())}
	for i := range chains {
		ch := &chains[i]
		if ch.hook == nil {
			continue
		}
		first := pass
		if ch.name == "cut" && o.Untracked {
			first.exprs = join(o.packetFast(), untrack(), accept())
		}
		ch.rules = append([]rule{first}, ch.rules...)
		if ch.name == "steer" {
			const handed = "the answers of a session that was handed over"
			ch.rules = append(ch.rules, rule{handed, join(tcp(), sportIn(setPorts), o.packetIs(See), goTo("down"))})
			if o.Bridge != nil { // by another subscribers' port
				ch.rules = append(ch.rules, rule{handed, join(tcp(), sportIn(setPorts), o.packetHas(o.UpSee()), goTo("down"))})
			}
		}
	}
}

// copyRules copy what the server says inside TLS, and let it pass. Without them it goes into the queue.
func (o Options) copyRules() []rule {
	if !o.Copies {
		return nil
	}
	return []rule{{"inside TLS a copy will do", join(flagsAre(flagFIN|flagSYN|flagRST, 0), o.ctIs(Copied), count(counterCopied), logTo(CopyGroup), accept())}}
}

// lastHop lets pass what gets no further than here: no server will see it, and it
// must not tell us anything that the server does not know. Forwarding takes one off
// (RFC 791, section 3.2; RFC 8200, section 3); bridging does not.
func (o Options) lastHop() []rule {
	if o.Bridge != nil {
		return nil
	}
	over := func(offset uint32) exprs {
		return exprs{load(expr.PayloadBaseNetworkHeader, offset, 1), &expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: []byte{1}}}
	}
	const why = "ends here, so it must not tell us anything"
	return []rule{
		{why, join(family(unix.NFPROTO_IPV4), over(ipv4TTL), count(counterInvalid), accept())},
		{why, join(family(unix.NFPROTO_IPV6), over(ipv6HopLimit), count(counterInvalid), accept())},
	}
}

// forged lets pass answers that come from where their sender is not: a subscriber
// could speak to us in the name of his server. Whether they go on is the matter of
// the kernel's rp_filter. Routing that sends answers through a subscriber
// interface and asks for them elsewhere makes those sessions one-sided to us. Of a
// bridge routes say nothing; there the queue's reader knows the ports.
func (o Options) forged(k Kernel) []rule {
	if !k.ReversePath || o.Bridge != nil {
		return nil
	}
	return []rule{{"a subscriber in the name of a server", join(fromSubscribers(), noReversePath(), count(counterInvalid), accept())}}
}

// cutRules end the sessions of who is cut. Only conntrack knows who opened a
// connection: one to the subscriber, from a port 25, is nobody's mail. A reset of
// either end goes the way of all others.
func (o Options) cutRules() []rule {
	up, down := join(flagsAre(flagRST, 0), dportIn(setLimited), o.fromSubscribers()), join(flagsAre(flagRST, 0), sportIn(setLimited))
	unknown := ctState(expr.CtStateBitINVALID | expr.CtStateBitUNTRACKED)
	return []rule{
		{"sessions of who is cut", join(up, ipv4Cut(ipv4Source), ctDirection(original), goTo("reset"))},
		{"sessions of who is cut", join(up, ipv6Cut(ipv6Source), ctDirection(original), goTo("reset"))},
		{"of no connection", join(up, ipv4Cut(ipv4Source), unknown, goTo("reset"))},
		{"of no connection", join(up, ipv6Cut(ipv6Source), unknown, goTo("reset"))},
		{"the answers to them", join(down, ipv4Cut(ipv4Destination), ctDirection(reply), goTo("reset"))},
		{"the answers to them", join(down, ipv6Cut(ipv6Destination), ctDirection(reply), goTo("reset"))},
	}
}

// ctInvalid matches what conntrack found to be of no connection: a wrong
// checksum, sequence numbers out of the window, flags that no stack sends
// (linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_INVALID_BIT). We could not
// tell: a segment with a wrong checksum would blind the tracker to the real one.
func ctInvalid() exprs { return ctState(expr.CtStateBitINVALID) }

// applyRules turn the mark of a verdict into the mark of the connection.
func applyRules(m Marks) []rule {
	rules := []rule{{"no verdict on it", join(m.packetUnmarked(), accept())}}
	for s := See; s < states; s++ {
		rules = append(rules, rule{"state " + s.String(), join(m.packetIs(s), m.setCT(s))})
	}
	return append(rules, rule{"", join(m.packetIs(Cut), goTo("reset"))})
}

// Where the addresses stand in the IP header.
const (
	ipv4Source, ipv4Destination = 12, 16
	ipv6Source, ipv6Destination = 8, 24
	ipv4TTL, ipv6HopLimit       = 8, 7
)

func ipv4Cut(offset uint32) exprs {
	return join(family(unix.NFPROTO_IPV4), exprs{load(expr.PayloadBaseNetworkHeader, offset, 4), lookup(setCut4)})
}

func ipv6Cut(offset uint32) exprs {
	return join(family(unix.NFPROTO_IPV6), exprs{load(expr.PayloadBaseNetworkHeader, offset, 16), mask(ipv6CutMask()), lookup(setCut6)})
}

// ipv6CutBits is the prefix length by which IPv6 sources are cut: a host has
// the whole /64 to choose its next address from.
const ipv6CutBits = 64

func ipv6CutMask() []byte {
	b := make([]byte, 16)
	for i := range ipv6CutBits / 8 {
		b[i] = 0xff
	}
	return b
}

func cutKey(addr netip.Addr) (set string, key []byte) {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return setCut4, addr.AsSlice()
	}
	return setCut6, netip.PrefixFrom(addr, ipv6CutBits).Masked().Addr().AsSlice()
}

// ipv4PureACK matches TCP segments without payload, exactly: the total length
// is 20 bytes of IP header plus what the data offset says. (GSO packets of
// more than 64 KiB carry length 0, which no pure ACK has.)
func ipv4PureACK() exprs {
	return join(family(unix.NFPROTO_IPV4),
		exprs{load(expr.PayloadBaseNetworkHeader, 0, 1), mask([]byte{0x0f}), equal([]byte{5})},
		lengthAndOffset(2, setPureACK4))
}

// ipv6PureACK does the same; the payload length does not count the IP header.
func ipv6PureACK() exprs {
	return join(family(unix.NFPROTO_IPV6),
		exprs{load(expr.PayloadBaseNetworkHeader, 6, 1), equal([]byte{unix.IPPROTO_TCP})},
		lengthAndOffset(4, setPureACK6))
}

// lengthAndOffset looks up the IP length together with the TCP data offset and
// flags. nft has no arithmetic; there are only eleven data offsets.
func lengthAndOffset(lengthAt uint32, set string) exprs {
	return exprs{
		&expr.Payload{DestRegister: reg32, Base: expr.PayloadBaseNetworkHeader, Offset: lengthAt, Len: 2},
		&expr.Payload{DestRegister: reg32 + 1, Base: expr.PayloadBaseTransportHeader, Offset: 12, Len: 2},
		&expr.Bitwise{SourceRegister: reg32 + 1, DestRegister: reg32 + 1, Len: 2, Mask: net16(pureACKMask), Xor: net16(0)},
		&expr.Lookup{SourceRegister: reg32, SetName: set},
	}
}

func pureACKElements(ipHeader int) []nftables.SetElement {
	var elements []nftables.SetElement
	for words := 5; words <= 15; words++ {
		key := make([]byte, 8) // each part is padded to a register
		binary.BigEndian.PutUint16(key[0:], uint16(ipHeader+4*words))
		binary.BigEndian.PutUint16(key[4:], uint16(words<<12|pureACK))
		elements = append(elements, nftables.SetElement{Key: key})
	}
	return elements
}

// A set of ours with what it holds at the start.
type set struct {
	*nftables.Set
	elements []nftables.SetElement
}

// cutSet describes one of the two sets that change after Apply.
func cutSet(t *nftables.Table, name string) *nftables.Set {
	s := &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr, HasTimeout: true, KeyByteOrder: binaryutil.BigEndian, Size: cutMax}
	if name == setCut6 {
		s.KeyType = nftables.TypeIP6Addr
	}
	return s
}

func sets(t *nftables.Table, o Options) []set {
	lengthOffset := nftables.MustConcatSetType(nftables.TypeInetService, nftables.TypeInetService)
	all := []set{
		{&nftables.Set{Name: setSubscribers, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}, nil},
		{&nftables.Set{Name: setPorts, KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian}, nil},
		{&nftables.Set{Name: setLimited, KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian}, nil},
		{cutSet(t, setCut4), nil},
		{cutSet(t, setCut6), nil},
		{&nftables.Set{Name: setPureACK4, KeyType: lengthOffset, Concatenation: true, Size: 11, Comment: "IPv4 length . data offset and flags"}, pureACKElements(20)},
		{&nftables.Set{Name: setPureACK6, KeyType: lengthOffset, Concatenation: true, Size: 11, Comment: "IPv6 length . data offset and flags"}, pureACKElements(0)},
	}
	for _, name := range sortedSet(o.SubscriberIfs) {
		all[0].elements = append(all[0].elements, nftables.SetElement{Key: append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)})
	}
	for _, port := range sortedSet(o.Ports) {
		all[1].elements = append(all[1].elements, nftables.SetElement{Key: net16(port)})
	}
	for _, port := range sortedSet(o.limited()) {
		all[2].elements = append(all[2].elements, nftables.SetElement{Key: net16(port)})
	}
	for i, s := range all {
		s.Table = t
		if s.Size == 0 {
			s.Size = uint32(len(s.elements))
		}
		s.ID = uint32(i + 1) // the library would count up a global, which is a race between two of us
	}
	return all
}

func sortedSet[T interface{ ~string | ~uint16 }](in []T) []T {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

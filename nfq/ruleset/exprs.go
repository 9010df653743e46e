package ruleset

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The rules are built from these pieces. Each leaves register 1 free again;
// only a concatenated key needs the two 32-bit registers that it is made of.
const (
	reg   = unix.NFT_REG_1
	reg32 = unix.NFT_REG32_00 // the first four bytes of reg
)

// TCP flags as they stand in byte 13 of the header (RFC 9293, 3.1).
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

type exprs []expr.Any

func join(parts ...exprs) exprs {
	var all exprs
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

func notEqual(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: data}
}

func mask(bits []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(bits)), Mask: bits, Xor: make([]byte, len(bits))}
}

func lookup(set string) expr.Any { return &expr.Lookup{SourceRegister: reg, SetName: set} }

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
}

func host32(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
func net16(v uint16) []byte  { return binaryutil.BigEndian.PutUint16(v) }

// tcp is the dependency that makes loads from the transport header safe; it
// also holds behind IPv6 extension headers.
func tcp() exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal([]byte{unix.IPPROTO_TCP})}
}

func family(nfproto byte) exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal([]byte{nfproto})}
}

func fromSubscribers() exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, lookup(setSubscribers)}
}

func sportIn(set string) exprs {
	return exprs{load(expr.PayloadBaseTransportHeader, 0, 2), lookup(set)}
}

func dportIn(set string) exprs {
	return exprs{load(expr.PayloadBaseTransportHeader, 2, 2), lookup(set)}
}

func dportIs(port uint16) exprs {
	return exprs{load(expr.PayloadBaseTransportHeader, 2, 2), equal(net16(port))}
}

// flagsAre matches when the TCP flags under bits have the value want.
func flagsAre(bits, want byte) exprs { return join(tcpFlags(bits), exprs{equal([]byte{want})}) }

// flagsAreNot is the opposite of flagsAre, for TCP packets.
func flagsAreNot(bits, want byte) exprs { return join(tcpFlags(bits), exprs{notEqual([]byte{want})}) }

func tcpFlags(bits byte) exprs {
	return join(tcp(), exprs{load(expr.PayloadBaseTransportHeader, 13, 1), mask([]byte{bits})})
}

// The governed part of a mark, of the packet or of its connection. A packet
// without a connection (untracked, or invalid to conntrack) matches no rule
// that loads the connection's mark.
func ctMark() expr.Any     { return &expr.Ct{Key: expr.CtKeyMARK, Register: reg} }
func packetMark() expr.Any { return &expr.Meta{Key: expr.MetaKeyMARK, Register: reg} }

// noReversePath matches when packets to the source would not leave through the
// interface on which this one arrived (fib saddr . iif oif missing).
func noReversePath() exprs {
	return exprs{&expr.Fib{Register: reg, ResultOIF: true, FlagSADDR: true, FlagIIF: true}, equal(host32(0))}
}

// Who opened the connection that a packet belongs to (enum ip_conntrack_dir).
const (
	original = 0
	reply    = 1
)

func ctDirection(d byte) exprs {
	return exprs{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, equal([]byte{d})}
}

// ctDestinationNAT is set in the status of a connection that is redirected
// (IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h).
const ctDestinationNAT = 1 << 5

// ctState matches when at least one of bits is set.
func ctState(bits uint32) exprs { return ctHas(expr.CtKeySTATE, bits) }

func ctHas(key expr.CtKey, bits uint32) exprs {
	return exprs{&expr.Ct{Key: key, Register: reg}, mask(host32(bits)), notEqual(host32(0))}
}

func (m Marks) ctIs(s State) exprs {
	return exprs{ctMark(), mask(host32(m.Mask)), equal(host32(m.Value(s)))}
}

func (m Marks) packetIs(s State) exprs { return m.packetHas(m.Value(s)) }

func (m Marks) packetHas(value uint32) exprs {
	return exprs{packetMark(), mask(host32(m.Mask)), equal(host32(value))}
}

func (m Marks) packetIsNot(s State) exprs {
	return exprs{packetMark(), mask(host32(m.Mask)), notEqual(host32(m.Value(s)))}
}

// setPacket puts a value of ours into the packet's mark and keeps the bits of others.
func (m Marks) setPacket(value uint32) exprs {
	return exprs{
		packetMark(),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: host32(^m.Mask), Xor: host32(value)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
	}
}

func (m Marks) packetFast() exprs {
	return exprs{packetMark(), mask(host32(m.Mask)), equal(host32(m.Fast()))}
}

func (m Marks) ctGoverned() exprs {
	return exprs{ctMark(), mask(host32(m.Mask)), notEqual(host32(0))}
}

func (m Marks) packetUnmarked() exprs {
	return exprs{packetMark(), mask(host32(m.Mask)), equal(host32(0))}
}

func (m Marks) packetMarked() exprs {
	return exprs{packetMark(), mask(host32(m.Mask)), notEqual(host32(0))}
}

// setCT puts s into the connection's mark and keeps the bits of others.
func (m Marks) setCT(s State) exprs {
	return exprs{
		ctMark(),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: host32(^m.Mask), Xor: host32(m.Value(s))},
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
	}
}

// clearPacket takes our bits out of the packet's mark.
func (m Marks) clearPacket() exprs {
	return exprs{packetMark(), mask(host32(^m.Mask)), &expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true}}
}

func verdict(kind expr.VerdictKind, chain string) exprs {
	return exprs{&expr.Verdict{Kind: kind, Chain: chain}}
}

func accept() exprs           { return verdict(expr.VerdictAccept, "") }
func untrack() exprs          { return exprs{&expr.Notrack{}} }
func drop() exprs             { return verdict(expr.VerdictDrop, "") }
func jump(chain string) exprs { return verdict(expr.VerdictJump, chain) }
func goTo(chain string) exprs { return verdict(expr.VerdictGoto, chain) }
func count(counter string) exprs {
	return exprs{&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: counter}}
}

// tcpReset answers with a reset and drops. The kernel takes it in prerouting
// since 5.9; it sends nothing in answer to a reset.
func tcpReset() exprs { return exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

func redirect(port uint16) exprs {
	return exprs{
		&expr.Immediate{Register: reg, Data: net16(port)},
		&expr.Redir{RegisterProtoMin: reg, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}

// queue hands the packet to one of count queues from first on. The kernel
// chooses by address pair, the same for both directions.
func queue(form QueueForm, first, count uint16, bypass bool) exprs {
	if form == QueueExpression {
		q := &expr.Queue{Num: first, Total: count}
		if bypass {
			q.Flag = expr.QueueFlagBypass
		}
		return exprs{q}
	}
	// struct xt_NFQ_info_v3, linux/netfilter/xt_NFQUEUE.h: u16 queuenum,
	// queues_total, flags; XT_ALIGN fills it up to eight bytes.
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info[0:], first)
	binary.NativeEndian.PutUint16(info[2:], count)
	if bypass {
		binary.NativeEndian.PutUint16(info[4:], xtBypass)
	}
	return exprs{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
}

// logTo copies the whole packet to an NFLOG group, to be delivered at once.
func logTo(group uint16) exprs {
	return exprs{&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_QTHRESHOLD, Group: group, QThreshold: 1}}
}

const xtBypass = 1 // NFQ_FLAG_BYPASS

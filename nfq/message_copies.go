package nfq

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// The wire format of nfnetlink_log and of conntrack: include/uapi/linux/netfilter/nfnetlink_log.h
// and nfnetlink_conntrack.h. See message.go.
const (
	messageCopy       = unix.NFNL_SUBSYS_ULOG << 8   // NFULNL_MSG_PACKET
	messageCopyConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG
	messageConntrack  = unix.NFNL_SUBSYS_CTNETLINK << 8

	copyPhysInDev = 6  // NFULA_IFINDEX_PHYSINDEV
	copyPayload   = 9  // NFULA_PAYLOAD
	copyNumber    = 12 // NFULA_SEQ

	copyConfigCommand   = 1 // NFULA_CFG_CMD
	copyConfigMode      = 2 // NFULA_CFG_MODE
	copyConfigBuffer    = 3 // NFULA_CFG_NLBUFSIZ
	copyConfigThreshold = 5 // NFULA_CFG_QTHRESH
	copyConfigFlags     = 6 // NFULA_CFG_FLAGS

	copyNumbered = 1 // NFULNL_CFG_F_SEQ

	// copyUsual is what the kernel takes for a copy at least: an answer of a mail server with its attributes.
	copyUsual = 512
)

// bindCopies binds and configures: each copy comes at once, by itself, with a number.
func bindCopies(group uint16, sequence uint32) []byte {
	b := appendMessage(nil, messageCopyConfig, flagRequest|flagAck, sequence, group)
	b = appendAttribute(b, copyConfigCommand, 4)
	b = append(b, commandBind, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+6) // struct nfulnl_msg_config_mode, packed
	b = binary.NativeEndian.AppendUint16(b, copyConfigMode)
	b = binary.BigEndian.AppendUint32(b, copiedRange)
	b = append(b, copyPacket, 0, 0, 0)
	b = appendAttribute32(b, copyConfigBuffer, copyUsual)
	b = appendAttribute32(b, copyConfigThreshold, 1)
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+2)
	b = binary.NativeEndian.AppendUint16(b, copyConfigFlags)
	b = binary.BigEndian.AppendUint16(b, copyNumbered)
	b = append(b, 0, 0)
	finishMessage(b, 0)
	return b
}

// parseCopy reads the attributes of a copy behind its netlink header: its number, the bridge's port by which the
// packet came (0: none) and the packet, cut off at copiedRange; false: it has no packet or no number.
func parseCopy(body []byte) (number, port uint32, ip []byte, ok bool) {
	if len(body) < messageHeader-netlinkHeader {
		return 0, 0, nil, false
	}
	numbered := false
	for b := body[messageHeader-netlinkHeader:]; len(b) >= attributeHeader; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attributeHeader {
			break
		}
		v := b[attributeHeader:min(n, len(b))]
		switch kind := binary.NativeEndian.Uint16(b[2:]) & attributeType; {
		case kind == copyPayload:
			ip = v
		case len(v) < 4:
		case kind == copyNumber:
			number, numbered = binary.BigEndian.Uint32(v), true
		case kind == copyPhysInDev:
			port = binary.BigEndian.Uint32(v)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return number, port, ip, numbered && ip != nil
}

// markMessage changes the mark of f's connection (IPCTNL_MSG_CT_NEW), in the bits of marks alone.
func markMessage(f Flow, marks ruleset.Marks, s ruleset.State) ([]byte, error) {
	const (
		tupleOrig, mark, markMask = 1, 8, 21 // CTA_TUPLE_ORIG, CTA_MARK, CTA_MARK_MASK
		tupleIP, tupleProto       = 1, 2     // CTA_TUPLE_IP, CTA_TUPLE_PROTO
		protoNumber, from, to     = 1, 2, 3  // CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
	)
	family, src := byte(unix.AF_INET), uint16(1) // CTA_IP_V4_SRC; the destination's number is one more
	client, server := f.Client.Addr().Unmap(), f.Server.Addr().Unmap()
	if client.Is6() {
		family, src = unix.AF_INET6, 3 // CTA_IP_V6_SRC
	}
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(tupleOrig, func(e *netlink.AttributeEncoder) error {
		e.Nested(tupleIP, func(e *netlink.AttributeEncoder) error {
			e.Bytes(src, client.AsSlice())
			e.Bytes(src+1, server.AsSlice())
			return nil
		})
		e.Nested(tupleProto, func(e *netlink.AttributeEncoder) error {
			e.Uint8(protoNumber, unix.IPPROTO_TCP)
			e.Uint16(from, f.Client.Port())
			e.Uint16(to, f.Server.Port())
			return nil
		})
		return nil
	})
	e.Uint32(mark, marks.Value(s))
	e.Uint32(markMask, marks.Mask)
	b, err := e.Encode()
	return append([]byte{family, unix.NFNETLINK_V0, 0, 0}, b...), err
}

// nobody is a connection that there is not: from and to unspecified addresses.
var nobody = Flow{netip.AddrPortFrom(netip.IPv4Unspecified(), 0), netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}

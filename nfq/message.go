package nfq

import (
	"encoding/binary"
)

// The wire format of nfnetlink_queue: include/uapi/linux/netfilter/
// nfnetlink_queue.h and nfnetlink.h. Netlink's own headers are in host byte
// order, the contents of the attributes in network byte order.
const (
	subsysQueue = 3 // NFNL_SUBSYS_QUEUE

	messagePacket  = subsysQueue << 8   // NFQNL_MSG_PACKET
	messageVerdict = subsysQueue<<8 | 1 // NFQNL_MSG_VERDICT
	messageConfig  = subsysQueue<<8 | 2 // NFQNL_MSG_CONFIG
	messageError   = 2                  // NLMSG_ERROR

	flagRequest = 1 // NLM_F_REQUEST
	flagAck     = 4 // NLM_F_ACK

	attrPacketHeader  = 1  // NFQA_PACKET_HDR
	attrVerdictHeader = 2  // NFQA_VERDICT_HDR
	attrMark          = 3  // NFQA_MARK
	attrInDev         = 5  // NFQA_IFINDEX_INDEV
	attrPhysInDev     = 7  // NFQA_IFINDEX_PHYSINDEV
	attrHWAddr        = 9  // NFQA_HWADDR
	attrPayload       = 10 // NFQA_PAYLOAD
	attrCapLen        = 13 // NFQA_CAP_LEN
	attrSkbInfo       = 14 // NFQA_SKB_INFO

	attrConfigCommand = 1 // NFQA_CFG_CMD
	attrConfigParams  = 2 // NFQA_CFG_PARAMS
	attrConfigLength  = 3 // NFQA_CFG_QUEUE_MAXLEN
	attrConfigMask    = 4 // NFQA_CFG_MASK
	attrConfigFlags   = 5 // NFQA_CFG_FLAGS

	commandBind   = 1 // NFQNL_CFG_CMD_BIND
	copyPacket    = 2 // NFQNL_COPY_PACKET
	queueFailOpen = 1 // NFQA_CFG_F_FAIL_OPEN
	queueGSO      = 4 // NFQA_CFG_F_GSO

	verdictDrop   = 0 // NF_DROP
	verdictAccept = 1 // NF_ACCEPT

	netlinkHeader   = 16 // struct nlmsghdr
	messageHeader   = 20 // that and struct nfgenmsg
	attributeHeader = 4  // struct nlattr
	attributeType   = 0x3fff

	// copyRange is the most that the kernel copies of a packet; it takes off
	// four bytes for the attribute's header.
	copyRange = 0xffff
	// messageSize holds any message of the kernel: 65531 bytes of packet and
	// about 200 of other attributes.
	messageSize = 66 << 10
	// verdictSize is a verdict message with a mark.
	verdictSize = messageHeader + 12 + 8
)

// appendMessage starts a message; finishMessage writes its length.
func appendMessage(b []byte, kind, flags uint16, sequence uint32, queue uint16) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, 0) // port: the kernel knows whose socket it is
	b = append(b, 0, 0)                        // family unspecified, version 0
	return binary.BigEndian.AppendUint16(b, queue)
}

func finishMessage(b []byte, start int) {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
}

// appendAttribute starts an attribute of n bytes, a multiple of four.
func appendAttribute(b []byte, kind uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+n))
	return binary.NativeEndian.AppendUint16(b, kind)
}

func appendAttribute32(b []byte, kind uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendAttribute(b, kind, 4), v)
}

func appendVerdict(b []byte, queue uint16, v verdict) []byte {
	start := len(b)
	b = appendMessage(b, messageVerdict, flagRequest, 0, queue)
	b = appendAttribute(b, attrVerdictHeader, 8)
	what := uint32(verdictAccept)
	if v.drop {
		what = verdictDrop
	}
	b = binary.BigEndian.AppendUint32(b, what)
	b = binary.BigEndian.AppendUint32(b, v.id)
	if v.marked {
		b = appendAttribute32(b, attrMark, v.mark)
	}
	finishMessage(b, start)
	return b
}

// bindMessage binds and configures in one message, so that no packet can come
// between the two and be copied by the wrong rules.
func bindMessage(queue uint16, sequence uint32, o readerOptions) []byte {
	flags := uint32(queueGSO)
	if o.failOpen {
		flags |= queueFailOpen
	}
	b := appendMessage(nil, messageConfig, flagRequest|flagAck, sequence, queue)
	b = appendAttribute(b, attrConfigCommand, 4)
	b = append(b, commandBind, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+5) // struct nfqnl_msg_config_params, packed
	b = binary.NativeEndian.AppendUint16(b, attrConfigParams)
	b = binary.BigEndian.AppendUint32(b, copyRange)
	b = append(b, copyPacket, 0, 0, 0)
	b = appendAttribute32(b, attrConfigLength, o.length)
	b = appendAttribute32(b, attrConfigMask, queueGSO|queueFailOpen)
	b = appendAttribute32(b, attrConfigFlags, flags)
	finishMessage(b, 0)
	return b
}

// shutMessage makes every further packet one too many: fail-open then lets the
// kernel itself pass it, else the kernel drops it. No acknowledgement is asked
// for, netlink has worked through the message when the send returns.
func shutMessage(queue uint16) []byte {
	b := appendMessage(nil, messageConfig, flagRequest, 0, queue)
	b = appendAttribute32(b, attrConfigLength, 0)
	finishMessage(b, 0)
	return b
}

// nextMessage cuts the first netlink message off b. ok is false at the end and
// when the rest is no message.
func nextMessage(b []byte) (kind uint16, sequence uint32, body, rest []byte, ok bool) {
	if len(b) < netlinkHeader {
		return 0, 0, nil, nil, false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < netlinkHeader {
		return 0, 0, nil, nil, false
	}
	// A cut copy says its full length; its packet still wants a verdict.
	end := min(uint64(n), uint64(len(b)))
	next := min((uint64(n)+3)&^3, uint64(len(b)))
	return binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[netlinkHeader:end], b[next:], true
}

// parsePacket reads the attributes of a packet message behind its netlink
// header. It is false when there is no packet header: without the id there is
// nothing to answer.
func parsePacket(body []byte, p *queued) bool {
	if len(body) < messageHeader-netlinkHeader {
		return false
	}
	*p = queued{}
	found := false
	for b := body[messageHeader-netlinkHeader:]; len(b) >= attributeHeader; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attributeHeader {
			break
		}
		v := b[attributeHeader:min(n, len(b))]
		switch kind := binary.NativeEndian.Uint16(b[2:]) & attributeType; {
		case kind == attrPayload:
			p.ip = v
		case len(v) < 4:
		case kind == attrPacketHeader:
			p.id, found = binary.BigEndian.Uint32(v), true
		case kind == attrMark:
			p.mark = binary.BigEndian.Uint32(v)
		case kind == attrInDev:
			p.inDev = binary.BigEndian.Uint32(v)
		case kind == attrPhysInDev:
			p.port = binary.BigEndian.Uint32(v)
		case kind == attrHWAddr: // struct nfqnl_msg_packet_hw: length, pad, address
			if binary.BigEndian.Uint16(v) == 6 && len(v) >= 10 {
				copy(p.mac[:], v[4:])
			}
		case kind == attrCapLen:
			p.length = int(min(binary.BigEndian.Uint32(v), 1<<30))
		case kind == attrSkbInfo:
			p.skbInfo = binary.BigEndian.Uint32(v)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	p.length = max(p.length, len(p.ip)) // NFQA_CAP_LEN is there only when the copy was cut
	return found
}

// parseError reads the error number of an NLMSG_ERROR; 0 is an acknowledgement.
func parseError(body []byte) (errno int32, ok bool) {
	if len(body) < 4 {
		return 0, false
	}
	return -int32(binary.NativeEndian.Uint32(body)), true
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The short cut: a packet of a session in the lane is forwarded right here, as ip_forward
// would do it, and does not meet the hooks of netfilter. Only while user space says
// that nobody else wants to see it there (controls.short_until), and only if it is a
// plain packet that goes from one Ethernet device to another. Whatever else there is to
// do is the stack's: it gets the packet as it came. Nothing is remembered of routes and
// neighbours: both are looked up for every packet, as the stack does.

#define PACKET_HOST 0 // linux/if_packet.h: for our MAC address

// checksum4 is zero if that of an IPv4 header without options is right.
static __always_inline __u16 checksum4(const struct ip4 *ip)
{
	const __u32 *w = (const __u32 *)ip;
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// plain says whether the stack would do nothing with p that we do not do as well.
// A mark of somebody else's might lead it to another route. Joined segments and what
// their header says agree; no length is only for joined ones that are longer than it can say.
static __always_inline bool plain(struct __sk_buff *skb, struct packet *p)
{
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || p->at != sizeof(struct ethernet))
		return false;
	if (skb->mark & ~mark_mask)
		return false;
	if (skb->gso_size ? skb->len - p->at != p->length : !(p->v6 ? p->frame.ip.v6.length : p->frame.ip.v4.length))
		return false;
	if (!p->v6 && (p->frame.ip.v4.version != 0x45 || checksum4(&p->frame.ip.v4)))
		return false;
	return true;
}

// hop takes one off the TTL or the hop limit.
static __always_inline bool hop(struct __sk_buff *skb, struct packet *p)
{
	if (p->v6) {
		__u8 hops = p->frame.ip.v6.hops - 1;

		return !bpf_skb_store_bytes(skb, p->at + __builtin_offsetof(struct ip6, hops), &hops, 1, BPF_F_RECOMPUTE_CSUM);
	}

	struct {
		__u8 ttl;
		__u8 proto;
		__be16 check;
	} next = {.ttl = p->frame.ip.v4.ttl - 1, .proto = IPPROTO_TCP};
	__u32 check = (__u32)p->frame.ip.v4.check + bpf_htons(0x0100); // RFC 1624

	next.check = check + (check >= 0xffff);
	// The sum over the whole header stays what it was.
	return !bpf_skb_store_bytes(skb, p->at + __builtin_offsetof(struct ip4, ttl), &next, sizeof(next), 0);
}

// short_cut forwards p, or returns GO_ON for the stack to do it.
static __always_inline int short_cut(struct __sk_buff *skb, struct packet *p, struct flow *f, struct stats *n)
{
	if (bpf_ktime_get_coarse_ns() >= *(volatile __u64 *)&control.short_until) {
		n->stack_shut++;
		return GO_ON;
	}

	__u32 in = f->in, out = f->out;

	// The stack has seen the SYN and the answer: the operator's firewall, his rp_filter.
	if (p->tcp.flags & TCP_SYN || !out || f->epoch != *(volatile __u32 *)&control.epoch) {
		n->stack_begins++;
		return GO_ON;
	}
	if (skb->ifindex != (p->up ? in : out)) {
		n->stack_path++;
		return GO_ON;
	}
	if (!plain(skb, p)) {
		n->stack_odd++;
		return GO_ON;
	}

	struct bpf_fib_lookup route = {};
	__u32 segment = skb->gso_size;

	// What leaves are its segments.
	route.tot_len = segment ? segment + p->length - p->payload : p->length;
	route_for(skb, p, &route);
	switch (bpf_fib_lookup(skb, &route, sizeof(route), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		n->stack_length++;
		return GO_ON;
	default: // a neighbour that is not known, too: if he does not answer, the stack tells the sender
		n->stack_route++;
		return GO_ON;
	}
	if (route.ifindex != (p->up ? out : in)) {
		n->stack_path++;
		return GO_ON;
	}

	struct bpf_redir_neigh next = {.nh_family = route.family};

	if (route.family == FAMILY_4)
		next.ipv4_nh = route.ipv4_dst;
	else
		copy16((__u8 *)next.ipv6_nh, (__u8 *)route.ipv6_dst);
	// Ethernet's padding ends here, as in ip_rcv.
	if ((skb->len - p->at != p->length && bpf_skb_change_tail(skb, p->at + p->length, 0)) || !hop(skb, p)) {
		n->stack_odd++;
		return GO_ON;
	}
	skb->mark &= ~mark_mask;
	// ip_forward sets it by these two bits of the TOS (rt_tos2priority).
	if (!p->v6)
		skb->priority = 0x4620 >> ((p->frame.ip.v4.tos >> 3 & 3) * 4) & 15;
	n->short_cut++;
	return bpf_redirect_neigh(route.ifindex, &next, sizeof(next), 0);
}

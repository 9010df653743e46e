// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Finding out whether a packet is for us, and what it is.

struct ethernet {
	__u8 unused[12];
	__be16 proto;
};

struct tcp {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack;
	__u8 offset; // upper four bits, in words
	__u8 flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
};

struct ip4 {
	__u8 version; // and header length
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 proto;
	__be16 check;
	__u32 src;
	__u32 dst;
	struct tcp tcp; // if there are no options
};

struct ip6 {
	__be32 flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__u8 src[16];
	__u8 dst[16];
};

// 40 bytes: the shortest IPv4 packet with a TCP header, the whole IPv6 header.
union ip {
	struct ip4 v4;
	struct ip6 v6;
};

// The pad brings the IP header to a multiple of eight bytes.
struct frame {
	__u8 pad[2];
	struct ethernet eth;
	union ip ip;
};

struct vlan {
	__be16 tag;
	__be16 proto;
};

// What we know of a packet.
struct packet {
	struct frame frame;
	struct tcp tcp;
	struct flow_key key;
	__u32 at;      // where the IP packet begins
	__u32 length;  // of the IP packet, without Ethernet's padding
	__u32 payload; // of TCP
	bool v6;
	bool up;
	bool limited; // the server's port
};

static __always_inline void map4(__u8 *to, __u32 addr)
{
	__u32 *w = (__u32 *)to;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = addr;
}

static __always_inline void copy16(__u8 *to, const __u8 *from)
{
	__builtin_memcpy(to, from, 16);
}

// An IPv6 packet with such an address would pass for an IPv4 one in our keys.
static __always_inline bool mapped4(const __u8 *addr)
{
	const __u32 *w = (const __u32 *)addr;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

// parse reads the headers of a packet that is for us: whole, TCP, a governed port on
// the server's side of it. l2 is the length of the Ethernet header, or zero.
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p, const __u32 l2, const bool up)
{
	struct frame *f = &p->frame;
	union ip *ip = &f->ip;
	__be16 proto = 0;

	p->at = l2;
	p->up = up;
	p->v6 = false;
	if (l2) {
		// What has a tag passes a bridge by the other lane, too.
		if (!routed && skb->vlan_present)
			return false;
		// Whatever is TCP over IP is as long as this.
		if (bpf_skb_load_bytes(skb, 0, &f->eth, sizeof(f->eth) + sizeof(f->ip)))
			return false;
		proto = f->eth.proto;
		// Tags that are still in the frame. The outermost is mostly taken
		// out before us.
#pragma unroll
		for (int i = 0; i < 2; i++) {
			struct vlan tag;

			if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
				break;
			if (bpf_skb_load_bytes(skb, p->at, &tag, sizeof(tag)))
				return false;
			proto = tag.proto;
			p->at += sizeof(tag);
		}
		if (p->at != l2) {
			if (!routed)
				return false;
			if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
				return false;
			if (bpf_skb_load_bytes(skb, p->at, ip, sizeof(*ip)))
				return false;
		}
	} else {
		if (bpf_skb_load_bytes(skb, 0, ip, sizeof(*ip)))
			return false;
		proto = ip->v4.version >> 4 == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	}

	__u32 there = skb->len - p->at;
	__u32 header = sizeof(struct ip6);

	if (proto == bpf_htons(ETH_P_IP)) {
		header = (ip->v4.version & 15) * 4;
		p->length = bpf_ntohs(ip->v4.length);
		if (ip->v4.version >> 4 != 4 || header < 20 || ip->v4.proto != IPPROTO_TCP)
			return false;
		if (ip->v4.fragment & bpf_htons(0x3fff) || ip->v4.ttl <= 1)
			return false;
		if (header == 20)
			p->tcp = ip->v4.tcp;
		else if (bpf_skb_load_bytes(skb, p->at + header, &p->tcp, sizeof(p->tcp)))
			return false;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		p->v6 = true;
		p->length = bpf_ntohs(ip->v6.length);
		if (*(__u8 *)ip >> 4 != 6 || ip->v6.next != IPPROTO_TCP || ip->v6.hops <= 1)
			return false;
		if (p->length)
			p->length += sizeof(struct ip6);
		if (bpf_skb_load_bytes(skb, p->at + sizeof(struct ip6), &p->tcp, sizeof(p->tcp)))
			return false;
	} else {
		return false;
	}

	__u32 server = bpf_ntohs(up ? p->tcp.dest : p->tcp.source);
	__u32 word = server / 32, bit = 1U << (server % 32);
	struct port_bits *governed = bpf_map_lookup_elem(&ports, &word);

	if (!governed || !(governed->governed & bit))
		return false;
	p->limited = governed->limited & bit;

	// The kernel joins packets to more than a length field can tell; it is zero then.
	if (!p->length)
		p->length = there;
	header += (p->tcp.offset >> 4) * 4;
	if (p->length > there || p->tcp.offset >> 4 < 5 || header > p->length)
		return false;
	p->payload = p->length - header;

	if (!p->v6) {
		map4(up ? p->key.client : p->key.server, ip->v4.src);
		map4(up ? p->key.server : p->key.client, ip->v4.dst);
	} else {
		if (mapped4(ip->v6.src) || mapped4(ip->v6.dst))
			return false;
		copy16(up ? p->key.client : p->key.server, ip->v6.src);
		copy16(up ? p->key.server : p->key.client, ip->v6.dst);
	}
	p->key.client_port = up ? p->tcp.source : p->tcp.dest;
	p->key.server_port = up ? p->tcp.dest : p->tcp.source;
	return true;
}

static __always_inline void mark(struct __sk_buff *skb, __u32 value)
{
	skb->mark = (skb->mark & ~mark_mask) | value;
}

// within charges one SYN to a meter and says whether it was within.
static __always_inline bool within(__u64 *tat, __u64 now, __u64 step, __u64 most)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)tat;
		__u64 next = (old < now ? now : old) + step;

		if (next - now > most)
			return false;
		if (__sync_val_compare_and_swap(tat, old, next) == old)
			return true;
	}
	return true; // others were charged meanwhile: nobody is dropped for a race
}

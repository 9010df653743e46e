// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Tags of governed mail off at one port of the bridge and on again at the other. The
// kernel's bridge hands frames with a VLAN tag, two of them, or PPPoE's header to no
// queue; without them they are the IP packets that the ruleset, the queue, the fast
// lane and the responder know. off runs at ingress of every port, before everything
// else, on at egress, after everything else.
//
// What tells on which tags a packet had: a number for every set of tags, which the
// packet itself carries in skb->priority, and once more in skb->tc_index should
// somebody on the way set priorities. Who is held in the queue for a minute, or sent
// again by the kernel, still carries it. A number is used again, with another use, only
// when no packet can have it any more (HELD); a packet whose number means something
// else by then is dropped, and sent again by its sender: it never leaves with the tags
// of another, nor without any.
//
// What has no number was made here: the words to a client, an RST, the answer to a SYN.
// It gets the tags that its pair of addresses had last (pairs).
//
// The rule that everything below serves: a packet leaves with the tags it came with,
// or not at all. What cannot be taken apart safely passes as it is, unread.
//
// Everything from a packet is read with bpf_skb_load_bytes, as in the fast lane.
// Needs Linux 6.6 (TCX).

#include <stdbool.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define GO_ON -1 // TCX_NEXT
#define DROP 2	 // TCX_DROP

#define PPP_IP 0x0021	// RFC 1332
#define PPP_IPV6 0x0057 // RFC 5072

#define VID 0x0fff // of a tag's TCI, IEEE 802.1Q

#define TAKEN 0x6d000000u // in skb->priority: the rest is a number

// No packet is on its way through the box for longer: the longest delay and what a queue adds.
#define HELD 30000000000ull // ns
// A pair of addresses keeps its tags without a packet.
#define KNOWN 600000000000ull // ns

struct ethernet {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
};

struct tag {
	__be16 tci;
	__be16 proto; // of what follows
};

// RFC 2516, 4, and the protocol field of PPP, which begins its payload.
struct pppoe {
	__u8 version; // and type
	__u8 code;
	__be16 session;
	__be16 length; // of what follows it, the protocol field included
	__be16 proto;
};

struct tcp {
	__be16 source;
	__be16 dest;
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
	__u8 src[4];
	__u8 dst[4];
};

struct ip6 {
	__be32 flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__u8 src[16];
	__u8 dst[16];
};

// How every extension header of IPv6 begins that is stepped over here, RFC 8200, 4.
struct extension {
	__u8 next;
	__u8 length; // in units of 8 bytes, without the first
};

// The tags of a packet, the outer first; proto 0: none.
struct stack {
	__be16 proto[2];
	__u16 tci[2];
	__be16 session;
	__u8 pppoe;
	__u8 unused;
};

// Addresses of 16 bytes, IPv4 as ::ffff:a.b.c.d.
struct pair {
	__u8 src[16];
	__u8 dst[16];
};

struct entry {
	__u64 seen; // bpf_ktime_get_ns
	struct stack stack;
	__u32 unused;
};

// What a number means, and for the how manieth time it is given, 1 to 255; 0: not now.
struct slot {
	__u32 use;
	struct stack stack;
};

struct mac {
	__u8 addr[6];
	__u8 unused[2];
};

struct vlan_of {
	__u32 port; // index of the interface
	__be16 proto;
	__u16 vid;
};

struct port_bits {
	__u32 governed;
};

struct stats {
	__u64 off;     // packets whose tags were taken off
	__u64 on;      // and put on again
	__u64 own;     // packets of the box that got tags
	__u64 odd;     // passed as they came: they could not have been put together again
	__u64 unknown; // dropped: their number means something else by now
	__u64 failed;  // dropped: the kernel did not take tags off or put them on
};

volatile const __u32 numbers = 2; // entries of slots; set by user space before loading

// Whether tags are taken off; and whether they were ever. Without the second on has nothing to do.
volatile __u32 taking SEC(".data.control");
volatile __u32 taken SEC(".data.control");
__u32 given SEC(".data.control");
__u64 given_until SEC(".data.control");

// User space sets the sizes of pairs, known and slots before loading.

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct pair);
	__type(value, struct entry);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct stack);
	__type(value, __u32);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

// Bits of the governed ports of TCP, 32 to an entry.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 32);
	__type(key, __u32);
	__type(value, struct port_bits);
} ports SEC(".maps");

// The box's own addresses of Ethernet: what is for it is not taken apart.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mac);
	__type(value, __u8);
} own SEC(".maps");

// VLANs of a port that an interface of the box takes for itself.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct vlan_of);
	__type(value, __u8);
} elsewhere SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats);
} counters SEC(".maps");

static __always_inline bool governed(__be16 at)
{
	__u32 port = bpf_ntohs(at), word = port / 32;
	struct port_bits *b = bpf_map_lookup_elem(&ports, &word);

	return b && b->governed & 1U << (port % 32);
}

// Whether the TCP header at is of a governed port.
static __always_inline bool mail(struct __sk_buff *skb, __u32 at)
{
	struct tcp tcp;

	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return false;
	return governed(tcp.source) || governed(tcp.dest);
}

// The same behind IPv6's extension headers. What has more of them than anybody sends is
// taken for mail, and so is a fragment that may be TCP: the ruleset says what becomes of it.
static __always_inline bool behind(struct __sk_buff *skb, __u32 at, __u8 next)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		struct extension h;

		switch (next) {
		case IPPROTO_TCP:
			return mail(skb, at);
		case IPPROTO_FRAGMENT:
			if (bpf_skb_load_bytes(skb, at, &h, sizeof(h)))
				return false;
			return h.next != IPPROTO_UDP && h.next != IPPROTO_ICMPV6;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			if (bpf_skb_load_bytes(skb, at, &h, sizeof(h)))
				return false;
			next = h.next;
			at += (h.length + 1) * 8;
			break;
		default:
			return false;
		}
	}
	return true;
}

// Reads the IP header at: its pair of addresses, its length with all that belongs to it, and
// whether it is ours. False: it is no IP header.
static __always_inline bool read(struct __sk_buff *skb, __u32 at, __be16 proto, struct pair *pair, __u32 *length, bool *ours)
{
	if (proto == bpf_htons(ETH_P_IP)) {
		struct ip4 ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
			return false;

		__u32 header = (ip.version & 15) * 4;

		if (ip.version >> 4 != 4 || header < sizeof(ip))
			return false;
		*length = bpf_ntohs(ip.length);
		__builtin_memset(pair, 0, sizeof(*pair));
		pair->src[10] = pair->src[11] = pair->dst[10] = pair->dst[11] = 0xff;
		__builtin_memcpy(pair->src + 12, &ip.src, 4);
		__builtin_memcpy(pair->dst + 12, &ip.dst, 4);
		if (ip.proto == IPPROTO_TCP && pair->dst[12] < 224) // no group, nor everybody
			*ours = ip.fragment & bpf_htons(0x3fff) || mail(skb, at + header);
		return true;
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ip6 ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || *(__u8 *)&ip >> 4 != 6)
			return false;
		*length = bpf_ntohs(ip.length) + sizeof(ip);
		__builtin_memcpy(pair->src, ip.src, 16);
		__builtin_memcpy(pair->dst, ip.dst, 16);
		if (ip.dst[0] != 0xff)
			*ours = behind(skb, at + sizeof(ip), ip.next);
		return true;
	}
	return false;
}

// What the box says to this pair later gets the tags of now.
static __always_inline void remember(const struct pair *pair, const struct stack *s)
{
	struct entry *e = bpf_map_lookup_elem(&pairs, pair);
	struct entry now = {.seen = bpf_ktime_get_ns(), .stack = *s};

	if (e)
		*e = now;
	else
		bpf_map_update_elem(&pairs, pair, &now, BPF_ANY);
}

// The number of these tags with its use in bits 16 to 23; 0: there is none to be had now.
static __always_inline __u32 number(const struct stack *s)
{
	__u32 *seen = bpf_map_lookup_elem(&known, s);

	if (seen)
		return *seen;

	// So many a second that a number comes again after HELD at the earliest, with some in advance.
	__u64 now = bpf_ktime_get_ns(), step = 2 * HELD / numbers, next = *(volatile __u64 *)&given_until;

	next = (next < now ? now : next) + step;
	if (next - now > HELD)
		return 0;
	*(volatile __u64 *)&given_until = next;

	__u32 n = 1 + __sync_fetch_and_add(&given, 1) % (numbers - 1);
	struct slot *slot = bpf_map_lookup_elem(&slots, &n);

	if (!slot)
		return 0;

	__u32 use = *(volatile __u32 *)&slot->use % 0xff + 1;

	*(volatile __u32 *)&slot->use = 0;
	slot->stack = *s;
	*(volatile __u32 *)&slot->use = use;
	n |= use << 16;
	if (bpf_map_update_elem(&known, s, &n, BPF_ANY))
		return 0;
	return n;
}

// What a number means; false: it means something else by now.
static __always_inline bool meant(__u32 n, struct stack *s)
{
	__u32 at = n & 0xffff, use = n >> 16 & 0xff;
	struct slot *slot = bpf_map_lookup_elem(&slots, &at);

	if (!at || !slot || *(volatile __u32 *)&slot->use != use)
		return false;
	*s = slot->stack;
	return *(volatile __u32 *)&slot->use == use;
}

// Takes PPPoE's header off, of eight bytes with PPP's protocol field. The kernel has no call that takes bytes between the Ethernet
// header and the IP header away and sets the packet's protocol; it has one that takes off a VLAN tag. So the header becomes tags:
// with two more before it, it is three that are in the packet and one beside it.
static __always_inline bool unwrap(struct __sk_buff *skb, __be16 proto)
{
	struct {
		struct tag tag[2];
	} tags = {{{0, bpf_htons(ETH_P_8021Q)}, {0, proto}}};
	__be16 first = bpf_htons(ETH_P_8021Q);

	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0) || bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0))
		return false;
	// 12: a tag that was pushed; 16: the protocol behind it, PPPoE's so far; 18: PPPoE's header
	if (bpf_skb_store_bytes(skb, 16, &first, sizeof(first), BPF_F_RECOMPUTE_CSUM) || bpf_skb_store_bytes(skb, 18, &tags, sizeof(tags), BPF_F_RECOMPUTE_CSUM))
		return false;
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (bpf_skb_vlan_pop(skb))
			return false;
	return !skb->vlan_present && skb->protocol == proto;
}

SEC("tc")
int off(struct __sk_buff *skb)
{
	struct ethernet eth;
	struct stack s = {};
	struct pair pair = {};
	__u32 at = sizeof(eth), length = 0, zero = 0, inside = 0;
	bool ours = false;

	if (!taking || bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return GO_ON;

	__be16 proto = eth.proto;

	if (skb->vlan_present) {
		s.proto[0] = skb->vlan_proto;
		s.tci[0] = skb->vlan_tci;
		if (proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD)) {
			struct tag tag;

			if (bpf_skb_load_bytes(skb, at, &tag, sizeof(tag)))
				return GO_ON;
			s.proto[1] = proto;
			s.tci[1] = bpf_ntohs(tag.tci);
			proto = tag.proto;
			at += sizeof(tag);
		}
	}

	// A third tag is none of the protocols below: it passes.

	if (proto == bpf_htons(ETH_P_PPP_SES)) {
		struct pppoe p;

		if (bpf_skb_load_bytes(skb, at, &p, sizeof(p)))
			return GO_ON;
		if (p.version != 0x11 || p.code)
			return GO_ON;
		s.pppoe = 1;
		s.session = p.session;
		inside = bpf_ntohs(p.length);
		if (p.proto == bpf_htons(PPP_IP))
			proto = bpf_htons(ETH_P_IP);
		else if (p.proto == bpf_htons(PPP_IPV6))
			proto = bpf_htons(ETH_P_IPV6);
		else
			return GO_ON;
		at += sizeof(p);
	}
	if (at == sizeof(eth) && !skb->vlan_present) {
		// Without tags now: what the box says to it is to have none either.
		if (taken && read(skb, at, proto, &pair, &length, &ours) && ours)
			bpf_map_delete_elem(&pairs, &pair);
		return GO_ON;
	}
	if (!read(skb, at, proto, &pair, &length, &ours) || !ours)
		return GO_ON;

	if (s.proto[0]) {
		struct vlan_of own_way = {.port = skb->ifindex, .proto = s.proto[0], .vid = s.tci[0] & VID};

		if (bpf_map_lookup_elem(&elsewhere, &own_way))
			return GO_ON;
	}

	struct mac to = {};

	__builtin_memcpy(to.addr, eth.dst, sizeof(eth.dst));
	if (bpf_map_lookup_elem(&own, &to))
		return GO_ON;

	struct stats *n = bpf_map_lookup_elem(&counters, &zero);

	if (!n)
		return GO_ON;
	// Somebody uses the priority; or PPPoE's header could not be put on again: it is one packet that the card put together from
	// several, or it says that less is inside than IP's header does.
	if (skb->priority || (s.pppoe && (skb->gso_size || inside < length + sizeof(__be16)))) {
		n->odd++;
		return GO_ON;
	}

	__u32 tags = number(&s);

	if (!tags) { // somebody makes up tags by the thousand
		n->odd++;
		return GO_ON;
	}
	taken = 1;
	remember(&pair, &s);
	if ((s.proto[0] && bpf_skb_vlan_pop(skb)) || (s.proto[1] && bpf_skb_vlan_pop(skb)) || (s.pppoe && !unwrap(skb, proto))) {
		n->failed++;
		return DROP;
	}
	n->off++;
	skb->priority = TAKEN | tags;
	skb->tc_index = tags; // should somebody else on the way set priorities
	return GO_ON;
}

// Puts the tags on, the inner first; proto and length are those of the IP packet.
static __always_inline bool wrap(struct __sk_buff *skb, const struct stack *s, __be16 proto, __u32 length)
{
	if (s->pppoe) {
		struct {
			__be16 proto;
			struct pppoe p;
		} __attribute__((packed)) h = {
			.proto = bpf_htons(ETH_P_PPP_SES),
			.p = {.version = 0x11, .session = s->session, .length = bpf_htons(length + sizeof(__be16)),
			      .proto = proto == bpf_htons(ETH_P_IP) ? bpf_htons(PPP_IP) : bpf_htons(PPP_IPV6)},
		};

		if (skb->gso_size || bpf_skb_adjust_room(skb, sizeof(struct pppoe), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
			return false;
		if (bpf_skb_store_bytes(skb, 12, &h, sizeof(h), BPF_F_RECOMPUTE_CSUM))
			return false;
		// The packet's protocol is still IP's; taking off a tag sets it from what is in the frame.
#pragma unroll
		for (int i = 0; i < 2; i++)
			if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0))
				return false;
		for (int i = 0; i < 2; i++)
			if (bpf_skb_vlan_pop(skb))
				return false;
		if (skb->protocol != bpf_htons(ETH_P_PPP_SES))
			return false;
	}
	if (s->proto[1] && bpf_skb_vlan_push(skb, s->proto[1], s->tci[1]))
		return false;
	return !s->proto[0] || !bpf_skb_vlan_push(skb, s->proto[0], s->tci[0]);
}

SEC("tc")
int on(struct __sk_buff *skb)
{
	struct ethernet eth;
	struct pair pair = {};
	struct stack s = {};
	__u32 length = 0, zero = 0;
	bool ours = false, crossed = false, own_words = false;

	if (!taken)
		return GO_ON;

	struct stats *n = bpf_map_lookup_elem(&counters, &zero);

	if (!n)
		return GO_ON;
	if ((skb->priority & 0xff000000) == TAKEN) {
		if (meant(skb->priority, &s)) {
			crossed = true;
		} else if (skb->ingress_ifindex && skb->tc_index == (skb->priority & 0xffff)) {
			n->unknown++;
			return DROP;
		}
	}

	bool read_whole = !skb->vlan_present && !bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) && read(skb, sizeof(eth), eth.proto, &pair, &length, &ours);

	if (crossed) {
		skb->priority = 0;
		skb->tc_index = 0;
	} else {
		if (!read_whole || !ours)
			return GO_ON;

		struct pair back = pair;

		own_words = !skb->ingress_ifindex;
		if (own_words) {
			if (!taking)
				return GO_ON;
			__builtin_memcpy(back.src, pair.dst, 16);
			__builtin_memcpy(back.dst, pair.src, 16);
		} else if (!skb->tc_index) { // it came without tags
			return GO_ON;
		}

		struct entry *e = bpf_map_lookup_elem(&pairs, &back);

		if (!e || bpf_ktime_get_ns() - e->seen > KNOWN)
			return GO_ON;
		s = e->stack;
		if (!own_words) { // somebody set its priority: the rest of its number is still there
			__u32 *seen = bpf_map_lookup_elem(&known, &s);

			if (!seen || (*seen & 0xffff) != skb->tc_index)
				return GO_ON;

			skb->tc_index = 0;
		}
	}
	if (!read_whole || !wrap(skb, &s, eth.proto, length)) {
		n->failed++;
		return DROP;
	}
	if (own_words)
		n->own++;
	else
		n->on++;
	return GO_ON;
}

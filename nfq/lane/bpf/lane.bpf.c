// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The fast lane: a program at tc ingress of every listed interface. It lets a
// governed connection go on at once while its subscriber has a lease, and copies
// what user space needs for its books into a ring buffer. What it does not decide
// it leaves as it is: the packet then takes the way of the queue (package ruleset).
//
// The rule that everything below serves: a SYN that was let through by a lease is
// always copied. So the copy is reserved before the token is taken.
//
// What a subscriber sends is hostile. What it claims with a packet may cost itself
// a token or its own flow, never somebody else's.
//
// Everything from a packet is read with bpf_skb_load_bytes: network cards put as
// little as the Ethernet header into the linear part, and without an Ethernet header
// (tun, ppp) direct access would be misaligned for processors that mind, as MIPS does.
//
// Needs Linux 5.12 (atomics with a result, clang -mcpu=v3); nothing here needs the
// kernel's BTF.

#include <stdbool.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL"; // bpf_fib_lookup asks for it

// Both numbers mean the same to TCX and to clsact.
#define GO_ON -1 // TCX_NEXT, TC_ACT_UNSPEC: whoever is attached after us decides
#define DROP 2	 // TCX_DROP, TC_ACT_SHOT

// AF_INET and AF_INET6; the headers that have them need a libc.
#define FAMILY_4 2
#define FAMILY_6 10

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

// ---- What user space and the program share. bpf2go makes the Go types from these.

// A flow as both sides write it: addresses of 16 bytes (IPv4 as ::ffff:a.b.c.d),
// ports in network order.
struct flow_key {
	__u8 client[16];
	__u8 server[16];
	__be16 client_port;
	__be16 server_port;
};

enum flow_state {
	FLOW_SEE,    // all packets but pure ACKs are copied
	FLOW_UP,     // of the client's packets only those with SYN, FIN or RST are
	FLOW_BOTH,   // of all packets only those
	FLOW_HANDED, // it is the queue's now
	FLOW_DELETE, // only in an edit: forget it
};

// isn and state are changed together, as one word of 64 bits, so that user space
// never puts a state on a flow that a new SYN has made in the meantime.
struct flow {
	__u32 isn;
	__u32 state;
	__u32 lease;
	__u32 unused;
};

struct source {
	__u32 lease;
	__u32 generation;
};

struct lease {
	__s32 tokens; // how many more sessions may begin
	__u32 lost;   // copies lost; with any the lease gives no more
};

struct cut_source {
	__u64 until; // bpf_ktime_get_ns
	__u64 tat;   // of the meter of SYNs that are still answered
};

// At the head of every record in the ring; the IP packet follows.
struct head {
	__u32 length;   // of the IP packet on the wire
	__u32 captured; // how many bytes of it follow
	__u32 lease;
	__u8 down;      // the server's packet
	__u8 flags;
	__u16 unused;
};

enum copy_flag {
	COPY_TOKEN = 1, // a SYN that took a token
};

enum lost_end {
	LOST_FIN_UP = 1,
	LOST_FIN_DOWN = 2,
	LOST_RST = 4,
	LOST_SYN = 8,
};

struct edit {
	struct flow_key key;
	__u32 isn;
	__u32 state;
};

// Written by user space (first line of the cache) and by the program (second),
// read by both. User space maps it into its memory.
struct controls {
	__u64 alive_until; // bpf_ktime_get_ns; leases are good until then
	__u32 generation;  // of the sources that are known
	__u32 act;         // enforce: what is beyond a source's flood meter is dropped
	__u32 sleeping;    // user space waits for a wake-up
	__u32 unused[11];

	__u64 total_tat; // of the meter of all SYNs on their way to the queue
	__u64 lost;      // copies lost, all leases
};

// Per CPU. The names are those of lane.Stats.
struct stats {
	__u64 fast;         // packets let through by lease, SYNs included
	__u64 handed;       // packets of flows that are the queue's
	__u64 copies;
	__u64 copied_bytes; // of IP packets
	__u64 lost;         // copies that found no room
	__u64 ends_unnoted; // lost copies of SYN, FIN or RST that could not be noted either

	__u64 syn_fast;
	__u64 syn_again; // the same one once more, without a token

	// SYNs sent the way of the queue, by reason.
	__u64 syn_odd;     // with payload, FIN or RST: no kernel sends these but by Fast Open
	__u64 syn_unknown; // source without a lease
	__u64 syn_stale;   // source of an earlier generation
	__u64 syn_dead;    // user space has not said for too long that it is alive
	__u64 syn_lost;    // copies of this lease were lost
	__u64 syn_inside;  // to another subscriber
	__u64 syn_handed;  // of a flow that is the queue's
	__u64 syn_ring;    // no room for its copy
	__u64 syn_table;   // no room for its flow
	__u64 syn_token;   // lease used up
	__u64 syn_waited;  // the same one once more, which waited before

	__u64 cut_answered;
	__u64 cut_dropped;
	__u64 flood_dropped;
	__u64 flood_passed;
	__u64 total_dropped;
	__u64 total_passed;
};

// ---- Constants, set by user space before loading.

volatile const __u32 mark_mask = 0;
volatile const __u32 mark_fast = 0;
volatile const __u32 mark_see = 0;
volatile const __u8 routed = 0;
volatile const __u8 fail_open = 0;
// Meters in ns: what one SYN costs, and how much may have been spent in advance.
volatile const __u64 flood_step = 0;
volatile const __u64 flood_most = 0;
volatile const __u64 total_step = 0;
volatile const __u64 total_most = 0;
volatile const __u64 answer_step = 0;
volatile const __u64 answer_most = 0;

// ---- Maps. User space sets the sizes before loading.

struct controls control SEC(".data.control");

// Bits of the governed ports, 32 to an entry.
struct port_bits {
	__u32 governed;
	__u32 limited;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 32);
	__type(key, __u32);
	__type(value, struct port_bits);
} ports SEC(".maps");

// Interfaces behind which subscribers are, by index.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subscribers SEC(".maps");

// Allocated in advance: no allocation in the way of a packet.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u8[16]);
	__type(value, struct source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lease);
} leases SEC(".maps");

// Keys of blocked, meters and floods: an IPv4 address or an IPv6 /64.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u8[16]);
	__type(value, struct cut_source);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u8[16]);
	__type(value, __u64); // tat
} meters SEC(".maps");

// Who was beyond its meter, and by how many SYNs; user space takes them out.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u8[16]);
	__type(value, __u64);
} floods SEC(".maps");

// SYNs that took the way of the queue, by their ISN: one that comes again takes it again,
// even if its source has a lease by then, since a worker of the queue knows it already.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, __u32);
} waited SEC(".maps");

// Flows whose end user space has not seen (enum lost_end); it takes them out.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, __u32);
} lost_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} copies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats);
} counters SEC(".maps");

// ---- Headers.

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

// ---- Copies.

// wake tells user space of what was submitted, if it sleeps. It comes after the
// submission, which is a full barrier: user space says first that it sleeps and looks
// then into the ring, so that one of both sees the other. The flag is taken back
// first: if that happens too late, after user space has gone to sleep again, the
// wake-up comes later still.
static __always_inline void wake(void)
{
	if (!*(volatile __u32 *)&control.sleeping)
		return;
	*(volatile __u32 *)&control.sleeping = 0;

	void *poke = bpf_ringbuf_reserve(&copies, 8, 0);

	if (poke)
		bpf_ringbuf_discard(poke, BPF_RB_FORCE_WAKEUP);
}

static __always_inline int copy_as(struct __sk_buff *skb, __u32 at, __u32 length, __u32 lease, bool down, const __u32 room)
{
	struct head *h = bpf_ringbuf_reserve(&copies, sizeof(*h) + room, 0);
	__u32 n = length;

	if (!h)
		return -1;
	if (n > room)
		n = room;
	h->length = length;
	h->captured = n;
	h->lease = lease;
	h->down = down;
	h->flags = 0;
	h->unused = 0;
	// The verifier wants to see the bounds right here, the compiler knows that
	// they hold.
	asm volatile("" : "+r"(n));
	if (n == 0 || n > room || bpf_skb_load_bytes(skb, at, h + 1, n)) {
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
		return -1;
	}
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	wake();
	return n;
}

// copy puts the IP packet at into the ring. The verifier knows only reservations of
// a constant size, so there are some. Returns how many bytes it took, or -1.
static __noinline int copy(struct __sk_buff *skb, __u32 at, __u32 length, __u32 lease, bool down)
{
	if (length <= 128)
		return copy_as(skb, at, length, lease, down, 128);
	if (length <= 320)
		return copy_as(skb, at, length, lease, down, 320);
	if (length <= 640)
		return copy_as(skb, at, length, lease, down, 640);
	if (length <= 1536)
		return copy_as(skb, at, length, lease, down, 1536);
	if (length <= 4608)
		return copy_as(skb, at, length, lease, down, 4608);
	if (length <= 16384)
		return copy_as(skb, at, length, lease, down, 16384);
	return copy_as(skb, at, length, lease, down, 65536);
}

// copied copies p and keeps the books about it: whose copy was lost is never
// forgotten, since what it would have said is missing in that subscriber's budget.
static __always_inline void copied(struct __sk_buff *skb, struct packet *p, __u32 lease, struct stats *n)
{
	int took = copy(skb, p->at, p->length, lease, !p->up);

	if (took >= 0) {
		n->copies++;
		n->copied_bytes += took;
		return;
	}
	n->lost++;

	struct lease *l = bpf_map_lookup_elem(&leases, &lease);

	if (l)
		__sync_fetch_and_add(&l->lost, 1);

	__u32 bits = 0;

	if (p->tcp.flags & TCP_FIN)
		bits |= p->up ? LOST_FIN_UP : LOST_FIN_DOWN;
	if (p->tcp.flags & TCP_RST)
		bits |= LOST_RST;
	if (p->tcp.flags & TCP_SYN)
		bits |= LOST_SYN;
	if (bits) {
		__u32 *noted = bpf_map_lookup_elem(&lost_ends, &p->key);

		if (noted)
			__sync_fetch_and_or(noted, bits);
		else if (bpf_map_update_elem(&lost_ends, &p->key, &bits, BPF_ANY))
			n->ends_unnoted++;
	}
	// Last: user space looks for notes when this has grown.
	__sync_fetch_and_add(&control.lost, 1);
}

// ---- SYNs.

// inside tells whether the route leads to another subscriber.
static __always_inline bool inside(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_fib_lookup route = {
		.l4_protocol = IPPROTO_TCP,
		.sport = p->tcp.source,
		.dport = p->tcp.dest,
		.ifindex = skb->ifindex,
	};
	union ip *ip = &p->frame.ip;

	if (!p->v6) {
		route.family = FAMILY_4;
		route.tos = ip->v4.tos;
		route.ipv4_src = ip->v4.src;
		route.ipv4_dst = ip->v4.dst;
	} else {
		route.family = FAMILY_6;
		route.flowinfo = ip->v6.flow & bpf_htonl(0x0fffffff);
		copy16((__u8 *)route.ipv6_src, ip->v6.src);
		copy16((__u8 *)route.ipv6_dst, ip->v6.dst);
	}
	switch (bpf_fib_lookup(skb, &route, sizeof(route), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH: // the interface is known all the same
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		break;
	default:
		return false;
	}

	__u32 egress = route.ifindex;

	return bpf_map_lookup_elem(&subscribers, &egress);
}

// take takes a token. There is never less than none, not even for a moment: user
// space takes back what is left with one exchange.
static __always_inline bool take(struct lease *l)
{
#pragma unroll
	for (int i = 0; i < 8; i++) {
		__s32 old = *(volatile __s32 *)&l->tokens;

		if (old <= 0)
			return false;
		if (__sync_val_compare_and_swap(&l->tokens, old, old - 1) == old)
			return true;
	}
	return false; // eight processors were faster: the queue decides
}

#define SYN_ROOM 128 // the longest SYN without payload has 120 bytes

// leased lets a SYN through if its source has a lease and all that belongs to it
// can be had; otherwise it counts why not, and nothing has happened.
static __always_inline bool leased(struct __sk_buff *skb, struct packet *p, __u64 now, struct stats *n)
{
	__u32 isn = bpf_ntohl(p->tcp.seq), length = p->length;

	if (p->payload || p->tcp.flags & (TCP_FIN | TCP_RST)) {
		n->syn_odd++;
		return false;
	}

	__u32 *asked = bpf_map_lookup_elem(&waited, &p->key);

	if (asked && *asked == isn) {
		n->syn_waited++;
		return false;
	}

	struct source *source = bpf_map_lookup_elem(&sources, p->key.client);

	if (!source) {
		n->syn_unknown++;
		return false;
	}

	__u32 lease = source->lease;

	if (source->generation != *(volatile __u32 *)&control.generation) {
		n->syn_stale++;
		return false;
	}
	if (now >= *(volatile __u64 *)&control.alive_until) {
		n->syn_dead++;
		return false;
	}

	struct lease *l = bpf_map_lookup_elem(&leases, &lease);

	if (!l) {
		n->syn_unknown++;
		return false;
	}
	if (*(volatile __u32 *)&l->lost) {
		n->syn_lost++;
		return false;
	}
	if (routed && inside(skb, p)) {
		n->syn_inside++;
		return false;
	}

	struct head *h = bpf_ringbuf_reserve(&copies, sizeof(*h) + SYN_ROOM, 0);

	if (!h) {
		n->syn_ring++;
		return false;
	}
	h->length = length;
	h->captured = length;
	h->lease = lease;
	h->down = 0;
	h->flags = COPY_TOKEN;
	h->unused = 0;
	asm volatile("" : "+r"(length));
	if (length == 0 || length > SYN_ROOM || bpf_skb_load_bytes(skb, p->at, h + 1, length)) {
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
		n->syn_odd++;
		return false;
	}

	struct flow flow = {.isn = isn, .state = FLOW_SEE, .lease = lease};

	if (bpf_map_update_elem(&flows, &p->key, &flow, BPF_ANY)) {
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
		n->syn_table++;
		return false;
	}
	if (!take(l)) {
		bpf_map_delete_elem(&flows, &p->key);
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
		n->syn_token++;
		return false;
	}
	// What was noted of an earlier flow of this key is told by this SYN.
	bpf_map_delete_elem(&lost_ends, &p->key);
	n->syn_fast++;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	wake();
	n->copies++;
	n->copied_bytes += p->length;
	return true;
}

// flooding charges the source's own meter.
static __always_inline bool flooding(const __u8 *prefix, __u64 now)
{
	__u64 *tat = bpf_map_lookup_elem(&meters, prefix);

	if (!tat) {
		__u64 first = now + flood_step;

		bpf_map_update_elem(&meters, prefix, &first, BPF_ANY);
		return false;
	}
	if (within(tat, now, flood_step, flood_most))
		return false;

	__u64 *over = bpf_map_lookup_elem(&floods, prefix);
	__u64 one = 1;

	if (over)
		__sync_fetch_and_add(over, 1);
	else
		bpf_map_update_elem(&floods, prefix, &one, BPF_ANY);
	return true;
}

static __always_inline int syn(struct __sk_buff *skb, struct packet *p, struct stats *n)
{
	__u64 now = bpf_ktime_get_ns();
	__u8 prefix[16] __attribute__((aligned(8)));

	copy16(prefix, p->key.client);
	if (p->v6)
		__builtin_memset(prefix + 8, 0, 8);

	if (p->limited) {
		struct cut_source *b = bpf_map_lookup_elem(&blocked, prefix);

		if (b && now < b->until) {
			// Some go on, to be answered with a reset; answering all would
			// make of us what sends the other half of a flood.
			if (within(&b->tat, now, answer_step, answer_most)) {
				n->cut_answered++;
				return GO_ON;
			}
			n->cut_dropped++;
			return DROP;
		}
	}

	struct flow *known = bpf_map_lookup_elem(&flows, &p->key);

	if (known) {
		__u32 state = *(volatile __u32 *)&known->state;

		// The queue has this flow, and so it has what comes after it.
		if (state >= FLOW_HANDED) {
			n->syn_handed++;
			mark(skb, mark_see);
			return GO_ON;
		}
		// Sent again: it goes the way that it went, whatever has become of its lease.
		if (known->isn == bpf_ntohl(p->tcp.seq)) {
			n->syn_again++;
			n->fast++;
			mark(skb, mark_fast);
			copied(skb, p, known->lease, n);
			return GO_ON;
		}
	}

	if (leased(skb, p, now, n)) {
		n->fast++;
		mark(skb, mark_fast);
		return GO_ON;
	}

	// The way of the queue: from here on this flow is not ours. If there was one, the
	// mark tells the queue's worker that the follower knows of it.
	if (known) {
		bpf_map_delete_elem(&flows, &p->key);
		mark(skb, mark_see);
	}

	if (flooding(prefix, now)) {
		if (p->limited && *(volatile __u32 *)&control.act) {
			n->flood_dropped++;
			return DROP;
		}
		n->flood_passed++;
		mark(skb, mark_fast);
		return GO_ON;
	}

	__u32 isn = bpf_ntohl(p->tcp.seq);

	bpf_map_update_elem(&waited, &p->key, &isn, BPF_ANY);
	// Forged sources get around meters by source. What they have in common is
	// the way to user space.
	if (!within(&control.total_tat, now, total_step, total_most)) {
		if (!fail_open) {
			n->total_dropped++;
			return DROP;
		}
		n->total_passed++;
		mark(skb, mark_fast);
	}
	return GO_ON;
}

// ---- The programs: one for each kind of interface, so that the kind costs nothing.

static __always_inline int lane(struct __sk_buff *skb, const __u32 l2, const bool up)
{
	struct packet p;
	__u32 zero = 0;

	if (!parse(skb, &p, l2, up))
		return GO_ON;

	struct stats *n = bpf_map_lookup_elem(&counters, &zero);

	if (!n)
		return GO_ON;
	if ((p.tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		// A server that calls is nothing to us.
		return up ? syn(skb, &p, n) : GO_ON;
	}

	struct flow *f = bpf_map_lookup_elem(&flows, &p.key);

	if (!f)
		return GO_ON;

	__u32 state = *(volatile __u32 *)&f->state, lease = f->lease;

	if (state >= FLOW_HANDED) {
		n->handed++;
		mark(skb, mark_see);
		return GO_ON;
	}
	n->fast++;
	mark(skb, mark_fast);
	if (!(p.tcp.flags & (TCP_SYN | TCP_FIN | TCP_RST))) {
		if (!p.payload || state == FLOW_BOTH || (state == FLOW_UP && up))
			return GO_ON;
	}
	copied(skb, &p, lease, n);
	return GO_ON;
}

SEC("tc")
int subscriber_eth(struct __sk_buff *skb)
{
	return lane(skb, sizeof(struct ethernet), true);
}

SEC("tc")
int subscriber_ip(struct __sk_buff *skb)
{
	return lane(skb, 0, true);
}

SEC("tc")
int upstream_eth(struct __sk_buff *skb)
{
	return lane(skb, sizeof(struct ethernet), false);
}

SEC("tc")
int upstream_ip(struct __sk_buff *skb)
{
	return lane(skb, 0, false);
}

// desk changes flows for user space, which runs it (BPF_PROG_TEST_RUN) with a
// "packet" of edits; it is attached nowhere. A change is made only to the flow that
// is meant, the one with this ISN, and many are made with one system call. Returns
// how many were found.
#define DESK_HEAD 16 // a test packet begins with an Ethernet header
#define DESK_EDITS 64

SEC("tc")
int desk(struct __sk_buff *skb)
{
	__u32 found = 0;

	for (__u32 i = 0; i < DESK_EDITS; i++) {
		struct edit e;

		if (bpf_skb_load_bytes(skb, DESK_HEAD + i * sizeof(e), &e, sizeof(e)))
			break;

		struct flow *f = bpf_map_lookup_elem(&flows, &e.key);

		if (!f)
			continue;

		__u64 *word = (__u64 *)f;
		__u64 old = *(volatile __u64 *)word;

		if ((__u32)old != e.isn)
			continue;
		if (e.state >= FLOW_DELETE) {
			if (!bpf_map_delete_elem(&flows, &e.key))
				found++;
			continue;
		}
		if (__sync_val_compare_and_swap(word, old, (__u64)e.state << 32 | e.isn) == old)
			found++;
	}
	return found;
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What becomes of a SYN.

// route_for fills in what a route is looked up by.
static __always_inline void route_for(struct __sk_buff *skb, struct packet *p, struct bpf_fib_lookup *route)
{
	union ip *ip = &p->frame.ip;

	route->l4_protocol = IPPROTO_TCP;
	route->sport = p->tcp.source;
	route->dport = p->tcp.dest;
	route->ifindex = skb->ifindex;
	if (!p->v6) {
		route->family = FAMILY_4;
		route->tos = ip->v4.tos;
		route->ipv4_src = ip->v4.src;
		route->ipv4_dst = ip->v4.dst;
	} else {
		route->family = FAMILY_6;
		route->flowinfo = ip->v6.flow & bpf_htonl(0x0fffffff);
		copy16((__u8 *)route->ipv6_src, ip->v6.src);
		copy16((__u8 *)route->ipv6_dst, ip->v6.dst);
	}
}

// inside tells whether the route leads to another subscriber.
static __always_inline bool inside(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_fib_lookup route = {};

	route_for(skb, p, &route);
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
	if (load(skb, p->at, h, length, SYN_ROOM)) {
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
		n->syn_odd++;
		return false;
	}

	struct flow flow = {.isn = isn, .state = FLOW_SEE, .lease = lease, .port = skb->ifindex,
			    .in = p->at ? skb->ifindex : 0, .epoch = *(volatile __u32 *)&control.epoch};

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

// noted counts a SYN of a line that sends too many, for user space to tell whose it is.
static __always_inline void noted(const __u8 *line)
{
	__u64 *over = bpf_map_lookup_elem(&floods, line);
	__u64 one = 1;

	if (over)
		__sync_fetch_and_add(over, 1);
	else
		bpf_map_update_elem(&floods, line, &one, BPF_ANY);
}

enum pace {
	CALM,
	BUSY,  // more than is calm, no flood
	FLOOD, // beyond its own meter
};

// paced charges the meters of a line.
static __always_inline enum pace paced(const __u8 *line, __u64 now)
{
	struct meter *m = bpf_map_lookup_elem(&meters, line);

	if (!m) {
		struct meter first = {.tat = now + flood_step, .calm = now + calm_step};

		bpf_map_update_elem(&meters, line, &first, BPF_ANY);
		return CALM;
	}

	bool calm = within(&m->calm, now, calm_step, calm_most);

	if (!within(&m->tat, now, flood_step, flood_most))
		return FLOOD;
	return calm ? CALM : BUSY;
}

// crowded says whether half of what may wait for user space at once does.
static __always_inline bool crowded(__u64 now)
{
	__u64 tat = *(volatile __u64 *)&control.total_tat;

	return tat > now && tat - now > total_most / 2;
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

	bool act = p->limited && *(volatile __u32 *)&control.act;
	__u8 line[16] __attribute__((aligned(8)));

	copy16(line, prefix);
	if (p->v6)
		*(__u64 *)line &= line_mask;
	switch (paced(line, now)) {
	case FLOOD:
		noted(line);
		if (act) {
			n->flood_dropped++;
			return DROP;
		}
		n->flood_passed++;
		mark(skb, mark_fast);
		return GO_ON;
	case BUSY:
		// So that the few who send many do not take the room of all the others.
		if (act && crowded(now)) {
			noted(line);
			n->crowd_dropped++;
			return DROP;
		}
	case CALM:
		break;
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

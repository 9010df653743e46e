// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Copying packets into the ring.

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

// load puts n bytes of the packet, 1 to room, from at on behind a head. The verifier of Linux 6.12 learns from no comparison with 0 that a size is
// none, so it is shown the size as one more than what is compared.
static __always_inline long load(struct __sk_buff *skb, __u32 at, struct head *h, __u32 n, const __u32 room)
{
	__u32 last = n - 1;

	asm volatile("" : "+r"(last)); // or the compiler compares n
	if (last >= room)
		return -1;
	return bpf_skb_load_bytes(skb, at, h + 1, last + 1);
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
	if (load(skb, at, h, n, room)) {
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

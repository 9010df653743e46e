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

#include "shared.h"
#include "maps.h"
#include "packet.h"
#include "copies.h"
#include "syn.h"
#include "shortcut.h"

// unread lets a packet pass that would wait for somebody who does not read the queues: the
// process stands still, or is stopped. The kernel lets pass what waits in no queue only
// when nobody has bound it.
static __always_inline bool unread(struct __sk_buff *skb, struct stats *n)
{
	__u64 until = *(volatile __u64 *)&control.judged_until;

	if (!fail_open || !until || bpf_ktime_get_ns() < until)
		return false;
	n->unread++;
	mark(skb, mark_fast);
	return true;
}

// One program for each kind of interface, so that telling them apart costs nothing.

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
		return up && !unread(skb, n) ? syn(skb, &p, n) : GO_ON;
	}

	struct flow *f = bpf_map_lookup_elem(&flows, &p.key);

	if (!f) {
		unread(skb, n);
		return GO_ON;
	}
	// A bridge sends nothing back by the port from which it came: that is no server.
	if (!up && f->port == skb->ifindex)
		return GO_ON;

	__u32 state = *(volatile __u32 *)&f->state, lease = f->lease;

	if (state >= FLOW_HANDED) {
		n->handed++;
		if (unread(skb, n))
			return GO_ON;
		mark(skb, mark_see);
		// If it is the first that the kernel's connection tracking sees of the session, it
		// is invalid to it, and no queue gets it.
		if (p.tcp.flags & (TCP_FIN | TCP_RST))
			copied(skb, &p, lease, n);
		return GO_ON;
	}
	n->fast++;
	if (p.tcp.flags & (TCP_SYN | TCP_FIN | TCP_RST) || (p.payload && state != FLOW_BOTH && !(state == FLOW_UP && up)))
		copied(skb, &p, lease, n);
	if (cuts_short && l2) {
		int verdict = short_cut(skb, &p, f, n);

		if (verdict != GO_ON)
			return verdict;
		if (!up && p.tcp.flags & TCP_SYN)
			f->out = skb->ifindex;
	}
	mark(skb, mark_fast);
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

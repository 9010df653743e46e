// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What user space and the program share. bpf2go makes the Go types of these that are in
// maps; struct head and struct edit, and the numbers, are written once more in Go.

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
	__u32 port; // index of the interface by which its SYN came
	__u32 in;    // the interface by which the SYN came; 0: not an Ethernet device
	__u32 out;   // and the server's answer; 0: none yet
	__u32 epoch; // of the list of interfaces, when it began
};

struct source {
	__u32 lease;
	__u32 generation;
};

struct lease {
	__s32 tokens; // how many more sessions may begin
	__u32 lost;   // copies lost; with any the lease gives no more
};

// What a source has sent of SYNs that take the way of the queue.
struct meter {
	__u64 tat;  // of its flood meter
	__u64 calm; // of the one that counts when the queue is crowded
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
	__u32 epoch;       // of the list of interfaces
	__u64 short_until; // bpf_ktime_get_coarse_ns; until then nobody else looks at packets
	__u64 judged_until; // bpf_ktime_get_ns; from then on nobody reads the queues. 0: nobody has begun to
	__u32 unused[6];

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
	__u64 crowd_dropped; // of sources that send many, while the queue was crowded
	__u64 total_dropped;
	__u64 total_passed;
	__u64 unread; // packets that passed since nobody reads the queues

	// Of the packets in fast: those that we forwarded ourselves, and those that the
	// stack did, by reason.
	__u64 short_cut;
	__u64 stack_shut;   // no short cut is allowed
	__u64 stack_begins; // the answer to a SYN, and what was under way when interfaces changed
	__u64 stack_odd;    // options, a tag, somebody's mark, not for our MAC address, a wrong checksum
	__u64 stack_path;   // comes or leaves by other interfaces than the session began by
	__u64 stack_length; // longer than what leaves may be
	__u64 stack_route;  // not to be forwarded, the neighbour is not known, or a way that only the stack knows
};

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Constants and maps.

// Set by user space before loading.

volatile const __u32 mark_mask = 0;
volatile const __u32 mark_fast = 0;
volatile const __u32 mark_see = 0;
volatile const __u8 routed = 0;
volatile const __u8 fail_open = 0;
volatile const __u64 line_mask = 0; // in network order: what of the first half of an IPv6 address tells one line from another
volatile const __u8 cuts_short = 0; // false: the short cut is no part of the program, nor what it needs of the kernel
// Meters in ns: what one SYN costs, and how much may have been spent in advance.
volatile const __u64 flood_step = 0;
volatile const __u64 flood_most = 0;
volatile const __u64 calm_step = 0;
volatile const __u64 calm_most = 0;
volatile const __u64 total_step = 0;
volatile const __u64 total_most = 0;
volatile const __u64 answer_step = 0;
volatile const __u64 answer_most = 0;

// User space sets the sizes of the maps before loading.

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

// Keys of blocked: an IPv4 address or an IPv6 /64. Of meters and floods: that of a line,
// an IPv4 address or what line_mask leaves of an IPv6 one.
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
	__type(value, struct meter);
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

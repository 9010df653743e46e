// Package sources keeps the book of what each source address did: who nobody's line is and what came from there, and which
// addresses look like many senders behind one. It is for people to read; nothing is decided by it.
//
// # What is kept
//
// A source is an IPv4 address or an IPv6 /64, together with the subscriber that had it: when an address passes from one line
// to another, the second begins with an empty page. The book holds 16384 sources in 4.5 MB, made at once and touched as it
// fills. It is in memory only; a restart empties it.
//
// A quarter of the places is for sources of which no session has come to an end yet, the rest for those that really talked:
// forged addresses cost nothing but a SYN each, and they only ever push out each other. In either part the source that was
// seen longest ago makes room, and Stats.Forgotten counts it. What a session of a forgotten source does later is not
// counted.
//
// # Distinct counting
//
// Destinations are counted by linear counting in 512 bits: exact or nearly so for a few, with a standard error below 6 % up
// to 1000 and below 10 % up to 2000; a full field reads as 3194. They are those since First.
//
// TLS clients are told apart by the second part of JA4, the hash of the cipher list: one program has one, whether it sends
// SNI or resumes a session, which change the other parts. At most 8 are kept for each source; see [Source.Crowd] for the rule.
package sources

import (
	"hash/maphash"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of a Book.
const (
	Capacity     = 16384        // sources
	newcomers    = Capacity / 4 // of them those of which no session has ended
	destBits     = 512
	maxPrints    = 8
	chunk        = 64 // sources that are read with the lock held, some microseconds
	fullEstimate = 3194
)

// Book is safe for concurrent use: every method that counts takes a short mutex and well below a microsecond, and allocates
// nothing.
type Book struct {
	seed maphash.Seed

	mu        sync.Mutex
	pages     []page
	index     index
	fresh     list // no session has ended
	known     list
	free      int32 // the page to use next
	used      int32 // pages from here on were never used
	forgotten uint64
}

// page is what is known of one source.
type page struct {
	key
	hash       uint32
	prev, next int32 // in its list
	known      bool  // in which list

	unlisted                   bool
	first, last                uint32 // Unix seconds
	sessions, denied, messages uint64
	dests                      [destBits / 64]uint64
	prints                     [maxPrints]print
}

type key struct {
	addr       [16]byte // IPv4 as ::ffff:a.b.c.d; the lower half of other addresses is zero
	subscriber string
}

// Facts are what a session that came to its end tells.
type Facts struct {
	JA4      string // "" without a ClientHello
	Messages int    // accepted for certain
}

// Stats is how full the book is.
type Stats struct {
	Sources   int
	Forgotten uint64 // sources that made room since the start
}

// New makes an empty book.
func New() *Book { return newBook(Capacity, newcomers) }

func newBook(capacity, newcomers int) *Book {
	b := &Book{seed: maphash.MakeSeed(), pages: make([]page, capacity), index: newIndex(capacity)}
	b.fresh = list{most: newcomers, head: none, tail: none}
	b.known = list{most: capacity - newcomers, head: none, tail: none}
	return b
}

// Session counts a session's begin, let through or not: from addr, which is subscriber's (its id; that of an unmapped source
// when unlisted), to the network dest (zero: not known).
func (b *Book) Session(addr netip.Addr, subscriber string, unlisted bool, dest netip.Prefix, now time.Time) {
	k := keyOf(addr, subscriber)
	h := b.hash(k)
	var bit uint64
	if dest.IsValid() {
		to := dest.Addr().As16()
		bit = maphash.Bytes(b.seed, to[:]) % destBits
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.index.find(b.pages, k, h)
	if i == none {
		i = b.add(k, h, now)
	}
	p := &b.pages[i]
	p.unlisted = unlisted
	p.sessions++
	if dest.IsValid() {
		p.dests[bit/64] |= 1 << (bit % 64)
	}
	b.seen(i, now)
}

// Denied counts that the session just begun was not let through, or would not have been.
func (b *Book) Denied(addr netip.Addr, subscriber string) {
	k := keyOf(addr, subscriber)
	h := b.hash(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index.find(b.pages, k, h); i != none {
		b.pages[i].denied++
	}
}

// Ended counts what a session did that really was one: its TCP handshake was finished. Of others it is not to be called.
func (b *Book) Ended(addr netip.Addr, subscriber string, f Facts, now time.Time) {
	k := keyOf(addr, subscriber)
	h := b.hash(k)
	stack := b.stack(f.JA4)
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.index.find(b.pages, k, h)
	if i == none {
		return
	}
	p := &b.pages[i]
	p.messages += uint64(max(f.Messages, 0))
	if stack != 0 {
		p.use(stack, seconds(now))
	}
	if !p.known {
		b.fresh.remove(b.pages, i)
		if b.known.length == b.known.most {
			b.forget(b.known.tail)
		}
		p.known = true
		b.known.push(b.pages, i)
	}
	b.seen(i, now)
}

// Stats returns how full the book is.
func (b *Book) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Sources: b.fresh.length + b.known.length, Forgotten: b.forgotten}
}

// add gives a source that is not in the book a page, in front of the list of newcomers. The caller holds b.mu.
func (b *Book) add(k key, hash uint32, now time.Time) int32 {
	if b.fresh.length == b.fresh.most {
		b.forget(b.fresh.tail)
	}
	i := b.free
	p := &b.pages[i]
	b.free = i + 1
	if p.next != 0 { // given back: next is the page to use after it, counted from 1
		b.free = p.next - 1
	}
	b.used = max(b.used, i+1)
	*p = page{key: k, hash: hash, first: seconds(now)}
	b.fresh.push(b.pages, i)
	b.index.add(hash, i)
	return i
}

// forget makes page i free. The caller holds b.mu.
func (b *Book) forget(i int32) {
	p := &b.pages[i]
	if p.known {
		b.known.remove(b.pages, i)
	} else {
		b.fresh.remove(b.pages, i)
	}
	b.index.remove(b.pages, p.hash, i)
	*p = page{next: b.free + 1}
	b.free = i
	b.forgotten++
}

// seen puts page i in front of its list. The caller holds b.mu.
func (b *Book) seen(i int32, now time.Time) {
	p := &b.pages[i]
	p.last = seconds(now)
	l := &b.fresh
	if p.known {
		l = &b.known
	}
	if l.head != i {
		l.remove(b.pages, i)
		l.push(b.pages, i)
	}
}

func (b *Book) hash(k key) uint32 {
	return uint32(maphash.Bytes(b.seed, k.addr[:]) + 31*maphash.String(b.seed, k.subscriber))
}

func keyOf(addr netip.Addr, subscriber string) key {
	addr = addr.Unmap()
	k := key{addr: addr.As16(), subscriber: subscriber}
	if !addr.Is4() {
		clear(k.addr[8:])
	}
	return k
}

// prefix is what the key stands for.
func (k key) prefix() netip.Prefix {
	addr := netip.AddrFrom16(k.addr)
	if addr.Is4In6() {
		return netip.PrefixFrom(addr.Unmap(), 32)
	}
	return netip.PrefixFrom(addr, 64)
}

// seconds is a time in 32 bits: good from 1970 to 2106, and a clock without a battery begins in 1970.
func seconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// stack is the TLS client that a JA4 tells of, "t13d1516h2_8daaf6152771_02713d6af862", by its cipher list; 0 for none.
func (b *Book) stack(ja4 string) uint64 {
	if ja4 == "" {
		return 0
	}
	_, rest, _ := strings.Cut(ja4, "_")
	ciphers, _, _ := strings.Cut(rest, "_")
	if len(ciphers) == 12 {
		if n, err := strconv.ParseUint(ciphers, 16, 64); err == nil {
			return n | 1<<63
		}
	}
	return maphash.String(b.seed, ja4) | 1<<63
}

// destinations estimates how many distinct ones set the bits.
func (p *page) destinations() int {
	set := 0
	for _, w := range p.dests {
		set += bits.OnesCount64(w)
	}
	if set == destBits {
		return fullEstimate
	}
	return int(math.Round(-destBits * math.Log(float64(destBits-set)/destBits)))
}

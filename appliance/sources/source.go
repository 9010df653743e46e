package sources

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source is what one source did.
type Source struct {
	Prefix      netip.Prefix // an IPv4 /32 or an IPv6 /64
	Subscriber  string       // who had it; see Book.Session
	Unlisted    bool         // it was nobody's line when it was seen last
	First, Last time.Time    // to the second
	Sessions    uint64       // begun
	Denied      uint64       // of these not let through, or in mode observe not to be
	Messages    uint64
	// Destinations is about how many networks it contacted; see the package's comment.
	Destinations int
	// Clients is how many different TLS clients were there in the last 24 h; 8 means 8 or more.
	Clients int
	// Crowd says why the source looks like many behind one address, such as a carrier's NAT between the subscribers and the
	// box: at least 6 different TLS clients that each came back 10 minutes after their first session or later, all of them
	// there in the last 24 h and at least 3 in the last hour. "" when it does not. A mail server has one or two TLS clients,
	// a home with several computers three or four, and a bot that changes its own for each session none that come back. Many
	// senders with one and the same client, or without TLS, are not found out; and an office behind its own NAT looks like
	// what it is.
	Crowd string
}

// Unmapped lists the sources that were nobody's line, the one seen last first: at most limit, from cursor on, which is the
// next of the page before, or "" (as is any that is not understood). next is "" after the last page. A source that is seen
// meanwhile moves to the front, and may so be missing in what follows. tie takes the place of the prefix among those seen in the same second; nil: none does.
func (b *Book) Unmapped(limit int, cursor string, now time.Time, tie func(subscriber string) uint64) (some []Source, next string) {
	all := b.collect(now, func(p *page) bool { return p.unlisted })
	order := order
	if tie != nil {
		byPrefix := order
		order = func(a, b Source) int {
			if c := b.Last.Compare(a.Last); c != 0 {
				return c
			}
			return cmp.Or(cmp.Compare(tie(a.Subscriber), tie(b.Subscriber)), byPrefix(a, b))
		}
	}
	slices.SortFunc(all, order)
	if from, ok := parseCursor(cursor); ok {
		at, _ := slices.BinarySearchFunc(all, from, order)
		all = all[at:]
	}
	if limit = max(limit, 1); len(all) > limit {
		return all[:limit:limit], cursorAt(all[limit])
	}
	return all, ""
}

// Crowds lists every source, of a subscriber or not, that looks like many behind one address, the one seen last first.
func (b *Book) Crowds(now time.Time) []Source {
	all := b.collect(now, func(p *page) bool { return p.crowded(seconds(now)) })
	slices.SortFunc(all, order)
	return all
}

// collect reads the pages that are wanted, a few at a time: what counts never waits for what is shown.
func (b *Book) collect(now time.Time, want func(*page) bool) []Source {
	var all []Source
	var some [chunk]page
	for from, used := 0, 1; from < used; from += chunk {
		n := 0
		b.mu.Lock()
		used = int(b.used)
		for i := from; i < min(from+chunk, used); i++ {
			if p := &b.pages[i]; p.sessions > 0 && want(p) {
				some[n] = *p
				n++
			}
		}
		b.mu.Unlock()
		for i := range some[:n] {
			all = append(all, some[i].source(seconds(now)))
		}
	}
	return all
}

func (p *page) source(now uint32) Source {
	return Source{
		Prefix: p.prefix(), Subscriber: p.subscriber, Unlisted: p.unlisted,
		First: time.Unix(int64(p.first), 0).UTC(), Last: time.Unix(int64(p.last), 0).UTC(),
		Sessions: p.sessions, Denied: p.denied, Messages: p.messages,
		Destinations: p.destinations(), Clients: p.clients(now), Crowd: p.crowd(now),
	}
}

// order is the one seen last first, and the same for the same sources.
func order(a, b Source) int {
	return cmp.Or(b.Last.Compare(a.Last), a.Prefix.Compare(b.Prefix), cmp.Compare(a.Subscriber, b.Subscriber))
}

func cursorAt(s Source) string {
	return strconv.FormatInt(s.Last.Unix(), 10) + "," + s.Prefix.String() + "," + s.Subscriber
}

func parseCursor(cursor string) (Source, bool) {
	last, rest, _ := strings.Cut(cursor, ",")
	prefix, subscriber, ok := strings.Cut(rest, ",")
	at, err := strconv.ParseInt(last, 10, 64)
	p, bad := netip.ParsePrefix(prefix)
	return Source{Last: time.Unix(at, 0), Prefix: p, Subscriber: subscriber}, ok && err == nil && bad == nil
}

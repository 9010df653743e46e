package responder

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of what is announced. Whoever announces does so on the packet path, so
// nothing here takes longer than a map access, whatever a flood does.
const (
	keep         = time.Minute // an announced answer waits for its client that long, and at most twice
	maxPending   = 32768       // in each generation; over it the general answer is given
	maxPerClient = 256         // of these for one client address (IPv6: one /64)
)

// pending holds the answers that were announced, in two generations: after keep
// the younger becomes the older and the older is forgotten as a whole.
type pending struct {
	mu           sync.Mutex
	young, old   map[netip.AddrPort]string
	clients      map[netip.Addr]int // announced in the young generation
	turned       time.Time
	overcrowded  uint64
	perClientMax int
}

func newPending(now time.Time) *pending {
	return &pending{young: map[netip.AddrPort]string{}, clients: map[netip.Addr]int{}, turned: now, perClientMax: maxPerClient}
}

// put announces text for client.
func (p *pending) put(client netip.AddrPort, text string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	who := network(client.Addr())
	if _, again := p.young[client]; !again {
		if len(p.young) >= maxPending || p.clients[who] >= p.perClientMax {
			p.overcrowded++
			return // the general answer will do
		}
		p.clients[who]++
	}
	p.young[client] = text
}

// take gives the text announced for client, once.
func (p *pending) take(client netip.AddrPort, now time.Time) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	text, ok := p.young[client]
	if ok {
		delete(p.young, client)
		who := network(client.Addr())
		if p.clients[who]--; p.clients[who] <= 0 {
			delete(p.clients, who)
		}
		return text, true
	}
	text, ok = p.old[client]
	delete(p.old, client)
	return text, ok
}

// turn makes the young generation the old one when its time has come. The caller
// holds p.mu. Forgetting a map costs the same, however full it is.
func (p *pending) turn(now time.Time) {
	if now.Sub(p.turned) < keep {
		return
	}
	p.old = p.young
	if now.Sub(p.turned) >= 2*keep {
		p.old = nil
	}
	p.young, p.clients, p.turned = map[netip.AddrPort]string{}, map[netip.Addr]int{}, now
}

// network is what counts as one client: an IPv4 address, or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

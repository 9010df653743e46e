package webadmin

import (
	"net/http"
	"net/netip"
	"sync"
)

// Requests that may be under way at once: each takes some 30 kB, in the process that judges packets, for as long as its client takes to read the answer.
const (
	requestsMost = 256
	requestsEach = 64 // of one address, or of one IPv6 network of 64 bits
)

// crowd are the requests that are under way.
type crowd struct {
	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// neighbours are all addresses that one computer can easily have.
func neighbours(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// enter lets a request of an address in; false: there are too many, and leave is not to be called.
func (c *crowd) enter(a netip.Addr) bool {
	who := neighbours(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= requestsMost || c.of[who] >= requestsEach {
		return false
	}
	if c.of == nil {
		c.of = map[netip.Prefix]int{}
	}
	c.all++
	c.of[who]++
	return true
}

func (c *crowd) leave(a netip.Addr) {
	who := neighbours(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.of[who]--; c.of[who] == 0 {
		delete(c.of, who)
	}
}

// bounded serves no more requests at once than a small box has memory for. Who is turned away gets a head alone: a body would have to be kept until it is read.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := peer(r)
		if !s.crowd.enter(from) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer s.crowd.leave(from)
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 2 { // what is left of the answer is kept here until its client gives room for it, and it is under way until then
			_ = http.NewResponseController(w).Flush()
		}
	})
}

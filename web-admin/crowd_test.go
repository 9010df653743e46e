package webadmin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// No more requests are under way at once than the box has memory for, and nobody takes the places of all; who is turned away gets nothing that would be kept.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	began, goOn := make(chan struct{}), make(chan struct{})
	h := s.bounded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-goOn }))
	ask := func(from string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", "/login", nil), httptest.NewRecorder()
		r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 1).String()
		h.ServeHTTP(w, r)
		return w
	}
	ended := make(chan int)
	inside := 0
	let := func(from string) {
		t.Helper()
		go func() { ended <- ask(from).Code }()
		<-began
		inside++
	}
	refused := func(from string) {
		t.Helper()
		if w := ask(from); w.Code != http.StatusServiceUnavailable || w.Body.Len() != 0 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, %d bytes, %v", from, w.Code, w.Body.Len(), w.Header())
		}
	}
	for n := range requestsEach {
		let(fmt.Sprintf("2001:db8::%x", n+1))
	}
	refused("2001:db8::ffff")
	for n := range requestsMost - requestsEach {
		let(fmt.Sprintf("192.0.2.%d", n))
	}
	refused("198.51.100.1")
	close(goOn)
	for range inside {
		if code := <-ended; code != http.StatusOK {
			t.Error(code)
		}
	}
	if s.crowd.all != 0 || len(s.crowd.of) != 0 {
		t.Errorf("%d are still inside, of %d", s.crowd.all, len(s.crowd.of))
	}
}

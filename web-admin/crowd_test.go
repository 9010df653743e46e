package webadmin

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
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

// Who asks for pages over HTTP/2 and gives no room for the answers, in as many connections and streams as they may, has no more than requestsEach of them kept.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	const conns = 8
	kept, turned, reset := 0, 0, 0
	for range conns {
		c, err := tls.Dial("tcp", strings.Trim(strings.TrimPrefix(s.URL(), "https:"), "/"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(c, c)
		if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
			t.Fatal(err)
		}
		const streams = streamsMost + 8
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for n := range uint32(streams) {
			block.Reset()
			for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "box"}, {":path", "/"}} {
				if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
		}
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		for answered := 0; answered < streams; {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("after %d answers: %v", answered, err)
			}
			switch x := frame.(type) {
			case *http2.MetaHeadersFrame:
				answered++
				switch status := x.PseudoValue("status"); {
				case status == "303" && !x.StreamEnded(): // nobody has been here yet
					kept++
				case status == "503" && x.StreamEnded():
					turned++
				default:
					t.Errorf("%s, ended %v", status, x.StreamEnded())
				}
			case *http2.RSTStreamFrame:
				answered++
				reset++
			case *http2.SettingsFrame:
				if !x.IsAck() {
					if err := f.WriteSettingsAck(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if kept != requestsEach || turned == 0 || reset == 0 {
		t.Errorf("%d answers are kept, %d were turned away, %d refused", kept, turned, reset)
	}
}

// What clients of HTTP/2 send beside what is read has little room: without a bound the few connections of one address take all memory.
func TestBodiesThatNobodyReadsAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	c, err := tls.Dial("tcp", strings.Trim(strings.TrimPrefix(s.URL(), "https:"), "/"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if err := errors.Join(f.WriteSettings(), f.WritePing(false, [8]byte{7})); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	one, all, answered := uint32(65535), uint32(65535), false // RFC 9113, 6.9.2
	for !answered {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch x := frame.(type) {
		case *http2.SettingsFrame:
			if v, told := x.Value(http2.SettingInitialWindowSize); told {
				one = v
			}
		case *http2.WindowUpdateFrame:
			all += x.Increment
		case *http2.PingFrame:
			answered = x.IsAck()
		}
	}
	if one > windowOf || all > windowOf {
		t.Errorf("one request may send %d bytes, and all of a connection %d", one, all)
	}
}

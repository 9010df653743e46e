package webadmin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

// Server is the web admin. New binds its addresses, Run serves them until its context ends.
type Server struct {
	opt    Options
	tcp    net.Listener // nil when Options.Listen is empty
	socket net.Listener
	ready  chan struct{}
}

// New prepares the token and the certificate pair (making them at the first start) and binds the addresses, so that an address in
// use is told before anything else starts. Whoever does not call Run afterwards calls Close.
func New(o Options) (*Server, error) {
	if o.Source == nil || o.DataDir == "" {
		return nil, errors.New("webadmin: Source and DataDir are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	s := &Server{opt: o, ready: make(chan struct{})}
	return s, nil
}

// Run serves until ctx ends, then lets running requests finish for at most two seconds. It returns nil when ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	close(s.ready)
	<-ctx.Done()
	return nil
}

// Ready is closed once requests are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Close gives the addresses back without having run.
func (s *Server) Close() error { return nil }

// URL is where the pages are, for a person to open: "https://HOST:PORT/"; empty without a TCP address.
func (s *Server) URL() string { return "" }

// TokenFile is the path of the file that holds the admin token.
func (s *Server) TokenFile() string { return "" }

package webadmin

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/web-admin/door"
	"github.com/mailweir/mailweir/web-admin/sentences"
	"github.com/mailweir/mailweir/web-admin/users"
)

// UsersFile is beside the other data; without it nobody has been here yet.
const UsersFile = "users.json"

const (
	drainFor       = 2 * time.Second
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 16 << 10
	maxCertBytes   = 256 << 10
	maxStreams     = 48 // event streams at once; more get 503. One address alone has room for pages beside them
	streamsMost    = 32 // requests at once in one connection of HTTP/2
	// windowOf is what a connection of HTTP/2 may have sent that nobody has read yet, and so each request of it: Go's own 1 MiB for each would let a few
	// addresses take all memory. It is no less for a request than what its client may send before it knows (RFC 9113, 6.9.2).
	windowOf = 64 << 10
)

// Server is the web admin. New binds its addresses, Run serves them until its context ends. Run waits for what it started.
type Server struct {
	opt      Options
	box      machine // the source, or who is in its place
	token    token
	keeper   *keeper
	users    *users.Store
	veil     *veil
	setup    setup
	wizard   *progress
	logins   *logins
	bearers  *throttle[netip.Addr] // apart from doors, so that a script with an old token does not lock a person out
	doors    *throttle[netip.Addr]
	accounts *throttle[string] // passwords, by name
	codes    *throttle[string] // of second factors, by name
	exports  *throttle[string] // of records, by who wants them
	refusals *refusals
	crowd    crowd
	sealing  sync.Mutex // one backup is locked or opened at a time: 32 MiB
	lookback lookback

	sentences atomic.Pointer[sentences.Set] // what callers are told

	pages   map[string]*template.Template
	assets  map[string]asset
	streams chan struct{} // one slot per running event stream

	listening *Doors
	door      *door.Door // nil where there is no TCP address
	ready     chan struct{}
}

// New prepares the token and the certificate pair (making them at the first start) and binds the addresses, so that an address in
// use is told before anything else starts. Whoever does not call Run afterwards calls Close.
func New(o Options) (*Server, error) {
	if (o.Source == nil) == (o.Recovery == nil) || o.DataDir == "" {
		return nil, errors.New("web admin: DataDir is required, and one of Source and Recovery")
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
	if o.Audit == nil {
		o.Audit = func(AuditEvent) {}
	}
	s := &Server{
		opt:      o,
		box:      o.Source,
		logins:   &logins{now: o.Now},
		bearers:  &throttle[netip.Addr]{now: o.Now, every: tryEvery},
		doors:    &throttle[netip.Addr]{now: o.Now, every: tryEvery},
		accounts: &throttle[string]{now: o.Now, every: tryEvery, spare: "\x00"},
		codes:    &throttle[string]{now: o.Now, every: codeTryEvery, spare: "\x00"},
		exports:  &throttle[string]{now: o.Now, atOnce: exportsAtOnce, every: exportEvery, spare: "\x00"},
		wizard:   &progress{path: filepath.Join(o.DataDir, "wizard.json")},
		streams:  make(chan struct{}, maxStreams),
		ready:    make(chan struct{}),
	}
	if o.Sentences == nil {
		o.Sentences = sentences.Builtin(sentences.Languages[0])
	}
	s.sentences.Store(o.Sentences)
	s.refusals = &refusals{now: o.Now, tell: s.tellRefused}
	if o.Recovery != nil {
		s.box = o.Recovery
	}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = parsePages(s.assets); err != nil {
		return nil, err
	}
	if s.token, err = loadToken(s.TokenFile()); err != nil {
		return nil, err
	}
	var damaged error
	if s.users, damaged, err = users.Open(filepath.Join(o.DataDir, UsersFile), o.Now); err != nil {
		return nil, err
	}
	if damaged != nil {
		o.Log.Error("web admin: there are no users any more; make the first one again with `mailweir users setup-code`", "err", damaged)
	}
	s.veil = newVeil(o.Source, derived(s.users.Key(), "masks"))
	s.keeper = newKeeper(filepath.Join(o.DataDir, "tls"), o.Now, s.box.Clock, o.Log)
	if o.Pair == nil {
		p, err := ReadPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		o.Pair = &p
	}
	if err := s.keeper.show(*o.Pair); err != nil {
		return nil, err
	}
	if o.Doors == nil {
		if o.Doors, err = Bind(o.DataDir, o.Listen); err != nil {
			return nil, err
		}
	}
	if s.listening = o.Doors; s.listening.TCP != nil {
		s.door = door.New(s.listening.TCP, s.keeper.current)
	}
	return s, nil
}

// Run serves until ctx ends, then lets running requests finish for at most two seconds. It returns nil when ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	// Requests live in ctx, so that event streams end with it and Shutdown has nothing to wait for.
	base := func(net.Listener) context.Context { return ctx }
	server := func(h http.Handler) *http.Server {
		return &http.Server{
			Handler: h, BaseContext: base, MaxHeaderBytes: maxHeaderBytes,
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
			ErrorLog: slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug), // mostly browsers that do not know the certificate yet
		}
	}
	local := server(s.localHandler())
	servers := []*http.Server{local}
	ended := make(chan error, 2)
	go func() { ended <- local.Serve(s.listening.Socket) }()
	if s.door != nil {
		public := server(s.bounded(s.handler()))
		public.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streamsMost, MaxReceiveBufferPerConnection: windowOf, MaxReceiveBufferPerStream: windowOf}
		public.Protocols = new(http.Protocols)
		public.Protocols.SetHTTP1(true)
		public.Protocols.SetHTTP2(true)
		servers = append(servers, public)
		go func() { ended <- public.Serve(s.door) }()
		s.opt.Log.Info("web admin answers", "url", s.URL(), "certificate_sha256", s.keeper.fingerprint(), "token_file", s.TokenFile())
		if !s.users.Any() {
			s.opt.Log.Info("web admin: there is no user yet; `mailweir users setup-code` shows the code for the first visit")
		}
	}
	close(s.ready)
	watched := make(chan struct{})
	watching, unwatch := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		s.watchClock(watching)
	}()
	defer func() {
		unwatch()
		<-watched
	}()

	var first error
	left := len(servers)
	select {
	case <-ctx.Done():
	case first = <-ended: // a listener broke: this is not survivable in place, the caller decides
		left--
	}
	s.listening.Hide()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	for _, h := range servers {
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	}
	for range left {
		<-ended
	}
	s.refusals.end()
	if first != nil && !errors.Is(first, http.ErrServerClosed) {
		return fmt.Errorf("web admin: %w", first)
	}
	return nil
}

// Ready is closed once requests are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Close gives the addresses back without having run. It may be called again.
func (s *Server) Close() error { return s.listening.Close() }

// URL is where the pages are, for a person to open: "https://HOST:PORT/"; empty without a TCP address. An address that stands for
// all of them is shown as localhost.
func (s *Server) URL() string {
	if s.door == nil {
		return ""
	}
	addr := s.door.Addr().(*net.TCPAddr)
	host := "localhost"
	if !addr.IP.IsUnspecified() {
		host = addr.IP.String()
	}
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(host, fmt.Sprint(addr.Port)), Path: "/"}
	return u.String()
}

// TokenFile is the path of the file that holds the admin token.
func (s *Server) TokenFile() string { return filepath.Join(s.opt.DataDir, "admin.token") }

// Fingerprint is the SHA-256 of the certificate in use, as browsers show it.
func (s *Server) Fingerprint() string { return s.keeper.fingerprint() }

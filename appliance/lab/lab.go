// Package lab is a mail network on one machine: subscribers, the box and an
// internet, each in network namespaces of their own, with real Postfix and
// Exim from Debian on both sides and light SMTP clients of our own.
//
//	homes, mail servers ── switch ── lan0 [box] wan0 ── backbone ── mail servers
//	100.64.0.0/16, 2001:db8:1000::/36           198.51.100.0/24, 203.0.113.0/24, 2001:db8:f000::/36
//
// A NAS that tells the box by RADIUS who has which address stands on a network
// of its own behind mgmt0 (192.0.2.0/24). Machines may change their addresses
// while everything runs.
//
// Nothing of it touches the host: no interface appears there, no package is
// installed, no file outside the lab's own directory and the package cache is
// written. The namespaces have no names; they live as long as a process holds
// them, so they cannot outlast the lab. Everything that runs inside is killed
// by the kernel when the lab's process dies (PR_SET_PDEATHSIG, and a process
// namespace per mail server), a small keeper process then removes the
// directory, and the sweep at the next start removes what a keeper that was
// killed as well left behind.
//
// Root is needed, and a program that uses the package calls Reexec first
// thing in main (or TestMain): commands reach their namespace by running the
// program's own binary once more.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// Options says how a lab is built. The zero value is good.
type Options struct {
	// Log gets one line per step; nil discards.
	Log *slog.Logger
	// Cache is where unpacked Debian packages are kept; "" means
	// $XDG_CACHE_HOME/mailweir-lab, or /var/cache/mailweir-lab.
	Cache string
	// Dir is where the lab makes its own directory; "" means the system's
	// temporary directory.
	Dir string
	// Place is where the box stands; the zero value routes.
	Place Place
}

// Lab is a running network. It is safe for concurrent use.
type Lab struct {
	// ID names this run; several labs may run on one machine.
	ID string
	// Dir is the lab's own directory, removed by Close. Callers may put files
	// of their own into it.
	Dir string
	// Box is where mailweir runs: lan0 faces the subscribers, wan0 the internet.
	Box *Namespace
	// Router routes between both sides: the box itself, unless that is a bridge.
	Router *Namespace
	// CA signs every mail server's certificate.
	CA *CA

	log   *slog.Logger
	cache string
	net   *network
	reg   *registration

	mu      sync.Mutex
	servers []*MailServer
	homes   []*Home
	closed  bool

	unpack sync.Mutex              // held while packages are fetched
	trees  map[string]*packageTree // by PackageSet.Name
}

// Start sweeps what dead labs left behind and builds the network: switch, box
// and backbone, forwarding on, no mailweir. The context bounds the start only.
func Start(ctx context.Context, o Options) (*Lab, error) {
	if !reexecArmed.Load() {
		return nil, errors.New("lab: the program does not call lab.Reexec first thing in main")
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("lab: root is needed for network namespaces and mounts")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Cache == "" {
		o.Cache = defaultCache()
	}
	if _, err := Sweep(); err != nil {
		o.Log.Warn("sweep of earlier labs", "err", err)
	}
	dir, err := os.MkdirTemp(o.Dir, "mailweir-lab-")
	if err != nil {
		return nil, fmt.Errorf("lab directory: %w", err)
	}
	// Mail servers reach their own files below it under users of their own.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l := &Lab{ID: filepath.Base(dir)[len("mailweir-lab-"):], Dir: dir, log: o.Log, cache: o.Cache, trees: map[string]*packageTree{}}
	if l.reg, err = register(l.ID, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := l.build(ctx, o.Place); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, place Place) error {
	var err error
	if l.CA, err = newCA("lab " + l.ID); err != nil {
		return err
	}
	if l.net, err = newNetwork(l.ID, place); err != nil {
		return err
	}
	l.Box, l.Router = l.net.box, l.net.router
	return ctx.Err()
}

// Close stops what runs and removes all of it. It may be called twice.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	servers := l.servers
	l.mu.Unlock()

	var wg sync.WaitGroup
	errs := make([]error, len(servers))
	for i, s := range servers {
		wg.Go(func() { errs[i] = s.Stop() })
	}
	wg.Wait()
	if l.net != nil {
		errs = append(errs, killInside(l.net.all()))
		l.net.close()
	}
	return errors.Join(errors.Join(errs...), l.reg.close())
}

// Homes returns the homes in the order they were added.
func (l *Lab) Homes() []*Home {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Home(nil), l.homes...)
}

// Servers returns the mail servers in the order they were added.
func (l *Lab) Servers() []*MailServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*MailServer(nil), l.servers...)
}

// Side says where in the network something stands.
type Side uint8

// The sides of the box: its wan0, its lan0, and mgmt0, which a lab has once
// something stands there.
const (
	Internet Side = iota
	Subscribers
	Management
)

// Line is a place in the network: one machine with its addresses.
type Line struct {
	Name      string
	Namespace *Namespace
	IPv4      netip.Addr
	IPv6      netip.Addr
	// Prefix6 is what the box routes to this machine: a subscriber's /56, a /48
	// on the internet side, the address alone on the management network.
	Prefix6 netip.Prefix

	router *Namespace
	dev    string     // the router's interface on this side
	link   netip.Addr // link-local: what the router's IPv6 routes to it go by
}

// Home is a subscriber without a mail server of its own: mail leaves by the
// lab's own SMTP client, from this machine.
type Home struct{ Line }

// AddHome puts one more home behind lan0.
func (l *Lab) AddHome(name string) (*Home, error) {
	line, err := l.addLine(name, Subscribers)
	if err != nil {
		return nil, err
	}
	h := &Home{Line: line}
	l.mu.Lock()
	l.homes = append(l.homes, h)
	l.mu.Unlock()
	return h, nil
}

// AddHost puts one more machine behind one of the box's interfaces. Nothing runs
// on it but what the caller starts.
func (l *Lab) AddHost(name string, side Side) (Line, error) { return l.addLine(name, side) }

func (l *Lab) addLine(name string, side Side) (Line, error) {
	line, err := l.net.addLine(name, side)
	if err != nil {
		return Line{}, fmt.Errorf("add %s: %w", name, err)
	}
	return line, nil
}

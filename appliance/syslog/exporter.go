// Package syslog sends records to collectors: RFC 5424 lines over UDP (RFC 5426) and TCP (RFC 6587, octet counting).
//
// Every target has a bounded queue and one goroutine. A collector that is away is dialled again with growing pauses, while its
// queue fills; when that is full the newest record is dropped for this target, and a Loss event says how many and between which
// numbers as soon as half of the queue is free again.
//
// # What may be lost
//
// Neither transport has acknowledgements from the collector.
//   - UDP: whatever the network or the collector's socket drops, unseen. Where the collector's host answers that nobody listens
//     (ICMP port unreachable), the last record is sent again later; others sent before the answer came are gone. From then on
//     each new connection begins with one record and 200 ms for the host to refuse it.
//   - TCP: a record is kept until the collector's kernel has acknowledged its bytes, and sent again on the next connection
//     otherwise, so a broken connection costs nothing that was on the way and may bring a record twice (same event). What the
//     collector's kernel had taken and its process had not yet read when it died is gone.
//   - Either: what is still queued when the process dies or the drain time ends. The gap in seq shows it.
package syslog

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailweir/mailweir/appliance/records"
)

// Config is what an Exporter needs. Zero values of the later fields mean the defaults stated with them.
type Config struct {
	Targets  []string // URLs, udp://HOST[:514] or tcp://HOST[:514]; tls:// and relp:// are listed in Status and get nothing
	Facility int      // 0 to 23
	Log      *slog.Logger
	Now      func() time.Time
	OnEvent  func(Event) // called from the targets' goroutines; it must not block

	Queue    int           // records per target; 8192, at most about 12 MiB of memory
	MinPause time.Duration // the first pause before dialling again; 500 ms
	MaxPause time.Duration // pauses double up to here; 30 s
	Drain    time.Duration // how long Run goes on sending after its context has ended; 5 s
}

// What an Event tells.
const (
	Down = "down" // the collector does not take records any more
	Up   = "up"   // it does again
	Loss = "loss" // records were dropped for this target
)

// Event is something that a HEALTH record should tell.
type Event struct {
	What     string // Down, Up or Loss
	Target   string // URL
	Time     time.Time
	Err      string // Down: why
	Count    uint64 // Loss: how many
	FirstSeq uint64 // Loss: the first of them ...
	LastSeq  uint64 // ... and the last; not all between need be missing
}

// Health is the event as an entry for the records.
func (e Event) Health() records.Entry {
	f := records.HealthFacts{Time: e.Time, Target: e.Target, Count: e.Count, FirstSeq: e.FirstSeq, LastSeq: e.LastSeq}
	switch e.What {
	case Down:
		f.What, f.Detail = "collector_down", e.Err
	case Up:
		f.What, f.Good = "collector_up", true
	case Loss:
		f.What, f.Detail = "record_loss", "the queue for this collector was full"
	}
	return records.Health(f)
}

// Status is how a target stands.
type Status struct {
	URL       string
	Up        bool // the last attempt to send worked; with UDP nobody can know more
	Sent      uint64
	Behind    int    // records queued or not yet acknowledged
	Dropped   uint64 // records never sent since the start
	LastError string // of the present trouble, empty while Up
}

// Exporter sends every record to all targets.
type Exporter struct {
	cfg     Config
	targets []*target
}

// New checks the targets' URLs; it opens nothing yet.
func New(cfg Config) (*Exporter, error) {
	cfg.Queue = orDefault(cfg.Queue, 8192)
	cfg.MinPause = orDefault(cfg.MinPause, 500*time.Millisecond)
	cfg.MaxPause = orDefault(cfg.MaxPause, 30*time.Second)
	cfg.Drain = orDefault(cfg.Drain, 5*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	x := &Exporter{cfg: cfg}
	for _, raw := range cfg.Targets {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("syslog target %q is not a URL with a host", raw)
		}
		t := &target{cfg: &x.cfg, url: raw, queue: make(chan item, cfg.Queue)}
		switch u.Scheme {
		case "udp", "tcp":
			t.network = u.Scheme
			port := u.Port()
			if port == "" {
				port = "514"
			}
			t.address = net.JoinHostPort(u.Hostname(), port)
			t.status.LastError = "not tried yet"
		case "tls", "relp":
			t.status.LastError = u.Scheme + ":// is not active yet"
		default:
			return nil, fmt.Errorf("syslog target %q has none of the schemes udp, tcp, tls, relp", raw)
		}
		t.status.URL = raw
		x.targets = append(x.targets, t)
	}
	return x, nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Send queues a record for every target and never blocks. It keeps nothing of r. Call it in the order of seq.
func (x *Exporter) Send(r records.Record) {
	it := item{seq: r.Seq}
	for _, t := range x.targets {
		if t.network == "" {
			continue
		}
		if it.line == nil {
			it.line = r.AppendLine(make([]byte, 0, 1024), x.cfg.Facility)
		}
		t.put(it)
	}
}

// Run sends until ctx ends, then drains the queues as far as Config.Drain allows, and returns nil. Whoever calls it waits for it.
func (x *Exporter) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range x.targets {
		if t.network != "" {
			g.Go(func() error { t.run(ctx); return nil })
		}
	}
	return g.Wait()
}

// Status tells of every target, in the order of Config.Targets.
func (x *Exporter) Status() []Status {
	all := make([]Status, 0, len(x.targets))
	for _, t := range x.targets {
		all = append(all, t.state())
	}
	return slices.Clip(all)
}

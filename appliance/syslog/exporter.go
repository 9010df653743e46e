// Package syslog sends records to collectors: RFC 5424 lines over UDP (RFC 5426), TCP (RFC 6587, octet counting), TLS (RFC 5425), and RELP,
// also over TLS.
//
// Records come from the spool, where they are on the disk before anybody sends them. Every target has one goroutine and a position of its own
// in the spool, so that one that is away, or slow, holds up nobody else. A collector that is away is dialled again with growing pauses.
//
// # What may be lost, and what may come twice
//
//   - RELP: the collector acknowledges each record, and the position follows. Nothing is lost that the spool still has; what was sent and not
//     acknowledged when a connection ended, at most Window records, comes twice, with the same event.
//   - TCP and TLS: the protocol acknowledges nothing, and what a collector's kernel acknowledges its program need not have read. But one that ends a
//     connection after we ended our side of it, and does not reset it, has read everything (a proxy in between has, and nobody else). So we end each after maxUnproven bytes or proveAfter, and when we stop, and
//     go on with the next when the collector has ended it, too. What it has not proven so is sent once more where a connection broke, or a process died;
//     an Again event says which (after a process that died as far as it was saved, which is once a second). What a collector had
//     read and not stored when it died is gone, unseen. Of one that never ends connections nothing is known: maxUnproven bytes
//     before what its kernel acknowledged are sent again, and the Again event says which before those may be missing.
//   - UDP: whatever the network or the collector's socket drops is gone, unseen. Where the collector's host answers that nobody listens (ICMP port
//     unreachable) the last batch is sent again later, and each new connection begins with one record and 200 ms for the host to refuse it.
//   - All: what the spool had to drop. A Loss event says which numbers, when the target comes to them.
package syslog

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/spool"
)

// Target is one collector.
type Target struct {
	URL      string // udp, tcp, tls, relp or relps://HOST[:PORT]; the ports default to 514, 514, 6514, 2514 and 2514
	CAFile   string // tls, relps: who may sign the collector's certificate; empty: whom the system trusts
	CertFile string // tls, relps: our own certificate, for collectors that ask for one; both or neither
	KeyFile  string
}

// Config is what an Exporter needs. Zero values of the later fields mean the defaults stated with them.
type Config struct {
	Targets []Target
	Spool   *spool.Spool
	Log     *slog.Logger
	Now     func() time.Time
	OnEvent func(Event) // called from the targets' goroutines; it must not block

	MinPause time.Duration // the first pause before dialling again; 500 ms
	MaxPause time.Duration // pauses double up to here, and a quarter more or less at random; 30 s
	Prove    time.Duration // how long a collector may take to end a connection that was ended here; 20 s
	Drain    time.Duration // how long Run goes on sending after its context has ended; 5 s
}

// Status is how a target stands.
type Status struct {
	URL       string
	Up        bool // the last attempt to send worked; with UDP nobody can know more
	Sent      uint64
	Behind    int       // records not yet acknowledged: by the collector (RELP), by its kernel (TCP, TLS), or not yet sent (UDP)
	Oldest    time.Time // of those records; zero where there is none
	Dropped   uint64    // records that will never be sent, since the start
	Again     uint64    // records sent once more since nothing said whether they had been stored (TCP, TLS), since the start
	LastError string    // of the present trouble in plain words, empty while Up
}

// Exporter sends every record to all targets.
type Exporter struct {
	cfg     Config
	targets []*target
}

// New checks the targets' URLs, and registers their positions in the spool; it dials nobody yet.
func New(cfg Config) (*Exporter, error) {
	cfg.MinPause = orDefault(cfg.MinPause, 500*time.Millisecond)
	cfg.MaxPause = orDefault(cfg.MaxPause, 30*time.Second)
	cfg.Prove = orDefault(cfg.Prove, 20*time.Second)
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
	for _, t := range cfg.Targets {
		u, err := url.Parse(t.URL)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("syslog target %q is not a URL with a host", t.URL)
		}
		port := strconv.Itoa(config.SyslogPorts[u.Scheme])
		if port == "0" {
			return nil, fmt.Errorf("syslog target %q has none of the schemes udp, tcp, tls, relp, relps", t.URL)
		}
		if u.Port() != "" {
			port = u.Port()
		}
		x.targets = append(x.targets, &target{cfg: &x.cfg, Target: t, scheme: u.Scheme, host: u.Hostname(), address: net.JoinHostPort(u.Hostname(), port),
			ended:  make(chan struct{}),
			status: Status{URL: t.URL, LastError: notTried}})
	}
	for _, t := range x.targets {
		t.reader = cfg.Spool.Reader(t.URL)
		t.acked, t.reached = t.reader.Position(), t.reader.Position()
	}
	return x, nil
}

const notTried = "not tried yet"

func orDefault(v, d time.Duration) time.Duration {
	if v == 0 {
		return d
	}
	return v
}

// Run sends until ctx ends, then goes on with what the spool has as far as Config.Drain allows and collectors are there, and returns nil. Whoever
// calls it waits for it. What is not sent then stays in the spool.
func (x *Exporter) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range x.targets {
		g.Go(func() error {
			defer close(t.ended)
			if t.before != nil {
				<-t.before
			}
			t.run(ctx)
			return nil
		})
	}
	return g.Wait()
}

// HandOver has each target of next wait for the one of x for the same collector, which has the same position, and for no other: one that hangs while it ends holds up nobody else.
// It is called before next runs, whose Run must be called then; and the context of x.Run is to be ended.
func (x *Exporter) HandOver(next *Exporter) {
	for _, t := range next.targets {
		for _, old := range x.targets {
			if old.URL == t.URL {
				t.before = old.ended
			}
		}
	}
}

// Status tells of every target, in the order of Config.Targets.
func (x *Exporter) Status() []Status {
	all := make([]Status, 0, len(x.targets))
	for _, t := range x.targets {
		all = append(all, t.state())
	}
	return all
}

// Reached tells for each target, in the order of Config.Targets, whether it has the record of a number: acknowledged by the collector (RELP) or its kernel (TCP, TLS), or
// sent (UDP).
func (x *Exporter) Reached(seq uint64) []bool {
	all := make([]bool, 0, len(x.targets))
	for _, t := range x.targets {
		t.mu.Lock()
		all = append(all, t.acked >= seq)
		t.mu.Unlock()
	}
	return all
}

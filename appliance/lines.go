package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/leases"
	"github.com/mailweir/mailweir/appliance/radius"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// lines hears from RADIUS and from lease files who has which address now, and
// tells the directory. None of it is on the packet path: a lookup reads what the
// directory published last.
type lines struct {
	dir    *subscriber.Directory
	now    func() time.Time
	log    *slog.Logger
	health *health
	moved  func() // an address has another holder; it must not block

	mu      sync.Mutex // guards all below; reloads change it
	work    context.Context
	conf    config.Identity
	radius  *radius.Listener // nil: off
	end     func() error     // of radius
	leases  map[string]*follower
	leaving sync.WaitGroup
}

// follower is a watched lease file.
type follower struct {
	*leases.Watcher
	end func() error
}

// use listens and watches as c says; what stays as it was is not touched. An error
// says why not, and then nothing has changed. Nothing is heard before Run.
func (l *lines) use(c *config.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, old := c.Identity, l.conf
	r := next.RADIUS
	switch {
	case r.Listen == "":
		l.silence()
	default:
		secret, warning, err := radius.ReadSecret(c.SecretPath())
		if err != nil {
			return config.Problems{{File: c.Path(), Key: "identity.radius.secret_file", Message: err.Error()}}
		}
		if warning != "" {
			l.log.Warn(warning)
		}
		if l.radius != nil && old.RADIUS.Listen == r.Listen {
			l.radius.Trust(secret, r.Clients)
			break
		}
		listener, err := radius.Listen(radius.Options{Addr: r.Listen, Secret: secret, Clients: r.Clients, Handle: l.hear, Log: l.log, Now: l.now})
		if err != nil {
			return config.Problems{{File: c.Path(), Key: "identity.radius.listen", Message: err.Error()}}
		}
		l.silence()
		l.radius = listener
		l.begin()
	}
	if !reflect.DeepEqual(old.LeaseFiles, next.LeaseFiles) {
		l.follow(c)
	}
	l.conf = next
	return nil
}

// silence stops listening to RADIUS. Bindings that it made stay until something
// newer is said of them. The caller holds l.mu.
func (l *lines) silence() {
	if end := l.end; end != nil {
		l.leaving.Go(func() { end() })
	}
	l.radius, l.end = nil, nil
}

// begin runs what does not run yet. The caller holds l.mu.
func (l *lines) begin() {
	if l.work == nil {
		return
	}
	if l.radius != nil && l.end == nil {
		l.end = background(l.work, l.radius.Run)
	}
	for _, f := range l.leases {
		if f.end == nil {
			f.end = background(l.work, f.Run)
		}
	}
}

// follow watches the lease files of c. What a file said that is watched no more
// ends. The caller holds l.mu.
func (l *lines) follow(c *config.Config) {
	keep := map[string]*follower{}
	for _, one := range c.Identity.LeaseFiles {
		path := c.Resolve(one.Path)
		format, _ := leases.ParseFormat(one.Format) // the configuration knows no other words
		if f := l.leases[path]; f != nil && f.Status().Format == format {
			keep[path] = f
			continue
		}
		keep[path] = &follower{Watcher: leases.New(leases.Options{Path: path, Format: format, Handle: l.read, Log: l.log, Now: l.now})}
	}
	var paths []string
	for path, f := range l.leases {
		if keep[path] != f && f.end != nil {
			f.end() // before the new one of the same path says something
		}
	}
	for path := range keep {
		paths = append(paths, path)
	}
	l.leases = keep
	if len(l.dir.EndOthers(subscriber.Lease, paths, l.now())) > 0 {
		l.moved()
	}
	l.begin()
}

// Run listens until ctx ends.
func (l *lines) Run(ctx context.Context) error {
	l.mu.Lock()
	l.work = ctx
	l.begin()
	l.mu.Unlock()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.silence()
			for _, f := range l.leases {
				f.end()
			}
			l.leaving.Wait()
			return nil
		case now := <-look.C:
			l.look()
			if n%60 == 0 {
				l.dir.Expire(now)
			}
		}
	}
}

// look turns the state of the lease files into HEALTH records.
func (l *lines) look() {
	for _, s := range l.files() {
		if s.Problem != "" {
			l.health.begin(records.HealthFacts{What: "lease_file", Target: s.Path, Detail: s.Problem})
		} else {
			l.health.endOf("lease_file", s.Path)
		}
	}
}

// files is how the lease files are doing, in the order of the configuration.
func (l *lines) files() []leases.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []leases.Status
	for _, f := range l.leases {
		all = append(all, f.Status())
	}
	slices.SortFunc(all, func(a, b leases.Status) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// heard is what became of RADIUS accounting; false when it is off.
func (l *lines) heard() (radius.Stats, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.radius == nil {
		return radius.Stats{}, false
	}
	return l.radius.Stats(), true
}

// hear takes one accounting event. What it says is in force when it returns; on
// disk it is within saveEvery, and after a power cut in that time an Interim-Update
// says it again.
func (l *lines) hear(e radius.Event) error {
	now := l.now()
	switch e.Kind {
	case radius.Start, radius.Interim:
		all := make([]subscriber.Binding, len(e.Prefixes))
		for i, p := range e.Prefixes {
			all[i] = subscriber.Binding{Prefix: p, Source: subscriber.RADIUS, Session: e.Session, User: e.UserName, Circuits: e.Circuits, Dated: e.Dated}
		}
		changes, err := l.dir.BindSession(all, e.At, now)
		if len(changes) > 0 {
			l.moved()
		}
		switch {
		case err == nil, errors.Is(err, subscriber.ErrFull):
			return err
		}
		return fmt.Errorf("%w: %w", radius.ErrNotForUs, err)
	case radius.Stop:
		if len(l.dir.End(subscriber.RADIUS, e.Session, e.At, now)) > 0 {
			l.moved()
		}
	case radius.On, radius.Off:
		if len(l.dir.EndAll(subscriber.RADIUS, e.Session, e.At, now)) > 0 {
			l.moved()
		}
	}
	return nil
}

// read takes a lease file's whole content.
func (l *lines) read(s leases.Set) {
	all := make([]subscriber.Binding, len(s.Leases))
	for i, one := range s.Leases {
		all[i] = subscriber.Binding{Prefix: one.Prefix, Circuits: one.Circuits}
	}
	if changes, _ := l.dir.Replace(subscriber.Lease, s.Path, all, l.now()); len(changes) > 0 {
		l.moved()
	}
}

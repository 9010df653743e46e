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
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/leases"
	"github.com/mailweir/mailweir/appliance/radius"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
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

	mu     sync.Mutex // guards all below; reloads change it
	work   context.Context
	over   bool // Run has ended
	conf   config.Identity
	radius *radius.Listener // nil: off
	heeds  radius.Options   // what it was made with
	end    func() error     // of radius
	leases map[string]*follower
	looks  int // since the last use
}

// follower is a watched lease file.
type follower struct {
	*leases.Watcher
	end func() error
}

// use listens and watches as c says; what stays as it was is not touched. An error
// says why not, and then nothing has changed. Nothing is heard before Run.
//
// What was bound by a source that is not heard any more ends: at the start at once,
// later when Run has looked twice, so that who changes his mind within a second,
// as a reload that is refused after all does, has ended nothing.
func (l *lines) use(c *config.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil // nobody would end what begins now
	}
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
		o := radius.Options{Addr: r.Listen, Secret: secret, Clients: r.Clients, Dated: r.RequireTimestamp, Handle: l.hear, Log: l.log, Now: l.now}
		if l.radius != nil && old.RADIUS.Listen == r.Listen {
			l.radius.Trust(secret, r.Clients, r.RequireTimestamp)
			l.heeds = o
			break
		}
		if err := l.listen(o); err != nil {
			return config.Problems{{File: c.Path(), Key: "identity.radius.listen", Message: err.Error()}}
		}
	}
	if !reflect.DeepEqual(old.LeaseFiles, next.LeaseFiles) {
		l.follow(c)
	}
	l.conf, l.looks = next, 0
	if l.work == nil {
		l.settle()
	}
	return nil
}

// settle ends what was bound by a source that is not heard any more. The caller
// holds l.mu.
func (l *lines) settle() {
	var paths []string
	for path := range l.leases {
		paths = append(paths, path)
	}
	now := l.now()
	gone := l.dir.EndOthers(subscriber.Lease, paths, now)
	if l.radius == nil {
		gone = append(gone, l.dir.EndOthers(subscriber.RADIUS, nil, now)...)
	}
	if len(gone) > 0 {
		l.moved()
	}
}

// listen hears RADIUS as o says, and not as before any more. The old socket goes
// first where it is in the way of the new one, as ":1813" is in that of
// "192.0.2.9:1813", and comes back if the new one still cannot be had. The caller
// holds l.mu.
func (l *lines) listen(o radius.Options) error {
	heard := l.radius != nil
	listener, err := radius.Listen(o)
	if errors.Is(err, syscall.EADDRINUSE) && heard {
		l.silence()
		if listener, err = radius.Listen(o); err != nil {
			was, lost := radius.Listen(l.heeds)
			if lost != nil {
				return fmt.Errorf("%w; and RADIUS is not heard any more: %w", err, lost)
			}
			l.radius = was
			l.begin()
		}
	}
	if err != nil {
		return err
	}
	l.silence()
	l.radius, l.heeds = listener, o
	l.begin()
	return nil
}

// silence stops listening to RADIUS: what was read is taken and answered, and the
// socket is closed when it returns. The caller holds l.mu.
func (l *lines) silence() {
	switch {
	case l.end != nil:
		l.end()
	case l.radius != nil: // it was never run
		done, cancel := context.WithCancel(context.Background())
		cancel()
		l.radius.Run(done)
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

// follow watches the lease files of c. The caller holds l.mu.
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
	for path, f := range l.leases {
		if keep[path] != f && f.end != nil {
			f.end() // before the new one of the same path says something
		}
		if keep[path] == nil {
			l.health.endOf("lease_file", path)
		}
	}
	l.leases = keep
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
			l.over = true
			l.silence()
			for _, f := range l.leases {
				f.end()
			}
			return nil
		case <-look.C:
			l.look()
			if n%60 == 0 {
				l.dir.Expire(l.now())
				l.health.watchHistory(l.dir.Stats())
				if len(l.dir.EndSilent(l.now())) > 0 {
					l.moved()
				}
			}
		}
	}
}

// look turns the state of the lease files into HEALTH records, and settles what the
// last use left.
func (l *lines) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looks++; l.looks == 2 {
		l.settle()
	}
	for _, s := range l.states() {
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
	return l.states()
}

// states is files for who holds l.mu.
func (l *lines) states() []leases.Status {
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

// unlisted tells of lines that RADIUS names and the list does not have. Where there
// is no list there is nothing to tell.
func (l *lines) unlisted() (found []webadmin.Problem) {
	s := l.dir.Strangers()
	if s.Lines == 0 || l.dir.Table().Len() == 0 {
		return nil
	}
	example := ""
	if s.User != "" {
		example = fmt.Sprintf(", such as %q", s.User)
	}
	found = append(found, webadmin.Problem{
		What:    fmt.Sprintf("RADIUS names %s that the list of subscribers does not have%s.", count(s.Lines, "line", "lines"), example),
		Meaning: "Each is counted under the plan of unmapped sources, by its user name, where nobody of the list has the address.",
		Do:      "Write the user name into the circuits of the line it belongs to.",
	})
	if s.Overruled == 0 {
		return found
	}
	if example = ""; s.Example.Holder != "" {
		example = fmt.Sprintf(", such as %s: %q by RADIUS, and %s all the same", address(s.Example.Prefix), s.Example.User, s.Example.Holder)
	}
	return append(found, webadmin.Problem{
		What:    fmt.Sprintf("RADIUS gives %s of known lines to such a name%s.", count(s.Overruled, "address", "addresses"), example),
		Meaning: "They stay with the line that the list or another source names: a name that nobody knows takes nothing from it.",
		Do:      "Write the user name into that line's circuits if they are one and the same; else take the address from the list.",
	})
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// hear takes one accounting event. What it says is in force when it returns, and on
// disk within saveEvery. After a power cut in that time an Interim-Update says again
// what began; what ended nobody says again: a line whose Stop was lost keeps its
// address until somebody else gets it, by RADIUS, or by a lease when RADIUS has been
// silent about it for two days.
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

package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
	"github.com/mailweir/mailweir/appliance/syslog"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// syslogTargets are the collectors in force, and the spool from which they get their records. A reload replaces the exporter: the new one begins
// where the old one stopped.
type syslogTargets struct {
	spool    *spool.Spool
	endSpool func() error

	mu      sync.RWMutex
	current *syslog.Exporter
	end     func() error         // of current
	changed map[string]time.Time // when a target last went up or down, by URL
}

// openSyslog opens the spool, has the chain go on from it where it knows more, and from then on keeps every record in it.
func (a *Appliance) openSyslog(cfg *config.Config) error {
	s, err := spool.Open(spool.Options{
		Dir: filepath.Join(a.opt.DataDir, "spool"), Limit: int64(cfg.Syslog.SpoolBytes), Facility: facility(cfg), After: a.chain.Seq(),
		Sessions: cfg.Retention.Sessions, Records: cfg.Retention.Records,
		Log: a.log, Now: a.now, Sound: a.spoolClock().sound, OnLoss: a.spoolLost, OnFault: a.spoolFault, OnHang: a.spoolHangs, OnUnsaved: a.positionsUnsaved,
		OnDamage: func(err error) {
			a.health.tell(records.HealthFacts{What: "spool", Target: "segment", Detail: fmt.Sprintf("a file with records for collectors cannot be read: %v", err)})
		},
		OnRemoved: func(f spool.Aside, why string) {
			a.health.tell(records.HealthFacts{What: "spool", Target: "segment", Detail: fmt.Sprintf("a file with records for collectors that could not be read goes (%s, %d bytes): %s", f.Path, f.Bytes, why)})
		},
	})
	if err != nil {
		return err
	}
	a.chain.Resume(s.Last())
	a.chain.Spooled(s.Kept())
	a.syslog = &syslogTargets{spool: s}
	collectors, err := syslog.New(a.syslogConfig(cfg))
	if err != nil {
		return err
	}
	a.chain.Before(s.Append)
	a.syslog.endSpool = background(context.Background(), s.Run)
	a.syslog.use(collectors)
	a.forgetCollectors(cfg)
	return nil
}

// spoolClock is a clock of the spool's own, which only its Run asks: it begins with when the last life wrote to the spool.
func (a *Appliance) spoolClock() *wallClock {
	var c wallClock
	files, _ := filepath.Glob(filepath.Join(a.opt.DataDir, "spool", "*"))
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(c.last) {
			c.last = info.ModTime()
		}
	}
	return &c
}

// spoolLost tells of records that left the spool before every collector had them, with their numbers.
func (a *Appliance) spoolLost(l spool.Loss) {
	for _, f := range l.Facts() {
		a.health.tell(f)
	}
}

func (a *Appliance) spoolFault(err error) {
	if err == nil {
		a.health.end("spool")
		return
	}
	a.health.begin(records.HealthFacts{What: "spool", Detail: fmt.Sprintf("records cannot be written to the disk and wait in memory; collectors that are there get them all the same: %v", err)})
}

func (a *Appliance) spoolHangs(took time.Duration, over bool) {
	f := records.HealthFacts{What: "spool", Target: "disk", Took: took}
	if over {
		f.Detail = fmt.Sprintf("the disk answers again, after %v; what waited in memory is written now", took.Round(time.Second))
		a.health.endWith(f)
		return
	}
	f.Detail = fmt.Sprintf("the disk has not answered for %v; records wait in memory, %d at most, and collectors that are there get them all the same", took.Round(time.Second), spool.MemoryRecords)
	a.health.begin(f)
}

func (a *Appliance) positionsUnsaved(err error) {
	if err == nil {
		a.health.endOf("spool", "positions")
		return
	}
	a.health.begin(records.HealthFacts{What: "spool", Target: "positions", Detail: fmt.Sprintf("how far each collector got cannot be written to the disk; after a crash they get records again: %v", err)})
}

// use sends to an exporter's targets from now on, to each as soon as the one before has stopped for the same collector.
func (s *syslogTargets) use(next *syslog.Exporter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.end
	if s.current != nil {
		s.current.HandOver(next)
	}
	s.end = background(context.Background(), func(ctx context.Context) error {
		var g errgroup.Group
		if before != nil {
			g.Go(before)
		}
		g.Go(func() error { return next.Run(ctx) })
		return g.Wait()
	})
	s.current = next
}

// Status is how the targets in force stand.
func (s *syslogTargets) Status() []syslog.Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current.Status()
}

// heard notes when a target went up or down.
func (s *syslogTargets) heard(e syslog.Event) {
	if e.What != syslog.Up && e.What != syslog.Down {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = map[string]time.Time{}
	}
	s.changed[e.Target] = e.Time
}

// since is when a target last went up or down; zero when it never did.
func (s *syslogTargets) since(url string) time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed[url]
}

// stop sends what is still to be sent, as far as the drain time allows, and closes the spool at dir, which keeps the rest.
func (s *syslogTargets) stop(e *ending, dir string) error {
	const what = "records for collectors"
	wrote := func(f func() error) error {
		err := e.step(what, dir, f)
		if g, hangs := errors.AsType[*givenUp](err); hangs {
			g.what = fmt.Sprintf("%d %s that wait in memory", s.spool.Stat().Waiting, what)
		}
		return err
	}
	err := wrote(func() error { s.spool.Sync(); return nil })
	s.mu.Lock()
	end := s.end
	s.end = nil
	s.mu.Unlock()
	if end != nil { // whatever the disk does: they get what waits in memory, too
		err = errors.Join(err, e.within(cmp.Or(e.wait, stopWait), "how far collectors are", filepath.Join(dir, "position-*"), end))
	}
	return errors.Join(err, wrote(func() error {
		if s.endSpool != nil {
			if err := s.endSpool(); err != nil {
				return err
			}
		}
		return s.spool.Close()
	}))
}

func (a *Appliance) syslogConfig(cfg *config.Config) syslog.Config {
	c := syslog.Config{
		Spool: a.syslog.spool, Log: a.log, Now: a.now, Drain: drainLimit,
		OnEvent: func(e syslog.Event) {
			a.syslog.heard(e)
			a.writer.Say(e.Health())
		},
	}
	for _, t := range cfg.Syslog.Targets {
		c.Targets = append(c.Targets, syslog.Target{URL: t.URL, CAFile: cfg.Resolve(t.CAFile), CertFile: cfg.Resolve(t.CertFile), KeyFile: cfg.Resolve(t.KeyFile)})
	}
	return c
}

// resyslog takes what a new configuration says of collectors, spool and retention.
func (a *Appliance) resyslog(cfg *config.Config, collectors *syslog.Exporter) {
	a.syslog.spool.Configure(facility(cfg), int64(cfg.Syslog.SpoolBytes), cfg.Retention.Sessions, cfg.Retention.Records)
	if collectors == nil {
		return
	}
	a.syslog.use(collectors)
	a.forgetCollectors(cfg)
}

// collectorsWait is how long a new configuration waits for a disk that does not answer.
const collectorsWait = 10 * time.Second

// collectors are those of a new configuration. The spool's disk has to say how far each is: one that does not answer has the configuration refused, and what came of it since is taken back once it
// does.
func (a *Appliance) collectors(cfg *config.Config) (*syslog.Exporter, error) {
	var x *syslog.Exporter
	var err error
	made := make(chan struct{})
	a.behind.Go(func() {
		defer close(made)
		x, err = syslog.New(a.syslogConfig(cfg))
	})
	if a.madeInTime(made) {
		return x, err
	}
	a.behind.Go(func() {
		<-made
		a.changing.Lock()
		defer a.changing.Unlock()
		a.forgetCollectors(a.cfg.Load())
	})
	return nil, config.Problems{{File: cfg.Path(), Key: "syslog.targets", Message: fmt.Sprintf(
		"how far these collectors are stands in %s, and the disk has not answered for %v; what is running goes on; try again when it answers", a.at("spool"), a.collectorsWait())}}
}

// madeInTime waits for what the disk is to do, but not for ever.
func (a *Appliance) madeInTime(made <-chan struct{}) bool {
	late := time.NewTimer(a.collectorsWait())
	defer late.Stop()
	select {
	case <-made:
		return true
	case <-late.C:
		return false
	}
}

func (a *Appliance) collectorsWait() time.Duration {
	return cmp.Or(a.opt.CollectorsWait, collectorsWait)
}

// forgetCollectors has the spool wait for no others than those of a configuration; with a disk that does not answer, once it does.
func (a *Appliance) forgetCollectors(cfg *config.Config) {
	made := make(chan struct{})
	a.behind.Go(func() {
		defer close(made)
		if err := a.syslog.spool.Only(urls(cfg)); err != nil {
			a.log.Error("forget the positions of collectors that are not configured", "err", err)
		}
	})
	if !a.madeInTime(made) {
		a.log.Warn("the spool goes on keeping records for collectors that are not configured any more, until the disk answers", "dir", a.at("spool"), "after", a.collectorsWait())
	}
}

func urls(cfg *config.Config) (all []string) {
	for _, t := range cfg.Syslog.Targets {
		all = append(all, t.URL)
	}
	return all
}

func facility(cfg *config.Config) int {
	n, _ := records.ParseFacility(cfg.Syslog.Facility) // the configuration knows no other words
	return n
}

// TestSyslog makes a record like any other and waits until every collector has it, or ctx ends.
func (s *source) TestSyslog(ctx context.Context, who string) []webadmin.SyslogResult {
	token := uuid.NewString()
	s.audit(who, "syslog_test", token, "", "")
	return s.delivered(ctx, func(r *records.Record) bool { return r.Value("object") == token })
}

// delivered waits until every collector has the AUDIT record that is meant and is on its way, or ctx ends.
func (s *source) delivered(ctx context.Context, meant func(*records.Record) bool) []webadmin.SyslogResult {
	a, began := s.a, time.Now()
	a.syslog.mu.RLock()
	x := a.syslog.current
	a.syslog.mu.RUnlock()
	status := x.Status()
	results := make([]webadmin.SyslogResult, len(status))
	look := time.NewTicker(testLook)
	defer look.Stop()
	var seq uint64
	for waiting := len(status); waiting > 0; {
		if seq == 0 {
			if found := a.recent.Select(1, func(r *records.Record) bool { return r.Kind == records.KindAudit && meant(r) }); len(found) > 0 {
				seq = found[0].Seq
			}
		}
		if seq > 0 {
			for i, has := range x.Reached(seq) {
				if has && !results[i].OK {
					results[i].OK, results[i].Took = true, webadmin.Seconds(time.Since(began))
					waiting--
				}
			}
		}
		if waiting == 0 {
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			waiting = 0
		}
	}
	for i, st := range x.Status() {
		results[i].URL = st.URL
		if !results[i].OK {
			results[i].Took = webadmin.Seconds(time.Since(began))
			results[i].Error = cmp.Or(st.LastError, fmt.Sprintf("it is %d records behind, and goes on", st.Behind))
		}
	}
	return results
}

// testLook is how often TestSyslog looks.
const testLook = 20 * time.Millisecond

// spoolView is the spool as status tells it.
func (a *Appliance) spoolView() webadmin.Spool {
	st := a.syslog.spool.Stat()
	v := webadmin.Spool{Bytes: st.Bytes, Limit: st.Limit, Records: int64(st.Records), Oldest: webadmin.At(st.Oldest), Aside: int64(st.Aside), AsideBytes: st.AsideBytes,
		Unwritten: int64(st.Waiting), Hangs: webadmin.Seconds(st.Hangs)}
	if st.Fault != nil {
		v.Fault = st.Fault.Error()
	}
	return v
}

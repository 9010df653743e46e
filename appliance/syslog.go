package appliance

import (
	"context"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/syslog"
)

// syslogTargets are the collectors in force. A reload replaces the exporter: the
// old one sends what it still has, as far as its drain time allows, while the new
// one already takes what comes.
type syslogTargets struct {
	ctx context.Context // ends with the process's work, not with a signal

	mu      sync.RWMutex
	current *syslog.Exporter
	end     func() error // of current
	leaving sync.WaitGroup
	changed map[string]time.Time // when a target last went up or down, by URL
}

// use sends to an exporter's targets from now on.
func (s *syslogTargets) use(next *syslog.Exporter) {
	end := background(s.ctx, next.Run)
	s.mu.Lock()
	old := s.end
	s.current, s.end = next, end
	s.mu.Unlock()
	if old != nil {
		s.leaving.Go(func() { old() })
	}
}

// Send hands a record to every target.
func (s *syslogTargets) Send(r records.Record) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.Send(r)
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

// stop sends what is still to be sent, as far as the drain time allows.
func (s *syslogTargets) stop() error {
	s.mu.Lock()
	end := s.end
	s.end = nil
	s.mu.Unlock()
	defer s.leaving.Wait()
	if end == nil {
		return nil
	}
	return end()
}

func (a *Appliance) syslogConfig(cfg *config.Config) syslog.Config {
	c := syslog.Config{
		Facility: facility(cfg), Log: a.log, Now: a.now, Drain: drainLimit,
		OnEvent: func(e syslog.Event) {
			a.syslog.heard(e)
			a.writer.Say(e.Health())
		},
	}
	for _, t := range cfg.Syslog.Targets {
		c.Targets = append(c.Targets, t.URL)
	}
	return c
}

func facility(cfg *config.Config) int {
	n, _ := records.ParseFacility(cfg.Syslog.Facility) // the configuration knows no other words
	return n
}

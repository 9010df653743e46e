package remote

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// boxOf is the governing process as the web admin may ask it.
type boxOf struct {
	webadmin.Source
	audit           func(webadmin.AuditEvent)
	metrics, masked http.Handler // nil: there are none
}

func (b boxOf) Audit(e webadmin.AuditEvent) { b.audit(e) }

func (b boxOf) Metrics(masked bool, wanted http.Header) Figures {
	h := b.metrics
	if masked {
		h = b.masked
	}
	if h == nil {
		return Figures{Status: http.StatusNotFound}
	}
	a := answered{header: http.Header{}}
	h.ServeHTTP(&a, &http.Request{Method: http.MethodGet, Header: wanted})
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return Figures{a.status, a.header, a.body}
}

// answered keeps an answer.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (a *answered) Header() http.Header { return a.header }

func (a *answered) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answered) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// complete makes what an argument has that cannot travel.
func complete(v reflect.Value) {
	switch a := v.Addr().Interface().(type) {
	case *webadmin.Query:
		a.Tie = webadmin.TieOf(a.TieKey)
	case *webadmin.Page:
		a.Tie = webadmin.TieOf(a.TieKey)
	}
}

// askMost is how long a page waits for the governing process to say something: longer than the disk may take to write and read back an update that came.
const askMost = 6 * time.Minute

// sourceOver is the box as pages ask it, over a link.
func sourceOver(l *link) *source {
	return &source{func(method string, args ...any) ([]reflect.Value, error) { return l.call(askMost, method, args...) }}
}

// source is a [webadmin.Source] in another process.
type source struct {
	ask func(method string, args ...any) ([]reflect.Value, error)
}

var _ webadmin.Source = (*source)(nil)

// must asks what cannot fail. Where it does all the same, since the governing process ends or hangs, the page that asks cannot be made: its request ends.
func (s *source) must(method string, args ...any) []reflect.Value {
	out, err := s.ask(method, args...)
	if err != nil {
		panic(&broken{method, err})
	}
	return out
}

// nth is a result; where there is none, as beside an error, it is zero.
func nth[T any](out []reflect.Value, i int) (v T) {
	if i < len(out) {
		v, _ = out[i].Interface().(T)
	}
	return v
}

func (s *source) Audit(e webadmin.AuditEvent) {
	s.must("Audit", e)
}

func (s *source) Metrics(masked bool, wanted http.Header) Figures {
	return nth[Figures](s.must("Metrics", masked, wanted), 0)
}

// figures are the metrics of the governing process.
func (s *source) figures(masked bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wanted := http.Header{}
		for _, key := range []string{"Accept", "Accept-Encoding"} {
			if v := r.Header.Values(key); len(v) > 0 {
				wanted[key] = v
			}
		}
		f := s.Metrics(masked, wanted)
		for key, v := range f.Header {
			w.Header()[key] = v
		}
		w.WriteHeader(f.Status)
		w.Write(f.Body)
	})
}

func (s *source) Backup(who string) ([]byte, error) {
	out, err := s.ask("Backup", who)
	return nth[[]byte](out, 0), err
}

func (s *source) Bind(prefix netip.Prefix, subscriber, who string) (webadmin.Binding, error) {
	out, err := s.ask("Bind", prefix, subscriber, who)
	return nth[webadmin.Binding](out, 0), err
}

func (s *source) Bindings(subscriber string, p webadmin.Page) ([]webadmin.Binding, string) {
	out := s.must("Bindings", subscriber, p)
	return nth[[]webadmin.Binding](out, 0), nth[string](out, 1)
}

func (s *source) Case(id string) (webadmin.Case, bool) {
	out := s.must("Case", id)
	return nth[webadmin.Case](out, 0), nth[bool](out, 1)
}

func (s *source) Clock() webadmin.Clock {
	return nth[webadmin.Clock](s.must("Clock"), 0)
}

func (s *source) Cluster(id string) (webadmin.Cluster, bool) {
	out := s.must("Cluster", id)
	return nth[webadmin.Cluster](out, 0), nth[bool](out, 1)
}

func (s *source) Clusters(p webadmin.Page) ([]webadmin.Cluster, string) {
	out := s.must("Clusters", p)
	return nth[[]webadmin.Cluster](out, 0), nth[string](out, 1)
}

func (s *source) Config() (webadmin.Configuration, error) {
	out, err := s.ask("Config")
	return nth[webadmin.Configuration](out, 0), err
}

func (s *source) ConfirmNetwork(token string, at netip.Addr, who string) error {
	_, err := s.ask("ConfirmNetwork", token, at, who)
	return err
}

func (s *source) Destinations(window time.Duration, p webadmin.Page) webadmin.Destinations {
	return nth[webadmin.Destinations](s.must("Destinations", window, p), 0)
}

func (s *source) Evidence(id, who string) ([]byte, bool, error) {
	out, err := s.ask("Evidence", id, who)
	return nth[[]byte](out, 0), nth[bool](out, 1), err
}

func (s *source) Exempt(id string, until time.Time, reason, who string) (webadmin.Subscriber, error) {
	out, err := s.ask("Exempt", id, until, reason, who)
	return nth[webadmin.Subscriber](out, 0), err
}

func (s *source) FactoryReset(ctx context.Context, anyway bool, who string) ([]webadmin.SyslogResult, error) {
	out, err := s.ask("FactoryReset", ctx, anyway, who)
	return nth[[]webadmin.SyslogResult](out, 0), err
}

func (s *source) Firmware() webadmin.Firmware {
	return nth[webadmin.Firmware](s.must("Firmware"), 0)
}

func (s *source) FromImage() bool {
	return nth[bool](s.must("FromImage"), 0)
}

func (s *source) History(ctx context.Context, id string, step time.Duration) (webadmin.History, bool, error) {
	out, err := s.ask("History", ctx, id, step)
	return nth[webadmin.History](out, 0), nth[bool](out, 1), err
}

func (s *source) Hold(number, reason, who string) (webadmin.Hold, error) {
	out, err := s.ask("Hold", number, reason, who)
	return nth[webadmin.Hold](out, 0), err
}

func (s *source) Holds() webadmin.Holds {
	return nth[webadmin.Holds](s.must("Holds"), 0)
}

func (s *source) Install(update io.Reader, who string) (webadmin.UpdateOutcome, error) {
	out, err := s.ask("Install", update, who)
	return nth[webadmin.UpdateOutcome](out, 0), err
}

func (s *source) Lookup(addr netip.Addr, at time.Time) webadmin.Lookup {
	return nth[webadmin.Lookup](s.must("Lookup", addr, at), 0)
}

func (s *source) Network() *webadmin.Network {
	return nth[*webadmin.Network](s.must("Network"), 0)
}

func (s *source) OffersGone(p webadmin.Page) ([]webadmin.OfferGone, string) {
	out := s.must("OffersGone", p)
	return nth[[]webadmin.OfferGone](out, 0), nth[string](out, 1)
}

func (s *source) Plans() []webadmin.Plan {
	return nth[[]webadmin.Plan](s.must("Plans"), 0)
}

func (s *source) Platform() webadmin.Platform {
	return nth[webadmin.Platform](s.must("Platform"), 0)
}

func (s *source) Presets() []webadmin.Plan {
	return nth[[]webadmin.Plan](s.must("Presets"), 0)
}

func (s *source) Reboot(who string) error {
	_, err := s.ask("Reboot", who)
	return err
}

func (s *source) Records(ctx context.Context, q webadmin.RecordQuery) (webadmin.RecordPage, error) {
	out, err := s.ask("Records", ctx, q)
	return nth[webadmin.RecordPage](out, 0), err
}

func (s *source) Release(id, who string) (webadmin.Subscriber, error) {
	out, err := s.ask("Release", id, who)
	return nth[webadmin.Subscriber](out, 0), err
}

func (s *source) Restart(who string) {
	s.must("Restart", who)
}

func (s *source) Restore(file []byte, dry, sure bool, who string) (webadmin.RestoreOutcome, error) {
	out, err := s.ask("Restore", file, dry, sure, who)
	return nth[webadmin.RestoreOutcome](out, 0), err
}

func (s *source) SetConfig(c webadmin.ConfigChange, who string) (webadmin.ConfigOutcome, error) {
	out, err := s.ask("SetConfig", c, who)
	return nth[webadmin.ConfigOutcome](out, 0), err
}

func (s *source) SetPlan(id, plan, who string) (webadmin.Subscriber, error) {
	out, err := s.ask("SetPlan", id, plan, who)
	return nth[webadmin.Subscriber](out, 0), err
}

func (s *source) SetSubscribers(csv []byte, who string) (webadmin.ListOutcome, error) {
	out, err := s.ask("SetSubscribers", csv, who)
	return nth[webadmin.ListOutcome](out, 0), err
}

func (s *source) Share(q webadmin.ShareQuery) ([]webadmin.SharePoint, time.Time, error) {
	out, err := s.ask("Share", q)
	return nth[[]webadmin.SharePoint](out, 0), nth[time.Time](out, 1), err
}

func (s *source) Sources() webadmin.Sources {
	return nth[webadmin.Sources](s.must("Sources"), 0)
}

func (s *source) Status() webadmin.Status {
	return nth[webadmin.Status](s.must("Status"), 0)
}

func (s *source) Subscriber(id string) (webadmin.Subscriber, bool) {
	out := s.must("Subscriber", id)
	return nth[webadmin.Subscriber](out, 0), nth[bool](out, 1)
}

func (s *source) Subscribers(q webadmin.Query) ([]webadmin.Subscriber, string) {
	out := s.must("Subscribers", q)
	return nth[[]webadmin.Subscriber](out, 0), nth[string](out, 1)
}

func (s *source) TestNotices(ctx context.Context, who string) []webadmin.NoticeResult {
	return nth[[]webadmin.NoticeResult](s.must("TestNotices", ctx, who), 0)
}

func (s *source) TestSyslog(ctx context.Context, who string) []webadmin.SyslogResult {
	return nth[[]webadmin.SyslogResult](s.must("TestSyslog", ctx, who), 0)
}

func (s *source) Traffic() webadmin.Traffic {
	return nth[webadmin.Traffic](s.must("Traffic"), 0)
}

func (s *source) TryConfig(c webadmin.ConfigChange) (webadmin.ConfigOutcome, error) {
	out, err := s.ask("TryConfig", c)
	return nth[webadmin.ConfigOutcome](out, 0), err
}

func (s *source) TryNetwork(n webadmin.NetworkSettings, who string) (webadmin.NetworkTrial, error) {
	out, err := s.ask("TryNetwork", n, who)
	return nth[webadmin.NetworkTrial](out, 0), err
}

func (s *source) TrySubscribers(csv []byte) (webadmin.ListOutcome, error) {
	out, err := s.ask("TrySubscribers", csv)
	return nth[webadmin.ListOutcome](out, 0), err
}

func (s *source) Unbind(prefix netip.Prefix, who string) (webadmin.Binding, error) {
	out, err := s.ask("Unbind", prefix, who)
	return nth[webadmin.Binding](out, 0), err
}

func (s *source) Unexempt(id, who string) (webadmin.Subscriber, error) {
	out, err := s.ask("Unexempt", id, who)
	return nth[webadmin.Subscriber](out, 0), err
}

func (s *source) Unhold(number, who string) (webadmin.Hold, error) {
	out, err := s.ask("Unhold", number, who)
	return nth[webadmin.Hold](out, 0), err
}

func (s *source) Unmapped(p webadmin.Page) ([]webadmin.Unmapped, string) {
	out := s.must("Unmapped", p)
	return nth[[]webadmin.Unmapped](out, 0), nth[string](out, 1)
}

func (s *source) Unrelease(id, who string) (webadmin.Subscriber, error) {
	out, err := s.ask("Unrelease", id, who)
	return nth[webadmin.Subscriber](out, 0), err
}

func (s *source) WhatIf(ctx context.Context, q webadmin.WhatIfQuestion) (json.RawMessage, error) {
	out, err := s.ask("WhatIf", ctx, q)
	return nth[json.RawMessage](out, 0), err
}

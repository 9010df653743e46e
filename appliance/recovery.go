package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// RecoveryOptions says what there is while nothing is governed: of Options the files, Image, Version, Log and Now are used.
type RecoveryOptions struct {
	Options
	Standstill func() webadmin.Standstill
	Govern     func() error // has process 1 try it again, for which ctx ends
	PowerOff   func() error // the whole box, after everything has ended in order
}

// Recover serves the recovery page until ctx ends, in the place of the web admin. It opens no store: whatever made governing fail does not fail here.
func Recover(ctx context.Context, opt RecoveryOptions) error {
	r, err := newRecovered(opt)
	if err != nil {
		return err
	}
	web, err := r.serve()
	if err != nil {
		return err
	}
	return web.Run(ctx)
}

// recovered is the box as the recovery page sees it: an appliance that was not opened, with what can be done to its files and slots.
type recovered struct {
	*source
	opt    RecoveryOptions
	unread error // why the configuration cannot be read; nil: it was
}

func newRecovered(opt RecoveryOptions) (*recovered, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(opt.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	r := &recovered{opt: opt}
	var cfg *config.Config
	if cfg, r.unread = readConfig(opt.ConfigFile); r.unread != nil {
		opt.Log.Error("the configuration cannot be read; the recovery page is where the web admin is by default", "err", r.unread)
		cfg = config.Default()
	}
	a := &Appliance{opt: opt.Options, now: opt.Now, log: opt.Log, who: newIdentity(cfg, nil), aside: newAside(opt.DataDir, opt.Log)}
	a.cfg.Store(cfg)
	var err error
	if a.box, err = boxID(opt.DataDir); err != nil {
		opt.Log.Error("recovery page", "err", err) // a box without a name is a box
	}
	r.source = &source{a: a}
	return r, nil
}

// serve listens where the configuration says, with the certificate that it names; what of that is not to be had is what it is by default, so that there is a
// page when just that made governing fail.
func (r *recovered) serve() (*webadmin.Server, error) {
	cfg := r.a.cfg.Load()
	listens := []string{cfg.Admin.Listen}
	if usual := config.Default().Admin.Listen; usual != cfg.Admin.Listen {
		listens = append(listens, usual)
	}
	pairs := []config.TLS{{CertFile: cfg.Resolve(cfg.Admin.TLS.CertFile), KeyFile: cfg.Resolve(cfg.Admin.TLS.KeyFile)}}
	if pairs[0] != (config.TLS{}) {
		pairs = append(pairs, config.TLS{})
	}
	var all error
	for _, listen := range listens {
		for _, pair := range pairs {
			web, err := r.listen(listen, pair)
			if err == nil {
				used := *cfg
				used.Admin.Listen = listen
				r.a.cfg.Store(&used)
				return web, nil
			}
			r.opt.Log.Error("the recovery page is not there", "listen", listen, "cert_file", pair.CertFile, "err", err)
			all = errors.Join(all, err)
		}
	}
	return nil, all
}

func (r *recovered) listen(listen string, pair config.TLS) (*webadmin.Server, error) {
	return webadmin.New(webadmin.Options{Listen: listen, DataDir: r.opt.DataDir, CertFile: pair.CertFile, KeyFile: pair.KeyFile, Recovery: r, Log: r.opt.Log, Now: r.opt.Now,
		Audit: func(e webadmin.AuditEvent) { r.a.aside.add(auditFacts(e, r.opt.Now())) }})
}

func (r *recovered) Standstill() webadmin.Standstill { return r.opt.Standstill() }

// Status has the little that is known.
func (r *recovered) Status() webadmin.Status {
	st := webadmin.Status{Version: r.opt.Version, Box: r.a.box, Image: r.a.opt.Image != nil}
	for _, url := range r.collectors() {
		st.Syslog = append(st.Syslog, webadmin.Syslog{URL: url})
	}
	return st
}

// collectors are whom nobody tells anything now.
func (r *recovered) collectors() (urls []string) {
	if r.unread != nil {
		return []string{"of the configuration, which cannot be read"}
	}
	for _, t := range r.a.cfg.Load().Syslog.Targets {
		urls = append(urls, t.URL)
	}
	return urls
}

// Holds are in the journal, which is not open.
func (r *recovered) Holds() webadmin.Holds {
	return webadmin.Holds{Unknown: "nothing is governed, so the journal is not open"}
}

func (r *recovered) Govern(who string) error {
	r.audit(who, "govern", "box", r.Standstill().State, "governing is tried again")
	return r.opt.Govern()
}

func (r *recovered) PowerOff(who string) error {
	r.audit(who, "power_off", "box", r.Standstill().State, "off")
	return r.opt.PowerOff()
}

// FactoryReset waits for somebody to waive the record of it where there are collectors: nobody can send it to them.
func (r *recovered) FactoryReset(_ context.Context, anyway bool, _ string) (told []webadmin.SyslogResult, err error) {
	for _, url := range r.collectors() {
		told = append(told, webadmin.SyslogResult{URL: url, Error: "nothing is sent while nothing is governed"})
	}
	if len(told) > 0 && !anyway {
		return told, nil
	}
	return told, r.opt.Image.Erase()
}

// Restore puts a backup on the disk, for when the box governs.
func (r *recovered) Restore(file []byte, dry, sure bool, who string) (webadmin.RestoreOutcome, error) {
	a := r.a
	a.changing.Lock()
	defer a.changing.Unlock()
	b, d, o, err := r.looked(file)
	o.Config.Waiting = nil // all of it is in force then
	if err != nil || dry {
		return o, err
	}
	if !sure {
		return o, webadmin.NotSure(append([]string{"file"}, o.Config.Elsewhere...))
	}
	changed := b.changes(a.opt.ConfigFile)
	if err := durable.Replace(filepath.Join(a.opt.DataDir, restorePending), file); err != nil {
		return o, err
	}
	if done := finishRestore(a.opt.ConfigFile, a.opt.DataDir); done != nil && done.err != nil {
		return o, fmt.Errorf("a part of it may be written, and when the box governs the rest is: %w", done.err)
	}
	r.restored(who, b, d, o, changed)
	return o, nil
}

var _ webadmin.Recovery = (*recovered)(nil)

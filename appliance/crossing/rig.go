package crossing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// bounces is the domain of all senders: what comes back ends in a mailbox, not in a queue that is tried anew each second.
const bounces = "client.example"

// login is what all servers of the rig know.
var login = lab.Login{Name: "me@client.example", Password: "weir-2525"}

// Rig is the lab with the servers on one side and the clients on the other. Half of them send packets of the link's size,
// the other half what the kernel makes of them.
type Rig struct {
	Lab     *lab.Lab
	Servers []*Server
	clients []client
	log     *slog.Logger
}

// Run is one client's doing of one case.
type Run struct {
	Client     string    `json:"client"`
	Server     string    `json:"server"`
	Host       string    `json:"host"` // the server's name in the lab
	TLS        string    `json:"tls"`
	Case       Case      `json:"case"`
	Begin, End time.Time `json:"-"`
	claim      claim
	client     client
	server     *Server
}

// Build starts servers and clients.
func Build(ctx context.Context, l *lab.Lab, log *slog.Logger) (*Rig, error) {
	r := &Rig{Lab: l, log: log}
	for _, software := range []lab.Software{lab.Postfix, lab.Exim, lab.OpenSMTPD} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, bare := range []bool{false, true} {
				if bare && software == lab.OpenSMTPD {
					continue // it always is
				}
				if err := r.addServer(ctx, software, version, bare); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := r.addClients(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Rig) addServer(ctx context.Context, software lab.Software, version uint16, bare bool) error {
	short := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[version]
	name := fmt.Sprintf("%s-%s", software, short[2:])
	tuning := lab.Tuning{ImplicitTLS: true, TLSVersion: version, Refuses: true, Resume: true}
	if software != lab.Postfix { // whose AUTH is the business of another daemon
		tuning.Login = login
	}
	if bare {
		name += "-bare"
		tuning.Without = []string{"PIPELINING", "CHUNKING"}
	}
	domain := name + ".test"
	s, err := r.Lab.AddMailServer(ctx, name, lab.ServerOptions{Software: software, StartTLS: true,
		Domains: []string{domain, "implicit." + domain, bounces}, Tuning: tuning,
		RetryAfter: 10 * time.Minute, // they send nothing on, and a run of Exim's queue looks at each message that is just being delivered
	})
	if err != nil {
		return err
	}
	r.Servers = append(r.Servers, &Server{MailServer: s, TLS: short, Domain: domain})
	if bare {
		return s.OnePacketEach()
	}
	return nil
}

func (r *Rig) addClients(ctx context.Context) error {
	home := func(name string) (lab.Line, error) {
		h, err := r.Lab.AddHome(name)
		if err != nil {
			return lab.Line{}, err
		}
		return h.Line, nil
	}
	var errs []error
	for _, name := range []string{"go", "talk", "python", "swaks", "msmtp", "curl", "openssl"} {
		line, err := home(name)
		if err != nil {
			return err
		}
		dir := filepath.Join(r.Lab.Dir, "client-"+name)
		errs = append(errs, os.Mkdir(dir, 0o700))
		p := program{home: line, login: login, dir: dir}
		switch name {
		case "go":
			r.clients = append(r.clients, &goSMTP{home: line, login: login, cache: tls.NewLRUClientSessionCache(0)})
		case "talk":
			r.clients = append(r.clients, &goTalk{home: line, login: login, cache: tls.NewLRUClientSessionCache(0)})
		case "python":
			r.clients = append(r.clients, &python{p})
		case "swaks":
			r.clients = append(r.clients, &swaks{p})
		case "msmtp":
			r.clients = append(r.clients, &msmtp{p})
		case "curl":
			r.clients = append(r.clients, &curl{p})
		case "openssl":
			r.clients = append(r.clients, &sclient{p})
		}
	}
	var routes []lab.Route
	for _, s := range r.Servers {
		implicit := s.RouteTo("implicit."+s.Domain, false, lab.TLSMay)
		implicit.To = s.address(Case{Implicit: true})
		routes = append(routes, s.RouteTo(s.Domain, false, lab.TLSMay), implicit)
	}
	look, err := r.Lab.AddMailServer(ctx, "finger", lab.ServerOptions{Side: lab.Subscribers})
	if err != nil {
		return err
	}
	r.clients = append(r.clients, &finger{MailServer: look})
	for _, software := range []lab.Software{lab.Postfix, lab.Exim, lab.OpenSMTPD} {
		for _, reuse := range []int{1, 100} {
			name, title := "sends-"+software.String(), software.String()
			concurrency := 1
			if reuse > 1 {
				name += "-many"
				if software == lab.Exim {
					concurrency = 0 // it counts the messages that are to share the session
				}
			}
			s, err := r.Lab.AddMailServer(ctx, name, lab.ServerOptions{Software: software, Side: lab.Subscribers, Routes: routes, Concurrency: concurrency,
				Domains: []string{bounces}, RetryAfter: time.Second, Tuning: lab.Tuning{Reuse: reuse, Resume: true}})
			if err != nil {
				return err
			}
			r.clients = append(r.clients, &mta{s, title})
		}
	}
	for i, c := range r.clients {
		if i%2 == 1 {
			errs = append(errs, c.line().OnePacketEach())
		}
	}
	return errors.Join(errs...)
}

// Do has all clients do their cases, as many at the same time as the machine has processors for, and gives what was done.
func (r *Rig) Do(ctx context.Context, plan Plan) ([]Run, error) {
	d := doing{turns: make(chan struct{}, runtime.NumCPU()*casesPerCPU)}
	defer r.progress(&d, plan)()
	var wg sync.WaitGroup
	for _, c := range r.clients {
		servers := make(chan *Server, len(r.Servers))
		for _, s := range r.Servers {
			servers <- s
		}
		close(servers)
		for range c.width() {
			wg.Go(func() {
				for s := range servers {
					d.pair(ctx, c, s, plan(c, s))
				}
			})
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return d.runs, errors.Join(append(d.errs, err)...)
	}
	return d.runs, errors.Join(d.errs...)
}

// casesPerCPU is how many cases are under way for each processor: both ends of one wait for each other much of the time.
const casesPerCPU = 2

// progress logs once a minute how much of the plan is done, until what it gives is called.
func (r *Rig) progress(d *doing, plan Plan) (stop func()) {
	all := 0
	for _, c := range r.clients {
		for _, s := range r.Servers {
			for _, what := range plan(c, s) {
				if c.can(what, s) && s.does(what) {
					all++
				}
			}
		}
	}
	tick, done, ended := time.NewTicker(time.Minute), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				n, failed := d.count()
				r.log.Info("crossing: cases", "done", n, "of", all, "failed", failed)
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-ended
	}
}

// doing gathers what is done.
type doing struct {
	turns chan struct{} // who has put something into it does a case
	mu    sync.Mutex
	runs  []Run
	errs  []error
}

func (d *doing) count() (runs, failed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.runs), len(d.errs)
}

// pair has one client do its cases with one server, one after the other.
func (d *doing) pair(ctx context.Context, c client, s *Server, cases []Case) {
	for _, what := range cases {
		if ctx.Err() != nil {
			return
		}
		if !c.can(what, s) || !s.does(what) {
			continue
		}
		select {
		case d.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		run := Run{Client: c.name(), Server: s.Options.Software.String(), Host: s.Name, TLS: s.TLS, Case: what, client: c, server: s, Begin: time.Now()}
		claim, err := c.run(ctx, what, s)
		<-d.turns
		if err == nil {
			err = c.leave(ctx, s)
		}
		if run.End, run.claim = time.Now(), claim; err != nil && ctx.Err() != nil {
			run.claim = nothing // it was cut off
		}
		d.mu.Lock()
		d.runs = append(d.runs, run)
		if err != nil {
			d.errs = append(d.errs, fmt.Errorf("%s to %s, %v: %w", c.name(), s.Name, what, err))
		}
		d.mu.Unlock()
	}
}

package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// standstill is why nothing is governed, as process 1 writes it for the recovery page. Its times are of the time since the kernel's start, which nobody sets.
type standstill struct {
	State string        `json:"state"` // webadmin.StateSafe or StateBypass
	Why   string        `json:"why"`   // a sentence
	Since time.Duration `json:"since_ns"`
	Until time.Duration `json:"until_ns"` // when governing is tried again; 0: it is not, by itself
	Again bool          `json:"again"`    // trying it may help
}

var (
	standstillFile = filepath.Join(runDir, "standstill") // there is none while the box governs
	againFile      = filepath.Join(runDir, "again")      // somebody wants governing to be tried again; process 1 takes it away
	governedFile   = filepath.Join(runDir, "governed")   // the last that the governing program said
)

// governing is whether the box governs. Of its two children at most one runs: who governs, or who shows the recovery page.
type governing struct {
	s     *supervisor
	log   *slog.Logger
	say   func(format string, args ...any)
	begun func() // called when governing begins for the first time in this start

	bypassed func() bool
	write    func(*standstill) error // for the page; nil: the box governs
	back     func() error            // takes back ports that a governing program tried
	clear    func() error            // takes away what a governing program that was given up, or killed, left in the kernel: with on_failure closed its rules keep mail from passing

	mu    sync.Mutex
	once  sync.Once
	safe  *standstill // why the box is in safe mode; nil: it is not
	since time.Duration
}

func (b *box) newGoverning(ctx context.Context, s *supervisor) *governing {
	return &governing{s: s, log: b.log, say: b.console.say, bypassed: bypassed, back: b.portsBack,
		clear: func() error { return errors.Join(ruleset.Remove(), b.portsBack(), b.guard()) },
		write: func(why *standstill) error { return why.save(standstillFile) },
		begun: func() {
			go guard(func() { newTeller(b.console, stateDir).run(ctx) })
			afterwards(ctx, lasting, func() { b.try("count of starts", func() error { return lasted(dataDir) }) })
		}}
}

// children gives the supervisor the two, and starts neither. Without a management port nobody could see a page.
func (g *governing) children(config string, page bool) {
	g.s.add(&child{name: governChild, not: recoveryChild, held: true, argv: []string{runCommand, "--config", config, "--data", stateDir}, loop: func() {
		g.say("SAFE MODE: governing ended %d times in %v. %s, mail passes unjudged. Start the box again to leave it, or try it on the recovery page.", loopEnds, loopTime, passing())
		g.stop(standstill{Why: fmt.Sprintf("The program that governs ended %d times within %v.", loopEnds, loopTime), Again: true})
	}, back: func() {
		if err := g.back(); err != nil {
			g.log.Error("take back the ports that were tried", "err", err)
		}
	}, tidy: func() {
		if err := g.clear(); err != nil {
			g.log.Error("take the rules away", "err", err)
		}
	}})
	if page {
		g.s.add(&child{name: recoveryChild, not: governChild, held: true, argv: []string{recoveryCommand, config}})
	}
}

// begin leaves safe mode, or begins in the first place.
func (g *governing) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.safe = nil
	g.apply()
}

// stop is safe mode.
func (g *governing) stop(why standstill) {
	g.mu.Lock()
	defer g.mu.Unlock()
	why.State, why.Since = webadmin.StateSafe, netconf.Uptime()
	g.safe = &why
	g.apply()
}

// stopFor is safe mode for a while.
func (g *governing) stopFor(ctx context.Context, d time.Duration, why standstill) {
	why.Until = netconf.Uptime() + d
	g.stop(why)
	afterwards(ctx, d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.safe != nil && g.safe.Until == why.Until { // nobody was faster
			g.safe = nil
			g.apply()
		}
	})
}

// look does what somebody wants who has sent a signal.
func (g *governing) look(again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if again {
		g.say("governing is tried again, as somebody wants")
		g.safe = nil
	}
	on := g.bypassed()
	switch {
	case g.safe != nil:
		g.say("nothing is governed in any case")
	case on:
		g.say("BYPASS: mail passes unjudged, until that is ended at the console or the box is started again")
	case !again:
		g.say("bypass has ended")
	}
	g.apply()
}

// apply has the right child run; g.mu is held. Safe mode goes before bypass: ending that would not end it.
func (g *governing) apply() {
	why := g.safe
	switch on := g.bypassed(); {
	case why != nil:
		g.since = 0
	case on && g.since == 0:
		g.since = netconf.Uptime()
		fallthrough
	case on:
		why = &standstill{State: webadmin.StateBypass, Why: "Bypass was chosen at the console.", Since: g.since, Again: true}
	default:
		g.since = 0
	}
	if err := g.write(why); err != nil {
		g.log.Error("say to the recovery page why nothing is governed", "err", err)
	}
	if why != nil {
		g.s.hold(governChild, true)
		g.s.hold(recoveryChild, false)
		return
	}
	g.s.hold(recoveryChild, true)
	g.s.hold(governChild, false)
	g.once.Do(g.begun)
}

// save puts it where the page looks; nil: there is nothing to tell.
func (why *standstill) save(file string) error {
	if why == nil {
		return gone(os.Remove(file))
	}
	text, err := json.Marshal(why)
	if err != nil {
		return err
	}
	return durable.Replace(file, text)
}

// gone is the error of removing something, which need not have been there.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

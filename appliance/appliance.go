// Package appliance puts the parts together and runs them: packets from nfq meet
// budgets from governor, what was decided goes out as records, and people look at
// all of it through webadmin. Nobody else knows that these parts exist together.
package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/appliance/notices"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/responder"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/memory"
	"github.com/mailweir/mailweir/governor/store"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/bridge"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/sentences"
)

// Times that are promised in the manual.
const (
	recordQueue   = 16384 // events that wait to become records; over it the newest are lost and counted
	recentRecords = 4096  // kept in memory for the pages and the API

	saveEvery   = time.Second     // changed bindings and cases go to disk, and budgets, where they are due; what a crash may forget
	rulesetLook = 5               // seconds between two looks whether our table is still there
	laneLook    = 2               // seconds between two looks whether the fast lane is where it belongs
	crowdLook   = 60              // seconds between two looks for many behind one address, and for cases too old to keep
	drainLimit  = 5 * time.Second // for records on their way when we stop
)

// Options says what to run.
type Options struct {
	ConfigFile, DataDir string
	RunDirs             []string // in memory (tmpfs), the first that is counts, for what the death of the process must not lose while the disk hangs; nil: none
	Version             string
	Log                 *slog.Logger
	Reload              <-chan os.Signal // each value: read the configuration again
	Ready               func()           // called once, when packets are judged and the web admin answers
	Now                 func() time.Time // nil: time.Now
	Executable          string           // of mailweir, for what-ifs and the web admin; "": this one, and the web admin is in this process
	ClockFile           string           // what the image's keeper of the clock says of it; "": there is none
	Image               *Image           // what the image's process 1 does for us; nil: the box does not run the image
	Management          netconf.Dir      // where the state of the image's management port is; "": there is none
	CollectorsWait      time.Duration    // how long new collectors wait for a disk that does not answer; 0: 10 s
	LaneRing            int              // bytes for the copies of the fast lane, a power of two; 0: by the memory there is
}

// Appliance is one running box.
type Appliance struct {
	opt   Options
	now   func() time.Time
	log   *slog.Logger
	box   string
	start time.Time

	cfg      atomic.Pointer[config.Config]
	kernel   ruleset.Kernel
	lane     *fastLane
	bridge   *bridge.Bridge // nil: the box routes
	tagged   tagged
	who      *identity
	gov      *governor.Governor
	store    *store.Store
	saver    *saver
	cases    *casebook
	keeper   *keeper
	eraser   *eraser
	lines    *lines
	book     *sources.Book
	observer *observer
	crowd    atomic.Pointer[[]sources.Source] // that look like many senders
	chain    *records.Chain
	writer   *records.Writer
	recent   *records.Ring
	journal  *journal.Journal // nil: there could be none
	syslog   *syslogTargets
	notices  *notices.Service
	answers  *responder.Responder
	cutter   *cutter
	judge    *judge
	queues   *nfq.Queues
	tried    atomic.Pointer[portsTried] // a shape of the image's ports that nobody has confirmed yet; nil: there is none
	changing sync.Mutex                 // one reader or writer of configuration and list at a time
	plans    sync.Mutex                 // held while a plan is chosen and while a reload changes what plans there are
	steering sync.Mutex                 // one writer of the ruleset at a time
	stopping bool                       // guarded by steering: nothing is steered to us any more
	ending   ending
	aside    *aside         // nil: it governs, or is about to
	behind   sync.WaitGroup // for the disk, of what nobody waits for any more
	rules    atomic.Pointer[ruleset.Ruleset]
	web      front
	health   *health
	traffic  *traffic
	updates  updates // only tick uses it
	census   lasting[*census]
	rolls    lasting[*roll]
	size     sizes
	floods   *floods // nil: no fast lane

	since         atomic.Pointer[time.Time] // of the mode
	clock         wallClock
	clockWatch    clockWatch // only tick uses it
	certWatch     certificateWatch
	listRefused   atomic.Pointer[string]   // why the list on disk is not in force; nil: it is
	waiting       atomic.Pointer[[]string] // keys of the configuration that wait for a restart; nil: none
	again         chan struct{}            // of one: somebody wants a restart
	listSeen      string                   // state of the subscribers file before it was last read; guarded by changing
	listNext      string                   // and as the last look found it
	journalLost   uint64                   // records that the journal had lost when it was last looked at; only tick uses it
	inputsLost    uint64                   // and inputs of the governor
	journalDamage []journal.Damage         // found when it was opened, until it is told
	ready         atomic.Bool
}

// Run governs until ctx ends. A configuration that is not good is a
// config.Problems error, before anything has been touched; a list that is not good is
// one too, before anything but the data directory has been. Where somebody asks for a restart another
// life begins in the same process; if that does not come up, one more with what had not waited for the restart.
func Run(ctx context.Context, opt Options) error {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	var fallback []byte
	tell := opt.Ready
	for {
		came := false
		life := opt
		life.Ready = func() {
			if came = true; tell != nil {
				tell()
				tell = nil
			}
		}
		next, err := live(ctx, life)
		switch {
		case errors.Is(err, errAgain):
			opt.Log.Info("beginning again, as somebody asked for")
			fallback = next
		case err != nil && !came && fallback != nil && ctx.Err() == nil:
			opt.Log.Error("the configuration that waited for the restart does not come up; back to what was in force", "err", err)
			if back := durable.Rewrite(opt.ConfigFile, fallback); back != nil {
				return errors.Join(err, back)
			}
			fallback = nil
		default:
			return err
		}
	}
}

// live is one life. When it ends for another one, fallback is the configuration with which that comes up as this one did.
func live(ctx context.Context, opt Options) (fallback []byte, err error) {
	reverted := revertPorts(opt)
	cfg, resumed, err := configuration(opt)
	if err != nil {
		return nil, err
	}
	reverted.stays(cfg)
	for _, w := range cfg.Warnings() {
		opt.Log.Warn(w.Error())
	}
	ballast, collect := collectLess()
	defer runtime.KeepAlive(ballast)
	l := readList(cfg)
	a, release, err := begin(opt, cfg, l)
	if _, bad := l.wait(); bad != nil {
		err = bad // whatever else is wrong: the operator's file comes first
	}
	collect()
	defer release()
	if a != nil {
		defer func() { err = a.closed(err) }()
	}
	if err != nil {
		return nil, err
	}
	a.tellReverted(reverted)
	a.tellCards()
	a.tellResumed(resumed)
	a.tellAside()
	if err = a.run(ctx); errors.Is(err, errAgain) {
		fallback = a.fallback()
	}
	return fallback, err
}

// begin brings up a box whose list is still being read. What it gives is to be closed and
// released, also beside an error.
func begin(opt Options, cfg *config.Config, l *list) (a *Appliance, release func(), err error) {
	if release, err = claim(); err != nil {
		return nil, func() {}, err
	}
	if SubscribersMissing(cfg) {
		opt.Log.Warn("there is no subscribers file: every source is unmapped", "file", cfg.SubscribersPath(), "plan", cfg.Identity.UnmappedPlan)
	}
	if err := os.MkdirAll(opt.DataDir, 0o700); err != nil {
		return nil, release, fmt.Errorf("data directory: %w", err)
	}
	a = &Appliance{opt: opt, now: opt.Now, log: opt.Log, start: opt.Now(), cases: newCasebook(), book: sources.New(), traffic: &traffic{}, again: make(chan struct{}, 1)}
	a.since.Store(&a.start)
	return a, release, a.open(cfg, l)
}

// open brings up everything that can fail, in an order in which nothing is
// steered to us before somebody is there to judge it.
func (a *Appliance) open(cfg *config.Config, l *list) error {
	if err := a.shapePorts(cfg); err != nil {
		return err
	}
	if err := a.recall(cfg, l); err != nil {
		return err
	}
	var err error
	if a.answers, err = responder.Listen(a.now, deferMark(cfg)); err != nil {
		return err
	}
	a.judge.answers = a.answers
	if err := a.lines.use(cfg); err != nil {
		return err
	}

	if a.kernel, err = ruleset.Probe(); err != nil {
		return fmt.Errorf("find out what the kernel can do: %w", err)
	}
	if err = a.openBridge(cfg); err != nil {
		return err
	}
	a.size = sizesFor(memoryHere())
	a.openTags(cfg)
	a.size.ring = cmp.Or(a.opt.LaneRing, a.size.ring)
	a.lane = openLane(cfg, a.size, a.log)
	a.lane.act(modeOf(cfg))
	if a.lane.lane != nil {
		a.floods = &floods{bits: lineBits(cfg), closed: !cfg.Network.FailOpen(), flooding: a.lane.lane.Flooding, of: func(addr netip.Addr) string { return a.who.of(addr).id }, say: a.health.tell, now: a.now}
	}
	processors(int(queueCount(cfg)))
	if err := shortenSlices(); err != nil {
		a.log.Warn("packets may wait while other programs compute", "err", err)
	}
	// Before the first rule, so that a queue never steers to nobody.
	if a.queues, err = nfq.Open(a.queueConfig(cfg)); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w; another program has this queue: set queue.first to numbers that are free", err)
		}
		return err
	}
	if err = a.openWeb(cfg); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%w; another program has admin.listen %s: set another port", err, cfg.Admin.Listen)
		}
		return err
	}
	a.writer.Say(records.Config(records.ConfigFacts{Time: a.now(), What: "started", File: cfg.Path()}))
	return nil
}

// storeWait is how long somebody else may have the store.
const storeWait = 5 * time.Second

// openStore opens the store once nobody else has it. A program that was just started from here, as what-if is, has all that was open, with the locks
// of a life before this one, between fork and exec.
func openStore(dir string) (s *store.Store, err error) {
	for end := time.Now().Add(storeWait); ; time.Sleep(10 * time.Millisecond) {
		s, err = store.Open(dir, store.Options{Timeout: storeWait})
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return s, err
		}
	}
}

// recall brings up what needs no network: what is judged by, what is written, and
// what the last life saved. Each of a large list, of what was saved of its addresses and
// of its budgets takes seconds, so that all go on beside each other.
func (a *Appliance) recall(cfg *config.Config, l *list) error {
	a.cfg.Store(cfg)
	a.who = newIdentity(cfg, nil)
	now := a.now()

	var err error
	if a.store, err = openStore(a.opt.DataDir); err != nil {
		return err
	}
	if a.box, err = boxID(a.opt.DataDir); err != nil {
		return err
	}
	if a.chain, err = records.OpenMirrored(filepath.Join(a.opt.DataDir, "records.state"), a.mirrorPath(), a.box); err != nil {
		return err
	}
	policy := cfg.Policy()
	a.chain.SetPolicy(cfg.Mode, policy.Hash)
	a.recent = records.NewRing(recentRecords)
	noJournal := a.openJournal(cfg)
	a.writer = records.NewWriter(a.chain, recordQueue, a.now, a.recent.Add, a.journal.Add, func(r records.Record) { a.notices.Take(r) })
	a.health = &health{say: a.writer.Say, now: a.now}
	if noJournal != nil {
		a.health.begin(records.HealthFacts{What: "journal", Detail: noJournal.Error()})
	}
	if err = a.openSyslog(cfg); err != nil {
		return err
	}
	a.stateJournal(noJournal)
	if err = a.openNotices(cfg); err != nil {
		return err
	}
	if e, tell := a.chain.Found().Health(now); tell {
		a.writer.Say(e)
	}
	a.gov = governor.NewIn(memory.Huge, policy, now)
	a.saver = &saver{gov: a.gov, store: a.store, now: a.now, log: a.log, health: a.health,
		beside: func() int64 { return int64(a.observer.series.Written()) + a.journal.Status().Written }}
	a.keeper = &keeper{dir: a.who.Directory, cases: a.cases, store: a.store, now: a.now, log: a.log, health: a.health}
	a.eraser = newEraser(a.store, a.health)
	a.damaged()
	budgets := func() error { return nil }
	err = a.keeper.recall(now, func() {
		done := make(chan error, 1)
		budgets = func() error { return <-done }
		go func() {
			if _, err := l.wait(); err != nil { // then it has been for nothing
				done <- err
				return
			}
			done <- a.restore(now)
		}()
	})
	table, bad := l.wait()
	if err := cmp.Or(bad, err); err != nil {
		budgets() // before the store is closed
		return err
	}
	for _, w := range ListWarnings(table) {
		a.log.Warn(w)
	}
	a.listSeen = l.seen
	a.who.Begin(table, now)
	if err := budgets(); err != nil {
		return err
	}
	if a.journal != nil {
		a.gov.Record(a.journal, now)
	}
	a.plansThere(cfg)
	a.cutter = newCutter(a.who.mine, a.isCut, a.log)
	a.judge = &judge{gov: a.gov, who: a.who, cutter: a.cutter, say: a.writer.Say, traffic: a.traffic, crypt: newEncryption(a.writer.Say), now: a.now}
	a.judge.end = a.endSessions
	a.judge.stirred = func() { a.saver.stage.Store(true) }
	a.judge.answerable = a.answerable
	if a.observer, err = openObserver(a, cfg); err != nil {
		return err
	}
	a.judge.cases, a.judge.book, a.judge.seen = a.cases, a.book, a.observer.seen
	a.judge.rules.Store(rulesOf(cfg))
	a.lines = &lines{dir: a.who.Directory, now: a.now, log: a.log, health: a.health, moved: a.moved}
	return nil
}

// openWeb brings up the web admin, as a process of its own where there is the program for it.
func (a *Appliance) openWeb(cfg *config.Config) error {
	o := a.webOptions(cfg)
	if a.opt.Executable != "" {
		p, err := newWebProcess(a.opt.Executable, o, cfg.Admin.Timezone, a.health)
		if err == nil {
			a.web = p
		}
		return err
	}
	s, err := webadmin.New(o)
	if err == nil {
		a.web = s
	}
	return err
}

func (a *Appliance) webOptions(cfg *config.Config) webadmin.Options {
	var err error
	o := webadmin.Options{
		Listen: cfg.Admin.Listen, DataDir: a.opt.DataDir,
		CertFile: cfg.Resolve(cfg.Admin.TLS.CertFile), KeyFile: cfg.Resolve(cfg.Admin.TLS.KeyFile),
		MetricsPublic: cfg.Admin.MetricsPublic, Location: cfg.Location(),
		Source: &source{a: a}, Log: a.log, Now: a.now, ListBytes: int64(memoryHere() / listShare),
		Audit: func(e webadmin.AuditEvent) { a.writer.Say(records.Audit(auditFacts(e, a.now()))) },
	}
	if o.Sentences, err = a.toSay(cfg); err != nil { // mail is worth more than words
		a.log.Error("what callers are told cannot be read; they are told what the program brings", "err", err)
		o.Sentences = sentences.Builtin(cfg.Admin.Language)
	}
	if cfg.Admin.Metrics {
		o.Metrics, o.MetricsMasked = metricsHandler(metrics{a: a}), metricsHandler(metrics{a: a, masked: true})
	}
	return o
}

// run has two parts, ended one after the other: what handles packets and what
// makes records of it. What sends the records ends last, in close.
func (a *Appliance) run(ctx context.Context) error {
	endJournal := background(ctx, a.journal.Run)
	endNotices := background(ctx, a.notices.Run)
	endWriter := background(ctx, a.writer.Run)
	a.catchUp()

	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work, workCtx := errgroup.WithContext(inner)
	again := false
	work.Go(func() error {
		select {
		case <-ctx.Done():
		case <-a.again:
			again = true
		case <-workCtx.Done():
			return nil
		}
		a.ready.Store(false)
		a.stopSteering()
		if err := a.lane.detach(); err != nil {
			a.log.Error("stop the fast lane", "err", err)
		}
		a.disarm() // from here on nothing new comes to us
		stop()
		return nil
	})
	answered := make(chan struct{}) // every packet is
	work.Go(func() error {
		defer close(answered)
		return a.queues.Run(workCtx)
	})
	work.Go(func() error { return a.answers.Run(workCtx) })
	work.Go(func() error { return a.cutter.Run(workCtx) })
	work.Go(func() error { return a.watchShortCut(workCtx) })
	work.Go(func() error { return a.watchPorts(workCtx) })
	work.Go(func() error { return a.web.Run(workCtx) })
	work.Go(func() error { return a.saver.Run(workCtx) })
	work.Go(func() error { return a.keeper.Run(workCtx) })
	work.Go(func() error { return a.eraser.Run(workCtx) })
	work.Go(func() error { return a.observer.Run(workCtx) })
	work.Go(func() error { return a.observer.Keep(workCtx) })
	work.Go(func() error {
		a.who.Follow()
		debug.FreeOSMemory() // what was left behind by the start, since nothing was collected meanwhile
		return nil
	})
	work.Go(func() error { return a.rolls.Run(workCtx, a.rollMaker()) })
	work.Go(func() error { return a.census.Run(workCtx, a.censusMaker()) })
	work.Go(func() error { return a.lines.Run(workCtx) })
	work.Go(func() error { return a.certWatch.Run(workCtx, a.web, a.health) })
	work.Go(func() error { return a.tick(workCtx) })
	work.Go(func() error { return a.checkpoints(workCtx) })
	work.Go(func() error { return a.reloads(workCtx) })
	work.Go(func() error {
		if err := a.steer(a.cfg.Load()); err != nil {
			return err
		}
		a.ready.Store(true)
		select {
		case <-a.web.Ready():
		case <-workCtx.Done():
			return nil
		}
		a.countPorts()
		if a.opt.Ready != nil {
			a.opt.Ready()
		}
		return nil
	})
	<-workCtx.Done()
	<-answered // which no disk delays
	end := &a.ending
	err := end.step("what its tasks were writing", a.opt.DataDir, func() error {
		err := work.Wait()
		a.behind.Wait()
		return err
	})
	a.ready.Store(false)
	// The queues have answered every packet they took and are unbound; only now
	// may the table go, since the kernel drops what waits in a queue whose hook
	// is removed.
	err = errors.Join(err, a.unsteer())
	a.tellRest()
	err = errors.Join(err,
		end.step("what was charged last", a.at("budgets"), a.saver.saveNow),
		end.step("addresses and cases of the last second", a.at("mailweir.db"), a.keeper.saveNow),
		end.step("the last minute of the share and what was learned of clients", a.at("share.minutes"), a.observer.finish))
	a.gov.Stop(a.now())
	err = errors.Join(err,
		end.step("the last records", a.at("records.state"), endWriter),
		end.step("notices", a.at("mailweir.db"), endNotices),
		end.step("the end of the journal", a.at("journal"), func() error { return errors.Join(endJournal(), a.journal.Close()) }))
	if err == nil && again {
		return errAgain
	}
	return err
}

// background runs a part that outlives ctx and returns what ends it and waits for it.
func background(ctx context.Context, run func(context.Context) error) (end func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/notices"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/syslog"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	"github.com/mailweir/mailweir/nfq"
)

// reloads reads the configuration again whenever it is asked to.
func (a *Appliance) reloads(ctx context.Context) error {
	look := time.NewTicker(listLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.opt.Reload:
			if err := a.reload(); err != nil {
				a.refused(a.opt.ConfigFile, err)
			}
		case <-look.C:
			a.lookAtSubscribers()
		}
	}
}

// refused tells why a file is, and gives the first reason.
func (a *Appliance) refused(file string, err error) (detail string) {
	detail = err.Error()
	if ps, ok := errors.AsType[config.Problems](err); ok {
		detail, err = ps.First(), ps.Few(LoggedProblems)
	}
	a.log.Error("refused, what is running goes on", "file", file, "err", err)
	a.writer.Say(records.Config(records.ConfigFacts{Time: a.now(), What: "refused", File: file, Detail: detail}))
	return detail
}

// LoggedProblems is how many problems of one file the log gets.
const LoggedProblems = 20

// listLook is how often the subscribers file is looked at.
const listLook = 400 * time.Millisecond

// lookAtSubscribers reads the list again when the file changed, whole or not at
// all. A file that is just being written is left alone until two looks find it the
// same.
func (a *Appliance) lookAtSubscribers() {
	a.changing.Lock()
	defer a.changing.Unlock()
	cfg := a.cfg.Load()
	state := fileState(cfg.SubscribersPath())
	settled := state == a.listNext
	a.listNext = state
	if state == a.listSeen || !settled {
		return
	}
	a.listSeen = state
	table, err := loadSubscribers(cfg)
	if err == nil {
		err = a.stillThere(cfg, table)
	}
	if err != nil {
		why := a.refused(cfg.SubscribersPath(), err)
		a.listRefused.Store(&why)
		return
	}
	now := a.now()
	a.assign(cfg, table, now)
	a.log.Info("subscribers read again", "file", cfg.SubscribersPath(), "subscribers", table.Len())
	a.writer.Say(records.Config(records.ConfigFacts{Time: now, What: "reloaded", File: cfg.SubscribersPath()}))
}

// fileState is equal as long as a file is the same; "" when there is none.
func fileState(path string) string {
	info, err := os.Stat(path)
	if path == "" || err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Sys().(*syscall.Stat_t).Ino)
}

// reload takes a new configuration, or refuses it as a whole. What needs new
// queues or new addresses waits for a restart and is named; everything else is in
// force when reload returns.
func (a *Appliance) reload() error {
	a.changing.Lock()
	defer a.changing.Unlock()
	next, table, seen, err := loadConfig(a.opt.ConfigFile)
	if err != nil {
		return err
	}
	if err := a.untried(next); err != nil {
		return err
	}
	live, waiting := carried(a.cfg.Load(), next)
	return a.take(live, waiting, table, seen)
}

// take puts in force what [carried] found can be, and notes which keys wait for a restart; seen is the state that the list had before it was read. The
// caller holds a.changing.
func (a *Appliance) take(next *config.Config, waiting []string, table *subscriber.Table, seen string) error {
	a.plans.Lock() // nobody chooses a plan that goes meanwhile
	defer a.plans.Unlock()
	old := a.cfg.Load()
	for _, w := range next.Warnings() {
		a.log.Warn(w.Error())
	}
	if err := a.stillThere(next, table); err != nil {
		return err
	}
	dropped, err := a.plansStay(next, table)
	if err != nil {
		return err
	}
	// What can fail comes first; from then on the new configuration is in force.
	var collectors *syslog.Exporter // nil: as before
	if !reflect.DeepEqual(old.Syslog, next.Syslog) {
		if collectors, err = a.collectors(next); err != nil {
			return err
		}
		defer func() {
			if a.cfg.Load() != next { // it was refused after all: the spool waits for nobody who is only in it
				a.forgetCollectors(old)
			}
		}()
	}
	notify := noticesChanged(old, next)
	var told notices.Setup
	if notify {
		if told, err = a.noticesSetup(next); err != nil {
			return err
		}
	}
	showCertificate, err := a.certificate(next)
	if err != nil {
		return err
	}
	said, err := a.toSay(next)
	if err != nil {
		return err
	}
	resteer := !slices.Equal(old.Network.SubscriberInterfaces, next.Network.SubscriberInterfaces)
	if resteer {
		if err := a.steer(next); err != nil {
			return err
		}
	}
	if err := a.lines.use(next); err != nil {
		if resteer {
			err = errors.Join(err, a.steer(old))
		}
		return err
	}
	if !next.Network.SameShape(old.Network) { // which of a bridge's ports is the subscribers'
		a.keepPorts(next.Network)
	}
	showCertificate()
	if a.web != nil {
		a.web.UseSentences(said)
	}
	a.resyslog(next, collectors)
	if notify {
		a.notices.Use(told)
	}
	now := a.now()
	policy := next.Policy()
	inForce := policy
	inForce.Plans = append(inForce.Plans, leaving(old.Policy(), policy)...)
	a.cfg.Store(next)
	a.waiting.Store(&waiting)
	a.listSeen = seen
	a.judge.rules.Store(rulesOf(next))
	a.observer.use(next)
	a.journal.Use(journalBounds(next))
	for _, id := range dropped {
		a.dropPlan(id)
	}
	a.settled(a.gov.SetPolicy(inForce, now))
	a.assign(next, table, now)
	a.lane.act(policy.Mode)
	if old.Mode != next.Mode {
		a.since.Store(&now)
	}
	if modeOf(old) == governor.ModeEnforce && policy.Mode == governor.ModeObserve {
		a.letGo()
	}
	a.chain.SetPolicy(next.Mode, policy.Hash)
	a.log.Info("configuration reloaded", "file", next.Path(), "mode", next.Mode, "policy", policy.Hash)
	later := ""
	if len(waiting) > 0 {
		later = "waiting for a restart: " + strings.Join(waiting, ", ")
		a.log.Warn("these keys of the configuration cannot change while running and wait for a restart", "keys", waiting)
	}
	a.writer.Say(records.Config(records.ConfigFacts{Time: now, What: "reloaded", File: next.Path(), Detail: later}))
	return nil
}

// leaving are the plans of the old policy that the new one does not have any more. They stay in force beside the new
// ones until the next reload: until the new list is in force, which takes seconds for a million lines, whoever begins a
// session is under the plan that the old list says, and so is a session whose subscriber was looked up just before. Who
// is under a plan that nobody knows goes unjudged.
func leaving(old, next governor.Policy) (gone []governor.Plan) {
	for _, p := range old.Plans {
		if !slices.ContainsFunc(next.Plans, func(q governor.Plan) bool { return q.Name == p.Name }) {
			gone = append(gone, p)
		}
	}
	return gone
}

// assign takes a list of subscribers: who has which address and which plan, now.
func (a *Appliance) assign(cfg *config.Config, table *subscriber.Table, now time.Time) {
	for _, w := range ListWarnings(table) {
		a.log.Warn(w)
	}
	a.listRefused.Store(nil)
	a.who.use(cfg)
	a.who.SetTable(table, now)
	a.settled(a.gov.SetPlans(a.who.planOf, now))
	a.queues.Unlease()
	a.cutter.review()
}

// settled tells changes of stage that nobody's session caused, and lets go at once of
// who is not cut any more.
func (a *Appliance) settled(changes []governor.StageChange) {
	for _, c := range changes {
		a.judge.changed(c, c.Mode)
		if c.From == governor.StageCut && c.To != governor.StageCut {
			a.cutter.release(c.Subscriber)
		}
	}
}

// stillThere refuses a list of subscribers that vanished or is empty while one is in
// force: a file that an editor is just replacing, or a script has just failed to
// write, must not make strangers of everybody.
func (a *Appliance) stillThere(cfg *config.Config, table *subscriber.Table) error {
	have := a.who.Table().Len()
	if have == 0 || table.Len() > 0 || cfg.SubscribersPath() == "" {
		return nil
	}
	what := "has no subscriber any more"
	if SubscribersMissing(cfg) {
		what = "is not there any more"
	}
	return config.Problems{{File: cfg.Path(), Key: "identity.subscribers_file", Message: fmt.Sprintf(
		"%s %s; the %d subscribers that are known go on. Put them back, or write subscribers_file: \"\" to have none", cfg.SubscribersPath(), what, have)}}
}

// plansStay refuses a configuration without a plan that the operator chose for
// somebody: such a line would go unjudged. Choices for who is gone from the list
// are to be dropped instead.
func (a *Appliance) plansStay(next *config.Config, table *subscriber.Table) (dropped []string, err error) {
	names := next.PlanNames()
	var ps config.Problems
	for id, plan := range a.who.Plans() {
		if slices.Contains(names, plan) {
			continue
		}
		if _, listed := table.ByID(id); !listed && !subscriber.Unlisted(id) {
			dropped = append(dropped, id)
			continue
		}
		ps = append(ps, config.Problem{File: next.Path(), Key: "plans", Message: fmt.Sprintf(
			"there is no plan %s any more, and it was chosen for subscriber %s: keep it, or give the subscriber another with mailweir plan", plan, id)})
	}
	if len(ps) == 0 {
		slices.Sort(dropped)
		return dropped, nil
	}
	slices.SortFunc(ps, func(a, b config.Problem) int { return strings.Compare(a.Message, b.Message) })
	return nil, ps
}

// plansThere lets go, at the start, of choices whose plan the configuration does
// not have any more.
func (a *Appliance) plansThere(cfg *config.Config) {
	names := cfg.PlanNames()
	for id, plan := range a.who.Plans() {
		if !slices.Contains(names, plan) {
			a.dropPlan(id)
		}
	}
}

// dropPlan goes back to the list's plan for a subscriber, since the configuration
// does not have the chosen one any more, and says so: a line under a plan that
// nobody knows would go unjudged.
func (a *Appliance) dropPlan(id string) {
	plan := a.who.Chosen(id)
	if err := a.who.SetPlan(id, ""); err != nil {
		a.log.Error("go back to the list's plan", "subscriber", id, "err", err)
		return
	}
	a.log.Error("the plan chosen for a subscriber is not in the configuration any more; back to the list's", "subscriber", id, "plan", plan)
	a.writer.Say(records.Audit(records.AuditFacts{
		Time: a.now(), Who: "mailweir", What: "plan", Object: id, Before: plan,
		After: cmp.Or(a.who.planOf(id), "the list's") + ", since the configuration has no plan " + plan,
	}))
}

// letGo ends what enforce holds when the mode becomes observe: held replies and
// cut addresses.
func (a *Appliance) letGo() {
	n := a.queues.Unhold(func(nfq.Flow, any) bool { return true })
	a.cutter.releaseAll()
	a.log.Info("mode observe: nothing is held or cut any more", "held_before", n)
}

func modeOf(c *config.Config) governor.Mode { return c.Policy().Mode }

func rulesOf(c *config.Config) *rules {
	return &rules{limited: c.Network.LimitedPorts, deferText: c.Defer.Text,
		v4bits: c.Identity.DestinationIPv4Prefix, v6bits: c.Identity.DestinationIPv6Prefix}
}

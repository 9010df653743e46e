package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
)

// sends is a sender at an address who begins so many sessions, one each second, to a new network each time; each that runs has
// a handshake and a message.
func (d *deaf) sends(from string, n int) {
	d.t.Helper()
	d.judge.answers = noAnswers{}
	d.judge.end = func(string, time.Duration) {} // nothing runs in the kernel
	for i := range n {
		f := nfq.Flow{Client: netip.AddrPortFrom(netip.MustParseAddr(from), uint16(10000+i)), Server: netip.MustParseAddrPort(fmt.Sprintf("192.0.%d.25:25", i%200))}
		o := d.judge.Open(f, d.time())
		if o.Action == nfq.Pass || o.Action == nfq.Hold {
			d.judge.Event(f, o.Handle, session.Event{Kind: session.ClientHello}, d.time())
			d.judge.Event(f, o.Handle, session.Event{Kind: session.Message, Estimated: i%2 == 0, Recipients: 1}, d.time())
			s := nfq.Summary{}
			s.EndReason = session.EndFIN
			d.judge.Close(f, o.Handle, s)
		}
		d.pass(time.Second)
		d.settled(d.gov.Tick(d.time()))
	}
	d.save()
}

func (d *deaf) whatIf(opt WhatIfOptions) *WhatIfReport {
	d.t.Helper()
	d.journaled()
	opt.Journal = journal.Dir(filepath.Join(d.dir, "data"))
	r, err := WhatIf(context.Background(), opt)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

const ladderPlans = `mode: enforce
identity: {unmapped_plan: strangers}
plans:
  - name: small
    highest_stage: cut
    budgets: [{of: sessions, limit: %d, per: 1h, burst: 5}, {of: messages, limit: 30, per: 1h}, {of: tls_handshakes, limit: 50, per: 1h}]
    ladder: {cut_for: 5m, release_after: 2m}
  - name: strangers
    highest_stage: defer
    budgets: [{of: sessions, limit: 2, per: 24h}]
`

// Over a crash, a clean stop, a reload, a release, an exemption and another plan, the journal decides again what was decided,
// word by word as the records have it; another policy comes out otherwise, and says how.
func TestAJournalDecidesAgain(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	s := func() *source { return &source{a: d.Appliance} }
	d.sends("100.64.0.1", 40) // up to the cut
	d.sends("203.0.113.9", 5) // a stranger
	if err := d.gov.Exempt("other", "small", governor.Exemption{Until: d.time().Add(time.Minute), Reason: "test", By: "admin"}, d.time()); err != nil {
		t.Fatal(err)
	}
	d.sends("100.64.0.2", 30)
	d.pass(10 * time.Minute)
	d.settled(d.gov.Tick(d.time()))
	d.expired()
	d.journaled()
	d.cut() // a crash
	d.pass(time.Minute)
	d.start()
	d.sends("100.64.0.1", 20)
	undone := func() {
		t.Helper()
		if _, err := s().Unrelease("home", "me"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // at once, and when it has gone on
		if _, err := s().Release("home", "me"); err != nil {
			t.Fatal(err)
		}
		undone()
		if _, err := s().Release("home", "me"); err != nil {
			t.Fatal(err)
		}
		d.sends("100.64.0.1", 3)
		undone()
		d.sends("100.64.0.1", 5)
	}
	if c, ok := d.gov.Release("home", d.time()); ok {
		d.judge.changed(c, c.Mode)
	}
	d.write("mailweir.yaml", fmt.Sprintf(ladderPlans, 60))
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	d.sends("100.64.0.1", 30)
	s().Subscriber("home") // somebody looks
	d.sends("100.64.0.2", 10)
	d.gov.Stop(d.time())
	d.journaled()
	d.cut()
	d.pass(time.Hour)
	d.start()
	d.sends("100.64.0.2", 10)

	r := d.whatIf(WhatIfOptions{})
	rec := r.Recorded
	written := len(d.items(journal.Query{Kinds: comparedKinds}))
	if rec.Same != written || rec.Same < 100 || rec.OnlyThen+rec.OnlyNow+rec.CutOff+rec.Unchecked > 0 || r.Lives != 3 || r.Missing > 0 {
		t.Fatalf("%+v of %d records, %d lives, %d missing:\n%s", rec, written, r.Lives, r.Missing, strings.Join(rec.Examples, "\n"))
	}
	stages := map[string]governor.Stage{}
	for _, sub := range r.Run.Subscribers {
		stages[sub.ID] = sub.Highest
	}
	if stages["home"] != governor.StageCut || stages["other"] == governor.StageObserve {
		t.Errorf("stages %v", stages)
	}

	d.write("generous.yaml", fmt.Sprintf(ladderPlans, 10_000)+"\n")
	d.write("strict.yaml", strings.ReplaceAll(fmt.Sprintf(ladderPlans, 20), "burst: 5", "burst: 1"))
	r = d.whatIf(WhatIfOptions{ConfigFile: filepath.Join(d.dir, "strict.yaml"), Against: filepath.Join(d.dir, "generous.yaml")})
	v := r.View()
	if r.Recorded != nil || v.Config.Decisions.Cut <= v.Against.Decisions.Cut || v.Against.Guessed == 0 || len(v.Subscribers) == 0 {
		t.Errorf("%+v\nagainst %+v", v.Config, v.Against)
	}
	all := func(d ReplayDecisions) int { return d.Passed + d.Paced + d.Deferred + d.Cut }
	if all(v.Config.Decisions) < int(r.Sessions) || all(v.Against.Decisions) < int(r.Sessions) {
		t.Errorf("%d sessions, decided %+v and %+v", r.Sessions, v.Config.Decisions, v.Against.Decisions)
	}
	for _, o := range v.Subscribers {
		if o.Subscriber == "home" && (o.Highest != "cut" || o.Stages["cut"] <= 0 || o.Against == nil || o.Stages["cut"] <= o.Against.Stages["cut"]) {
			t.Errorf("home: %+v against %+v", o.OutcomeView, o.Against)
		}
	}
}

// What becomes of the mail of registered mail servers is counted: of those under a plan for them, in either configuration, with the messages of the sessions that are
// held back.
func TestAWhatIfCountsTheMailOfServers(t *testing.T) {
	t.Parallel()
	const plans = `mode: enforce
identity: {unmapped_plan: strangers}
plans:
  - {name: mx, preset: mailserver, highest_stage: %s, budgets: [{of: sessions, limit: %d, per: 24h}], ladder: {pace_max: 10s}}
  - {name: small, highest_stage: cut, budgets: [{of: sessions, limit: 1000, per: 1h}]}
  - {name: strangers, highest_stage: defer, budgets: [{of: sessions, limit: 1000, per: 24h}]}
`
	const list = "subscriber,plan,prefixes\nhome,small,100.64.0.1\npost,mx,100.64.0.2\nquiet,mx,100.64.0.3\nspare,mx,100.64.0.4\n"
	d := newDeaf(t, fmt.Sprintf(plans, "pace", 1000), list)
	d.sends("100.64.0.1", 40)
	d.sends("100.64.0.2", 40)
	d.sends("100.64.0.3", 3)
	d.write("strict.yaml", fmt.Sprintf(plans, "defer", 20))
	d.write("unnamed.yaml", strings.Replace(fmt.Sprintf(plans, "defer", 20), "name: mx, preset: mailserver, ", "name: mx, ", 1))
	for _, c := range []struct {
		config, against string
		is, was         MailServersView
	}{
		// Ten of the forty sessions come to 80 % of the budget and more before it is used up: they are paced, and the twenty after that deferred, each with one message.
		{"strict.yaml", "mailweir.yaml", MailServersView{Plans: []string{"mx"}, Subscribers: 2, Touched: 1}, MailServersView{Plans: []string{"mx"}, Subscribers: 2}},
		{"unnamed.yaml", "mailweir.yaml", MailServersView{Plans: []string{}, Subscribers: 2, Touched: 1}, MailServersView{Plans: []string{"mx"}, Subscribers: 2}},
		{"unnamed.yaml", "unnamed.yaml", MailServersView{Plans: []string{}}, MailServersView{Plans: []string{}}},
	} {
		v := d.whatIf(WhatIfOptions{ConfigFile: filepath.Join(d.dir, c.config), Against: filepath.Join(d.dir, c.against)}).View()
		is, was := *v.Config.MailServers, *v.Against.MailServers
		held := is.Decisions.Paced + is.Decisions.Deferred + is.Decisions.Cut
		if all := is.Decisions.Passed + held; all != 43 && is.Subscribers > 0 {
			t.Errorf("%s: %d sessions of mail servers", c.config, all)
		}
		if is.Messages != held { // each has one
			t.Errorf("%s: %d messages in %d sessions", c.config, is.Messages, held)
		}
		if c.is.Touched > 0 && (is.Decisions.Deferred < 20 || is.Decisions.Paced == 0) {
			t.Errorf("%s: %+v", c.config, is)
		}
		is.Decisions, is.Messages, was.Decisions = ReplayDecisions{}, 0, ReplayDecisions{}
		if !reflect.DeepEqual(is, c.is) || !reflect.DeepEqual(was, c.was) {
			t.Errorf("%s: %+v against %+v", c.config, is, was)
		}
	}
	if v := d.whatIf(WhatIfOptions{}).View(); v.Config.MailServers != nil {
		t.Errorf("without a configuration: %+v", v.Config.MailServers)
	}
}

func (d *deaf) items(q journal.Query) (all []journal.Item) {
	d.t.Helper()
	r, err := journal.Read(journal.Dir(filepath.Join(d.dir, "data")))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := r.Each(q, func(it *journal.Item) error { all = append(all, *it); return nil }); err != nil {
		d.t.Fatal(err)
	}
	return all
}

// A box that has run on for longer than inputs are kept makes checkpoints: what is left is decided again word by word from the first of them, and from the last
// one before --since; without any, nothing can be checked, and that is what is said.
func TestAJournalIsDecidedAgainFromACheckpoint(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20)+"retention: {sessions: 4h, records: 48h}\n", homeList)
	hour := func() {
		d.sends("100.64.0.1", 30)
		d.sends("203.0.113.9", 5)
		d.pass(50 * time.Minute)
		d.settled(d.gov.Tick(d.time()))
		d.journaled()
		d.forgetOld()
		d.journaled()
	}
	hour()
	d.gov.Stop(d.time()) // only so that the life's end is no question
	for range 6 {
		hour()
	}
	without := d.whatIf(WhatIfOptions{}).Recorded
	if without.Same+without.OnlyThen+without.OnlyNow > without.Same || without.Covered > 0 || without.Unchecked == 0 {
		t.Errorf("without a checkpoint: %+v", without)
	}
	if !d.journal.CheckpointDue(d.time()) {
		t.Fatal("no checkpoint is due after seven hours")
	}
	for range 6 {
		if d.journal.CheckpointDue(d.time()) {
			d.gov.Checkpoint(d.time, d.journal.Room)
		}
		hour()
	}
	at := d.time()
	for range 2 {
		d.sends("100.64.0.1", 12)
		s := &source{a: d.Appliance}
		if _, err := s.Release("home", "me"); err != nil {
			t.Fatal(err)
		}
		if d.journal.CheckpointDue(d.time()) { // between a release and its end
			d.gov.Checkpoint(d.time, d.journal.Room)
		}
		d.sends("100.64.0.1", 2)
		if _, err := s.Unrelease("home", "me"); err != nil {
			t.Fatal(err)
		}
		hour()
	}
	r := d.whatIf(WhatIfOptions{})
	rec := r.Recorded
	if rec.Same < 50 || rec.OnlyThen+rec.OnlyNow > 0 || rec.Covered < 2*time.Hour || r.Lives != 0 {
		t.Errorf("%+v", rec)
	}
	since := d.whatIf(WhatIfOptions{From: at})
	if rec := since.Recorded; rec.Same < 20 || rec.Same >= r.Recorded.Same || rec.OnlyThen+rec.OnlyNow+rec.Unchecked > 0 || since.First.Before(at) || since.Sessions >= r.Sessions {
		t.Errorf("since %v: %+v, from %v", at, rec, since.First)
	}
	d.write("strict.yaml", strings.ReplaceAll(fmt.Sprintf(ladderPlans, 20), "burst: 5", "burst: 1"))
	v := d.whatIf(WhatIfOptions{From: at, ConfigFile: filepath.Join(d.dir, "strict.yaml")}).View()
	if len(v.Subscribers) == 0 || v.Config.Decisions.Cut+v.Config.Decisions.Deferred == 0 {
		t.Errorf("%+v", v)
	}
}

// A decision that was not made so is found: the comparison is one that can fail.
func TestAJournalThatWasBentIsFound(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	d.sends("100.64.0.1", 20)
	dec := d.gov.Open(governor.Attempt{Subscriber: "other", Plan: "small"}, d.time()) // has no record
	dec.Action, dec.Stage = governor.ActionDefer, governor.StageDefer
	d.writer.Say(records.Decision(records.DecisionFacts{Decision: dec})) // nor was this decided
	for range 5 {
		d.gov.Open(governor.Attempt{Subscriber: "other", Plan: "small"}, d.time())
	}
	d.pass(2 * time.Minute)
	d.settled(d.gov.Tick(d.time())) // what is of the very last moment is not held against anybody
	rec := d.whatIf(WhatIfOptions{}).Recorded
	// It is told apart from what is not written yet only when the life is over.
	if rec.OnlyThen != 1 || rec.OnlyNow+rec.CutOff == 0 || rec.Same == 0 {
		t.Errorf("%+v", rec)
	}
}

// A clock that was ahead for a while leaves stamps of the future behind, which are no part of "since".
func TestSinceBehindAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, row := range []struct {
		ahead time.Duration
		after int // steps; a file of the journal spans some hours
	}{{0, 144}, {2 * time.Hour, 144}, {year, 144}, {2 * time.Hour, 1}, {year, 1}} {
		d := newDeaf(t, "mode: enforce\nidentity: {unmapped_plan: small}\nplans:\n  - name: small\n    highest_stage: defer\n    budgets: [{of: sessions, limit: 20, per: 10m}]\n", homeList)
		n := 0
		step := func() {
			d.pass(10 * time.Minute)
			d.settled(d.gov.Tick(d.time()))
			if n++; n%7 == 0 { // in the hour of the clock that is ahead, and long after
				d.gov.Checkpoint(d.time, d.journal.Room)
			}
			d.journaled()
		}
		for range 6 {
			d.sends("100.64.0.1", 30)
			step()
		}
		d.pass(row.ahead)
		d.sends("100.64.0.1", 1)
		step()
		d.pass(-row.ahead)
		for range row.after {
			d.sends("100.64.0.1", 30)
			step()
		}
		since := d.time()
		d.sends("100.64.0.2", 5)
		step()
		r := d.whatIf(WhatIfOptions{From: since, Now: d.time()})
		if r.Sessions != 5 || r.First.Before(since) || r.Last.After(d.time()) || r.Recorded == nil || r.Recorded.OnlyThen+r.Recorded.OnlyNow > 0 {
			t.Errorf("ahead for %v, %d steps ago: %d sessions from %v to %v, since %v; %+v", row.ahead, row.after, r.Sessions, r.First, r.Last, since, r.Recorded)
		}
	}
}

package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/clusters"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/destinations"
	"github.com/mailweir/mailweir/appliance/owners"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/share"
	"github.com/mailweir/mailweir/governor/store"
)

const (
	clustersEvery = time.Hour   // what clusters have learnt goes to disk; what a crash may forget
	flushEvery    = time.Minute // so does the encrypted share
	ownersLook    = time.Second // between two looks whether the file of owners changed
)

// observer looks at all sessions together: clusters, destinations and the encrypted share. It decides nothing. Its two
// tasks are apart so that a disk that hangs keeps nobody from counting.
type observer struct {
	seen   *sightings
	prints *clusters.Clusters
	dests  *destinations.Book
	series *share.Series
	names  owners.Book
	listed func() int // subscribers on the list
	store  *store.Store
	now    func() time.Time
	log    *slog.Logger
	say    func(records.Entry) bool
	health *health
	rule   atomic.Pointer[share.Rule]

	saveSoon atomic.Bool // a card began or ended

	disk  sync.Mutex // guards all below; held over the disk
	alarm share.Alarm
	saved time.Time // clusters
	lost  uint64    // of seen and series, as last told
}

// The shelf of the store that has what is to outlive a restart.
const observerShelf = "observer"

var (
	clustersKey = []byte("clusters")
	alarmKey    = []byte("share-alarm")
)

func clustersConfig(c *config.Config) clusters.Config {
	return clusters.Config{Subscribers: c.Clusters.Subscribers, Learn: c.Clusters.Learn, KnownGood: c.Clusters.KnownGood}
}

// openObserver brings back what the last life knew. What cannot be read is begun anew, and told.
func openObserver(a *Appliance, cfg *config.Config) (*observer, error) {
	now := a.now()
	o := &observer{listed: func() int { return a.who.Table().Len() }, seen: newSightings(), dests: destinations.New(), store: a.store, now: a.now, log: a.log, say: a.writer.Say, health: a.health, saved: now}
	var aside []string
	var err error
	if o.series, aside, err = share.Open(a.opt.DataDir, cfg.Retention.Series, now); err != nil {
		o.failed("share", err)
	}
	for _, path := range aside {
		o.log.Error("a series of the encrypted share was damaged and is begun anew", "set_aside", path)
		o.health.tell(records.HealthFacts{What: "share", Target: path, Detail: "damaged, set aside and begun anew"})
	}
	err = a.store.Shelf(observerShelf).Range(func(key, value []byte) error {
		var err error
		switch string(key) {
		case string(clustersKey):
			o.prints, err = clusters.Load(clustersConfig(cfg), value)
		case string(alarmKey):
			err = json.Unmarshal(value, &o.alarm)
		}
		if err != nil {
			o.log.Error("what was learnt is begun anew", "what", string(key), "err", err)
			o.health.tell(records.HealthFacts{What: "observer", Target: string(key), Detail: "begun anew: " + err.Error()})
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, o.series.Abandon())
	}
	if o.prints == nil {
		o.prints = clusters.New(clustersConfig(cfg))
	}
	o.use(cfg)
	return o, nil
}

// use takes another configuration.
func (o *observer) use(cfg *config.Config) {
	o.prints.Use(clustersConfig(cfg))
	o.rule.Store(&share.Rule{Points: float64(cfg.Share.AlertPoints), Sessions: uint64(cfg.Share.AlertSessions)})
	if err := o.series.Use(cfg.Retention.Series, o.now()); err != nil {
		o.failed("share", err)
	}
	o.heard(o.names.Use(cfg.OwnersPath()))
}

// heard tells of a file of owners that cannot be used, once, and of its being well again.
func (o *observer) heard(err error) {
	if err == nil {
		o.health.end("owners")
		return
	}
	if o.health.begin(records.HealthFacts{What: "owners", Detail: err.Error()}) {
		o.log.Error("the owners of networks: those known before go on", "err", err)
	}
}

// failed tells of something that could not be saved; it is tried again.
func (o *observer) failed(what string, err error) {
	if o.health.begin(records.HealthFacts{What: what, Detail: err.Error()}) {
		o.log.Error("save "+what+"; it is tried again", "err", err)
	}
}

// Run counts what the workers hand over, until ctx ends. The rest is finish's.
func (o *observer) Run(ctx context.Context) error {
	t := time.NewTicker(drainEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			o.drain()
			if n%5 == 0 {
				o.look()
			}
		}
	}
}

// drain counts what was handed over since it was last called.
func (o *observer) drain() {
	now := o.now()
	for _, s := range o.seen.take() {
		o.series.Add(s.kind, s.bytes, now)
		o.dests.Add(s.network, uint64(max(s.bytes, 0)), now)
		o.prints.See(clusters.Sighting{JA4: s.ja4, JA3: s.ja3, Subscriber: s.subscriber, Network: s.network, Messages: int(s.messages)}, now)
	}
}

// look tells which clusters began, grew or ended.
func (o *observer) look() {
	now := o.now()
	o.prints.Listed(o.listed())
	for _, c := range o.prints.Tick(now) {
		o.say(clusterRecord(c, now))
		o.saveSoon.Store(true)
	}
}

// Keep writes what is to be kept, until ctx ends.
func (o *observer) Keep(ctx context.Context) error {
	look := time.NewTicker(ownersLook)
	defer look.Stop()
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if changed, err := o.names.Look(); changed {
				o.heard(err)
			}
			if o.saveSoon.Swap(false) {
				o.save()
			}
		case <-flush.C:
			o.write()
		}
	}
}

// write is what happens once a minute.
func (o *observer) write() {
	now := o.now()
	o.disk.Lock()
	if err := o.series.Flush(now); err != nil {
		o.failed("share", err)
	} else {
		o.health.end("share")
	}
	o.missed()
	o.alert(now)
	due := now.Sub(o.saved) >= clustersEvery || now.Before(o.saved)
	o.disk.Unlock()
	if due {
		o.save()
	}
}

// missed tells what was left out since it was last asked.
func (o *observer) missed() {
	lost := o.seen.missed() + o.series.Lost()
	o.health.often(records.HealthFacts{What: "sightings_lost", Count: grown(lost, o.lost),
		Detail: "sessions that are in no cluster, destination or encrypted share, since too many ended at once"})
	o.lost = lost
}

// alert tells once a day whether the encrypted share shifted.
func (o *observer) alert(now time.Time) {
	before := o.alarm
	shift, tell, err := o.alarm.Look(o.series, *o.rule.Load(), now)
	if err != nil {
		o.failed("share", err)
		return
	}
	if o.alarm == before {
		return
	}
	if tell && !o.say(records.Share(records.ShareFacts{ // before it is remembered: a crash between them has it told twice, and not never
		Time: now, Week: shift.Week, Before: shift.Before, After: shift.After,
		SessionsBefore: shift.Sessions[0], Sessions: shift.Sessions[1], Errors: shift.Errors,
	})) {
		o.alarm = before // there was no room for it: told in a minute
		return
	}
	if b, err := json.Marshal(o.alarm); err != nil {
		o.failed("observer", err)
	} else if err := o.store.Shelf(observerShelf).Put(alarmKey, b); err != nil {
		o.failed("observer", err)
	}
}

// save writes what clusters have learnt.
func (o *observer) save() {
	if err := o.saveNow(); err != nil {
		o.failed("observer", err)
	} else {
		o.health.end("observer")
	}
}

func (o *observer) saveNow() error {
	o.disk.Lock()
	defer o.disk.Unlock()
	b, err := o.prints.Save()
	if err != nil {
		return err
	}
	if err := o.store.Shelf(observerShelf).Put(clustersKey, b); err != nil {
		return fmt.Errorf("save clusters: %w", err)
	}
	o.saved = o.now()
	return nil
}

// finish is after the last packet: everything that was handed over is counted and written.
func (o *observer) finish() error {
	o.drain()
	o.look()
	o.disk.Lock()
	err := o.series.Close()
	o.disk.Unlock()
	return errors.Join(err, o.saveNow())
}

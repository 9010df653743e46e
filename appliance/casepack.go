package appliance

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/evidence"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// archive is every record that the box has: those of the journal, and of memory what the journal does not have yet.
type archive struct{ a *Appliance }

// Select implements evidence.Archive.
func (v archive) Select(kinds []records.Kind, subscriber string, from, to time.Time, give func(*records.Record) error) error {
	v.a.settle(context.Background())
	var last uint64 // that the journal has
	if v.a.journal != nil {
		r, err := journal.Read(journal.Dir(v.a.opt.DataDir))
		if err != nil {
			return err
		}
		err = r.Each(journal.Query{Kinds: kinds, Subscriber: subscriber, From: from, To: to}, func(it *journal.Item) error {
			if it.Record.Seq == 0 {
				return nil // damage, which the journal's own check tells of
			}
			last = it.Record.Seq
			return give(&it.Record)
		})
		if err != nil {
			return err
		}
	}
	rest := v.a.recent.Select(recentRecords, func(r *records.Record) bool {
		return r.Seq > last && slices.Contains(kinds, r.Kind) && !r.Time.Before(from) && r.Time.Before(to) && r.Value("subscriber") == subscriber
	})
	for i := range slices.Backward(rest) { // the newest came first
		if err := give(&rest[i]); err != nil {
			return err
		}
	}
	return nil
}

// Evidence makes the pack of a case; false when there is no such case.
func (s *source) Evidence(id, who string) (pack []byte, ok bool, err error) {
	s.packing.Lock() // one at a time: each may take some megabytes
	defer s.packing.Unlock()
	f, ok := s.a.cases.file(id)
	if !ok {
		return nil, false, nil
	}
	cfg := s.a.cfg.Load()
	c := evidence.Case{
		ID: f.ID, Subscriber: f.Subscriber, Name: s.named(f.Subscriber).Name, Plan: f.Plan, Box: s.a.box, Opened: f.Opened, Closed: f.Closed,
		Highest: f.Highest.String(), Reason: f.Reason,
	}
	for _, ch := range f.Changes {
		c.Changes = append(c.Changes, evidence.Change{At: ch.At, From: ch.From.String(), To: ch.To.String(), Reason: ch.Reason})
	}
	by := evidence.Reporter{Organization: cfg.Evidence.Organization, Contact: cfg.Evidence.Contact}
	if pack, err = evidence.Make(c, by, archive{s.a}, s.a.now()); err != nil {
		s.a.log.Error("make a pack of evidence", "err", err)
		return nil, true, err
	}
	s.audit(who, "evidence", cmp.Or(f.Subscriber, f.ID), "", "case "+f.ID)
	return pack, true, nil
}

package appliance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// holdBefore is how long before a case opened what led to it begins: the longest window that plans commonly have.
const holdBefore = 24 * time.Hour

// maxHolds bounds what is held: held cases take the place of others in the casebook.
const maxHolds = 1000

// Hold keeps a case, and what belongs to it in the journal, beyond its time.
func (s *source) Hold(number, reason, who string) (webadmin.Hold, error) {
	f, ok := s.a.cases.file(number)
	if !ok {
		return webadmin.Hold{}, webadmin.ErrNoCase
	}
	if s.a.journal == nil {
		return webadmin.Hold{}, fmt.Errorf("there is no journal in this life: see status")
	}
	if all, _ := s.a.journal.Holds(); len(all) >= maxHolds && !slices.ContainsFunc(all, func(h journal.Hold) bool { return h.Case == number }) {
		return webadmin.Hold{}, webadmin.Refused{Field: "id", Message: fmt.Sprintf("already %d cases are held; end a hold first (mailweir hold NUMBER --end)", maxHolds)}
	}
	h := journal.Hold{Case: f.ID, Subscriber: f.Subscriber, From: f.Opened.Add(-holdBefore), To: f.Closed, Reason: reason, By: who, Since: s.a.now()}
	if err := s.a.journal.Hold(h); err != nil {
		return webadmin.Hold{}, err
	}
	s.a.cases.hold(number)
	s.audit(who, "hold", number, "", reason)
	return holdView(&h), nil
}

// Unhold ends it, also where the case itself is gone.
func (s *source) Unhold(number, who string) (webadmin.Hold, error) {
	if s.a.journal == nil {
		return webadmin.Hold{}, webadmin.ErrNoCase
	}
	h, ok, err := s.a.journal.Unhold(number)
	switch {
	case err != nil:
		return webadmin.Hold{}, err
	case !ok:
		if _, unknown := s.a.journal.Holds(); unknown != "" {
			return webadmin.Hold{}, webadmin.Refused{Field: "id", Message: fmt.Sprintf("it is not known whether case %s is held: %s", number, unknown)}
		}
		return webadmin.Hold{}, webadmin.ErrNoCase
	}
	s.a.cases.unhold(number)
	s.audit(who, "unhold", number, h.Reason, "")
	return holdView(&h), nil
}

// Holds lists what is held.
func (s *source) Holds() (all webadmin.Holds) {
	held, unknown := s.a.journal.Holds()
	for _, h := range held {
		all.Items = append(all.Items, holdView(&h))
	}
	all.Unknown = unknown
	return all
}

func holdView(h *journal.Hold) webadmin.Hold {
	return webadmin.Hold{Case: h.Case, Subscriber: h.Subscriber, From: webadmin.At(h.From), To: webadmin.At(h.To), Reason: h.Reason, By: h.By, Since: webadmin.At(h.Since)}
}

// holdsEnd notes which held cases have closed: what their subscribers do afterwards is not held. One that is gone has closed, be it
// that nobody knows when; one whose end was taken back goes on.
func (a *Appliance) holdsEnd() {
	held, _ := a.journal.Holds()
	for _, h := range held {
		f, known := a.cases.file(h.Case)
		if !known {
			f.Closed = a.now()
		}
		if h.To.IsZero() != f.Closed.IsZero() {
			if err := a.journal.Closed(h.Case, f.Closed); err != nil {
				a.log.Error("note that a held case has closed", "case", h.Case, "err", err)
			}
		}
	}
}

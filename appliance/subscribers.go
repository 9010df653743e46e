package appliance

import (
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
)

// endSessions resets what runs of a subscriber that is cut. The kernel passes most
// packets of a session without us, so it has to be told of every address that has
// one, not only of the one that was the last straw.
func (a *Appliance) endSessions(id string, lasts time.Duration) {
	a.queues.Reset(func(f nfq.Flow, handle any) bool {
		if v, known := handle.(*visit); known && !v.limited {
			return false // counted, never limited
		} else if (!known || v.id != id) && a.who.of(f.Client.Addr()).id != id {
			return false
		}
		a.cutter.cut(id, f.Client.Addr(), lasts)
		return true
	})
}

// moved is told that addresses have other holders.
func (a *Appliance) moved() {
	a.queues.Unlease()
	a.cutter.reviewSoon()
}

// isCut tells whether a subscriber is to be cut in the kernel now.
func (a *Appliance) isCut(id string) bool {
	r, ok := a.gov.Explain(id, a.now())
	return ok && r.Stage == governor.StageCut && r.Mode == governor.ModeEnforce
}

// caseOf is the number of a subscriber's open case, or "".
func (a *Appliance) caseOf(id string) string {
	r, _ := a.gov.Explain(id, a.now())
	return r.Case
}

// expired tells of exemptions whose time is over.
func (a *Appliance) expired() {
	for _, e := range a.gov.Expired(a.now()) {
		a.writer.Say(records.Audit(records.AuditFacts{
			Time: a.now(), Who: "mailweir", What: "exemption_ended", Object: e.Subscriber, Before: exemptionText(e.Exemption),
		}))
	}
}

func exemptionText(x governor.Exemption) string {
	return fmt.Sprintf("exempt until %s: %s (by %s)", x.Until.UTC().Format(time.RFC3339), x.Reason, x.By)
}

// ofSubscriber selects the sessions of one subscriber.
func ofSubscriber(id string) func(nfq.Flow, any) bool {
	return func(_ nfq.Flow, handle any) bool {
		v, ok := handle.(*visit)
		return ok && v.id == id
	}
}

package appliance

import (
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// damaged tells of a database that was put aside.
func (a *Appliance) damaged() {
	if aside, why := a.store.Damaged(); aside != "" {
		a.log.Error("mailweir.db was damaged and was put aside; what it kept begins anew, budgets and stages are not in it", "aside", aside, "why", why)
		a.health.tell(records.HealthFacts{What: "store", Target: aside,
			Detail: "mailweir.db was damaged and was put aside; what it kept begins anew, budgets and stages are not in it: " + why.Error()})
	}
}

// restore brings back what the last life saved of budgets, after the cases are
// there. Damage is told and does not stop us. Where budgets are lost and cases are
// not, numbers go on beyond theirs: no number is given out twice.
func (a *Appliance) restore(now time.Time) error {
	st, ok := a.store.State()
	if !ok {
		st = governor.SavedState{}
	}
	load := func(each func(*governor.Saved)) error {
		if lost, first := a.store.Load(each); lost > 0 {
			a.log.Error("a part of the saved budgets is damaged; these subscribers come back as an older save has them, or anew", "entries", lost, "first", first)
			a.health.tell(records.HealthFacts{What: "store", Count: lost,
				Detail: fmt.Sprintf("so many entries of saved budgets are damaged; these subscribers come back as an older save has them, or anew: %v", first)})
		}
		return nil
	}
	if n := a.store.Torn(); n > 0 {
		a.log.Warn("the last save was cut off, as by a power cut; what it had is missing", "bytes", n)
	}
	if !ok { // then nothing can be restored, but something may be damaged
		if err := load(func(*governor.Saved) {}); err != nil {
			return err
		}
		load = func(func(*governor.Saved)) error { return nil }
	}
	if n := a.cases.highest(); n > st.Cases {
		if st.Cases = n; !ok {
			st.Wall, st.Clock = now, 1 // a life that saved nothing but its numbers
		}
	}
	a.clock.last = st.Wall.Round(0)
	verdict, err := a.gov.Restore(st, load, now, now)
	if err != nil {
		return err
	}
	switch verdict {
	case governor.ClockBack, governor.ClockAhead:
		a.health.tell(records.HealthFacts{What: "clock_step", Detail: fmt.Sprintf(
			"the clock says %s and the last save was at %s: budgets go on as they were saved",
			now.UTC().Format(time.RFC3339), st.Wall.UTC().Format(time.RFC3339))})
		a.exemptionsMoved(now.Round(0).Sub(st.Wall.Round(0)), now)
	}
	if !ok {
		a.log.Info("first start with this data directory", "dir", a.opt.DataDir)
	} else {
		a.log.Info("budgets restored", "subscribers", a.gov.Count(), "saved", st.Wall, "clock", verdict)
	}
	return nil
}

// exemptionsMoved tells whose exemption ends at another time than was said, by so much
// later: a clock that is not believed has not used it up.
func (a *Appliance) exemptionsMoved(by time.Duration, now time.Time) {
	if a.gov.Exemptions() == 0 {
		return
	}
	a.gov.Each(now, func(b governor.Brief) bool {
		if !b.Exempt {
			return true
		}
		if r, _ := a.gov.Explain(b.Subscriber, now); r.Exemption != nil {
			before := *r.Exemption
			before.Until = before.Until.Add(-by)
			a.writer.Say(records.Audit(records.AuditFacts{Time: now, Who: "mailweir", What: "exemption_moved", Object: b.Subscriber,
				Before: exemptionText(before), After: exemptionText(*r.Exemption)}))
		}
		return true
	})
}

package appliance

import (
	"context"
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

func journalBounds(c *config.Config) journal.Bounds {
	return journal.Bounds{Sessions: c.Retention.Sessions, Records: c.Retention.Records, Bytes: int64(c.Journal.Bytes)}
}

// openJournal opens the journal. Mail does not depend on it: where it cannot be opened there is none, which the error is to be
// told for.
func (a *Appliance) openJournal(cfg *config.Config) (trouble error) {
	j, found, err := journal.Open(journal.Options{Dir: journal.Dir(a.opt.DataDir), Bounds: journalBounds(cfg)})
	if err != nil {
		a.log.Error("there is no journal in this life: records go to the collectors only, and no what-if can be made of it later", "err", err)
		return fmt.Errorf("there is no journal until the next start: %w", err)
	}
	a.journal, a.journalDamage = j, found
	a.holdCases()
	if seq, hash, err := j.Last(); err != nil {
		a.log.Error("find the last record of the journal; numbers go on from what else is known", "err", err)
	} else {
		a.chain.Resume(seq, hash)
	}
	return nil
}

// holdCases has the casebook keep what is held; false where that is not known, and so nothing of any case may go.
func (a *Appliance) holdCases() (known bool) {
	all, unknown := a.journal.Holds()
	for _, h := range all {
		a.cases.hold(h.Case)
	}
	return unknown == ""
}

// stateJournal says which records the journal never got: of a life that had none, which it writes down at once where this is one, or of the moments before the last
// one died. It is called when the number of the last record is known, and before there is another.
func (a *Appliance) stateJournal(none error) {
	last, head := a.chain.Head()
	if none != nil {
		if err := journal.SetNone(a.opt.DataDir, journal.None{After: last, Why: none.Error()}); err != nil {
			a.log.Error("write down that there is no journal", "err", err)
		}
		return
	}
	if err := a.stateMissing(last, head); err != nil {
		a.log.Error("say which records the journal does not have", "err", err)
		a.health.tell(records.HealthFacts{What: "journal", Target: "missing", Detail: "which records it does not have, and why, is not known: " + err.Error()})
	}
}

// stateMissing says which records up to the last the journal never got. What it had when it was closed it did get: where that is gone, nothing says why, so that it is missing to whoever reads the journal.
func (a *Appliance) stateMissing(last uint64, head string) error {
	seq, hash, err := a.journal.Last()
	if err != nil {
		return err
	}
	had, err := journal.LastOf(a.opt.DataDir)
	if err != nil {
		return err
	}
	if had.Seq > 0 {
		if err := a.journal.Missing(had); err != nil {
			return err
		}
	}
	if to := min(had.Seq, last); seq < to {
		a.health.tell(records.HealthFacts{What: "journal", Target: "missing",
			Detail: fmt.Sprintf("records %d to %d: the journal had them when it was closed, and their files are gone or cannot be read", seq+1, to)})
		seq, hash = to, had.Hash
	}
	if seq < last {
		a.journal.Never(seq+1, last, hash, head, a.now())
		a.health.tell(records.HealthFacts{What: "record_loss", Target: "journal", Count: last - seq, FirstSeq: seq + 1, LastSeq: last,
			Detail: "the journal does not have them: there was none when they were made, or the process died before they were written; collectors get them all the same"})
	}
	return journal.EndNone(a.opt.DataDir)
}

// checkpoints has the governor tell the journal what it knows, when that is due. It takes no part in what is judged meanwhile.
func (a *Appliance) checkpoints(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if a.journal.CheckpointDue(a.now()) {
				a.gov.Checkpoint(a.now, a.journal.Room)
			}
		}
	}
}

// watchJournal tells when the journal cannot be written, and what it lost meanwhile. Only tick uses it.
func (a *Appliance) watchJournal() {
	if a.journal == nil {
		return
	}
	st := a.journal.Status()
	if st.Err != nil {
		a.health.begin(records.HealthFacts{What: "journal", Detail: st.Err.Error()})
	} else {
		a.health.end("journal")
	}
	if st.Unknown != "" {
		a.health.begin(records.HealthFacts{What: "holds", Detail: st.Unknown + "; until it is known which cases are held nothing of any case is deleted from the journal: say in holds.json beside it which are ([]: none, and what belonged to held cases goes)"})
	} else {
		a.health.end("holds")
	}
	a.health.often(records.HealthFacts{What: "journal_loss", Count: grown(st.Lost, a.journalLost),
		Detail: "records that the journal does not have, since the disk did not take them in time; the collectors get them all the same"})
	a.health.often(records.HealthFacts{What: "journal_loss", Target: "inputs", Count: grown(st.Inputs, a.inputsLost),
		Detail: "of what the governor was told; a what-if over this time is an estimate"})
	a.journalLost, a.inputsLost = st.Lost, st.Inputs
	for _, d := range append(a.journalDamage, a.journal.Damaged()...) {
		a.log.Warn("a part of the journal could not be read; what is whole was kept", "what", d.String())
		a.health.tell(damageFacts(d))
	}
	a.journalDamage = nil
}

// damageFacts say which records are lost, where that is known, as record_loss does of a spool.
func damageFacts(d journal.Damage) records.HealthFacts {
	if first, last := d.Lost(); first > 0 {
		return records.HealthFacts{What: "record_loss", Target: "journal", Count: last - first + 1, FirstSeq: first, LastSeq: last, Detail: d.String()}
	}
	return records.HealthFacts{What: "journal", Target: "damage", Detail: d.String()}
}

// journalView is the journal as status tells it.
func (a *Appliance) journalView() webadmin.Journal {
	st := a.journal.Status()
	v := webadmin.Journal{Bytes: st.Bytes, Limit: st.Limit, Since: webadmin.At(st.Since), Held: int64(st.Held), Lost: int64(st.Lost), Inputs: int64(st.Inputs)}
	v.HoldsUnknown = st.Unknown
	switch {
	case a.journal == nil:
		v.Fault = "there is none until the next start"
	case st.Err != nil:
		v.Fault = st.Err.Error()
	}
	return v
}

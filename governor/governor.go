package governor

import (
	"sync"
	"time"
)

// Governor decides. It is safe for concurrent use.
type Governor struct {
	mu     sync.Mutex
	policy Policy
}

// New makes a governor for p. Call Restore before the first Open if there is something to restore.
func New(p Policy, now time.Time) *Governor { return &Governor{policy: p} }

// Open decides on a new session of sub under plan.
func (g *Governor) Open(sub, plan string, now time.Time) Decision {
	return Decision{Subscriber: sub, Plan: plan, At: now, Mode: g.policy.Mode}
}

// Close tells that a session which Open let through has ended.
func (g *Governor) Close(sub string, now time.Time) {}

// Spend charges cost of something that a running session has done.
func (g *Governor) Spend(sub, plan string, of Kind, cost int, now time.Time) Decision {
	return Decision{Subscriber: sub, Plan: plan, At: now, Mode: g.policy.Mode, Of: of}
}

// Tick moves subscribers down the ladder as time passes; call it about once a second.
func (g *Governor) Tick(now time.Time) []StageChange { return nil }

// Release forgives sub everything, by hand. False: nobody of that name is known.
func (g *Governor) Release(sub string, now time.Time) (StageChange, bool) {
	return StageChange{}, false
}

// SetPolicy replaces the policy and keeps what has been used.
func (g *Governor) SetPolicy(p Policy, now time.Time) []StageChange { return nil }

// Explain reports on sub.
func (g *Governor) Explain(sub string, now time.Time) (Report, bool) { return Report{}, false }

// List reports on everybody known, by name, without their decisions.
func (g *Governor) List(now time.Time) []Report { return nil }

// Stages counts subscribers by stage.
func (g *Governor) Stages(now time.Time) map[Stage]int { return nil }

// Count is how many subscribers are in memory.
func (g *Governor) Count() int { return 0 }

// Stats is what no report shows.
func (g *Governor) Stats() Stats { return Stats{} }

// Dirty takes up to max changed subscribers for saving.
func (g *Governor) Dirty(max int, now time.Time) []Saved { return nil }

// Redo puts back what could not be saved.
func (g *Governor) Redo(s []Saved) {}

// Restore brings back what an earlier life saved.
func (g *Governor) Restore(s []Saved, savedAt, nowWall time.Time, now time.Time) ClockVerdict {
	return ClockUnknown
}

package webadmin

import (
	"sync"
	"time"
)

// Of logins that are refused, for one reason each, this many are a record each at once, and then one a minute. The others are counted.
const (
	refusalsAtOnce = 20
	refusalEvery   = time.Minute
)

// refusals bounds the records of logins that are refused: somebody without a password must not be able to roll what the box decided in months out of the
// journal, or flood the collectors. What is counted is told by the minute.
type refusals struct {
	now  func() time.Time
	tell func(one refusal, more int, since time.Time) // more: so many beside it, since then

	mu     sync.Mutex
	fullAt map[string]time.Time // by reason, as in throttle
	kept   map[string]*keptBack // by reason
	ended  bool
}

// refusal is a login that was refused.
type refusal struct {
	by        actor
	name, why string
}

// keptBack are refusals that are only counted.
type keptBack struct {
	last  refusal
	n     int
	since time.Time
	timer *time.Timer
}

// add tells of one, now or within a minute.
func (l *refusals) add(one refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	full := l.fullAt[one.why]
	if full.Before(now) {
		full = now
	}
	if l.ended || full.Sub(now) <= (refusalsAtOnce-1)*refusalEvery {
		if l.fullAt == nil {
			l.fullAt = map[string]time.Time{}
		}
		l.fullAt[one.why] = full.Add(refusalEvery)
		l.tell(one, 0, time.Time{})
		return
	}
	k := l.kept[one.why]
	if k == nil {
		if l.kept == nil {
			l.kept = map[string]*keptBack{}
		}
		k = &keptBack{since: now}
		k.timer = time.AfterFunc(refusalEvery, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.told(one.why, k)
		})
		l.kept[one.why] = k
	}
	k.last = one
	k.n++
}

// told tells of those that were kept back, unless that was done; mu is held.
func (l *refusals) told(why string, k *keptBack) {
	if l.kept[why] == k {
		delete(l.kept, why)
		l.tell(k.last, k.n-1, k.since)
	}
}

// end tells what is left to tell.
func (l *refusals) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for why, k := range l.kept {
		k.timer.Stop()
		l.told(why, k)
	}
}

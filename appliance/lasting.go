package appliance

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lasting is what costs a look at everybody. In a small box who asks for it has it made when the last one is old; where that
// takes longer than patience, Run makes it, from the start on, and who asks gets the last one and does not wait.
type lasting[T any] struct {
	making   sync.Mutex  // held while one is made: who needs it meanwhile gets the same
	attended atomic.Bool // Run is there

	mu    sync.Mutex // guards all below
	last  T
	known bool
	asked bool // somebody found it old
	made  time.Time
	took  time.Duration
}

// maker makes what is kept.
type maker[T any] struct {
	now   func() time.Time // read before and after, to see how long it takes
	find  func(ctx context.Context, now time.Time) T
	fits  func(T) bool  // false: it is void, however new
	part  int           // it costs at most one part of so many of the time, however many ask
	least time.Duration // it is good for so long at least
	most  time.Duration // and nobody is given an older one
}

// patience is for how long who asks is let wait again and again.
const patience = 20 * time.Millisecond

// take is what is kept; nobody may change it.
func (k *lasting[T]) take(m maker[T]) T {
	k.mu.Lock()
	last, usable := k.last, k.usable(m)
	good := usable && k.good(m)
	k.asked = k.asked || !good
	later := usable && k.took > patience && k.attended.Load()
	k.mu.Unlock()
	if good || later {
		return last
	}
	return k.make(context.Background(), m)
}

// usable and good are of what is kept. The caller holds mu.
func (k *lasting[T]) usable(m maker[T]) bool { return k.known && m.fits(k.last) }

func (k *lasting[T]) good(m maker[T]) bool {
	age := m.now().Sub(k.made)
	return age >= 0 && age < max(m.least, time.Duration(m.part)*k.took)
}

func (k *lasting[T]) make(ctx context.Context, m maker[T]) T {
	k.making.Lock()
	defer k.making.Unlock()
	k.mu.Lock()
	last, good := k.last, k.usable(m) && k.good(m)
	k.mu.Unlock()
	if good {
		return last
	}
	began := m.now()
	v := m.find(ctx, began)
	if ctx.Err() != nil {
		return v // cut short
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.known, k.asked, k.made, k.took = v, true, false, began, m.now().Sub(began)
	return v
}

// due tells whether another one is needed.
func (k *lasting[T]) due(m maker[T]) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := m.now().Sub(k.made)
	return !k.usable(m) || (k.asked || age < 0 || age >= m.most) && !k.good(m)
}

// Run makes it when it is needed, until ctx ends.
func (k *lasting[T]) Run(ctx context.Context, m maker[T]) error {
	k.attended.Store(true)
	defer k.attended.Store(false)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		if k.due(m) {
			k.make(ctx, m)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

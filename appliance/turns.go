package appliance

import (
	"context"
	"slices"
	"sync"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// turns lets one at a time do something, and others wait for it in the order in which they came. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	now  *turnOf // nil: nobody's
	line []*turnOf
}

// turnOf is somebody's turn, or their place in the line.
type turnOf struct {
	who   string
	since time.Time
	comes chan struct{} // closed once it is their turn
}

// lookAtLine is how often who waits is told whom they wait for: it may be another one by then.
const lookAtLine = time.Second

// take takes the turn at a time for who, or, unless it is free, waits for it until ctx ends and tells waits for whom; where that is nil it waits for nobody and returns a [webadmin.Busy]. Whoever has it calls end.
func (t *turns) take(ctx context.Context, who string, now func() time.Time, waits func(behind webadmin.Busy)) error {
	t.mu.Lock()
	mine := &turnOf{who: who, since: now(), comes: make(chan struct{})}
	if t.now == nil {
		t.now = mine
		t.mu.Unlock()
		return nil
	}
	if waits == nil {
		defer t.mu.Unlock()
		return t.busy()
	}
	t.line = append(t.line, mine)
	t.mu.Unlock()
	look := time.NewTicker(lookAtLine)
	defer look.Stop()
	for {
		t.mu.Lock()
		behind := t.busy()
		t.mu.Unlock()
		if behind.Who != "" {
			waits(behind)
		}
		select {
		case <-mine.comes:
			t.mu.Lock()
			mine.since = now()
			t.mu.Unlock()
			return nil
		case <-ctx.Done():
			t.leave(mine)
			return ctx.Err()
		case <-look.C:
		}
	}
}

// busy is whose turn it is; the caller holds mu.
func (t *turns) busy() webadmin.Busy {
	if t.now == nil {
		return webadmin.Busy{}
	}
	return webadmin.Busy{Who: t.now.who, Since: webadmin.At(t.now.since)}
}

// leave gives up a place in the line, which may have become a turn meanwhile.
func (t *turns) leave(mine *turnOf) {
	t.mu.Lock()
	i := slices.Index(t.line, mine)
	if i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 {
		t.end()
	}
}

// end gives the turn to the next in the line.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now = nil; len(t.line) > 0 {
		t.now = t.line[0]
		t.line = slices.Delete(t.line, 0, 1)
		close(t.now.comes)
	}
}

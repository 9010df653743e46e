package nfq

import (
	"sync"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
)

// policy answers as it is told to and remembers what it was asked.
type policy struct {
	mu      sync.Mutex
	opening func(Flow) Opening // nil: pass
	event   func(Flow, session.Event) time.Duration
	opens   []Flow
	events  []session.Event
	closes  []closing
}

type closing struct {
	flow   Flow
	handle any
	Summary
}

func (p *policy) Open(f Flow, _ time.Time) Opening {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens = append(p.opens, f)
	o := Opening{}
	if p.opening != nil {
		o = p.opening(f)
	}
	if o.Handle == nil {
		o.Handle = len(p.opens)
	}
	return o
}

func (p *policy) Event(f Flow, _ any, e session.Event, _ time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	if p.event == nil {
		return 0
	}
	return p.event(f, e)
}

func (p *policy) Close(f Flow, handle any, s Summary) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closes = append(p.closes, closing{f, handle, s})
}

func (p *policy) opened() []Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Flow(nil), p.opens...)
}

func (p *policy) closed() []closing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]closing(nil), p.closes...)
}

package appliance

import (
	"sync"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Steps of the last hour that the overview draws.
const (
	trafficStep  = time.Minute
	trafficSteps = 60
)

// traffic counts sessions and TLS handshakes per minute over the last hour, in memory.
type traffic struct {
	mu    sync.Mutex
	steps [trafficSteps]step
}

type step struct {
	start                                                   time.Time
	started, handshakes, clear, startTLS, implicit, unknown int
}

// at returns the step of now, emptied when it still holds an hour ago. The
// caller holds t.mu.
func (t *traffic) at(now time.Time) *step {
	start := now.Truncate(trafficStep)
	s := &t.steps[int(start.Unix()/int64(trafficStep/time.Second))%trafficSteps]
	if !s.start.Equal(start) {
		*s = step{start: start}
	}
	return s
}

func (t *traffic) started(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(now).started++
}

// handshake counts one of TLS that began.
func (t *traffic) handshake(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(now).handshakes++
}

func (t *traffic) ended(f session.Facts, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.at(now)
	switch {
	case f.TLS == session.TLSStartTLS:
		s.startTLS++
	case f.TLS == session.TLSImplicit:
		s.implicit++
	case f.Unknown:
		s.unknown++
	default:
		s.clear++
	}
}

// view is the last hour, oldest step first.
func (t *traffic) view(now time.Time) webadmin.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := webadmin.Traffic{Step: webadmin.Seconds(trafficStep), Points: make([]webadmin.TrafficPoint, 0, trafficSteps)}
	for i := trafficSteps - 1; i >= 0; i-- {
		s := *t.read(now.Add(-time.Duration(i) * trafficStep))
		v.Points = append(v.Points, webadmin.TrafficPoint{
			Start: webadmin.At(s.start), Started: s.started, Handshakes: s.handshakes,
			Clear: s.clear, StartTLS: s.startTLS, Implicit: s.implicit, Other: s.unknown,
		})
	}
	return v
}

// read is at for reading: a step that holds another hour reads as empty.
func (t *traffic) read(now time.Time) *step {
	start := now.Truncate(trafficStep)
	s := t.steps[int(start.Unix()/int64(trafficStep/time.Second))%trafficSteps]
	if !s.start.Equal(start) {
		s = step{start: start}
	}
	return &s
}

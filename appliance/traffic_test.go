package appliance

import (
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
)

func TestTrafficOfTheLastHour(t *testing.T) {
	var tr traffic
	begin := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	tr.started(begin)
	tr.handshake(begin)
	tr.handshake(begin)
	tr.ended(session.Facts{TLS: session.TLSStartTLS}, begin)
	tr.ended(session.Facts{TLS: session.TLSImplicit}, begin)
	tr.ended(session.Facts{Unknown: true}, begin)
	tr.started(begin.Add(59 * time.Minute))
	tr.ended(session.Facts{}, begin.Add(59*time.Minute))

	v := tr.view(begin.Add(59 * time.Minute)).Points
	if len(v) != trafficSteps {
		t.Fatalf("%d steps", len(v))
	}
	if first := v[0]; first.Started != 1 || first.Handshakes != 2 || first.StartTLS != 1 || first.Implicit != 1 || first.Other != 1 || first.Clear != 0 {
		t.Errorf("the first minute: %+v", first)
	}
	if last := v[trafficSteps-1]; last.Started != 1 || last.Clear != 1 || !last.Start.Equal(time.Date(2026, 3, 1, 12, 59, 0, 0, time.UTC)) {
		t.Errorf("the last minute: %+v", last)
	}

	// An hour later the first minute's place is another minute's.
	for i, p := range tr.view(begin.Add(60 * time.Minute)).Points {
		if want := i == trafficSteps-2; (p.Started == 1) != want {
			t.Errorf("an hour later, step %d: %+v", i, p)
		}
	}
	tr.started(begin.Add(60 * time.Minute))
	if v := tr.view(begin.Add(60 * time.Minute)).Points[trafficSteps-1]; v.Started != 1 || v.StartTLS != 0 {
		t.Errorf("the old hour shines through: %+v", v)
	}
}

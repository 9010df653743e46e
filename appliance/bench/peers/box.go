package peers

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// awaitCollector waits until the collector takes connections.
func (r *rig) awaitCollector(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return await(ctx, r.Box, netip.AddrPortFrom(r.collector.IPv4, syslogPort))
}

// tally asks mailweir what it has done: how many sessions, in which lane, and whether all records have gone.
func (r *rig) tally(run *running, fast bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var st webadmin.Status
	for {
		if err := run.governor.Get(ctx, "/api/v1/status", &st); err != nil {
			return fmt.Errorf("ask mailweir: %w", err)
		}
		behind := int64(0)
		for _, c := range st.Syslog {
			behind += c.Behind
		}
		if behind == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d records do not reach the collector", behind)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, c := range st.Syslog {
		if c.Dropped > 0 {
			run.note = fmt.Sprintf("%d records were dropped", c.Dropped)
		}
	}
	if fast && !st.Lanes.Fast.On {
		run.note = strings.TrimPrefix(run.note+"; the fast lane was not in use: "+st.Lanes.Fast.Why, "; ")
	}
	run.sessions = float64(st.Sessions.Total)
	return nil
}

// within makes sure that no lawful subscriber was held, deferred or cut: what was measured was load within every budget.
func (r *rig) within(ctx context.Context, run *running) error {
	if run.governor == nil {
		return nil
	}
	var st webadmin.Status
	if err := run.governor.Get(ctx, "/api/v1/status", &st); err != nil {
		return fmt.Errorf("ask mailweir: %w", err)
	}
	if st.Actions.Paced+st.Actions.Deferred+st.Actions.Cut > 0 {
		return fmt.Errorf("the load was not within budget: %d paced, %d deferred, %d cut", st.Actions.Paced, st.Actions.Deferred, st.Actions.Cut)
	}
	if st.Actions.FailedOpen > 0 {
		return fmt.Errorf("%d packets passed unjudged", st.Actions.FailedOpen)
	}
	return nil
}

// cut is how many subscribers mailweir has cut.
func (r *rig) cut(ctx context.Context, run *running) (int, error) {
	var st webadmin.Status
	err := run.governor.Get(ctx, "/api/v1/status", &st)
	return st.Stages.Cut, err
}

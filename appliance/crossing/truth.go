package crossing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Session is one TCP session with what is true of it.
type Session struct {
	Src        netip.AddrPort `json:"src"`
	Dst        netip.AddrPort `json:"dst"`
	Start      time.Time      `json:"start"`
	Messages   int            `json:"messages"`   // that the server took, by its log
	Recipients int            `json:"recipients"` // of those
	flow       int            // its place in the capture
	Run
}

// settle is how long logs and records may lag behind.
const settle = 15 * time.Second

// Truth gives each session of a capture what its server's log says. It fails when a session is in one of the two only,
// or when what clients know of themselves is something else; those sessions that agree are given all the same.
func Truth(ctx context.Context, servers []*Server, runs []Run, flows []Flow) ([]Session, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		taken, err := logged(servers)
		if err != nil {
			return nil, err
		}
		count := map[*Server]int{}
		for s, t := range taken {
			count[s] = len(t)
		}
		all, err := match(taken, runs, flows)
		if err == nil {
			for s, n := range count {
				s.dealt += n
			}
			return all, nil
		}
		select {
		case <-ctx.Done():
			return all, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// logged is what the servers' logs have that is new.
func logged(servers []*Server) (map[*Server][]lab.Taken, error) {
	out := map[*Server][]lab.Taken{}
	for _, s := range servers {
		t, err := s.Taken()
		if err != nil {
			return nil, err
		}
		// The lab itself looked whether the server is up, from its own machine.
		t = slices.DeleteFunc(t, func(t lab.Taken) bool { return s.has(t.From.Addr()) })
		out[s] = t[s.dealt:]
	}
	return out, nil
}

// match finds each session's line in the log, and each line's session.
func match(taken map[*Server][]lab.Taken, runs []Run, flows []Flow) ([]Session, error) {
	out := make([]Session, 0, len(flows))
	sum := make([]int, len(runs))
	var errs []error
	for n, f := range flows {
		i := slices.IndexFunc(runs, func(r Run) bool {
			l, a := r.client.line(), f.Client.Addr()
			return (a == l.IPv4 || a == l.IPv6) && r.server.has(f.Server.Addr()) && !f.Start.Before(r.Begin) && !f.Start.After(r.End)
		})
		if i < 0 {
			errs = append(errs, fmt.Errorf("nobody did the session %v to %v at %v", f.Client, f.Server, f.Start))
			continue
		}
		r := runs[i]
		j := slices.IndexFunc(taken[r.server], func(t lab.Taken) bool {
			return t.From == f.Client || t.From.Port() == 0 && t.From.Addr() == f.Client.Addr()
		})
		if j < 0 {
			errs = append(errs, fmt.Errorf("the log of %s does not have the session %v of %s, %v", r.Host, f.Client, r.Client, r.Case))
			continue
		}
		t := taken[r.server][j]
		taken[r.server] = slices.Delete(taken[r.server], j, j+1)
		out = append(out, Session{Src: f.Client, Dst: f.Server, Start: f.Start, Messages: t.Messages, Recipients: t.Recipients, flow: n, Run: r})
		sum[i] += t.Messages
	}
	for s, rest := range taken {
		if len(rest) > 0 {
			errs = append(errs, fmt.Errorf("%d sessions of %s are not in the capture, the first of %v", len(rest), s.Name, rest[0].From))
		}
	}
	for i, r := range runs {
		if c := r.claim; c.counted && c.messages != sum[i] && (!c.atLeast || sum[i] < c.messages) {
			errs = append(errs, fmt.Errorf("%s says that %d messages were taken, the log of %s says %d: %v", r.Client, c.messages, r.Host, sum[i], r.Case))
		}
	}
	return out, errors.Join(errs...)
}

package appliance

import (
	"context"
	"time"

	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// The short cut is allowed for a while only, and looked after more often: when nobody
// looks any more it is over.
const (
	shortCutLook = 900 * time.Millisecond
	shortCutGood = 3 * time.Second
)

// watchShortCut lets the fast lane's packets go past netfilter while nobody else wants
// to see them there. It returns when ctx ends.
func (a *Appliance) watchShortCut(ctx context.Context) error {
	f := a.lane
	if f.lane == nil {
		return nil
	}
	if err := f.lane.Uncut(); err != nil {
		f.shut(err.Error())
		a.log.Info("fast lane: no short cut", "why", err)
		return nil
	}
	defer f.lane.ShortCut(0)
	var changed <-chan struct{} // nil: only the clock says when to look
	if w, err := ruleset.WatchChanges(); err != nil {
		a.log.Warn("changes of nftables are noticed only by looking for them", "err", err)
	} else {
		defer w.Close()
		changed = w.C()
	}
	look := time.NewTicker(shortCutLook)
	defer look.Stop()
	for {
		if was, now := f.lookForOthers(); was != now {
			a.log.Info("fast lane: short cut", "off_because_of", now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-look.C:
		}
	}
}

// lookForOthers allows the short cut, or forbids it and says why.
func (f *fastLane) lookForOthers() (was, now string) {
	now, err := f.others()
	if err != nil {
		now = err.Error()
	}
	if now == "" {
		f.lane.ShortCut(shortCutGood)
	} else {
		f.lane.ShortCut(0)
	}
	return f.shut(now), now
}

func (f *fastLane) others() (string, error) {
	if who, err := ruleset.Onlooker(); who != "" || err != nil {
		return who, err
	}
	if who := f.foreigners(); who != "" {
		return who + " was there; the ruleset tracks connections until it is written again", nil
	}
	return f.lane.Others()
}

// shut says why there is no short cut; "": there is one.
func (f *fastLane) shut(why string) (was string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.uncut = f.uncut, why
	return was
}

// shortCut says whether packets are forwarded by the lane's program, or why not.
func (f *fastLane) shortCut() (on bool, why string) {
	how, why := f.status()
	if how == "" {
		return false, why
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.uncut == "", f.uncut
}

// shortCutView is what status says of it.
func (f *fastLane) shortCutView(s *nfq.LaneStats) webadmin.ShortCut {
	on, why := f.shortCut()
	v := webadmin.ShortCut{On: on, Why: why}
	if s == nil {
		return v
	}
	v.Packets, v.Stack = int64(s.ShortCut), map[string]int64{}
	for why, n := range laneStack(s) {
		v.Stack[why] = int64(n)
	}
	return v
}

// laneStack is why packets of the lane took the kernel's way.
func laneStack(s *nfq.LaneStats) map[string]uint64 {
	k := s.Stack
	return map[string]uint64{"not_allowed": k.Shut, "begins": k.Begins, "odd": k.Odd, "other_interface": k.Path, "too_long": k.Length, "no_plain_route": k.Route}
}

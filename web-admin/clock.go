package webadmin

import (
	"context"
	"fmt"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Unset tells whether the box keeps its clock itself and was told no time since it came up: what it shows may be anything, by years.
func (c Clock) Unset() bool { return c.Kept && !c.Synced && c.Heard.IsZero() }

// right tells whether nothing speaks against the clock: somebody keeps it, or has set it since the box came up, or nobody told us.
func (c Clock) right() bool { return !c.Known || c.Synced || c.Kept && !c.Heard.IsZero() }

// clockLook is how often it is noted what the clock shows, for tokens to end by.
const clockLook = 10 * time.Minute

// watchClock has a token that has ended not live again when the clock goes back. It ends with ctx; Run waits for it.
func (s *Server) watchClock(ctx context.Context) {
	look := time.NewTicker(clockLook)
	defer look.Stop()
	for {
		if !s.box.Clock().Unset() {
			if err := s.users.Saw(s.opt.Now()); err != nil {
				s.opt.Log.Error("web admin: note the time that tokens end by", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// unsetClock is the time that a clock shows which is not set; empty: it is set.
func (s *Server) unsetClock() string {
	if !s.box.Clock().Unset() {
		return ""
	}
	return s.clockShows()
}

// clockShows is the box's time, for who holds another clock beside it.
func (s *Server) clockShows() string {
	return s.opt.Now().In(s.opt.Location).Format("2006-01-02 15:04:05 MST")
}

// codesFit refuses to begin with a second factor while the clock is not set: a code is one of a moment, so nobody could log in with it once the time is
// right, or before.
func (s *Server) codesFit() error {
	shows := s.unsetClock()
	if shows == "" {
		return nil
	}
	return users.Refused{Field: "code", Message: fmt.Sprintf("cannot be set up while the box's clock is not set: it says %s, and the codes of an app go by the time. %s", shows, setTheClock)}
}

// setTheClock says what to do about it.
const setTheClock = "Name an NTP server that the box reaches (Set-up, Time), or have DHCP name one (option 42), and try again"

package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/ntp"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// clockGrace is how long a clock may be without somebody who keeps it before that is told: at a start the network comes up first.
const clockGrace = time.Minute

// clockOf is what the kernel and the image's keeper of the clock say; kept is nil where there is none.
func clockOf(synced bool, kept *ntp.State, err error) webadmin.Clock {
	c := webadmin.Clock{Known: true, Synced: synced}
	switch {
	case err != nil:
		c.Why = err.Error()
	case kept != nil:
		c.Kept = true
		c.Synced = synced && kept.Synced
		c.Server, c.Stratum, c.Offset, c.Heard, c.Why = kept.Server, kept.Stratum, webadmin.Seconds(kept.Offset), webadmin.At(kept.Heard), kept.Why
	}
	return c
}

// clockWatch makes records of what becomes of the clock.
type clockWatch struct {
	last  time.Time // when it was looked at last
	set   time.Time // what it was set to while we looked; zero: never
	told  string    // when the last step was that is a record, as the keeper says; "": not read yet
	right bool      // somebody kept it, once in this life
	since time.Time // nobody has kept it since
}

// look is called each second.
func (w *clockWatch) look(now time.Time, c webadmin.Clock, h *health) {
	if !w.last.IsZero() && stepped(w.last, now) {
		w.set = now.Round(0)
		h.tell(clockSet(w.last.Round(0).Add(now.Sub(w.last)), w.set))
	}
	w.last = now
	switch {
	case !c.Known:
	case c.Synced:
		w.right, w.since = true, time.Time{}
		h.endWith(records.HealthFacts{What: "clock_lost", Detail: heardFrom(c)})
	case w.since.IsZero():
		w.since = now
	case (c.Kept || w.right) && now.Sub(w.since) >= clockGrace:
		h.begin(records.HealthFacts{What: "clock_lost", Detail: c.Why})
	}
}

// keeperSet has a step be a record that the image's keeper of the clock made while nobody looked: before governing began. Which one was the last that
// became one, file knows over a restart.
func (w *clockWatch) keeperSet(s ntp.Step, file string, h *health) error {
	text, err := s.To.MarshalText()
	if err != nil {
		return err
	}
	if w.told == "" {
		told, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		w.told = string(told)
	}
	if w.told == string(text) {
		return nil
	}
	w.told = string(text)
	if w.set.IsZero() || w.set.Sub(s.To).Abs() > time.Minute {
		h.tell(clockSet(s.From, s.To))
	}
	return durable.Replace(file, text)
}

func clockSet(from, to time.Time) records.HealthFacts {
	return records.HealthFacts{What: "clock_step", Detail: fmt.Sprintf("the clock was set from %s to %s; budgets go by the time that passes and are as they were",
		from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))}
}

// heardFrom says who keeps the clock.
func heardFrom(c webadmin.Clock) string {
	if c.Server == "" {
		return ""
	}
	return fmt.Sprintf("%s (stratum %d) keeps it; it was off by %v", c.Server, c.Stratum, time.Duration(c.Offset).Round(time.Microsecond))
}

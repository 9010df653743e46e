package syslog

import (
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// What an Event tells.
const (
	Down    = "down"    // the collector does not take records any more
	Up      = "up"      // it does again
	Loss    = "loss"    // records were not in the spool any more when their turn came
	Refused = "refused" // the collector refused a record again and again, and it was left out
	Again   = "again"   // records are sent once more, since nothing says whether they were stored
)

// Event is something that a HEALTH record should tell.
type Event struct {
	What     string
	Target   string // URL
	Time     time.Time
	Err      string         // Down, Refused: why
	Count    uint64         // Loss, Refused, Again: how many
	FirstSeq uint64         // the first of them ...
	LastSeq  uint64         // ... and the last
	Seqs     string         // Loss: which of those between, as 3-7,9
	Doubt    records.Ranges // Again: which of those before may be missing at most
}

// Health is the event as an entry for the records.
func (e Event) Health() records.Entry {
	f := records.HealthFacts{Time: e.Time, Target: e.Target, Count: e.Count, FirstSeq: e.FirstSeq, LastSeq: e.LastSeq, Seqs: e.Seqs}
	switch e.What {
	case Down:
		f.What, f.Detail = "collector_down", e.Err
	case Up:
		f.What, f.Good = "collector_up", true
	case Loss:
		f.What, f.Detail = "record_loss", "the spool does not have them any more; this collector does not get them"
	case Refused:
		f.What, f.Detail = "record_loss", "the collector refused it again and again: "+e.Err
	case Again:
		f.What, f.Doubt = "records_again", e.Doubt.String()
		f.Detail = fmt.Sprintf("the connection broke, or the box died, and nothing but RELP says what a collector has stored: these %d are sent once more, with the same event; ", e.Count)
		if f.Doubt == "" {
			f.Detail += "what it got before them it has read"
		} else {
			f.Detail += "what of those before it has read is not known, since it does not end connections that are ended here: of " + f.Doubt + " some may be missing there"
		}
	}
	return records.Health(f)
}

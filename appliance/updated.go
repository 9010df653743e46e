package appliance

import (
	"io/fs"
	"os"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/update"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// updates makes records of what becomes of updates: process 1 and whoever installs one write it into the data directory.
type updates struct {
	seen fs.FileInfo // the file when it was last read; only look uses it
}

// look says what is new.
func (u *updates) look(dir string, health *health) error {
	info, err := os.Stat(update.File(dir))
	if err != nil || u.seen != nil && os.SameFile(u.seen, info) && u.seen.ModTime().Equal(info.ModTime()) {
		return nil // there was no update, or nothing new of it
	}
	u.seen = info
	o, err := update.Load(dir)
	if err != nil || o == nil || o.Told(dir) {
		return err
	}
	health.tell(records.HealthFacts{What: "update", Target: o.State, Good: o.Good(), Detail: o.String()})
	return o.SetTold(dir)
}

// updateProblem is one while the last update was not to be had.
func updateProblem(dir string) []webadmin.Problem {
	o, err := update.Load(dir)
	if err != nil || o == nil || o.Good() || o.State == update.Refused {
		return nil
	}
	p := webadmin.Problem{
		What:    "Update: " + o.String() + ".",
		Meaning: "The box governs with the version it had, with all its settings.",
		Do:      "Look at the reason; another update, or the same once more, takes this away.",
		Since:   webadmin.At(o.Time.Truncate(time.Second)),
	}
	if o.State == update.FellBack {
		p.Meaning, p.Do = "The box governs, but there is no slot left to fall back to.", "Put the newest update in; it is written into the damaged slot."
	}
	return []webadmin.Problem{p}
}

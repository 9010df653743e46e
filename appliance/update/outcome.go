package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/image/bundle"
)

// What became of an update.
const (
	Waits      = "waits"       // written, and on trial from the next start on
	Committed  = "committed"   // it came up healthy
	RolledBack = "rolled_back" // it did not, and the slot before runs again
	Refused    = "refused"     // nothing was written
	Stopped    = "stopped"     // the idle slot was written in part; GRUB does not know of it
	FellBack   = "fell_back"   // no update: GRUB could not start the active slot and took the other
)

// Version is one of the box's.
type Version struct {
	Version string `json:"version"`
	Build   int64  `json:"build"`
}

// Outcome is what is known of the last update.
type Outcome struct {
	State string    `json:"state"`
	From  Version   `json:"from"`
	To    Version   `json:"to"` // zero: it is not known what it was
	Slot  string    `json:"slot,omitempty"`
	Time  time.Time `json:"time"` // of the state
	Why   string    `json:"why,omitempty"`
	// Links are the ports that had a link when it was written: as they were they are to be again.
	Links []string `json:"links,omitempty"`
	Floor int64    `json:"floor,omitempty"` // highest of what was committed here
}

// GaveUp is what came of an update when its slot did not stay; last is what was known of it.
func (b *Box) GaveUp(last *Outcome, why string, now time.Time) Outcome {
	o := b.Of(bundle.Manifest{}, RolledBack, now)
	o.Why = why
	if last == nil || last.Slot != o.Slot {
		return o
	}
	switch last.State {
	case RolledBack: // the slot said so itself, and why, before it was left
		return *last
	case Waits:
		o.To, o.Links = last.To, last.Links
	}
	return o
}

// Fell is what is to be said when GRUB took the other slot.
func (b *Box) Fell(why string, now time.Time) Outcome {
	o := b.Of(bundle.Manifest{}, FellBack, now)
	o.Slot, o.Why = b.Running, why
	return o
}

// file in the data directory has the last outcome; toldFile what of it a record was made of.
const (
	file     = "update.json"
	toldFile = "update.told"
)

// File is where the outcome lies.
func File(dir string) string { return filepath.Join(dir, file) }

// Of is the start of an outcome.
func (b *Box) Of(m bundle.Manifest, state string, now time.Time) Outcome {
	return Outcome{State: state, From: Version{b.About.Version, b.About.Build}, To: Version{m.Version, m.Build}, Slot: b.Idle(), Time: now, Floor: b.Floor}
}

// Load reads the last outcome; nil: there was never an update.
func Load(dir string) (*Outcome, error) {
	text, err := os.ReadFile(File(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var o Outcome
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("%s: %w", File(dir), err)
	}
	return &o, nil
}

// Save keeps it.
func (o Outcome) Save(dir string) error {
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return durable.Replace(File(dir), append(text, '\n'))
}

// String is one line for people.
func (o Outcome) String() string {
	to := fmt.Sprintf("version %s (build %d)", o.To.Version, o.To.Build)
	if o.To == (Version{}) {
		to = "an update"
	}
	var text string
	switch o.State {
	case Waits:
		text = fmt.Sprintf("%s is in slot %s and goes on trial at the next start", to, o.Slot)
	case Committed:
		text = fmt.Sprintf("%s came up healthy and stays", to)
	case RolledBack:
		text = fmt.Sprintf("%s was given up, version %s (build %d) runs", to, o.From.Version, o.From.Build)
	case Refused:
		text = fmt.Sprintf("%s was refused", to)
	case Stopped:
		text = fmt.Sprintf("%s was not written whole into slot %s; version %s runs on", to, o.Slot, o.From.Version)
	case FellBack:
		text = fmt.Sprintf("version %s (build %d) runs from slot %s in the place of the other", o.From.Version, o.From.Build, o.Slot)
	default:
		text = o.State
	}
	if o.Why != "" {
		text += ": " + o.Why
	}
	return text
}

// Good tells whether somebody has nothing to look after.
func (o Outcome) Good() bool { return o.State == Waits || o.State == Committed }

// Told tells whether this outcome was said already, by SetTold.
func (o Outcome) Told(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, toldFile))
	return err == nil && string(b) == o.mark()
}

// SetTold keeps that it was said.
func (o Outcome) SetTold(dir string) error {
	return durable.Replace(filepath.Join(dir, toldFile), []byte(o.mark()))
}

func (o Outcome) mark() string {
	return fmt.Sprintf("%s %s %d %d\n", o.Time.UTC().Format(time.RFC3339Nano), o.State, o.From.Build, o.To.Build)
}

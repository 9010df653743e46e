package cabling

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/netconf"
)

// Trial is another shape of the ports between subscribers and internet, in force and not confirmed. Who governs begins it and writes it here; process 1 holds its clock, and
// takes it back when its time is over or who governs ends, however that comes. It is in memory only, so that a restart takes it back as well.
type Trial struct {
	ID    string        `json:"id"`
	Until time.Duration `json:"until_ns"` // of the time since the kernel's start, which nobody sets
}

// Left is how long it lasts from now.
func (t Trial) Left() time.Duration { return max(t.Until-netconf.Uptime(), 0) }

func (d Dir) trialFile() string { return filepath.Join(string(d), "ports.trial") }
func (d Dir) whyFile() string   { return filepath.Join(string(d), "ports.reverted") }
func (d Dir) toldFile() string  { return filepath.Join(string(d), "ports.told") }

// Trial is the one that goes on; nil: there is none.
func (d Dir) Trial() (*Trial, error) { return load[Trial](d.trialFile()) }

// Try begins a trial, or has it last for so long from now.
func (d Dir) Try(id string, lasts time.Duration) error {
	return errors.Join(gone(os.Remove(d.whyFile())), d.save(d.trialFile(), Trial{ID: id, Until: netconf.Uptime() + lasts}))
}

// EndTrial ends it.
func (d Dir) EndTrial() error { return gone(os.Remove(d.trialFile())) }

// SayWhy notes why the trial is taken back, for the life that tells it.
func (d Dir) SayWhy(why string) error { return durable.Replace(d.whyFile(), []byte(why)) }

// Why is why the last trial was taken back; "": nobody said so, as after a restart.
func (d Dir) Why() string {
	text, err := os.ReadFile(d.whyFile())
	if err != nil {
		return ""
	}
	return string(text)
}

// Told tells whether records say what of the cards is not as it was.
func (d Dir) Told() bool {
	_, err := os.Stat(d.toldFile())
	return err == nil
}

// SetTold notes that they do.
func (d Dir) SetTold() error { return os.WriteFile(d.toldFile(), nil, 0o600) }

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

package netconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
)

// State is what the port has, for others to read.
type State struct {
	Settings  config.Management `json:"settings"`
	Addresses []netip.Prefix    `json:"addresses"` // IPv4 first; no link-local ones
	Trial     string            `json:"trial,omitempty"`
	Why       string            `json:"why,omitempty"` // what is wrong
}

// Trial is a change that is taken back when nobody confirms it. It is in memory only, so that a restart takes it back as well. Its times are of the
// time since the kernel's start, which nobody sets.
type Trial struct {
	ID       string            `json:"id"`
	Settings config.Management `json:"settings"`
	From     time.Duration     `json:"from_ns"`
	Until    time.Duration     `json:"until_ns"`
}

// Left is how long it lasts from now.
func (t Trial) Left() time.Duration { return max(t.Until-Uptime(), 0) }

// Uptime is the time since the kernel's start; a machine that slept counts that.
func Uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("netconf: " + err.Error()) // every kernel has this clock
	}
	return time.Duration(t.Nano())
}

func (d Dir) stateFile() string { return filepath.Join(string(d), "management.json") }
func (d Dir) trialFile() string { return filepath.Join(string(d), "management.trial") }

// State is what the port has now; nil where this is not the image, or it has not come up yet.
func (d Dir) State() (*State, error) { return load[State](d.stateFile()) }

func (d Dir) saveState(s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceChanged(d.stateFile(), string(text))
}

// Trial is the one that goes on, or has just ended; nil: there is none.
func (d Dir) Trial() (*Trial, error) { return load[Trial](d.trialFile()) }

// Try begins a trial of settings: soon, so that whoever asked for it is answered first, and for so long.
func (d Dir) Try(id string, m config.Management, soon, lasts time.Duration) (Trial, error) {
	now := Uptime()
	t := Trial{ID: id, Settings: m, From: now + soon, Until: now + soon + lasts}
	text, err := json.Marshal(t)
	if err != nil {
		return t, err
	}
	return t, durable.Replace(d.trialFile(), text)
}

// EndTrial ends the trial of that id, if it is still there: the port goes by the configuration again.
func (d Dir) EndTrial(id string) error {
	t, err := d.Trial()
	if err != nil || t == nil || t.ID != id {
		return err
	}
	if err := os.Remove(d.trialFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func load[T any](file string) (*T, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

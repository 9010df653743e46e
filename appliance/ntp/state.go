package ntp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// State is how it stands with the clock.
type State struct {
	Synced  bool          `json:"synced"`
	Server  string        `json:"server,omitempty"` // that was believed last
	Stratum int           `json:"stratum,omitempty"`
	Offset  time.Duration `json:"offset_ns"` // what was added to the clock then
	Heard   time.Time     `json:"heard,omitzero"`
	Why     string        `json:"why,omitempty"` // what was wrong in the last round
	Stepped *Step         `json:"stepped,omitempty"`
}

// Step is the last time that the clock was set, in this run of the machine.
type Step struct {
	From time.Time `json:"from"` // what it said
	To   time.Time `json:"to"`
}

// Save keeps a state for other processes.
func (s State) Save(file string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.Replace(file, text)
}

// Load is what another process saved; nil where nobody did: then something else keeps the clock, or nobody.
func Load(file string) (*State, error) {
	text, err := os.ReadFile(file)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &s, nil
}
